package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// hidden are the folders of the host that the sandbox replaces by empty ones:
// where programs leave sockets, locks and shared memory, which neither may reach
// the host nor come from it.
var hidden = []struct {
	path string
	mode string // of the mount
}{
	{"/run", "mode=0755"},
	{"/tmp", "mode=1777"},
	{"/dev/shm", "mode=1777"},
}

// below says whether path is dir or lies in it; both are clean and absolute.
func below(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// Hides says whether a path, clean and absolute, lies in a folder that a sandbox
// replaces by an empty one of its own: what is there on the host is not there inside,
// but for the folders that the Spec names.
func Hides(path string) bool {
	for _, h := range hidden {
		if below(path, h.path) {
			return true
		}
	}
	return false
}

// settings checks what can be checked before anything is started.
func (spec Spec) settings() (settings, error) {
	s := settings{Job: spec.Job, Data: spec.Data}
	if err := checkMain(); err != nil {
		return s, err
	}
	if _, known := jobs[spec.Job]; !known {
		return s, fmt.Errorf("no job %q is registered", spec.Job)
	}
	for _, dir := range spec.Visible {
		if _, err := s.keep(dir); err != nil {
			return s, fmt.Errorf("keeping a folder visible: %w", err)
		}
	}
	if spec.Dir != "" {
		dir, err := s.keep(spec.Dir)
		if err != nil {
			return s, fmt.Errorf("using the result folder: %w", err)
		}
		if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
			return s, fmt.Errorf("using the result folder: %s is not writable: %w", dir, err)
		}
		s.Dir = dir
	}
	// Outer folders first, so that none of them covers an inner one.
	slices.Sort(s.Keep)
	s.Keep = slices.Compact(s.Keep)
	return s, nil
}

// keep notes the paths by which a folder must stay reachable: the one that was
// given and, where that has symbolic links in it, the one that it leads to.
func (s *settings) keep(dir string) (string, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", fmt.Errorf("%s is not a folder", path)
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	for _, p := range []string{path, real} {
		if Hides(p) {
			s.Keep = append(s.Keep, p)
		}
	}
	return path, nil
}

// kept is a folder that was opened before it was hidden.
type kept struct {
	path string
	fd   int
}

// openKept holds on to folders. It must come before the mounts, and in process 1:
// a folder that the parent opened belongs to another mount namespace and cannot be
// bound into this one.
func openKept(paths []string) ([]kept, error) {
	var all []kept
	for _, path := range paths {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			closeKept(all)
			return nil, fmt.Errorf("opening %s: %w", path, err)
		}
		all = append(all, kept{path, fd})
	}
	return all, nil
}

// showAgain puts the folders back where they were.
func showAgain(all []kept) error {
	for _, k := range all {
		if err := os.MkdirAll(k.path, 0o755); err != nil {
			return fmt.Errorf("keeping %s visible: %w", k.path, err)
		}
		// Recursive, because what is mounted in the folder may not be uncovered.
		err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", k.fd), k.path, "", unix.MS_BIND|unix.MS_REC, "")
		if err != nil {
			return fmt.Errorf("keeping %s visible: %w", k.path, err)
		}
	}
	return nil
}

func closeKept(all []kept) {
	for _, k := range all {
		_ = unix.Close(k.fd)
	}
}

// folders lists the folders directly in dir with their permissions.
func folders(dir string) (map[string]fs.FileMode, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	modes := make(map[string]fs.FileMode)
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && info.IsDir() {
			modes[entry.Name()] = info.Mode()
		}
	}
	return modes, nil
}
