package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Names in the cache.
const (
	kernelPrefix    = "kernel-"
	imagePrefix     = "image-"
	temporaryPrefix = "tmp-"
	// buildLock is held by whoever changes the cache; useLock, in an image's folder,
	// shared by those that use the image. Its time is when it was last used.
	buildLock = "lock"
	useLock   = "used"
)

// keptImages is how many images stay when another one is built: the one in use, and
// those of another kernel or of an older outlive that is still used beside it.
const keptImages = 3

const cacheRemedy = "set XDG_CACHE_HOME to a folder that you can write to"

// Cache gives the folder of the cache, $XDG_CACHE_HOME/outlive or
// $HOME/.cache/outlive, and makes it if it is not there.
func Cache() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache for virtual machines: %w; %s", err, cacheRemedy)
	}
	dir := filepath.Join(base, "outlive")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("making the cache for virtual machines: %w; %s", err, cacheRemedy)
	}
	if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.R_OK|unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return "", fmt.Errorf("using the cache for virtual machines in %s: %w; %s", dir, err, cacheRemedy)
	}
	return dir, nil
}

// lock opens a lock file and takes its lock, which ends with the process at the
// latest. An error is syscall.EWOULDBLOCK if somebody else has it.
func lock(name string, how int) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// lockToBuild waits until nobody else changes the cache.
func lockToBuild(ctx context.Context, cache string, progress func(string)) (*os.File, error) {
	const interval = 50 * time.Millisecond
	for told := false; ; told = true {
		f, err := lock(filepath.Join(cache, buildLock), unix.LOCK_EX)
		if err == nil {
			// Nobody else builds: what is unfinished is left over from a killed one.
			if err := removeAll(cache, temporaryPrefix); err != nil {
				_ = f.Close()
				return nil, err
			}
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("locking the cache %s: %w", cache, err)
		}
		if !told {
			progress("waiting for another outlive that prepares the virtual machine")
		}
		// A blocking lock could not be given up when ctx ends.
		select {
		case <-time.After(interval):
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for another outlive that prepares the virtual machine: %w", ctx.Err())
		}
	}
}

func removeAll(cache, prefix string) error {
	dirs, err := folders(cache, prefix)
	if err != nil {
		return fmt.Errorf("reading the cache: %w", err)
	}
	for _, dir := range dirs {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	if err != nil {
		return fmt.Errorf("removing what a build has left behind: %w", err)
	}
	return nil
}

// finish makes a temporary folder the finished one, in place of one that may be there.
func finish(cache, temporary, name string) error {
	final := filepath.Join(cache, name)
	if _, err := os.Lstat(final); err == nil {
		// Not in place: whoever uses it still has its files open.
		aside := temporary + "-old"
		if err := os.Rename(final, aside); err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(aside) }()
	}
	if err := os.Rename(temporary, final); err != nil {
		return err
	}
	dir, err := os.Open(cache)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// prune removes the images that were not used for longest, and the kernels that no
// recent image came from. The caller holds the build lock.
func prune(cache, kernel string) error {
	images, err := folders(cache, imagePrefix)
	if err != nil {
		return err
	}
	used := func(dir string) time.Time { return lastUse(dir) }
	slices.SortStableFunc(images, func(a, b string) int { return used(b).Compare(used(a)) })
	for _, dir := range images[min(keptImages, len(images)):] {
		if _, e := removeUnused(dir); e != nil {
			err = errors.Join(err, e)
		}
	}
	kernels, e := folders(cache, kernelPrefix)
	err = errors.Join(err, e)
	for _, dir := range kernels {
		if kernel != "" && filepath.Base(dir) != kernel {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}
	return err
}

// lastUse is when an image was last used; the beginning of time if it never was.
func lastUse(dir string) time.Time {
	info, err := os.Stat(filepath.Join(dir, useLock))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// removeUnused removes the folder of an image unless somebody uses it.
func removeUnused(dir string) (removed bool, err error) {
	f, err := lock(filepath.Join(dir, useLock), unix.LOCK_EX)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	if err == nil {
		defer f.Close()
	}
	// Half removed it must not be taken for whole.
	if err := os.Remove(filepath.Join(dir, manifestFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, os.RemoveAll(dir)
}

// Entry is a folder of the cache.
type Entry struct {
	// Path is the folder.
	Path string
	// Image is true for an image, false for the kernel that images are made of.
	Image bool
	// Kernel is its kernel, for example "6.1.0-56-cloud-amd64 (Debian 6.1.192-2)".
	Kernel string
	// Substitute says that the kernel is not the one that outlive was tested with.
	Substitute bool
	// Size is what it takes on the disk, in bytes, with the templates in it.
	Size int64
	// Used is when an image was last used; zero for a kernel.
	Used time.Time
	// InUse says that a process uses the image now.
	InUse bool
	// Broken is what is wrong with its contents, all of which were read; nil if nothing is.
	Broken error
}

// State is what the cache holds.
type State struct {
	// Dir is the folder of the cache.
	Dir string
	// Entries are the folders in it, images first, those used last first.
	Entries []Entry
}

// Status reads the whole cache and checks everything in it. It changes nothing.
func Status(ctx context.Context) (State, error) {
	dir, err := Cache()
	if err != nil {
		return State{}, err
	}
	s := State{Dir: dir}
	for _, prefix := range []string{imagePrefix, kernelPrefix} {
		dirs, err := folders(dir, prefix)
		if err != nil {
			return s, fmt.Errorf("reading the cache: %w", err)
		}
		for _, d := range dirs {
			if err := ctx.Err(); err != nil {
				return s, err
			}
			s.Entries = append(s.Entries, inspect(d, prefix == imagePrefix))
		}
	}
	slices.SortStableFunc(s.Entries, func(a, b Entry) int { return b.Used.Compare(a.Used) })
	return s, nil
}

func inspect(dir string, image bool) Entry {
	m, err := check(dir, true)
	e := Entry{Path: dir, Image: image, Kernel: m.Kernel, Substitute: m.Substitute, Size: diskUse(dir), Broken: err}
	if image {
		e.Used = lastUse(dir)
		// Not by way of lock, which would make the file and so change the cache.
		if f, err := os.Open(filepath.Join(dir, useLock)); err == nil {
			e.InUse = errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
			_ = f.Close()
		}
	}
	return e
}

// Clean removes everything from the cache but the images that are in use. It gives
// what was freed on the disk, in bytes, and the folders that stay. It waits for a
// build that goes on.
func Clean(ctx context.Context) (freed int64, kept []string, err error) {
	dir, err := Cache()
	if err != nil {
		return 0, nil, err
	}
	building, err := lockToBuild(ctx, dir, func(string) {})
	if err != nil {
		return 0, nil, err
	}
	defer building.Close()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, nil, fmt.Errorf("reading the cache: %w", err)
	}
	for _, e := range entries {
		full := filepath.Join(dir, e.Name())
		if e.Name() == buildLock {
			continue
		}
		size := diskUse(full)
		removed, e := true, error(nil)
		if strings.HasPrefix(filepath.Base(full), imagePrefix) {
			removed, e = removeUnused(full)
		} else {
			e = os.RemoveAll(full)
		}
		switch {
		case e != nil:
			err = errors.Join(err, fmt.Errorf("cleaning the cache: %w", e))
		case removed:
			freed += size
		default:
			kept = append(kept, full)
		}
	}
	return freed, kept, err
}

func allocated(info fs.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Blocks * 512
	}
	return info.Size()
}
