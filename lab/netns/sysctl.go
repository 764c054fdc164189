package netns

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Sysctl reads one of the namespace's own sysctls, without the newline. The key
// is written as sysctl(8) does: "net.ipv4.ip_forward", and a dot inside a name as
// a slash.
func (n *NS) Sysctl(key string) (string, error) {
	path, err := sysctlPath(key)
	if err != nil {
		return "", err
	}
	var value []byte
	err = n.Do(func() (err error) {
		value, err = os.ReadFile(path)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("reading sysctl %s: %w", key, err)
	}
	return strings.TrimSpace(string(value)), nil
}

// SetSysctl sets one of the namespace's own sysctls. errors.Is(err,
// fs.ErrNotExist) says that this kernel does not have it, or not per namespace.
func (n *NS) SetSysctl(key, value string) error {
	return n.SetSysctls(map[string]string{key: value})
}

// SetSysctls sets several, in the order of their keys, and stops at the first
// that fails.
func (n *NS) SetSysctls(values map[string]string) error {
	return n.Do(func() error {
		for _, key := range slices.Sorted(maps.Keys(values)) {
			path, err := sysctlPath(key)
			if err != nil {
				return err
			}
			if err := writeSysctl(path, values[key]); err != nil {
				return fmt.Errorf("setting sysctl %s to %q: %w", key, values[key], err)
			}
		}
		return nil
	})
}

// writeSysctl does without os.File, whose registration for polling takes longer
// than the writing.
func writeSysctl(path, value string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	n, err := unix.Write(fd, []byte(value))
	_ = unix.Close(fd)
	if err == nil && n != len(value) {
		err = io.ErrShortWrite
	}
	return err
}

// sysctlPath refuses what is not below net: everything else belongs to the whole machine.
func sysctlPath(key string) (string, error) {
	swapped := strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, key)
	if !strings.HasPrefix(swapped, "net/") || !fs.ValidPath(swapped) {
		return "", fmt.Errorf("sysctl %q: only keys below net belong to a network namespace", key)
	}
	return "/proc/sys/" + swapped, nil
}
