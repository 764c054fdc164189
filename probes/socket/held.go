package socket

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// held is a socket that a process has open, as its file of that number.
type held struct {
	process, fd int
	inode       uint32
}

// eachHeld calls f with every socket that some process has open, as far as this
// process may look, until f returns false. It is slow, a few microseconds for each
// open file of the machine, and only for when something has gone wrong.
func eachHeld(f func(held) bool) error {
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return fmt.Errorf("looking for open sockets: %w", err)
	}
	for _, p := range processes {
		process, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		folder := filepath.Join("/proc", p.Name(), "fd")
		files, err := os.ReadDir(folder)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue // it has ended, or has nothing to do with the lab
		}
		if err != nil {
			return fmt.Errorf("looking for open sockets: %w", err)
		}
		for _, file := range files {
			target, err := os.Readlink(filepath.Join(folder, file.Name()))
			if err != nil {
				continue // closed meanwhile
			}
			number, ok := strings.CutPrefix(target, "socket:[")
			if !ok {
				continue
			}
			inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 32)
			fd, fdErr := strconv.Atoi(file.Name())
			if err == nil && fdErr == nil && !f(held{process, fd, uint32(inode)}) {
				return nil
			}
		}
	}
	return nil
}

// heldSockets are the inodes of all sockets that eachHeld finds.
func heldSockets() (map[uint32]bool, error) {
	all := map[uint32]bool{}
	err := eachHeld(func(h held) bool {
		all[h.inode] = true
		return true
	})
	return all, err
}
