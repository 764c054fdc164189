package process

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// output carries what a program and its descendants write into the log.
type output struct {
	inner *os.File // what they write to
	outer *os.File // where it comes out
	log   *os.File // nil if there is none

	drained chan error    // one value when a drain is done: why the log is not complete
	ended   chan struct{} // closed when nobody is left who could write
	err     error         // the first error of the log; copy's own
}

// openOutput opens the log and a terminal that leads to it, or a pipe where no
// terminal can be had.
func openOutput(log string) (*output, error) {
	o := &output{drained: make(chan error, 1), ended: make(chan struct{})}
	if log != "" {
		f, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
		if err != nil {
			return nil, fmt.Errorf("opening its log: %w", err)
		}
		o.log = f
	}
	var err error
	if o.outer, o.inner, err = openTerminal(); err != nil {
		if o.outer, o.inner, err = os.Pipe(); err != nil {
			o.log.Close()
			return nil, fmt.Errorf("making a pipe for its output: %w", err)
		}
	}
	return o, nil
}

// openTerminal opens both ends of a pseudo-terminal that passes on what it is given
// and nothing else.
func openTerminal() (outer, inner *os.File, err error) {
	const flags = unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC
	master, err := unix.Open("/dev/ptmx", flags|unix.O_NONBLOCK, 0)
	if err != nil {
		// In some containers this is the one that may be opened.
		if master, err = unix.Open("/dev/pts/ptmx", flags|unix.O_NONBLOCK, 0); err != nil {
			return nil, nil, err
		}
	}
	slave, err := openSlave(master, flags)
	if err != nil {
		_ = unix.Close(master)
		return nil, nil, err
	}
	return os.NewFile(uintptr(master), "terminal"), os.NewFile(uintptr(slave), "terminal"), nil
}

func openSlave(master int, flags uintptr) (slave int, err error) {
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return -1, err
	}
	// By the master, not by name, which may be another terminal's where /dev/pts is not
	// the one that the master belongs to.
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, flags)
	if errno != 0 {
		return -1, errno
	}
	slave = int(fd)
	t, err := unix.IoctlGetTermios(slave, unix.TCGETS)
	if err == nil {
		// No carriage return before a newline, no echo, no meaning in control characters.
		t.Iflag = 0
		t.Oflag &^= unix.OPOST
		t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
		err = unix.IoctlSetTermios(slave, unix.TCSETS, t)
	}
	if err != nil {
		_ = unix.Close(slave)
		return -1, err
	}
	return slave, nil
}

// abandon closes everything where no program was started.
func (o *output) abandon() {
	o.inner.Close()
	o.outer.Close()
	o.log.Close()
}

// begin starts copying. The program has its end by now.
func (o *output) begin() {
	o.inner.Close()
	go o.copy()
}

// copy copies until nobody can write any more, and obeys one drain meanwhile. An
// end of it that comes first is a drain, too.
func (o *output) copy() {
	defer close(o.ended)
	defer o.log.Close()
	defer o.outer.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := o.outer.Read(buf)
		o.append(buf[:n])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			_ = o.outer.SetReadDeadline(time.Time{})
			o.copyWaiting(buf)
			o.drained <- o.err
			continue
		}
		// A terminal says EIO when the last of those who had it open is gone, a pipe EOF.
		if err != nil {
			break
		}
	}
	select {
	case o.drained <- o.err:
	default:
	}
}

// copyWaiting copies what can be read now. The kernel answers "nothing" only after
// it has passed on what is on its way.
func (o *output) copyWaiting(buf []byte) {
	conn, err := o.outer.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Read(func(fd uintptr) bool {
		for {
			n, err := unix.Read(int(fd), buf)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if n <= 0 {
				return true
			}
			o.append(buf[:n])
		}
	})
}

// append writes to the log. After an error it lets the rest go, so that a full disk
// does not stop the program.
func (o *output) append(b []byte) {
	if o.log == nil || o.err != nil || len(b) == 0 {
		return
	}
	if _, err := o.log.Write(b); err != nil {
		o.err = fmt.Errorf("writing its log: %w", err)
	}
}

// drain returns when everything that was written before it was called is in the
// log, and says why if it is not. It is called once.
func (o *output) drain() error {
	// The past interrupts a Read that waits. On a file that is closed, as at the end of
	// copy, it does nothing.
	_ = o.outer.SetReadDeadline(time.Unix(0, 1))
	return <-o.drained
}
