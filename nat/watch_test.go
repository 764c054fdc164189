package nat

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"outlive/lab"
	"outlive/lab/labtest"
	"outlive/lab/units"
)

// exact is how wide the window of an expiry may be. It is some 5 ms on a machine
// that has nothing else to do; a busy one may be late.
const exact = 250 * time.Millisecond

// An idle mapping is reported as gone when it expires, to a few milliseconds.
func TestWatchExpiry(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		for _, timeout := range []time.Duration{1 * time.Second, 2 * time.Second, 4 * time.Second} {
			t.Run(timeout.String(), func(t *testing.T) {
				t.Parallel()
				l := build(t, profile(timeout, LANDrop, WANDrop))
				e := watch(t, l.NAT)
				s := sniff(t, l.Topology)
				begun := time.Now()
				c := l.connect(t, 1)[0]
				fresh := e.await(t, MappingNew, c.lan, 1, 5*time.Second)
				if fresh.At.Before(begun) || fresh.At.After(time.Now()) {
					t.Errorf("the mapping was made %s after the connection was begun", fresh.At.Sub(begun))
				}
				gone := e.await(t, MappingGone, c.lan, 1, timeout+5*time.Second)
				passed := s.find(0, func(p sniffed) bool { return p.point == "cell:wan" && between(c.wan, c.remote)(p) })
				last := passed[len(passed)-1].at
				late := gone.At.Sub(last.Add(timeout))
				t.Logf("reported %s after it was due, window %s", late, gone.Window.D())
				if late < -50*time.Millisecond || late > exact || gone.Window.D() > exact || gone.At.Add(-gone.Window.D()).After(last.Add(timeout+tick)) {
					t.Errorf("reported %s after it was due, window %s", late, gone.Window.D())
				}
				want := MappingEvent{
					At: gone.At, Kind: MappingGone, NAT: "cell", Cause: CauseExpired, Window: gone.Window,
					Mapping: Mapping{ID: fresh.Mapping.ID, Protocol: "tcp", LAN: c.lan, WAN: c.wan, Remote: c.remote, State: "ESTABLISHED"},
				}
				if diff := cmp.Diff(want, gone, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
					t.Errorf("the event (-want +got):\n%s", diff)
				}
			})
		}
	})
}

// A mapping that packets refresh does not go, however often it was nearly due.
func TestWatchRefreshed(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		l := build(t, profile(time.Second, LANDrop, WANDrop))
		e := watch(t, l.NAT)
		c := l.connect(t, 1)[0]
		var last time.Time
		for range 4 {
			<-time.After(700 * time.Millisecond)
			last = time.Now()
			if _, err := c.client.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			readBack(t, c.server, "x")
		}
		gone := e.await(t, MappingGone, c.lan, 1, 5*time.Second)
		if silence := gone.At.Sub(last); silence < time.Second-tick || silence > time.Second+exact {
			t.Errorf("gone after %s of silence, want 1s", silence)
		}
	})
}

// A reset that conntrack does not believe shortens the timeout to that of a closed
// connection, and the kernel tells nobody, whichever side it comes from.
func TestWatchAfterReset(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		for _, side := range []string{"phone", "server"} {
			t.Run(side, func(t *testing.T) {
				t.Parallel()
				const closed = 2 * time.Second
				p := profile(time.Minute, LANDrop, WANDrop)
				p.Timeouts.TCPClose = units.Duration(closed)
				l := build(t, p)
				e := watch(t, l.NAT)
				s := sniff(t, l.Topology)
				c := l.connect(t, 1)[0]
				host, from, to := l.phone, c.lan, c.remote
				if side == "server" {
					host, from, to = l.server, c.remote, c.wan
				}
				point := host.Interfaces[0].Point
				sent := s.await(t, "a segment", 0, func(p sniffed) bool { return p.point == point && p.from == from && p.flags&syn == 0 })
				// So far outside of the window that the far end does not answer it.
				wild := segment{from: from, to: to, flags: rst, seq: sent.seq + 1<<30}
				frame, err := wild.frame(host.Interfaces[0].MAC, host.Interfaces[0].Peer.MAC)
				if err != nil {
					t.Fatal(err)
				}
				<-time.After(500 * time.Millisecond)
				at := time.Now()
				if err := sendFrame(host, frame); err != nil {
					t.Fatal(err)
				}
				gone := e.await(t, MappingGone, c.lan, 1, 10*time.Second)
				late := gone.At.Sub(at.Add(closed))
				t.Logf("reported %s after it was due, window %s", late, gone.Window.D())
				if gone.Cause != CauseExpired || late < -50*time.Millisecond || late > exact || gone.Window.D() > exact {
					t.Errorf("%s, reported %s after it was due, window %s", gone.Cause, late, gone.Window.D())
				}
			})
		}
	})
}

