package socket

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"outlive/lab/labtest"
	"outlive/lab/sandbox"
)

// holdConnection is a program that connects to its argument, and closes
// the connection when a line comes in. It ends when its input does.
const holdConnection = "hold-connection"

func init() {
	sandbox.RegisterProgram(holdConnection, func(ctx context.Context, args []string) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", args[0])
		if err != nil {
			return err
		}
		in := bufio.NewReader(os.Stdin)
		if _, err := in.ReadString('\n'); err != nil {
			return err
		}
		if err := conn.Close(); err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, in)
		return err
	})
}

// signsOf asks a guard for signs of the socket with these ends, as soon as the kernel has it.
func signsOf(t *testing.T, g *guard, host *watched, local, remote netip.AddrPort) <-chan sign {
	t.Helper()
	d, err := openDiag(host.host.NS, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.close() }()
	i, found, err := d.get(tuple{local, remote})
	if err != nil || !found || i.inode == 0 {
		t.Fatalf("looking up %s to %s: %+v, %t, %v", local, remote, i, found, err)
	}
	signs := make(chan sign, 10)
	g.ask(i.inode, func(s sign) { signs <- s })
	return signs
}

func newGuard(t *testing.T) *guard {
	t.Helper()
	g, err := openGuard()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func wantSign(t *testing.T, signs <-chan sign, want sign) {
	t.Helper()
	select {
	case got := <-signs:
		if got != want {
			t.Fatalf("sign %d, want %d", got, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("no sign came, want %d", want)
	}
}

// A guard tells that another program closes its connection, and does not keep it open.
//
//	phone ── cell ── lan0 [NAT cell] wan0 ── cell [server]
func TestGuardSeesAClose(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		p := buildPath(t)
		l, err := p.server.host.NS.Listen(t.Context(), "tcp4", p.topology.ServerAddr().String()+":0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		cmd := sandbox.Program(holdConnection, l.Addr().String())
		cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.phone.host.NS.Start(cmd); err != nil {
			t.Fatal(err)
		}
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()

		g := newGuard(t)
		client := netip.MustParseAddrPort(server.RemoteAddr().String())
		signs := signsOf(t, g, p.phone, client, netip.MustParseAddrPort(server.LocalAddr().String()))
		wantSign(t, signs, signGuarded)
		if _, err := io.WriteString(stdin, "close\n"); err != nil {
			t.Fatal(err)
		}
		wantSign(t, signs, signClosed)
		// The program lives on; only its file was closed, and so the FIN is sent.
		if err := server.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := server.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("after the close the server reads %d, %v", n, err)
		}
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		if len(signs) != 0 {
			t.Errorf("%d more signs", len(signs))
		}
	})
}

// A guard tells that the kernel gives a connection up, and that a program lets it go
// then. Of a socket that nobody holds it says that it cannot.
//
//	phone ── cell ── lan0 [cell: no forwarding] wan0 ── cell [server]
func TestGuardSeesAFailure(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		p := buildPath(t)
		phone, _ := p.connect("0.0.0.0:0")
		g := newGuard(t)
		signs := signsOf(t, g, p.phone, phone.LocalAddr().(*net.TCPAddr).AddrPort(), phone.RemoteAddr().(*net.TCPAddr).AddrPort())
		wantSign(t, signs, signGuarded)
		if err := p.phone.host.NS.SetSysctl("net.ipv4.tcp_retries2", "2"); err != nil {
			t.Fatal(err)
		}
		p.cut()
		if _, err := phone.Write([]byte("anybody there?\n")); err != nil {
			t.Fatal(err)
		}
		wantSign(t, signs, signFailed)
		wantNotice := readError(phone)
		(<-wantNotice).want(t, unix.ETIMEDOUT)
		phone.Close()
		for s := range signs {
			// Of its failing there may be several signs.
			if s == signClosed {
				break
			}
		}
		refused := make(chan sign, 1)
		g.ask(1, func(s sign) { refused <- s })
		wantSign(t, refused, signRefused)
	})
}

// While a kernel repeats itself on a dead connection, the watchers of both ends
// sleep: they are not woken many times for each repetition.
//
//	phone ── cell ── lan0 [cell: no forwarding] wan0 ── cell [server]
func TestDeadConnectionIsQuiet(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		p := buildPath(t)
		phone, server := p.connect("0.0.0.0:0")
		p.phone.await(t, Opened)
		p.server.await(t, Opened)
		p.cut()
		for _, c := range []net.Conn{phone, server} {
			if _, err := c.Write([]byte("anybody there?\n")); err != nil {
				t.Fatal(err)
			}
		}
		// Repetitions come after 0.2, 0.6, 1.4, 3.0 and 6.2 s, on either side.
		<-time.After(700 * time.Millisecond)
		before := sleeps(t)
		<-time.After(3 * time.Second)
		got := sleeps(t) - before
		t.Logf("%d sleeps in 3 s", got)
		// Looking every 5 ms would be 600 on either side.
		if got > 200 {
			t.Errorf("this process went to sleep %d times in 3 s, in which the kernel repeated itself four times", got)
		}
		at := time.Now()
		phone.Close()
		near(t, p.phone.await(t, Orphaned), at)
	})
}

// sleeps is how often the threads of this process have gone to sleep.
func sleeps(t *testing.T) int {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(files) == 0 {
		t.Fatalf("looking for the threads: %d, %v", len(files), err)
	}
	sum := 0
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		for line := range strings.Lines(string(b)) {
			if text, ok := strings.CutPrefix(line, "voluntary_ctxt_switches:"); ok {
				n, err := strconv.Atoi(strings.TrimSpace(text))
				if err != nil {
					t.Fatal(err)
				}
				sum += n
			}
		}
	}
	return sum
}
