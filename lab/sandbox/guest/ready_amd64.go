package guest

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// readyPort is that of the device by which a machine tells its host that it has
// panicked. Here it says that the machine is ready to be kept: the host stops it at
// the very instruction, which nothing else that a guest can do ensures.
const readyPort = 0x505

// announceReady returns when the machine was resumed; at once where it has no such
// device. It must run on a locked thread, whose permission it is.
func announceReady() error {
	if err := unix.Ioperm(readyPort, 1, 1); err != nil {
		return fmt.Errorf("asking for the port %#x: %w", readyPort, err)
	}
	out(readyPort, 1)
	return nil
}

// out writes a byte to a port.
func out(port uint16, value byte)
