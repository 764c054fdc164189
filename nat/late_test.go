package nat

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"outlive/lab/labtest"
)

// connection is a TCP connection of the kernel through the lab, with both ends.
type connection struct {
	client, server net.Conn
	// lan is the client's address, wan the server's view of it, remote the server's.
	lan, wan, remote netip.AddrPort
}

// connect opens connections from the phone to the server and sends a byte each way.
func (l *natLab) connect(t *testing.T, n int) []*connection {
	t.Helper()
	address := "198.51.100.1:0"
	if l.Firewall() {
		address = "[2001:db8::1]:0"
	}
	listener, err := l.server.NS.Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var all []*connection
	for range n {
		client, err := l.phone.NS.Dial(t.Context(), "tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		server, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close(); server.Close() })
		c := &connection{
			client: client, server: server,
			lan:    netip.MustParseAddrPort(client.LocalAddr().String()),
			wan:    netip.MustParseAddrPort(server.RemoteAddr().String()),
			remote: netip.MustParseAddrPort(server.LocalAddr().String()),
		}
		for _, end := range []struct{ from, to net.Conn }{{client, server}, {server, client}} {
			limit := time.Now().Add(5 * time.Second)
			_ = end.to.SetReadDeadline(limit)
			if _, err := end.from.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(end.to, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			_ = end.to.SetReadDeadline(time.Time{})
		}
		all = append(all, c)
	}
	return all
}

// events collects what Watch reports.
type events struct {
	mu    sync.Mutex
	all   []MappingEvent
	grown chan struct{}
}

// watch watches a NAT's mappings until the test ends.
func watch(t *testing.T, n *NAT) *events {
	t.Helper()
	e := &events{grown: make(chan struct{})}
	ctx := within(t, time.Hour)
	var watching sync.WaitGroup
	watching.Go(func() {
		if err := n.Watch(ctx, e.add); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(watching.Wait)
	return e
}

func (e *events) add(m MappingEvent) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, m)
	close(e.grown)
	e.grown = make(chan struct{})
}

// await waits for the nth event of a kind about the mapping of a LAN address, from 1.
func (e *events) await(t *testing.T, kind string, lan netip.AddrPort, nth int, limit time.Duration) MappingEvent {
	t.Helper()
	over := time.After(limit)
	for {
		e.mu.Lock()
		grown, seen := e.grown, 0
		for _, m := range e.all {
			if m.Kind == kind && m.Mapping.LAN == lan {
				if seen++; seen == nth {
					e.mu.Unlock()
					return m
				}
			}
		}
		e.mu.Unlock()
		select {
		case <-grown:
		case <-over:
			t.Fatalf("no event %q number %d of %s within %s; there were %+v", kind, nth, lan, limit, e.all)
		}
	}
}

// What each side sees of late packets, from packets at all four points, with the
// kernel's own TCP at both ends. Of three connections whose mapping has expired,
// on the first the client sends, on the second the server sends, and the client
// closes the third.
//
//	phone ── phone:cell ──── cell:lan [NAT] cell:wan ──── server:cell ── server
//	10.64.0.2                10.64.0.1      203.0.113.2            198.51.100.1
func TestLatePackets(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		for _, late := range combinations() {
			t.Run(string(late.LAN)+"-"+string(late.WAN), func(t *testing.T) {
				t.Parallel()
				latePackets(t, profile(time.Second, late.LAN, late.WAN))
			})
		}
	})
}

