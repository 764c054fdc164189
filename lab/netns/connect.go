package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Connect connects by TCP from inside the namespace, as Dial does, but keeps no thread
// busy until the connection is up: for where a thousand may be waited for at once. The
// kernel sends no keepalive probes on it, and TCP_NODELAY is on.
func (n *NS) Connect(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
	conn, err := n.connect(ctx, to)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", to, err)
	}
	return conn, nil
}

func (n *NS) connect(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	socket, err := n.open(to)
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	giveUp := context.AfterFunc(ctx, func() { _ = socket.SetWriteDeadline(time.Unix(1, 0)) })
	defer giveUp()
	if err := awaitConnected(socket); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, err
	}
	// A second descriptor of the same socket.
	conn, err := net.FileConn(socket)
	if err != nil {
		return nil, err
	}
	tcp := conn.(*net.TCPConn)
	// The package net turns it on for every connection, before anything could be sent.
	if err := tcp.SetKeepAlive(false); err != nil {
		_ = tcp.Close()
		return nil, err
	}
	return tcp, nil
}

// open makes a socket in the namespace, where it stays wherever it is used, and begins
// to connect it.
func (n *NS) open(to netip.AddrPort) (*os.File, error) {
	family, address := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()})
	if to.Addr().Is4() {
		family, address = unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	fd := -1
	err := n.Do(func() (err error) {
		if fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP); err != nil {
			return os.NewSyscallError("socket", err)
		}
		if err = unix.Connect(fd, address); err != nil && !errors.Is(err, unix.EINPROGRESS) {
			return os.NewSyscallError("connect", err)
		}
		return nil
	})
	if err != nil {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		return nil, err
	}
	return os.NewFile(uintptr(fd), "socket"), nil
}

// awaitConnected waits until a socket that does not block is connected or has failed.
func awaitConnected(socket *os.File) error {
	conn, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Write(func(fd uintptr) bool {
		code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = unix.Errno(code)
		}
		if err != nil {
			failed = os.NewSyscallError("connect", err)
			return true
		}
		// Nothing has gone wrong: it is connected if it has another end.
		_, err = unix.Getpeername(int(fd))
		return err == nil
	})
	return errors.Join(err, failed)
}
