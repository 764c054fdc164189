package socket

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"outlive/lab"
	"outlive/lab/labtest"
	"outlive/lab/sandbox"
	"outlive/probes/capture"
)

func TestMain(m *testing.M) {
	sandbox.Main()
	os.Exit(m.Run())
}

// path is the network of these tests, with every packet reported to watchers at
// both ends. There is no translation, and the server knows the way back:
//
//	phone ── cell ── lan0 [NAT cell] wan0 ── cell [server]
type path struct {
	t             *testing.T
	topology      *lab.Topology
	phone, server *watched
}

// watched is one end and the events about it.
type watched struct {
	host *lab.Host
	*Watcher
	mu     sync.Mutex
	events []Event
	more   chan struct{}
}

func buildPath(t *testing.T) *path {
	t.Helper()
	return buildPathWith(t, eventBuffer)
}

// buildPathWith makes the path, with this much room for the kernel's events about
// the server's sockets.
func buildPathWith(t *testing.T, serverBuffer int) *path {
	t.Helper()
	topology, err := lab.Build(t.Context(), lab.TopologySpec{
		Uplinks: []lab.UplinkSpec{{Name: "cell", NATs: []string{"cell"}}},
		Devices: []lab.DeviceSpec{{Name: "phone", Uplinks: []string{"cell"}}},
	})
	labtest.SkipUnsupported(t, err)
	t.Cleanup(func() { topology.Close() })
	back := topology.Interface("server:cell")
	device := topology.Interface("phone:cell").Addr.Masked()
	err = topology.Server().NS.Netlink().RouteAdd(&netlink.Route{
		LinkIndex: back.Index,
		Dst:       &net.IPNet{IP: device.Addr().AsSlice(), Mask: net.CIDRMask(device.Bits(), 32)},
		Gw:        topology.Interface("cell:wan").Addr.Addr().AsSlice(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return watchPath(t, topology, serverBuffer)
}

// watchPath watches both ends of a path.
func watchPath(t *testing.T, topology *lab.Topology, serverBuffer int) *path {
	t.Helper()
	p := &path{t: t, topology: topology}
	p.phone = p.watch(topology.Host("phone"), eventBuffer)
	p.server = p.watch(topology.Server(), serverBuffer)
	p.capture()
	return p
}

// watch watches a host until the test ends.
func (p *path) watch(h *lab.Host, buffer int) *watched {
	p.t.Helper()
	e := &watched{host: h, more: make(chan struct{}, 1)}
	w, err := watch(p.t.Context(), h.Name, h.NS, buffer, func(ev Event) {
		e.mu.Lock()
		e.events = append(e.events, ev)
		e.mu.Unlock()
		select {
		case e.more <- struct{}{}:
		default:
		}
	})
	labtest.SkipUnsupported(p.t, err)
	e.Watcher = w
	p.t.Cleanup(func() {
		if err := w.Stop(); err != nil {
			p.t.Error(err)
		}
	})
	return e
}

// capture reports packets to the watchers as a lab does, and keeps them for a look
// after a failure.
func (p *path) capture() {
	p.t.Helper()
	ends := []*watched{p.phone, p.server}
	var points []capture.Point
	for _, e := range ends {
		i := e.host.Interfaces[0]
		points = append(points, capture.Point{Name: i.Point, NS: e.host.NS, Interface: i.Name})
	}
	dir := labtest.Dir(p.t)
	r, err := capture.Start(p.t.Context(), dir, points, func(f capture.Frame) {
		src, dst, reset, ok := endsOf(f.Data)
		if !ok {
			return
		}
		if f.Out {
			ends[f.Point].Packet(src, dst, false)
		} else {
			ends[f.Point].Packet(dst, src, reset)
		}
	})
	labtest.SkipUnsupported(p.t, err)
	p.t.Cleanup(func() {
		if _, err := r.Stop(); err != nil {
			p.t.Error(err)
		}
		if _, err := capture.Merge(dir); err != nil {
			p.t.Error(err)
		}
	})
}

// endsOf reads the ends of a TCP segment of either family, without options or extension headers.
func endsOf(b []byte) (src, dst netip.AddrPort, reset, ok bool) {
	if len(b) < 74 || b[14]>>4 != 6 || b[20] != 6 {
		return ends4(b)
	}
	at := func(addr, port int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[addr:])), binary.BigEndian.Uint16(b[port:]))
	}
	return at(22, 54), at(38, 56), b[67]&4 != 0, true
}