// The same with rulesets for nft, of each kind that treats late packets in a way of its own.
func TestLatePacketsNFT(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		for name, p := range map[string]Profile{
			"open":     {Filtering: EndpointIndependent, Hairpin: true},
			"strict":   {Mapping: AddressAndPortDependent, Ports: Ports{Allocation: PortRandom, Block: 500}},
			"pool":     {Pool: Pool{Addresses: 4, Paired: true}},
			"outbound": {Refresh: Refresh{Direction: RefreshOutbound}},
			"data":     {Filtering: EndpointIndependent, Refresh: Refresh{IgnoreACK: true}},
		} {
			for _, late := range combinations() {
				if (late.LAN == LANRemap || late.LAN == LANRevive) && p.Gated() || late.LAN == LANRevive && p.Ports.Allocation == PortRandom {
					continue // Check refuses these.
				}
				t.Run(name+"/"+string(late.LAN)+"-"+string(late.WAN), func(t *testing.T) {
					t.Parallel()
					timed := profile(time.Second, late.LAN, late.WAN)
					p := p
					p.Timeouts, p.Late = timed.Timeouts, timed.Late
					if late.LAN == LANRemap && p.Ports.Allocation == "" {
						p.Mapping, p.Ports.Allocation = EndpointIndependent, PortRandom
					}
					latePackets(t, p)
				})
			}
		}
	})
}

func latePackets(t *testing.T, p Profile) {
	late := p.Late
	l := build(t, p)
	s := sniff(t, l.Topology)
	gone := watch(t, l.NAT)
	all := l.connect(t, 3)
	for _, c := range all {
		if e := gone.await(t, MappingGone, c.lan, 1, 5*time.Second); e.Cause != CauseExpired {
			t.Fatalf("the mapping of %s went because it was %s", c.lan, e.Cause)
		}
	}
	start := s.mark()
	lateClient(t, s, start, late.LAN, all[0])
	lateServer(t, s, start, late.WAN, all[1])
	lateFin(t, s, start, late.LAN, all[2])

	// What was sent so far is behind a new connection that works.
	l.connect(t, 1)
	private := func(p sniffed) bool {
		return (p.point == "cell:wan" || p.point == "server:cell") &&
			(netip.MustParsePrefix("10.0.0.0/8").Contains(p.from.Addr()) || netip.MustParsePrefix("10.0.0.0/8").Contains(p.to.Addr()))
	}
	if leaks := s.find(0, private); len(leaks) > 0 {
		t.Errorf("private addresses on the WAN side: %v", leaks)
	}
}

// lateClient: the client writes on a connection whose mapping has expired.
func lateClient(t *testing.T, s *sniffer, start int, want LateLAN, c *connection) {
	if _, err := c.client.Write([]byte("late")); err != nil {
		t.Fatal(err)
	}
	inside, outside := between(c.lan, c.remote), between(c.wan, c.remote)
	data := func(p sniffed) bool { return p.payload == "late" && p.to == c.remote }
	toPhone := func(p sniffed) bool { return p.point == "phone:cell" && !p.out && inside(p) }
	onWAN := func(p sniffed) bool { return p.point == "cell:wan" && (outside(p) || data(p)) }
	s.await(t, "the client's data on the LAN side", start, func(p sniffed) bool { return p.point == "cell:lan" && !p.out && inside(p) && data(p) })
	switch want {
	case LANDrop:
		// The client hears nothing, so it repeats itself, and the WAN side hears nothing.
		second := s.await(t, "the client's data", start, func(p sniffed) bool { return p.point == "phone:cell" && inside(p) && data(p) })
		s.await(t, "a retransmission", s.mark(), func(p sniffed) bool {
			return p.point == "cell:lan" && inside(p) && data(p) && p.seq == second.seq
		})
		none(t, s, start, "towards the client", toPhone)
		none(t, s, start, "on the WAN side", onWAN)
	case LANReset:
		r := s.await(t, "a RST for the client", start, toPhone)
		if r.flags&rst == 0 || r.from != c.remote {
			t.Errorf("the client got %s, want a RST in the server's name", r)
		}
		refused(t, "the client", c.client)
		none(t, s, start, "on the WAN side", onWAN)
	case LANRevive:
		s.await(t, "the data at the server, from the old port", start, func(p sniffed) bool {
			return p.point == "server:cell" && !p.out && outside(p) && data(p)
		})
		readBack(t, c.server, "late")
		if _, err := c.server.Write([]byte("answer")); err != nil {
			t.Fatal(err)
		}
		readBack(t, c.client, "answer")
	case LANRemap:
		d := s.await(t, "the data at the server, from another port", start, func(p sniffed) bool {
			return p.point == "server:cell" && !p.out && data(p)
		})
		if d.from.Addr() != c.wan.Addr() || d.from.Port() == c.wan.Port() {
			t.Errorf("the late data came from %s, want another port than that of %s", d.from, c.wan)
		}
		s.await(t, "a RST of the server for the new port", start, func(p sniffed) bool {
			return p.point == "server:cell" && p.out && p.to == d.from && p.flags&rst != 0
		})
		s.await(t, "that RST at the client", start, func(p sniffed) bool { return toPhone(p) && p.flags&rst != 0 })
		refused(t, "the client", c.client)
		none(t, s, start, "of the old port on the WAN side", func(p sniffed) bool { return p.point == "cell:wan" && outside(p) })
	}
}

