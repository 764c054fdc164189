package socket

import (
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"outlive/lab/labtest"
)

// stopBoth ends both watches and checks all events that there were.
func (p *path) stopBoth(phone, server []string) {
	p.t.Helper()
	for _, e := range []*watched{p.phone, p.server} {
		if err := e.Stop(); err != nil {
			p.t.Error(err)
		}
	}
	// Whether an ordinary close is seen on its way depends on the moment.
	seen := func(e *watched) []string {
		return slices.DeleteFunc(e.kinds(), func(k string) bool { return k == Orphaned })
	}
	if diff := cmp.Diff(phone, seen(p.phone)); diff != "" {
		p.t.Errorf("events of the phone (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(server, seen(p.server)); diff != "" {
		p.t.Errorf("events of the server (-want +got):\n%s", diff)
	}
}

// Who closes in order has given nothing up, whichever side begins, whatever kind of
// socket the listener has.
//
//	phone ── cell ── lan0 [NAT cell] wan0 ── cell [server]
func TestOrderlyClose(t *testing.T) {
	tests := []struct {
		name, listenOn string
		close          func(t *testing.T, phone, server *net.TCPConn)
	}{
		{"the phone first", "0.0.0.0:0", func(t *testing.T, phone, server *net.TCPConn) {
			phone.Close()
			<-readError(server)
			server.Close()
		}},
		{"the server first", "0.0.0.0:0", func(t *testing.T, phone, server *net.TCPConn) {
			server.Close()
			<-readError(phone)
			phone.Close()
		}},
		{"a listener for both IP versions", "[::]:0", func(t *testing.T, phone, server *net.TCPConn) {
			phone.Close()
			<-readError(server)
			server.Close()
		}},
		{"only the directions, then the files", "0.0.0.0:0", func(t *testing.T, phone, server *net.TCPConn) {
			closeWrite(t, phone)
			<-readError(server)
			closeWrite(t, server)
			<-readError(phone)
			phone.Close()
			server.Close()
		}},
		{"both at once", "0.0.0.0:0", func(t *testing.T, phone, server *net.TCPConn) {
			phone.Close()
			server.Close()
		}},
		{"thrown away by the phone", "0.0.0.0:0", func(t *testing.T, phone, server *net.TCPConn) {
			throwAway(t, phone)
			<-readError(server)
			server.Close()
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			labtest.Run(t, func(t *testing.T) {
				p := buildPath(t)
				phone, server := p.connect(tt.listenOn)
				opened := []Event{p.phone.await(t, Opened), p.server.await(t, Opened)}
				if opened[0].Local != opened[1].Remote || opened[0].Remote != opened[1].Local || opened[0].Cookie == 0 {
					t.Errorf("the ends differ: %+v", opened)
				}
				if got, want := opened[0].Local.String(), phone.LocalAddr().String(); got != want {
					t.Errorf("the phone's end is %s, want %s", got, want)
				}
				tt.close(t, phone, server)
				p.phone.await(t, Closed)
				p.server.await(t, Closed)
				fromServer := []string{Opened, Closed}
				if tt.name == "thrown away by the phone" {
					fromServer = []string{Opened, GaveUp + " reset", Closed}
				}
				p.stopBoth([]string{Opened, Closed}, fromServer)
			})
		})
	}
}

// near checks that the event was learnt shortly after what it tells of.
func near(t *testing.T, e Event, when time.Time) {
	t.Helper()
	late := e.At.Sub(when)
	t.Logf("%s %s: learnt %s after the program's kernel said so; last seen alive %s before", e.Kind, e.Cause, late.Round(10*time.Microsecond), e.Window.D().Round(10*time.Microsecond))
	if late < -50*time.Millisecond || late > time.Second {
		t.Errorf("%s was learnt %s after it happened", e.Kind, late)
	}
}

// A RST ends the phone's socket in the kernel at once. The program that does not
// look knows nothing of it.
//
//	phone ── cell ── lan0 [NAT cell] wan0 ── cell [server]
func TestResetWhileHeld(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		p := buildPath(t)
		phone, server := p.connect("0.0.0.0:0")
		p.phone.await(t, Opened)
		p.server.await(t, Opened)
		at := time.Now()
		throwAway(t, server)
		near(t, p.phone.await(t, GaveUp), at)
		at = time.Now()
		phone.Close()
		near(t, p.phone.await(t, Closed), at)
		p.stopBoth([]string{Opened, GaveUp + " reset", Closed}, []string{Opened, Closed})
	})
}

