package netns_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"outlive/lab/labtest"
)

func TestDialAndListen(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		a, b := open(t), open(t)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		l, err := a.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = io.Copy(c, c)
		}()
		c, err := a.Dial(ctx, "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "echo"); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 4)
		if _, err := io.ReadFull(c, got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff("echo", string(got)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if _, err := b.Dial(ctx, "tcp", l.Addr().String()); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("from another namespace: got %v; want a refused connection", err)
		}
		for _, s := range []syscall.Conn{l.(*net.TCPListener), c.(*net.TCPConn)} {
			if p := protocol(t, s); p != unix.IPPROTO_TCP {
				t.Errorf("%T is of protocol %d; want plain TCP", s, p)
			}
		}
	})
}

// protocol gives a socket's: Multipath TCP has one of its own.
func protocol(t *testing.T, s syscall.Conn) int {
	t.Helper()
	raw, err := s.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var p int
	var failed error
	err = raw.Control(func(fd uintptr) { p, failed = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PROTOCOL) })
	if err := errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDatagrams(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		ns := open(t)
		far, err := ns.ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer far.Close()
		near, err := ns.Dial(t.Context(), "udp", far.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer near.Close()
		if _, err := io.WriteString(near, "one"); err != nil {
			t.Fatal(err)
		}
		if err := far.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 16)
		n, from, err := far.ReadFrom(got)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff("one from "+near.LocalAddr().String(), string(got[:n])+" from "+from.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// TestDialHonoursTheContext that is over before it begins.
func TestDialHonoursTheContext(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		ns := open(t)
		l, err := ns.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := ns.Dial(ctx, "tcp", l.Addr().String()); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v; want context.Canceled", err)
		}
	})
}

func TestRefusedAddresses(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		ns := open(t)
		tests := []struct{ network, address, want string }{
			{"tcp", "localhost:80", "names are not looked up here"},
			{"tcp", "server.example:443", "names are not looked up here"},
			{"tcp", ":80", "not an IP address with a port"},
			{"tcp", "127.0.0.1", "not an IP address with a port"},
			{"unix", "/run/socket", `network "unix" is not tcp or udp`},
		}
		for _, tt := range tests {
			_, dialled := ns.Dial(t.Context(), tt.network, tt.address)
			_, listened := ns.Listen(t.Context(), tt.network, tt.address)
			_, packets := ns.ListenPacket(t.Context(), tt.network, tt.address)
			for _, err := range []error{dialled, listened, packets} {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%s %s: got %v; want %q", tt.network, tt.address, err, tt.want)
				}
			}
		}
	})
}
