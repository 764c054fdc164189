package guest

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// stopDevice is the serial line on which the host asks for the end, by a break.
const stopDevice = "/dev/ttyS1"

// stopLine tells that the host asked for the end.
type stopLine struct{ asked chan struct{} }

// openStopLine begins to listen. Nothing wakes it but the break.
func openStopLine() (*stopLine, error) {
	// Not waiting for a carrier, and not blocking a thread.
	fd, err := unix.Open(stopDevice, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the stop line %s: %w", stopDevice, err)
	}
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err == nil {
		// A break is to arrive as a byte like any other.
		t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
		t.Cflag |= unix.CLOCAL | unix.CREAD
		t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
		err = unix.IoctlSetTermios(fd, unix.TCSETS, t)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("setting up the stop line %s: %w", stopDevice, err)
	}
	s := &stopLine{make(chan struct{})}
	line := os.NewFile(uintptr(fd), stopDevice)
	go func() {
		var b [1]byte
		if n, err := line.Read(b[:]); n == 0 {
			// Only the host's limit can end a lab then that does not end by itself.
			say("reading the stop line: %v", err)
			return
		}
		close(s.asked)
	}()
	return s, nil
}
