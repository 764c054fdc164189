package nat

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strconv"
	"time"
	"unsafe"

	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"outlive/lab"
)

// answerLimit bounds the wait for a packet that must come, which takes
// microseconds: it is for a machine that stands still.
const answerLimit = 2 * time.Second

// probePort is where the far end of every probe connection is.
const probePort = 443

// prober speaks for both ends of probe connections through one NAT. It makes its
// packets itself, so that no TCP of the kernel repeats, acknowledges or resets
// anything: what is seen comes from the NAT. It is used by one goroutine.
type prober struct {
	table    *table
	lan, wan *wireEnd
	port     uint16
	markers  int
}

// wireEnd is a packet socket on one interface of a probe.
type wireEnd struct {
	side  string
	addr  netip.Addr // of the probe's host
	near  netip.Addr // of the NAT on this wire
	iface *lab.Interface
	fd    int
}

func newProber(t *table, p *lab.Probe) (*prober, error) {
	lan, err := openEnd("LAN", p.LAN)
	if err != nil {
		return nil, err
	}
	wan, err := openEnd("WAN", p.WAN)
	if err != nil {
		lan.close()
		return nil, err
	}
	return &prober{table: t, lan: lan, wan: wan, port: 40000}, nil
}

// takeProber gives the NAT's prober, made at the first self-check and kept, so
// that no port is used twice. The caller holds and releases n.checking.
func (n *NAT) takeProber(t *lab.Topology) (*prober, error) {
	if !n.checking.TryLock() {
		return nil, fmt.Errorf("another check of NAT %s is running", n.host.Name)
	}
	if n.prober == nil {
		probe, err := t.AddProbe(n.host.Name)
		if err == nil {
			n.prober, err = newProber(n.table, probe)
		}
		if err != nil {
			n.checking.Unlock()
			return nil, err
		}
	}
	return n.prober, nil
}

func (p *prober) close() {
	p.lan.close()
	p.wan.close()
}

