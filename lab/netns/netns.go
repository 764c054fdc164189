// Package netns is one Linux network namespace: run code in it, dial, listen,
// start a process, set its sysctls. It is the only package that changes the
// namespace of a thread. A namespace has no name and lives as long as something
// holds it: the NS, a process or socket in it.
//
// What is created inside a namespace stays there: a socket, a process. What only
// runs there does not: Do moves one thread, and every goroutine started in it
// runs somewhere else. That is why Dial takes no names (a resolver works in
// goroutines of its own) and why there is no way to obtain a thread.
package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"outlive/lab/feature"
)

// NS is a network namespace, held open. It is safe for concurrent use. The zero
// value is not useful; get one from New, Current or Inherit.
type NS struct {
	mu     sync.RWMutex // guards fd against being closed and used again by another file
	fd     int
	ino    uint64
	handle *netlink.Handle
}

// New makes an empty namespace whose loopback interface is up. Its owner is the
// user namespace of this process. The error is a *feature.Unsupported where this
// process may not make one.
func New() (*NS, error) {
	var n *NS
	err := keepNamespace(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return explainUnshare(err)
		}
		if err := loopbackUp(); err != nil {
			return fmt.Errorf("bringing up the loopback interface of a new network namespace: %w", err)
		}
		var err error
		n, err = hold()
		return err
	})
	if err != nil {
		if n != nil {
			n.Close()
		}
		return nil, err
	}
	return n, nil
}

// Current is the namespace that the calling goroutine runs in: inside Do the one
// of Do, elsewhere that of the process. The caller closes it.
func Current() (*NS, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return hold()
}

// Close lets go of the namespace. The kernel frees it, with everything in it, once
// nothing else holds it; Close does not wait for that. Closing twice is no error.
func (n *NS) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fd < 0 {
		return nil
	}
	if n.handle != nil {
		n.handle.Close()
	}
	err := unix.Close(n.fd)
	n.fd = -1
	if err != nil {
		return fmt.Errorf("closing a network namespace: %w", err)
	}
	return nil
}

// FD is the file descriptor that holds the namespace, for netlink messages that
// name one. It belongs to the NS and is -1 after Close.
func (n *NS) FD() int {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.fd
}

// Netlink gives the namespace's netlink handle, for links, addresses, routes and
// neighbours. It has no socket for other families (netfilter, sock_diag): what asks
// those must open its own inside Do. It belongs to the NS, is closed with it, and
// may be used from several goroutines.
func (n *NS) Netlink() *netlink.Handle { return n.handle }

// Do runs f on a thread that is in the namespace, and comes back. It may be
// nested. Goroutines that f starts are not in the namespace, so f must do its
// work itself: open sockets, read and write /proc/sys/net. An error is f's own or
// says that the thread could not enter or come back.
func (n *NS) Do(f func() error) error {
	return keepNamespace(func() error {
		if err := n.enter(); err != nil {
			return err
		}
		return f()
	})
}

// enter moves the calling thread into the namespace; the caller has locked it.
func (n *NS) enter() error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.fd < 0 {
		return fmt.Errorf("entering a network namespace: %w", os.ErrClosed)
	}
	if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering a network namespace: %w", err)
	}
	return nil
}

// isHere says whether the calling thread is in the namespace.
func (n *NS) isHere() error {
	var st unix.Stat_t
	if err := unix.Stat(threadNS, &st); err != nil {
		return fmt.Errorf("finding out the network namespace of a thread: %w", err)
	}
	if st.Ino != n.ino {
		return errors.New("opening a socket: it would be in another network namespace")
	}
	return nil
}

// threadNS must name the thread: /proc/self is the main thread, which is not the caller.
const threadNS = "/proc/thread-self/ns/net"

// keepNamespace runs f on a locked thread and then puts the thread back into the
// namespace that it was in. If it cannot be put back, it stays locked, so that
// the runtime ends it with its goroutine rather than run anything else there.
func keepNamespace(f func() error) (err error) {
	runtime.LockOSThread()
	before, err := unix.Open(threadNS, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("opening %s: %w", threadNS, err)
	}
	// Deferred, so that a panic in f leaves no thread in the wrong place either.
	defer func() {
		back := unix.Setns(before, unix.CLONE_NEWNET)
		_ = unix.Close(before)
		if back != nil {
			err = errors.Join(err, fmt.Errorf("returning from a network namespace: %w", back))
			return
		}
		runtime.UnlockOSThread()
	}()
	return f()
}

// hold opens the calling thread's namespace and a netlink handle in it.
func hold() (*NS, error) {
	fd, err := unix.Open(threadNS, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", threadNS, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("identifying a network namespace: %w", err)
	}
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("opening netlink in a network namespace: %w", err)
	}
	return &NS{fd: fd, ino: st.Ino, handle: handle}, nil
}

// loopbackUp uses the old ioctl: a tenth of the time of a netlink request.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_LOOPBACK | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

func explainUnshare(err error) error {
	const wanted = "a new network namespace"
	switch {
	case errors.Is(err, unix.EPERM):
		return &feature.Unsupported{
			Feature: wanted, Needs: "CAP_SYS_ADMIN in the user namespace of this process",
			Remedy: "run it inside the sandbox, or as root", Err: err,
		}
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		// The kernel says "no space left on device" and means a quota.
		return &feature.Unsupported{
			Feature: wanted, Needs: "quota left in user.max_net_namespaces",
			Remedy: "raise it: sudo sysctl user.max_net_namespaces=10000", Err: err,
		}
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		return &feature.Unsupported{
			Feature: wanted, Needs: "a kernel built with CONFIG_NET_NS",
			Remedy: "use the kernel of a general-purpose distribution", Err: err,
		}
	}
	return fmt.Errorf("making %s: %w", wanted, err)
}
