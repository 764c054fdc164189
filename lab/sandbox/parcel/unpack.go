package parcel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Bounds of what a guest can make of the host's folder, beside the size of its
// device.
const (
	maxName = 4 << 10
	maxSize = 1 << 40
)

var errDamaged = errors.New("what the guest wrote is damaged")

// unpackFiles makes the files of the stream of the given length in dir. A file that
// turns out damaged is removed, and ends it.
func unpackFiles(dev io.ReaderAt, length int64, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	u := unpacker{root: root}
	in := source{r: dev, kind: kindFiles, at: filesAt, limit: filesAt + length}
	for in.at < in.limit {
		entry, err := in.next()
		if errors.Is(err, errNoRecord) {
			err = errDamaged
		}
		if err == nil {
			err = u.entry(entry)
		}
		if err != nil {
			u.giveUp()
			return err
		}
	}
	return u.close()
}

// unpacker makes files in a folder and cannot leave it, whatever symbolic links are
// in there.
type unpacker struct {
	root *os.Root
	file *os.File // the one that pieces go to, nil if none
	name string
	size int64
}

func (u *unpacker) entry(b []byte) error {
	switch {
	case b[0] == entryFolder && len(b) > folderHead:
		name, err := localName(b[folderHead:])
		if err != nil {
			return err
		}
		return errors.Join(u.close(), u.folder(name, fs.FileMode(binary.LittleEndian.Uint32(b[1:]))))
	case b[0] == entryFile && len(b) > fileHead:
		name, err := localName(b[fileHead:])
		if err != nil {
			return err
		}
		if err := u.close(); err != nil {
			return err
		}
		return u.begin(name, fs.FileMode(binary.LittleEndian.Uint32(b[1:])), binary.LittleEndian.Uint64(b[5:]))
	case b[0] == entryPiece && len(b) > pieceHead && u.file != nil:
		at := binary.LittleEndian.Uint64(b[1:])
		data := b[pieceHead:]
		if at > uint64(u.size) || uint64(len(data)) > uint64(u.size)-at {
			return fmt.Errorf("%s: %w", u.name, errDamaged)
		}
		_, err := u.file.WriteAt(data, int64(at))
		return err
	case b[0] == entryLost && u.file != nil:
		u.giveUp()
		return nil
	}
	return errDamaged
}

// localName checks a name: relative, clean, and below the folder.
func localName(b []byte) (string, error) {
	name := string(b)
	if len(name) > maxName || name == "." || !fs.ValidPath(name) || !filepath.IsLocal(filepath.FromSlash(name)) {
		return "", fmt.Errorf("%w: a file's name is %.100q", errDamaged, name)
	}
	return filepath.FromSlash(name), nil
}

// folder makes a folder, or gives one that is there its permissions. The host's user
// must get into it.
func (u *unpacker) folder(name string, mode fs.FileMode) error {
	if err := u.root.MkdirAll(name, 0o755); err != nil {
		return err
	}
	return u.root.Chmod(name, mode.Perm()|0o700)
}

// begin makes a file. One that is there may be somebody's link, or not be writable;
// it is replaced.
func (u *unpacker) begin(name string, mode fs.FileMode, size uint64) error {
	if size > maxSize {
		return fmt.Errorf("%s: %w: its size is %d", name, errDamaged, size)
	}
	if err := u.root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := u.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	u.file, u.name, u.size = f, name, int64(size)
	// Not by the mode of the opening, of which the umask takes away.
	return errors.Join(f.Chmod(mode.Perm()|0o600), f.Truncate(u.size))
}

func (u *unpacker) close() error {
	if u.file == nil {
		return nil
	}
	err := u.file.Close()
	u.file = nil
	return err
}

// giveUp removes the file that is not whole.
func (u *unpacker) giveUp() {
	if u.file == nil {
		return
	}
	_ = u.file.Close()
	u.file = nil
	_ = u.root.Remove(u.name)
}