// What the phone's kernel does on a path that has gone silent, with a program that
// holds its socket and with one that closes as soon as it is told.
//
//	phone ── cell ── lan0 [cell: no forwarding] wan0 ── cell [server]
func TestGiveUp(t *testing.T) {
	option := func(t *testing.T, c *net.TCPConn, name, value int) {
		t.Helper()
		raw, err := c.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		controlErr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, name, value) })
		if err = errors.Join(controlErr, err); err != nil {
			t.Fatal(err)
		}
	}
	write := func(t *testing.T, c *net.TCPConn) {
		t.Helper()
		if _, err := c.Write([]byte("anybody there?\n")); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name, cause string
		prepare     func(t *testing.T, p *path, phone *net.TCPConn)
		after       func(t *testing.T, phone *net.TCPConn)
	}{
		{"retransmission", "retransmission", func(t *testing.T, p *path, _ *net.TCPConn) {
			if err := p.phone.host.NS.SetSysctl("net.ipv4.tcp_retries2", "2"); err != nil {
				t.Fatal(err)
			}
		}, write},
		{"user timeout", "retransmission", func(t *testing.T, _ *path, phone *net.TCPConn) {
			option(t, phone, unix.TCP_USER_TIMEOUT, 700)
		}, write},
		{"keepalive", "keepalive", func(t *testing.T, _ *path, phone *net.TCPConn) {
			err := phone.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 1})
			if err != nil {
				t.Fatal(err)
			}
		}, func(*testing.T, *net.TCPConn) {}},
	}
	for _, tt := range tests {
		for _, closes := range []bool{false, true} {
			name := tt.name + ", held"
			if closes {
				name = tt.name + ", closed at once"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel() // they wait, each in a sandbox of its own
				labtest.Run(t, func(t *testing.T) {
					p := buildPath(t)
					phone, _ := p.connect("0.0.0.0:0")
					tt.prepare(t, p, phone)
					p.phone.await(t, Opened)
					p.server.await(t, Opened)
					p.cut()
					tt.after(t, phone)
					known := <-readError(phone)
					if closes {
						phone.Close()
					}
					known.want(t, unix.ETIMEDOUT)
					near(t, p.phone.await(t, GaveUp), known.at)
					if !closes {
						phone.Close()
					}
					p.phone.await(t, Closed)
					p.stopBoth([]string{Opened, GaveUp + " " + tt.cause, Closed}, []string{Opened})
				})
			})
		}
	}
}

// A program that closes while its data is being repeated leaves the socket to the
// kernel, and nothing on the wire.
//
//	phone ── cell ── lan0 [cell: no forwarding] wan0 ── cell [server]
func TestOrphaned(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		p := buildPath(t)
		if err := p.phone.host.NS.SetSysctl("net.ipv4.tcp_orphan_retries", "2"); err != nil {
			t.Fatal(err)
		}
		phone, _ := p.connect("0.0.0.0:0")
		p.phone.await(t, Opened)
		p.cut()
		if _, err := phone.Write([]byte("anybody there?\n")); err != nil {
			t.Fatal(err)
		}
		// Three repetitions are under way after 1.5 s.
		<-time.After(1600 * time.Millisecond)
		at := time.Now()
		phone.Close()
		e := p.phone.await(t, Orphaned)
		near(t, e, at)
		p.phone.await(t, Closed)
		if diff := cmp.Diff([]string{Opened, Orphaned, Closed}, p.phone.kinds()); diff != "" {
			t.Errorf("events of the phone (-want +got):\n%s", diff)
		}
	})
}

// Connections that are never established are no connections.
//
//	phone ── cell ── lan0 [NAT cell] wan0 ── cell [server]
func TestRefusedConnection(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		p := buildPath(t)
		if _, err := p.phone.host.NS.Dial(t.Context(), "tcp", p.topology.ServerAddr().String()+":7"); err == nil {
			t.Fatal("connected to a port where nobody listens")
		}
		p.stopBoth([]string{}, []string{})
	})
}

// When the kernel cannot tell of every socket that it frees, the watcher finds out
// by itself, and says so.
//
//	phone ── cell ── lan0 [NAT cell] wan0 ── cell [server]
func TestEventsLost(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		const connections, held = 500, 10
		p := buildPathWith(t, 1)
		l, err := p.server.host.NS.Listen(t.Context(), "tcp", "0.0.0.0:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		var phones, servers []*net.TCPConn
		for range connections {
			phone, server := p.dial(l)
			phones, servers = append(phones, phone), append(servers, server)
		}
		p.server.awaitCount(t, Opened, connections)
		// A watcher that is held up like this cannot take events.
		p.server.Watcher.mu.Lock()
		for i := range phones {
			throwAway(t, phones[i])
		}
		// The server's kernel gives all of them up; the program lets go of all but ten.
		for _, s := range servers[held:] {
			s.Close()
		}
		<-time.After(200 * time.Millisecond) // for the kernel, which tells of it a little later
		p.server.Watcher.mu.Unlock()
		p.server.awaitCount(t, Closed, connections-held)
		if got := p.server.count(GaveUp); got < held {
			t.Errorf("%d given up, want at least %d", got, held)
		}
		lost := 0
		p.server.mu.Lock()
		for _, e := range p.server.events {
			if e.Lost {
				lost++
			}
		}
		p.server.mu.Unlock()
		t.Logf("%d events only by reconciling", lost)
		if lost == 0 {
			t.Error("the kernel lost no event; the test proves nothing")
		}
		for _, s := range servers[:held] {
			s.Close()
		}
		p.server.awaitCount(t, Closed, connections)
		if err := p.server.Stop(); err != nil {
			t.Error(err)
		}
		if opened, closed := p.server.count(Opened), p.server.count(Closed); opened != connections || closed != connections {
			t.Errorf("%d opened, %d closed; want %d of each", opened, closed, connections)
		}
	})
}