// sendFrame puts a frame onto the wire of a host.
func sendFrame(host *lab.Host, frame []byte) error {
	return host.NS.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: host.Interfaces[0].Index})
	})
}

// The timeout for unacknowledged data takes over without any event of the kernel.
// The link to the server is cut, so that nothing acknowledges.
func TestWatchSilentlyShortened(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		p := profile(time.Hour, LANDrop, WANDrop)
		p.Timeouts.TCPUnacknowledged = units.Duration(time.Second)
		p.Timeouts.TCPMaxRetrans = units.Duration(time.Second)
		l := build(t, p)
		e := watch(t, l.NAT)
		s := sniff(t, l.Topology)
		c := l.connect(t, 1)[0]
		if err := l.Unplug("server:cell"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.client.Write([]byte("unheard")); err != nil {
			t.Fatal(err)
		}
		gone := e.await(t, MappingGone, c.lan, 1, 20*time.Second)
		passed := s.find(0, func(p sniffed) bool {
			return p.point == "cell:lan" && between(c.lan, c.remote)(p) && p.at.Before(gone.At)
		})
		silence := gone.At.Sub(passed[len(passed)-1].at)
		t.Logf("gone %s after the last packet, window %s", silence, gone.Window.D())
		if gone.Cause != CauseExpired || silence < time.Second-50*time.Millisecond || silence > time.Second+exact {
			t.Errorf("%s after %s of silence, want expired after 1s", gone.Cause, silence)
		}
	})
}

// A flush and a deletion are reported at the instant at which they happen, and a
// packet that revives a mapping makes it known anew.
func TestWatchDeletedAndRevived(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		l := build(t, profile(time.Hour, LANRevive, WANDrop))
		e := watch(t, l.NAT)
		all := l.connect(t, 3)

		before := time.Now()
		n, err := l.Expire(func(m Mapping) bool { return m.LAN == all[0].lan })
		after := time.Now()
		if err != nil || n != 1 {
			t.Fatalf("deleted %d mappings, %v; want 1", n, err)
		}
		check := func(c *connection, nth int) {
			t.Helper()
			gone := e.await(t, MappingGone, c.lan, nth, 5*time.Second)
			if gone.Cause != CauseDeleted || gone.Window != 0 || gone.At.Before(before) || gone.At.After(after.Add(exact)) {
				t.Errorf("%s is %s with window %s, %s after the deletion began, which took %s",
					c.lan, gone.Cause, gone.Window.D(), gone.At.Sub(before), after.Sub(before))
			}
		}
		check(all[0], 1)

		if _, err := all[0].client.Write([]byte("late")); err != nil {
			t.Fatal(err)
		}
		readBack(t, all[0].server, "late")
		again := e.await(t, MappingNew, all[0].lan, 2, 5*time.Second)
		if again.Mapping.WAN != all[0].wan || again.At.Before(after) {
			t.Errorf("revived as %+v, want the same ports", again)
		}

		mappings, err := l.Mappings()
		if err != nil || len(mappings) != 3 {
			t.Errorf("there are %d mappings, %v; want 3", len(mappings), err)
		}
		before = time.Now()
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
		after = time.Now()
		check(all[0], 2)
		check(all[1], 1)
		check(all[2], 1)
		if mappings, err := l.Mappings(); err != nil || len(mappings) != 0 {
			t.Errorf("after the flush there are %v, %v", mappings, err)
		}
	})
}

