package parcel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The stream of files. Each record begins with what it is.
const (
	// entryFolder: permissions, name.
	entryFolder byte = iota + 1
	// entryFile: permissions, size, name. The pieces of its contents follow.
	entryFile
	// entryPiece: place in the file, bytes. Where there is none, the file is zero, so
	// that a large file with holes costs what is in it.
	entryPiece
	// entryLost: nothing. The file that was begun could not be read to its end.
	entryLost
)

const (
	folderHead = 1 + 4
	fileHead   = 1 + 4 + 8
	pieceHead  = 1 + 8
	// pieceSize is how much of a file is in memory at a time.
	pieceSize = 1 << 20
)

// packFiles writes the named files of dir to the device. It gives the length of the
// stream and what could not be handed over. The error is the device's.
func packFiles(dev io.WriterAt, dir string, names []string) (length int64, lost []string, err error) {
	out, err := newBlocks(dev, kindFiles, filesAt, filesSize, recordHeader+pieceHead+pieceSize)
	if err != nil {
		return 0, nil, err
	}
	for _, name := range names {
		err := packFile(out, filepath.Join(dir, filepath.FromSlash(name)), name)
		switch {
		case errors.Is(err, errWriting):
			return out.used(), lost, err
		case err != nil:
			// The path in the error is the guest's, which the name repeats.
			lost = append(lost, fmt.Sprintf("%s: %v", name, cause(err)))
		}
	}
	if err := out.flush(); err != nil {
		return out.used(), lost, err
	}
	return out.used(), lost, nil
}

// errWriting marks an error of the device, which ends everything, unlike one of a
// file.
var errWriting = errors.New("handing over the files of a lab")

// cause is an error without the path of the file that it is about.
func cause(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}

func packFile(out *blocks, path, name string) error {
	// Not blocking, since a name may have become that of a pipe.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	mode := uint32(info.Mode().Perm())
	switch {
	case info.IsDir():
		return put(out, folderHead+len(name), func(b []byte) {
			b[0] = entryFolder
			binary.LittleEndian.PutUint32(b[1:], mode)
			copy(b[folderHead:], name)
		})
	case !info.Mode().IsRegular():
		return errors.New("neither a file nor a folder")
	}
	data, err := dataIn(f, info.Size())
	if err != nil {
		return err
	}
	var need int64
	for _, d := range data {
		pieces := (d.end - d.at + pieceSize - 1) / pieceSize
		need += d.end - d.at + pieces*(recordHeader+pieceHead)
	}
	if out.used()+need+int64(recordHeader+fileHead+len(name))+block > filesSize {
		return fmt.Errorf("%w for its %d bytes", errFull, need)
	}
	err = put(out, fileHead+len(name), func(b []byte) {
		b[0] = entryFile
		binary.LittleEndian.PutUint32(b[1:], mode)
		binary.LittleEndian.PutUint64(b[5:], uint64(info.Size()))
		copy(b[fileHead:], name)
	})
	for _, d := range data {
		for at := d.at; at < d.end && err == nil; at += pieceSize {
			err = packPiece(out, f, at, int(min(pieceSize, d.end-at)))
		}
	}
	if err != nil && !errors.Is(err, errWriting) {
		return errors.Join(err, put(out, 1, func(b []byte) { b[0] = entryLost }))
	}
	return err
}

// packPiece reads a piece of a file to where it goes, without another copy.
func packPiece(out *blocks, f *os.File, at int64, size int) error {
	b, err := out.reserve(pieceHead + size)
	if err != nil {
		return fmt.Errorf("%w: %w", errWriting, err)
	}
	if _, err := f.ReadAt(b[pieceHead:], at); err != nil {
		return err
	}
	b[0] = entryPiece
	binary.LittleEndian.PutUint64(b[1:], uint64(at))
	out.commit(pieceHead + size)
	return nil
}

// put writes a record that fill fills.
func put(out *blocks, size int, fill func(b []byte)) error {
	b, err := out.reserve(size)
	if err != nil {
		return fmt.Errorf("%w: %w", errWriting, err)
	}
	fill(b)
	out.commit(size)
	return nil
}

// extent is a part of a file that is no hole.
type extent struct{ at, end int64 }

func dataIn(f *os.File, size int64) ([]extent, error) {
	var all []extent
	for at := int64(0); at < size; {
		begin, err := f.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			// Nothing but a hole from there on.
			return all, nil
		}
		if err != nil {
			// A file system that knows no holes.
			return append(all, extent{at, size}), nil
		}
		end, err := f.Seek(begin, unix.SEEK_HOLE)
		if err != nil {
			return nil, err
		}
		all = append(all, extent{begin, min(end, size)})
		at = end
	}
	return all, nil
}
