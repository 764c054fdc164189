package netns_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"outlive/lab/labtest"
	"outlive/lab/netns"
	"outlive/lab/sandbox"
)

func TestConnect(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		a, b := open(t), open(t)
		for _, loopback := range []string{"127.0.0.1:0", "[::1]:0"} {
			l, err := a.Listen(t.Context(), "tcp", loopback)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			to := netip.MustParseAddrPort(l.Addr().String())
			c, err := a.Connect(t.Context(), to)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			far, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer far.Close()
			if _, err := io.WriteString(far, "word"); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 4)
			if _, err := io.ReadFull(c, got); err != nil || string(got) != "word" {
				t.Errorf("from %s came %q, %v", to, got, err)
			}
			// What would make packets of its own, and what would hold back those of others.
			want := map[string]int{"SO_KEEPALIVE": 0, "TCP_NODELAY": 1, "SO_PROTOCOL": unix.IPPROTO_TCP}
			if diff := cmp.Diff(want, options(t, c)); diff != "" {
				t.Errorf("options of the socket (-want +got):\n%s", diff)
			}
			if _, err := b.Connect(t.Context(), to); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("from another namespace: got %v; want a refused connection", err)
			}
		}
	})
}

func options(t *testing.T, c syscall.Conn) map[string]int {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for name, o := range map[string][2]int{
		"SO_KEEPALIVE": {unix.SOL_SOCKET, unix.SO_KEEPALIVE}, "TCP_NODELAY": {unix.SOL_TCP, unix.TCP_NODELAY}, "SO_PROTOCOL": {unix.SOL_SOCKET, unix.SO_PROTOCOL},
	} {
		var failed error
		err := raw.Control(func(fd uintptr) { got[name], failed = unix.GetsockoptInt(int(fd), o[0], o[1]) })
		if err := errors.Join(err, failed); err != nil {
			t.Fatal(err)
		}
	}
	return got
}

// Who waits for a connection that nobody answers gives up when the context ends, and
// holds no thread meanwhile: a hundred wait at once.
func TestConnectWaitsWithoutThreads(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		ns := open(t)
		l, err := ns.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		full := fillQueue(t, ns, l)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		const waiting = 100
		for range waiting {
			go func() {
				_, err := ns.Connect(ctx, full)
				ended <- err
			}()
		}
		// A SYN is out of each of them.
		for socketsIn(t, ns, "02") < waiting {
			time.Sleep(10 * time.Millisecond)
		}
		if threads, err := os.ReadDir("/proc/self/task"); err != nil || len(threads) >= waiting {
			t.Errorf("%d connections keep %d threads (%v)", waiting, len(threads), err)
		}
		cancel()
		for range waiting {
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v; want context.Canceled", err)
			}
		}
	})
}

// fillQueue connects to a listener that accepts nothing until it takes no more.
func fillQueue(t *testing.T, ns *netns.NS, l net.Listener) netip.AddrPort {
	t.Helper()
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	// As short a queue as the kernel can have: one more than zero.
	var failed error
	err = raw.Control(func(fd uintptr) { failed = unix.Listen(int(fd), 0) })
	if err := errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
	to := netip.MustParseAddrPort(l.Addr().String())
	c, err := ns.Connect(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return to
}

// socketsIn counts the TCP sockets of a namespace in a state, in hexadecimal as
// /proc/net/tcp has it.
func socketsIn(t *testing.T, ns *netns.NS, state string) int {
	t.Helper()
	n := 0
	err := ns.Do(func() error {
		text, err := os.ReadFile("/proc/thread-self/net/tcp")
		for _, line := range strings.Split(string(text), "\n") {
			if f := strings.Fields(line); len(f) > 3 && f[3] == state {
				n++
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

const heir = "heir"

func init() {
	sandbox.RegisterProgram(heir, func(context.Context, []string) error {
		var ids []string
		for fd := 3; fd < 5; fd++ {
			ns, err := netns.Inherit(fd)
			if err != nil {
				return err
			}
			err = ns.Do(func() error {
				id, err := os.Readlink("/proc/thread-self/ns/net")
				ids = append(ids, id)
				return err
			})
			if err := errors.Join(err, ns.Close()); err != nil {
				return err
			}
		}
		// The one after them is a pipe.
		if _, err := netns.Inherit(5); err == nil {
			return errors.New("a pipe was taken for a network namespace")
		}
		return json.NewEncoder(os.Stdout).Encode(ids)
	})
}

// A program enters the namespaces that it was given.
func TestInherit(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		a, b := open(t), open(t)
		cmd := sandbox.Program(heir)
		for _, ns := range []*netns.NS{a, b} {
			f, err := ns.File()
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		}
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer w.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, w)
		log := filepath.Join(t.TempDir(), "out")
		out, err := os.Create(log)
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		cmd.Stdout, cmd.Stderr = out, out
		if err := a.Start(cmd); err != nil {
			t.Fatal(err)
		}
		waited := cmd.Wait()
		text, err := os.ReadFile(log)
		if waited != nil || err != nil {
			t.Fatalf("%v, %v\n%s", waited, err, text)
		}
		if diff := cmp.Diff(fmt.Sprintf("[%q,%q]\n", inside(t, a), inside(t, b)), string(text)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