// ends4 reads the ends of a TCP segment over IPv4 without IP options.
func ends4(b []byte) (src, dst netip.AddrPort, reset, ok bool) {
	if len(b) < 54 || b[14] != 0x45 || b[23] != 6 {
		return src, dst, false, false
	}
	at := func(addr, port int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[addr:])), binary.BigEndian.Uint16(b[port:]))
	}
	return at(26, 34), at(30, 36), b[47]&4 != 0, true
}

// cut makes the router in the middle drop everything without a word.
func (p *path) cut() {
	p.t.Helper()
	key := "net.ipv4.ip_forward"
	if p.topology.ServerAddr6().IsValid() {
		key = "net.ipv6.conf.all.forwarding"
	}
	if err := p.topology.Host("cell").NS.SetSysctl(key, "0"); err != nil {
		p.t.Fatal(err)
	}
}

// connect opens a connection from the phone to a listener of the server at listenOn.
func (p *path) connect(listenOn string) (phone, server *net.TCPConn) {
	p.t.Helper()
	l, err := p.server.host.NS.Listen(p.t.Context(), "tcp", listenOn)
	if err != nil {
		p.t.Fatal(err)
	}
	defer l.Close()
	return p.dial(l)
}

func (p *path) dial(l net.Listener) (phone, server *net.TCPConn) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 10*time.Second)
	defer cancel()
	port := l.Addr().(*net.TCPAddr).Port
	at := p.topology.ServerAddr()
	if six := p.topology.ServerAddr6(); six.IsValid() {
		at = six
	}
	c, err := p.phone.host.NS.Dial(ctx, "tcp", netip.AddrPortFrom(at, uint16(port)).String())
	if err != nil {
		p.t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { c.Close(); s.Close() })
	phone, server = c.(*net.TCPConn), s.(*net.TCPConn)
	for _, c := range []*net.TCPConn{phone, server} {
		// Each test turns on what it is about.
		if err := c.SetKeepAlive(false); err != nil {
			p.t.Fatal(err)
		}
	}
	return phone, server
}

// throwAway closes a connection with a RST.
func throwAway(t *testing.T, c *net.TCPConn) {
	t.Helper()
	if err := errors.Join(c.SetLinger(0), c.Close()); err != nil {
		t.Fatal(err)
	}
}

// closeWrite closes the direction from c and keeps the file.
func closeWrite(t *testing.T, c *net.TCPConn) {
	t.Helper()
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

// await waits until there is an event of a kind, and gives it.
func (e *watched) await(t *testing.T, kind string) Event {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		e.mu.Lock()
		for _, ev := range e.events {
			if ev.Kind == kind {
				e.mu.Unlock()
				return ev
			}
		}
		e.mu.Unlock()
		select {
		case <-e.more:
		case <-limit:
			t.Fatalf("%s: no event %q came; there were %s", e.host.Name, kind, e.kinds())
		}
	}
}

// count is how many events of a kind there were.
func (e *watched) count(kind string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, ev := range e.events {
		if ev.Kind == kind {
			n++
		}
	}
	return n
}

// awaitCount waits until there are so many events of a kind.
func (e *watched) awaitCount(t *testing.T, kind string, n int) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for e.count(kind) < n {
		select {
		case <-e.more:
		case <-limit:
			t.Fatalf("%s: %d events %q came of %d", e.host.Name, e.count(kind), kind, n)
		}
	}
}

// kinds are the kinds of all events so far, with causes.
func (e *watched) kinds() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	kinds := []string{}
	for _, ev := range e.events {
		kind := ev.Kind
		if ev.Cause != "" {
			kind += " " + ev.Cause
		}
		if ev.Lost {
			kind += " lost"
		}
		kinds = append(kinds, kind)
	}
	return kinds
}

// readError reads until the connection fails, in its own goroutine, and gives
// the instant and the error. Whoever waits for it has noticed; the file stays open.
func readError(c *net.TCPConn) <-chan noticed {
	ch := make(chan noticed, 1)
	go func() {
		_, err := io.Copy(io.Discard, c)
		ch <- noticed{time.Now(), err}
	}()
	return ch
}

type noticed struct {
	at  time.Time
	err error
}

// want checks that the program noticed by this error.
func (n noticed) want(t *testing.T, want syscall.Errno) {
	t.Helper()
	if !errors.Is(n.err, want) {
		t.Errorf("the program noticed %v, want %v", n.err, want)
	}
}
