package nat

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"
)

// flow is one probe connection.
type flow struct {
	udp             bool
	inside, outside netip.AddrPort
	// mapped is the inside as the outside sees it.
	mapped netip.AddrPort
	// lanNext and wanNext are the next sequence numbers of either side.
	lanNext, wanNext uint32
	// refreshed is an interval in which the last packet passed the NAT, and nudged, if
	// it is set, one in which another did of which it is asked whether it refreshes.
	refreshed, nudged interval
}

// interval is a stretch of time in which something happened.
type interval struct{ from, to time.Time }

func (f *flow) tuple() conntrack.Tuple {
	protocol := uint8(unix.IPPROTO_TCP)
	if f.udp {
		protocol = unix.IPPROTO_UDP
	}
	return conntrack.NewFlow(protocol, 0, f.inside.Addr(), f.outside.Addr(), f.inside.Port(), f.outside.Port(), 0, 0).TupleOrig
}

// outward is the next packet from the inside, inward the next one from the outside.
func (f *flow) outward(flags tcpFlags, payload string) segment {
	return segment{udp: f.udp, from: f.inside, to: f.outside, flags: flags, seq: f.lanNext, ack: f.wanNext, payload: payload}
}

func (f *flow) inward(flags tcpFlags, payload string) segment {
	return segment{udp: f.udp, from: f.outside, to: f.mapped, flags: flags, seq: f.wanNext, ack: f.lanNext, payload: payload}
}

// openFor makes a flow of the protocol that a probe needs.
func (p *prober) openFor(a aim) (*flow, error) {
	if a.udp() {
		return p.openUDP()
	}
	return p.open()
}

// openUDP makes a flow of one datagram out and one in.
func (p *prober) openUDP() (*flow, error) {
	f := &flow{udp: true, inside: p.endpoint(1), outside: netip.AddrPortFrom(p.wan.addr, probePort)}
	out := f.outward(0, "probe "+strconv.Itoa(int(f.inside.Port())))
	f.refreshed.from = time.Now()
	if err := p.lan.send(out); err != nil {
		return nil, err
	}
	got, _, err := p.wan.await("the first datagram of a new flow", out.same)
	if err != nil {
		return nil, err
	}
	f.mapped = got.from
	back := f.inward(0, out.payload+" back")
	if err := p.wan.send(back); err != nil {
		return nil, err
	}
	if _, _, err := p.lan.await("the answer to the first datagram of a new flow", back.same); err != nil {
		return nil, err
	}
	f.refreshed.to = time.Now()
	return f, nil
}

// open makes a connection through the NAT and leaves it established, with data
// sent and acknowledged, so that the timeout for established connections counts.
func (p *prober) open() (*flow, error) {
	f := &flow{
		inside:  p.endpoint(1),
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
	// From here on, because it is the last packet that refreshes by every rule.
	f.refreshed.from = time.Now()
	if err := p.lan.send(f.outward(psh|ack, data)); err != nil {
		return nil, err
	}
	if _, _, err := p.wan.await("data", func(s segment) bool { return atWAN(s) && s.payload == data }); err != nil {
		return nil, err
	}
	f.lanNext += uint32(len(data))
	if err := p.wan.send(f.inward(ack, "")); err != nil {
		return nil, err
	}
	if _, _, err := p.lan.await("an ACK", atLAN); err != nil {
		return nil, err
	}
	f.refreshed.to = time.Now()
	return f, nil
}
