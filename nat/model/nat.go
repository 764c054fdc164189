package model

import (
	"net/netip"
	"slices"

	"outlive/nat"
)

// NAT is a NAT between two packets. It does not change: Packet gives new ones. The
// zero value is not useful.
type NAT struct {
	b        *behaviour
	sessions []*session
	entries  []*entry
	// former are mappings that have run out.
	former []former
	// choosing is the session whose outside endpoint the NAT has yet to choose.
	choosing *session
	tape     *tape
}

// former is a mapping that has run out.
type former struct {
	protocol        Protocol
	inside, outside netip.AddrPort
}

// New gives a NAT without any mapping.
func New(p nat.Profile, place Place) *NAT { return &NAT{b: behaviourOf(p, place)} }

// Packet says what happens to a packet that arrives at one side of the NAT. Times
// are since any instant, the same for all packets, and packets come in their order.
// There is one branch where the time is known exactly and the NAT has no choice
// between several outside addresses.
func (n *NAT) Packet(at Window, side Side, p Packet) []Branch {
	var all []Branch
	for t := new(tape); ; {
		next := n.clone()
		next.tape = t
		outcome := next.step(at, side, p)
		next.tape = nil
		all = append(all, Branch{outcome, next})
		if !t.next() {
			return all
		}
	}
}

// clone copies the NAT without what is forgotten.
func (n *NAT) clone() *NAT {
	c := &NAT{b: n.b, former: slices.Clone(n.former)}
	for _, s := range n.sessions {
		if !s.gone {
			copied := *s
			copied.ends = slices.Clone(s.ends)
			c.sessions = append(c.sessions, &copied)
			if s == n.choosing {
				c.choosing = &copied
			}
		}
	}
	for _, e := range n.entries {
		if !e.gone {
			copied := *e
			c.entries = append(c.entries, &copied)
		}
	}
	return c
}

// choose takes in what the NAT chose.
func (n *NAT) choose(outside netip.AddrPort) {
	fill := func(i *inner) {
		if !i.outside.IsValid() {
			i.outside = outside
		}
		if !i.remote.IsValid() {
			i.remote = outside
		}
	}
	for i := range n.choosing.ends {
		fill(&n.choosing.ends[i])
	}
	for _, e := range n.entries {
		fill(&e.inner)
	}
	n.choosing = nil
}

func (n *NAT) step(at Window, side Side, p Packet) Outcome {
	if side == WAN && !n.b.outsideAddr(p.To.Addr()) {
		return Outcome{Why: "it is not addressed to the NAT"}
	}
	if late, why := n.gate(at, side, p); late {
		return n.late(side, p, why)
	}
	if s, w := n.find(at, side, p); s != nil {
		does, idle := s.take(at, w, p, n.b, n.tape)
		switch does {
		case refreshes:
			n.refresh(at, s, side, w, p, idle)
			return s.forwarded(side, w)
		case passes:
			n.mayRefresh(at, s, side, w, p)
			return s.forwarded(side, w)
		case ends:
			n.mayRefresh(at, s, side, w, p)
			n.forget(s)
			return s.forwarded(side, w)
		case foreign:
			return n.late(side, p, "it does not fit the connection's state "+s.tcp.state.String())
		case reopens:
			n.forget(s)
		}
	}
	if side == WAN {
		return n.inbound(at, p)
	}
	return n.outbound(at, p)
}

// gate says whether a packet is late because its mapping has run out, although the
// state of its connection is still known. It is so only where not every packet
// refreshes.
func (n *NAT) gate(at Window, side Side, p Packet) (late bool, why string) {
	if !n.b.Gated() {
		return false, ""
	}
	if side == WAN {
		if _, ok := n.owner(at, p.Protocol, p.To); !ok {
			return true, "there is no such mapping"
		}
		return !n.admits(at, p.Protocol, p.To, p.From), "the filter does not let it in"
	}
	if p.Protocol == UDP || p.segment() == segSYN || n.b.Late.LAN == nat.LANRevive {
		return false, ""
	}
	_, ok := n.mapping(at, p.Protocol, p.From, p.To)
	return !ok, "its mapping has run out"
}

// find gives the session that a packet belongs to, and its way.
func (n *NAT) find(at Window, side Side, p Packet) (*session, way) {
	for _, s := range n.sessions {
		if w, ok := s.match(side, p); ok && n.known(at, s) {
			return s, w
		}
	}
	return nil, 0
}