// lateServer: the server writes on a connection whose mapping has expired.
func lateServer(t *testing.T, s *sniffer, start int, want LateWAN, c *connection) {
	after := s.mark()
	if _, err := c.server.Write([]byte("late")); err != nil {
		t.Fatal(err)
	}
	outside := between(c.wan, c.remote)
	data := func(p sniffed) bool { return p.payload == "late" && p.to == c.wan }
	toServer := func(p sniffed) bool { return p.point == "server:cell" && !p.out && outside(p) }
	s.await(t, "the server's data at the NAT", start, func(p sniffed) bool { return p.point == "cell:wan" && !p.out && data(p) })
	switch want {
	case WANDrop:
		s.await(t, "a retransmission of the server", s.mark(), func(p sniffed) bool { return p.point == "cell:wan" && !p.out && data(p) })
		none(t, s, after, "towards the server", toServer)
	case WANReset:
		r := s.await(t, "a RST for the server", start, toServer)
		if r.flags&rst == 0 || r.from != c.wan {
			t.Errorf("the server got %s, want a RST from the mapping's address", r)
		}
		refused(t, "the server", c.server)
	}
	none(t, s, start, "on the LAN side", func(p sniffed) bool {
		return (p.point == "cell:lan" || p.point == "phone:cell") && between(c.lan, c.remote)(p)
	})
}

// lateFin: the client closes a connection whose mapping has expired. A FIN never
// revives a mapping, whatever the profile.
func lateFin(t *testing.T, s *sniffer, start int, want LateLAN, c *connection) {
	after := s.mark()
	c.client.Close()
	inside := between(c.lan, c.remote)
	s.await(t, "the client's FIN", after, func(p sniffed) bool { return p.point == "cell:lan" && !p.out && inside(p) && p.flags&fin != 0 })
	toPhone := func(p sniffed) bool { return p.point == "phone:cell" && !p.out && inside(p) }
	if want == LANReset {
		if r := s.await(t, "a RST for the client", after, toPhone); r.flags&rst == 0 {
			t.Errorf("the client got %s, want a RST", r)
		}
	} else {
		s.await(t, "a repeated FIN", s.mark(), func(p sniffed) bool { return p.point == "cell:lan" && !p.out && inside(p) && p.flags&fin != 0 })
		none(t, s, after, "towards the client", toPhone)
	}
	none(t, s, start, "of the closed connection on the WAN side", func(p sniffed) bool {
		return p.point == "cell:wan" && (between(c.wan, c.remote)(p) || p.out && p.to == c.remote && p.flags&fin != 0)
	})
}

func none(t *testing.T, s *sniffer, after int, where string, match func(sniffed) bool) {
	t.Helper()
	if found := s.find(after, match); len(found) > 0 {
		t.Errorf("nothing was to be seen %s, but there was %v", where, found)
	}
}

func refused(t *testing.T, who string, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%s's connection ended with %v, want a reset", who, err)
	}
}

func readBack(t *testing.T, c net.Conn, want string) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Errorf("read %q, %v; want %q", got, err, want)
	}
}
