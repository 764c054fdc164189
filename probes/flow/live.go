package flow

import (
	"bytes"
	"net/netip"
	"time"
)

// LiveEvent is something that a device's connection did, as it showed at the
// device's interface.
type LiveEvent struct {
	Device string
	// Name is "syn", "established", "fin", "rst", or the protocol's word for a
	// message that left or arrived whole, in lower case: "connack", "suback",
	// "pingreq", "publish", "welcome", "push" … EventNames has those of a protocol.
	Name string
	// At is the time of the packet.
	At time.Time
}

// Live tells what the protocol does while packets are still being captured, so
// that other things can happen after it. It is no evidence: what is judged is
// found by Analyze afterwards.
//
// It is not safe for concurrent use. It never waits, keeps nothing of a connection that has
// ended, and needs less than two microseconds for a packet.
type Live struct {
	protocol string
	emit     func(LiveEvent)
	take     *extractor
	conns    map[liveKey]*liveConn
}

type liveKey struct {
	device string
	client netip.AddrPort
}

type liveConn struct {
	isn     uint32
	ends    [2]liveEnd
	decoder decoder
	broken  bool
	// synAcked and established follow the handshake.
	synAcked, established bool
}

type liveEnd struct {
	seq   sequence
	bytes stream
	fin   bool
}

// NewLive makes a Live for connections with a server, which has an IPv4 and an IPv6
// address, or one of them; the other is invalid. The protocol is "line" or
// "mqtt", or anything else where only TCP is looked at. emit is called
// from within Frame and must not wait.
func NewLive(protocol string, server, server6 netip.AddrPort, emit func(LiveEvent)) *Live {
	return &Live{protocol: protocol, emit: emit, take: newExtractor(server, server6), conns: map[liveKey]*liveConn{}}
}

// Frame takes in the next frame at a device's interface, from its Ethernet header
// on; out says that it left there. It does not keep data.
func (l *Live) Frame(device string, at time.Time, out bool, data []byte) {
	s, ok := l.take.segment(data)
	if !ok || out != (s.d == toServer) {
		return
	}
	key := liveKey{device, s.client}
	tell := func(name string) { l.emit(LiveEvent{Device: device, Name: name, At: at}) }
	t := &l.take.tcp
	c := l.conns[key]
	switch {
	case s.d == toServer && t.SYN && !t.ACK:
		if c == nil || c.isn != t.Seq {
			l.conns[key] = &liveConn{isn: t.Seq, decoder: newDecoder(l.protocol)}
			l.conns[key].ends[toServer].seq.start(t.Seq)
			tell("syn")
		}
		return
	case c == nil:
		return
	case t.RST:
		delete(l.conns, key)
		tell("rst")
		return
	}
	e := &c.ends[s.d]
	if t.SYN {
		if !c.established {
			e.seq.start(t.Seq)
			c.synAcked = true
		}
		return
	}
	if !c.established && s.d == toServer && c.synAcked {
		c.established = true
		tell("established")
	}
	if !e.seq.known {
		return
	}
	p := piece{off: e.seq.offset(t.Seq), length: int64(len(t.Payload)), bytes: t.Payload}
	if p.off > e.bytes.end {
		p.bytes = bytes.Clone(p.bytes)
	}
	e.bytes.read = func(b []byte) {
		if !c.broken {
			c.broken = c.decoder.decode(s.d, b, func(m message) { tell(m.name) }) != nil
		}
	}
	e.bytes.put(p, 0, 0)
	e.seq.saw(p.off + p.length)
	e.bytes.grown = e.bytes.grown[:0]
	if t.FIN && !e.fin {
		e.fin = true
		tell("fin")
		if c.ends[s.d.back()].fin {
			delete(l.conns, key)
		}
	}
}