// begins says whether a packet may begin a session.
func (n *NAT) begins(p Packet) bool {
	switch {
	case p.Protocol == UDP:
		return true
	case !p.wellFormed():
		return false
	case p.segment() == segACK:
		return n.b.takesUp()
	}
	return p.segment() == segSYN
}

// outbound is for a packet from the LAN side of no session that the NAT knows.
func (n *NAT) outbound(at Window, p Packet) Outcome {
	toSelf := n.b.outsideAddr(p.To.Addr())
	var target netip.AddrPort
	if toSelf {
		if !n.b.Hairpin {
			return Outcome{Verdict: Keep, Why: "it is addressed to the NAT"}
		}
		var ok bool
		if target, ok = n.owner(at, p.Protocol, p.To); !ok {
			return Outcome{Why: "nobody inside has this outside endpoint"}
		}
	}
	if !n.begins(p) {
		return n.late(LAN, p, "no connection is known")
	}
	if why, full := n.full(at, p.From.Addr()); full {
		return Outcome{Why: why}
	}
	s := &session{protocol: p.Protocol, begun: LAN, ends: []inner{{inside: p.From, remote: p.To}}}
	s.udp.since = at
	var from Choice
	if outside, ok := n.mapping(at, p.Protocol, p.From, p.To); ok && !n.b.overloads {
		from = only(outside)
	} else {
		if from, ok = n.allocate(at, p.Protocol, p.From, p.To); !ok {
			return Outcome{Why: "there is no port for it"}
		}
	}
	outside, chosen := from.one()
	if n.held(at, p, from) {
		return Outcome{Verdict: Unsaid, Why: "the state of a connection whose mapping has run out is still known under the same port"}
	}
	s.ends[0].outside = outside
	_, idle := s.take(at, forth, p, n.b, n.tape)
	n.sessions = append(n.sessions, s)
	if !chosen {
		n.choosing = s
	}
	before := slices.Clone(n.entries)
	n.begun(at, s, idle)
	if toSelf {
		// It went out, whether it comes back in or not.
		if !n.admitsHairpin(at, s, p.To, from) {
			if s.gone = true; !chosen {
				// Nobody has seen what was chosen.
				n.entries, n.choosing = before, nil
			}
			return Outcome{Why: "the filter does not let it in"}
		}
		s.ends = append(s.ends, inner{target, p.To, outside})
		n.begun(at, s, idle)
	}
	o := s.forwarded(LAN, forth)
	o.From = from
	return o
}

// held says that the state of a connection between the same remote endpoint and
// another inside one is still known, under an outside endpoint that is free again. It
// can only be so where not every packet refreshes, and the RFCs do not provide for it.
func (n *NAT) held(at Window, p Packet, from Choice) bool {
	for _, s := range n.sessions {
		e := s.ends[0]
		if n.b.Gated() && s.protocol == p.Protocol && e.remote == p.To && e.inside != p.From && from.Allows(e.outside) && n.known(at, s) {
			return true
		}
	}
	return false
}

// admitsHairpin is the filter for a packet that comes from inside and goes back
// there: it is judged by its outside source.
func (n *NAT) admitsHairpin(at Window, s *session, to netip.AddrPort, from Choice) bool {
	for _, addr := range from.Addrs {
		if !n.admits(at, s.protocol, to, netip.AddrPortFrom(addr, from.First)) {
			return false
		}
	}
	return true
}

// inbound is for a packet from the WAN side of no session that the NAT knows.
func (n *NAT) inbound(at Window, p Packet) Outcome {
	inside, ok := n.owner(at, p.Protocol, p.To)
	switch {
	case !ok:
		return n.late(WAN, p, "there is no such mapping")
	case !n.admits(at, p.Protocol, p.To, p.From):
		return n.late(WAN, p, "the filter does not let it in")
	case !n.begins(p):
		return n.late(WAN, p, "no connection is known")
	}
	for _, other := range n.sessions {
		if other.protocol == p.Protocol && !other.hairpinned() && other.ends[0].inside == inside && other.ends[0].remote == p.From && n.known(at, other) {
			// Its answers could go by either.
			return Outcome{Verdict: Unsaid, Why: "the two speak by another outside endpoint already"}
		}
	}
	s := &session{protocol: p.Protocol, begun: WAN, ends: []inner{{inside, p.To, p.From}}}
	s.udp.since = at
	_, idle := s.take(at, forth, p, n.b, n.tape)
	n.begun(at, s, idle)
	n.sessions = append(n.sessions, s)
	return s.forwarded(WAN, forth)
}
