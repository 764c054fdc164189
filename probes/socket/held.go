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

// heldSockets are the inodes of all sockets that some process has open, as far as
// this process may look. It is slow, a few microseconds for each open file of the
// machine, and only for when events were lost.
func heldSockets() (map[uint32]bool, error) {
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("looking for open sockets: %w", err)
	}
	held := map[uint32]bool{}
	for _, p := range processes {
		if _, err := strconv.Atoi(p.Name()); err != nil {
			continue
		}
		folder := filepath.Join("/proc", p.Name(), "fd")
		files, err := os.ReadDir(folder)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue // it has ended, or has nothing to do with the lab
		}
		if err != nil {
			return nil, fmt.Errorf("looking for open sockets: %w", err)
		}
		for _, f := range files {
			target, err := os.Readlink(filepath.Join(folder, f.Name()))
			if err != nil {
				continue // closed meanwhile
			}
			number, ok := strings.CutPrefix(target, "socket:[")
			if !ok {
				continue
			}
			if inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 32); err == nil {
				held[uint32(inode)] = true
			}
		}
	}
	return held, nil
}
