package capture

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bell rings when a socket has something for its reader: once, and then not until
// it is armed again. A socket in the runtime's poller would wake the runtime for
// every packet, also while its reader is at work or has enough to do.
//
// It is an epoll instance with the socket in it, in the runtime's poller.
type bell struct {
	socket int
	file   *os.File
	raw    syscall.RawConn
}

func newBell(socket int) (*bell, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("creating an epoll instance: %w", err)
	}
	// The runtime takes into its poller what does not block.
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(fmt.Errorf("preparing an epoll instance: %w", err), unix.Close(fd))
	}
	b := &bell{socket: socket, file: os.NewFile(uintptr(fd), "epoll instance")}
	b.raw, err = b.file.SyscallConn()
	if err == nil {
		err = b.file.SetReadDeadline(time.Time{})
	}
	if err == nil {
		err = unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, socket, &unix.EpollEvent{Events: unix.EPOLLONESHOT})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("preparing an epoll instance: %w", err), b.file.Close())
	}
	return b, nil
}

// wait arms the bell and returns when it rings, at once if there is something
// already, and says for what. After interrupt it gives os.ErrDeadlineExceeded.
func (b *bell) wait() (events uint32, err error) {
	armed := false
	var failed error
	err = b.raw.Read(func(fd uintptr) bool {
		if !armed {
			armed = true
			failed = unix.EpollCtl(int(fd), unix.EPOLL_CTL_MOD, b.socket, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT})
			if failed != nil {
				return true
			}
		}
		var event [1]unix.EpollEvent
		n, err := unix.EpollWait(int(fd), event[:], 0)
		switch {
		case n > 0:
			events = event[0].Events
			return true
		case err != nil && !errors.Is(err, unix.EINTR):
			failed = err
			return true
		}
		return false
	})
	return events, errors.Join(err, failed)
}

// interrupt makes wait return at once from now on, from whichever goroutine.
func (b *bell) interrupt() {
	// It fails only for a closed bell, for which nobody waits.
	_ = b.file.SetReadDeadline(time.Unix(1, 0))
}

func (b *bell) close() error { return b.file.Close() }