func openEnd(side string, host *lab.Host) (*wireEnd, error) {
	i := host.Interfaces[0]
	e := &wireEnd{side: side, addr: i.Addr.Addr(), near: i.Peer.Addr.Addr(), iface: i, fd: -1}
	fail := func(err error) (*wireEnd, error) {
		e.close()
		return nil, fmt.Errorf("opening the probe's %s side: %w", side, err)
	}
	// Without its address the host's kernel drops in silence what it receives,
	// instead of resetting connections that it does not know.
	nl := host.NS.Netlink()
	link, err := nl.LinkByName(i.Name)
	if err != nil {
		return fail(err)
	}
	addrs, err := nl.AddrList(link, unix.AF_INET)
	if err != nil {
		return fail(err)
	}
	for _, a := range addrs {
		if err := nl.AddrDel(link, &a); err != nil {
			return fail(err)
		}
	}
	err = host.NS.Do(func() (err error) {
		e.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return fail(err)
	}
	if err := unix.SetsockoptInt(e.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
		return fail(err)
	}
	const ipv4 = unix.ETH_P_IP<<8&0xff00 | unix.ETH_P_IP>>8
	if err := unix.Bind(e.fd, &unix.SockaddrLinklayer{Protocol: ipv4, Ifindex: i.Index}); err != nil {
		return fail(err)
	}
	return e, nil
}

func (e *wireEnd) close() {
	if e.fd >= 0 {
		_ = unix.Close(e.fd)
		e.fd = -1
	}
}

func (e *wireEnd) send(s segment) error {
	frame, err := s.frame(e.iface.MAC, e.iface.Peer.MAC)
	if err == nil {
		_, err = unix.Write(e.fd, frame)
	}
	if err != nil {
		return fmt.Errorf("sending %s from the probe's %s side: %w", s, e.side, err)
	}
	return nil
}

// receive gives what has arrived, without waiting.
func (e *wireEnd) receive() ([]segment, error) {
	var got []segment
	buffer := make([]byte, 2048)
	for {
		n, _, err := unix.Recvfrom(e.fd, buffer, 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return got, nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return got, fmt.Errorf("receiving at the probe's %s side: %w", e.side, err)
		}
		// A copy, because a segment may keep parts of the frame.
		if s, ok := parse(append([]byte(nil), buffer[:n]...)); ok {
			got = append(got, s)
		}
	}
}

// await receives at one side until a segment is the one wanted and gives all that came.
func (e *wireEnd) await(what string, wanted func(segment) bool) (found segment, all []segment, err error) {
	limit := time.Now().Add(answerLimit)
	for {
		got, err := e.receive()
		all = append(all, got...)
		if err != nil {
			return segment{}, all, err
		}
		for _, s := range got {
			if wanted(s) {
				return s, all, nil
			}
		}
		left := time.Until(limit)
		if left <= 0 {
			return segment{}, all, &silence{what: what, side: e.side}
		}
		fds := []unix.PollFd{{Fd: int32(e.fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, int(left/time.Millisecond)+1); err != nil && !errors.Is(err, unix.EINTR) {
			return segment{}, all, fmt.Errorf("waiting at the probe's %s side: %w", e.side, err)
		}
	}
}

// silence reports that a packet which every NAT must let through did not come.
type silence struct{ what, side string }

func (e *silence) Error() string {
	return fmt.Sprintf("%s did not arrive at the %s side within %s", e.what, e.side, answerLimit)
}

// onOneCPU runs f on a thread that stays on one processor. A packet is carried
// through the NAT by the processor that sent it, and each of them keeps its
// packets in order: only so does a marker that arrives prove that nothing sent
// before it is still on the way.
func onOneCPU(f func() error) error {
	runtime.LockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("reading on which processors a thread may run: %w", err)
	}
	var cpu uint32
	if _, _, errno := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0); errno != 0 {
		runtime.UnlockOSThread()
		return fmt.Errorf("reading on which processor a thread runs: %w", errno)
	}
	var one unix.CPUSet
	one.Set(int(cpu))
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("keeping a thread on one processor: %w", err)
	}
	defer func() {
		// A thread that could not be let free again stays locked and ends with its goroutine.
		if unix.SchedSetaffinity(0, &before) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return f()
}

// flow is one probe connection.
type flow struct {
	inside, outside netip.AddrPort
	// mapped is the inside as the outside sees it.
	mapped netip.AddrPort
	// lanNext and wanNext are the next sequence numbers of either side.
	lanNext, wanNext uint32
	// refreshed is an interval in which the last packet passed the NAT.
	refreshed interval
}

// interval is a stretch of time in which something happened.
type interval struct{ from, to time.Time }

func (f *flow) tuple() conntrack.Tuple {
	return conntrack.NewFlow(unix.IPPROTO_TCP, 0, f.inside.Addr(), f.outside.Addr(), f.inside.Port(), f.outside.Port(), 0, 0).TupleOrig
}

// outward is the next packet from the inside, inward the next one from the outside.
func (f *flow) outward(flags tcpFlags, payload string) segment {
	return segment{from: f.inside, to: f.outside, flags: flags, seq: f.lanNext, ack: f.wanNext, payload: payload}
}

func (f *flow) inward(flags tcpFlags, payload string) segment {
	return segment{from: f.outside, to: f.mapped, flags: flags, seq: f.wanNext, ack: f.lanNext, payload: payload}
}

// open makes a connection through the NAT and leaves it established, with data
// sent and acknowledged, so that the timeout for established connections counts.
func (p *prober) open() (*flow, error) {
	p.port++
	f := &flow{
		inside:  netip.AddrPortFrom(p.lan.addr, p.port),
		outside: netip.AddrPortFrom(p.wan.addr, probePort),
		lanNext: uint32(p.port) << 8, wanNext: uint32(p.port) << 12,
	}
	atWAN := func(s segment) bool { return !s.udp && s.to == f.outside && s.seq == f.lanNext }
	atLAN := func(s segment) bool { return !s.udp && s.to == f.inside && s.seq == f.wanNext }

	if err := p.lan.send(segment{from: f.inside, to: f.outside, flags: syn, seq: f.lanNext}); err != nil {
		return nil, err
	}
	got, _, err := p.wan.await("the SYN of a new connection", atWAN)
	if err != nil {
		return nil, err
	}
	f.mapped = got.from
	f.lanNext++
	if err := p.wan.send(f.inward(syn|ack, "")); err != nil {
		return nil, err
	}
	if _, _, err := p.lan.await("the SYN+ACK of a new connection", atLAN); err != nil {
		return nil, err
	}
	f.wanNext++
	if err := p.lan.send(f.outward(ack, "")); err != nil {
		return nil, err
	}
	if _, _, err := p.wan.await("the ACK of a new connection", atWAN); err != nil {
		return nil, err
	}
	const data = "probe"
	if err := p.lan.send(f.outward(psh|ack, data)); err != nil {
		return nil, err
	}
	if _, _, err := p.wan.await("data", func(s segment) bool { return atWAN(s) && s.payload == data }); err != nil {
		return nil, err
	}
	f.lanNext += uint32(len(data))
	f.refreshed.from = time.Now()
	if err := p.wan.send(f.inward(ack, "")); err != nil {
		return nil, err
	}
	if _, _, err := p.lan.await("an ACK", atLAN); err != nil {
		return nil, err
	}
	f.refreshed.to = time.Now()
	return f, nil
}

// sighting is what both sides saw of one packet that was sent into the NAT.
type sighting struct {
	// within is when the packet was at the NAT.
	within interval
	// lan and wan are what arrived there, without the markers.
	lan, wan []segment
}

// fromLAN sends a packet from the LAN side, followed by a marker that goes to the
// WAN side and comes back, and gives what was seen on both sides until then.
func (p *prober) fromLAN(s segment) (sighting, error) {
	saw := sighting{within: interval{from: time.Now()}}
	if err := p.lan.send(s); err != nil {
		return saw, err
	}
	m, err := p.marker(&saw)
	if err != nil {
		return saw, err
	}
	saw.within.to = time.Now()
	return saw, p.markerBack(m, &saw)
}

// fromWAN does the same from the WAN side. The marker's way in is opened first.
func (p *prober) fromWAN(s segment) (sighting, error) {
	var saw sighting
	m, err := p.marker(&saw)
	if err != nil {
		return saw, err
	}
	saw.within.from = time.Now()
	if err := p.wan.send(s); err != nil {
		return saw, err
	}
	if err := p.markerBack(m, &saw); err != nil {
		return saw, err
	}
	saw.within.to = time.Now()
	// Once more out, behind any answer of the NAT to the WAN side.
	_, err = p.marker(&saw)
	return saw, err
}

// marker sends a datagram from the LAN side, which every NAT lets through, and
// waits for it at the WAN side. It gives the datagram as it arrived.
func (p *prober) marker(saw *sighting) (segment, error) {
	p.port++
	p.markers++
	out := segment{
		udp:     true,
		from:    netip.AddrPortFrom(p.lan.addr, p.port),
		to:      netip.AddrPortFrom(p.wan.addr, probePort),
		payload: "marker " + strconv.Itoa(p.markers),
	}
	if err := p.lan.send(out); err != nil {
		return segment{}, err
	}
	got, all, err := p.wan.await("a new datagram", func(s segment) bool { return s.udp && s.payload == out.payload })
	saw.wan = append(saw.wan, withoutMarkers(all)...)
	return got, err
}

// markerBack answers a marker from the WAN side and waits at the LAN side.
func (p *prober) markerBack(m segment, saw *sighting) error {
	back := segment{udp: true, from: m.to, to: m.from, payload: m.payload + " back"}
	if err := p.wan.send(back); err != nil {
		return err
	}
	_, all, err := p.lan.await("the answer to a datagram", func(s segment) bool { return s.udp && s.payload == back.payload })
	saw.lan = append(saw.lan, withoutMarkers(all)...)
	if err != nil {
		return err
	}
	// The LAN side's answers of the NAT came before the marker; the WAN side may
	// have got one since it was last read.
	late, err := p.wan.receive()
	saw.wan = append(saw.wan, withoutMarkers(late)...)
	return err
}

func withoutMarkers(all []segment) []segment {
	var rest []segment
	for _, s := range all {
		if !s.udp {
			rest = append(rest, s)
		}
	}
	return rest
}
