package wire

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"outlive/probes/heartbeat"
)

// pair is a connection over the loopback, made by Dial and Listen.
func pair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	listener, err := Listen(ctx, netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err = Dial(ctx, netip.MustParseAddrPort(listener.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	server, err = listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{client, server} {
		t.Cleanup(func() { _ = c.Close() })
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	return client, server
}

// What the kernel says of the sockets of both sides.
func TestSocketOptions(t *testing.T) {
	client, server := pair(t)
	for name, conn := range map[string]net.Conn{"client": client, "server": server} {
		raw, err := conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		err = raw.Control(func(fd uintptr) {
			for _, option := range []struct {
				name              string
				level, key, value int
			}{
				{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0},
				{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
				{"SO_PROTOCOL", unix.SOL_SOCKET, unix.SO_PROTOCOL, unix.IPPROTO_TCP},
			} {
				got, err := unix.GetsockoptInt(int(fd), option.level, option.key)
				if err != nil || got != option.value {
					t.Errorf("%s: %s is %d, %v; want %d", name, option.name, got, err, option.value)
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// When Close returns, the FIN has left: what is opened afterwards comes after it.
func TestCloseSendsFIN(t *testing.T) {
	client, server := pair(t)
	Close(client)
	raw, err := server.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Read(func(fd uintptr) bool {
		// Asked without waiting: on the loopback the FIN arrives while it is sent.
		n, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if n != 0 || err != nil {
			t.Errorf("the other side read %d bytes, %v; want the end of the stream", n, err)
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestCause(t *testing.T) {
	tests := []struct {
		err  error
		want heartbeat.Cause
	}{
		{io.EOF, heartbeat.Closed},
		{fmt.Errorf("reading: %w", io.ErrUnexpectedEOF), heartbeat.Closed},
		{&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, heartbeat.Reset},
		{&net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.EPIPE)}, heartbeat.Reset},
		{&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ETIMEDOUT)}, heartbeat.TimedOut},
		{&net.OpError{Op: "write", Err: os.ErrDeadlineExceeded}, heartbeat.TimedOut},
		{&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.EHOSTUNREACH)}, heartbeat.Failed},
		{&LineError{Text: "x", Problem: "y"}, heartbeat.Failed},
	}
	for _, tt := range tests {
		if got := Cause(tt.err); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.err, got, tt.want)
		}
	}
}
