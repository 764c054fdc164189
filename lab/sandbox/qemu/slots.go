package qemu

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// maxShare bounds how many machines share a core. It is far more than make sense.
const maxShare = 64

// slot is the right to a core, or to a share of it.
type slot struct {
	core int
	lock net.Listener
}

// takeSlot finds the core on which the fewest machines run, of those that this
// process may use. Every process on this computer that runs machines takes part: a
// slot is the name of a socket, which the kernel frees with the process that has it,
// and which needs no file and no common folder.
func takeSlot() (*slot, error) {
	var cores unix.CPUSet
	if err := unix.SchedGetaffinity(unix.Getpid(), &cores); err != nil {
		return nil, fmt.Errorf("asking which cores may be used: %w", err)
	}
	for share := range maxShare {
		// From the last one down: the first has the most interrupts to serve.
		for core := len(cores)*64 - 1; core >= 0; core-- {
			if !cores.IsSet(core) {
				continue
			}
			lock, err := net.Listen("unix", fmt.Sprintf("@outlive/core/%d/%d", core, share))
			if err == nil {
				return &slot{core, lock}, nil
			}
			if !errors.Is(err, unix.EADDRINUSE) {
				return nil, fmt.Errorf("taking a core: %w", err)
			}
		}
	}
	return nil, fmt.Errorf("taking a core: %d machines run on each", maxShare)
}

func (s *slot) release() { _ = s.lock.Close() }
