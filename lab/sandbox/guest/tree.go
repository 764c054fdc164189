package guest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// copyTree copies files and folders with their permissions; to exists. An image
// without the folder from has nothing to copy.
func copyTree(from, to string) error {
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case info.IsDir():
			if err := os.MkdirAll(target, 0o755); err != nil {
				return err
			}
		case info.Mode().IsRegular():
			if err := copyFile(path, target); err != nil {
				return err
			}
		case info.Mode()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		default:
			return fmt.Errorf("%s is neither a file nor a folder", path)
		}
		// The umask takes from what a file is made with.
		return os.Chmod(target, info.Mode().Perm())
	})
	if errors.Is(err, fs.ErrNotExist) {
		if _, e := os.Lstat(from); errors.Is(e, fs.ErrNotExist) {
			return nil
		}
	}
	return err
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	// Hidden, because the ways of copying without a buffer that both files offer lead
	// nowhere here, and trying them costs more than a small file does.
	_, err = io.Copy(struct{ io.Writer }{out}, struct{ io.Reader }{in})
	return errors.Join(err, out.Close())
}

// snapshot is what is known of the files of a folder, by name. It tells which have
// changed since, without having read them.
type snapshot map[string]state

// state changes with whatever is done to a file: nothing but the kernel sets the
// time of its last change. What is done within the timer tick in which the snapshot
// was taken is missed; process 1 of the lab takes longer to start.
type state struct {
	inode   uint64
	changed unix.Timespec
}

// take makes a snapshot of what is below dir.
func take(dir string) (snapshot, error) {
	s := snapshot{}
	err := s.walk(dir, func(name string, _ fs.FileMode, now state) { s[name] = now })
	if err != nil {
		return nil, fmt.Errorf("noting what is in the result folder: %w", err)
	}
	return s, nil
}

// changed lists the files below dir that are new or were changed, and the folders, an
// outer one before what is in it. What is neither, as a socket, is left out. The
// list is good also where there is an error, which is of a folder that cannot be
// looked into.
func (s snapshot) changed(dir string) ([]string, error) {
	var names []string
	err := s.walk(dir, func(name string, mode fs.FileMode, now state) {
		if (mode.IsRegular() || mode.IsDir()) && s[name] != now {
			names = append(names, name)
		}
	})
	slices.Sort(names)
	return names, err
}

func (s snapshot) walk(dir string, each func(name string, mode fs.FileMode, now state)) error {
	var failed []error
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			failed = append(failed, err)
			return nil
		}
		if name == "." {
			return nil
		}
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(dir, name), &st); err != nil {
			failed = append(failed, err)
			return nil
		}
		each(name, entry.Type(), state{inode: st.Ino, changed: st.Ctim})
		return nil
	})
	return errors.Join(append(failed, err)...)
}