// A mapping whose first answer is a reset goes at once: nobody deleted it, and it
// did not expire. One that was closed in order expires as TIME_WAIT.
func TestWatchClosed(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		p := profile(time.Hour, LANDrop, WANDrop)
		p.Timeouts.TCPTimeWait = units.Duration(time.Second)
		l := build(t, p)
		s := sniff(t, l.Topology)
		e := watch(t, l.NAT)
		if c, err := l.phone.NS.Dial(t.Context(), "tcp4", "198.51.100.1:9"); err == nil {
			c.Close()
			t.Fatal("connected to a port where nobody listens")
		}
		from := s.await(t, "the SYN", 0, func(p sniffed) bool { return p.point == "phone:cell" && p.flags == syn }).from
		gone := e.await(t, MappingGone, from, 1, 5*time.Second)
		if gone.Cause != CauseClosed {
			t.Errorf("the mapping of a refused connection went because it was %s", gone.Cause)
		}
		c := l.connect(t, 1)[0]
		c.client.Close()
		c.server.Close()
		gone = e.await(t, MappingGone, c.lan, 1, 10*time.Second)
		if gone.Cause != CauseExpired || gone.Mapping.State != "TIME_WAIT" || gone.Window.D() > exact {
			t.Errorf("the mapping of a closed connection: %+v", gone)
		}
	})
}

// While nobody takes the reports, the kernel drops events. Afterwards every mapping
// is known all the same, and what was found out late is marked as lost.
func TestWatchLost(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		p := profile(time.Hour, LANDrop, WANDrop)
		p.Timeouts.UDP = units.Duration(time.Hour)
		l := build(t, p)
		conn, err := openEvents(l.host.NS)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadBuffer(64 << 10); err != nil {
			t.Fatal(err)
		}
		l.mu.Lock()
		l.events.Close()
		l.events = conn
		l.mu.Unlock()

		ctx, cancel := context.WithCancel(t.Context())
		hold := make(chan struct{})
		var mu sync.Mutex
		alive := map[netip.AddrPort]int{}
		made, ended, lost := 0, 0, 0
		grown := make(chan struct{}, 1)
		var watching sync.WaitGroup
		watching.Go(func() {
			err := l.Watch(ctx, func(e MappingEvent) {
				<-hold
				mu.Lock()
				defer mu.Unlock()
				if e.Lost {
					lost++
				}
				if e.Kind == MappingNew {
					made++
					alive[e.Mapping.LAN]++
				} else {
					ended++
					alive[e.Mapping.LAN]--
					if e.Cause != CauseDeleted {
						t.Errorf("%s was %s, want deleted", e.Mapping.LAN, e.Cause)
					}
				}
				select {
				case grown <- struct{}{}:
				default:
				}
			})
			if err != nil {
				t.Error(err)
			}
		})
		defer watching.Wait()
		defer cancel()
		reach := func(what string, enough func() bool) {
			t.Helper()
			limit := time.After(20 * time.Second)
			for {
				mu.Lock()
				ok := enough()
				state := fmt.Sprintf("made %d, ended %d, lost %d", made, ended, lost)
				mu.Unlock()
				if ok {
					t.Logf("%s: %s", what, state)
					return
				}
				select {
				case <-grown:
				case <-limit:
					t.Fatalf("%s: %s", what, state)
				}
			}
		}
		l.sendFrom(t, 12000)
		// On a busy machine some of so many datagrams at once are dropped on the way.
		mappings, err := l.Mappings()
		if err != nil || len(mappings) < 8000 {
			t.Fatalf("%d mappings, %v", len(mappings), err)
		}
		flows := len(mappings)
		close(hold)
		reach("made", func() bool { return made == flows })
		if lost == 0 {
			t.Error("no event was lost: the test does not test what it should")
		}
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
		reach("flushed", func() bool { return ended == flows })
		for lan, n := range alive {
			if n != 0 {
				t.Errorf("%s was made %d times more often than it went", lan, n)
			}
		}
	})
}

// serverPort is where nobody listens.
var serverPort = netip.MustParseAddrPort("198.51.100.1:9")

// sendFrom sends a datagram from the phone to the server from each of n ports.
func (l *natLab) sendFrom(t testing.TB, n int) {
	t.Helper()
	err := l.phone.NS.Do(func() error { return sendDatagrams(l.phone.Interfaces[0].Addr.Addr(), serverPort, n) })
	if err != nil {
		t.Fatal(err)
	}
}
