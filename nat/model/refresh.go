package model

import (
	"slices"
	"time"

	"outlive/nat"
)

// refreshes says whether a packet restarts the idle timer of an inside endpoint's
// mapping (RFC 4787 REQ-6). outbound says that this endpoint sent it.
func (b *behaviour) refreshes(outbound bool, p Packet) bool {
	if b.Refresh.Direction == nat.RefreshOutbound && !outbound {
		return false
	}
	bare := p.Protocol == TCP && p.Length == 0 && p.Flags&(SYN|FIN|RST) == 0
	return !bare || !b.Refresh.IgnoreACK
}

// makes says whether the first packet of a session makes a mapping or refreshes one:
// the first always does from inside, even if it is a bare ACK.
func (b *behaviour) makes(outbound bool) bool {
	return outbound || b.Refresh.Direction != nat.RefreshOutbound
}

// begun starts the timers of a session that a packet has begun.
func (n *NAT) begun(at Window, s *session, idle time.Duration) {
	s.timer = timer{at, idle}
	if n.b.overloads {
		return
	}
	for i, end := range s.ends {
		if n.b.makes(s.begun == LAN && i == 0) {
			for kind := range entryKinds {
				n.start(at, kind, s.protocol, end, s.timer)
			}
		}
	}
}

// refresh restarts the timers after a packet of a session, as far as the profile says that it does.
func (n *NAT) refresh(at Window, s *session, side Side, w way, p Packet, idle time.Duration) {
	s.timer = timer{at, idle}
	n.keep(at, s, side, w, p, s.timer)
}

// blur is by how much a mapping may outlive its idle timeout after a packet that was
// let pass but did not begin a timeout anew, such as a SYN that is repeated: a NAT may
// take such a packet for one that refreshes, or not.
const blur = 500 * time.Millisecond

// mayRefresh is for a packet that was let pass but did not begin a timeout anew.
func (n *NAT) mayRefresh(at Window, s *session, side Side, w way, p Packet) {
	if n.b.overloads {
		return
	}
	longest := s.timer
	longest.since.To += blur
	type other struct {
		entryKind
		inner
	}
	var others []other
	n.refreshed(s, side, w, p, func(kind entryKind, i inner) {
		e := n.lookup(at, kind, s.protocol, i)
		if e == nil || e.timer.idle != longest.idle || e.inner != i {
			others = append(others, other{kind, i})
			return
		}
		e.timer.since.From = min(e.timer.since.From, longest.since.From)
		e.timer.since.To = max(e.timer.since.To, longest.since.To)
	})
	if len(others) > 0 && n.tape.choose(2) == 1 {
		for _, o := range others {
			n.start(at, o.entryKind, s.protocol, o.inner, longest)
		}
	}
}

// keep starts the timer of each entry that a packet refreshes.
func (n *NAT) keep(at Window, s *session, side Side, w way, p Packet, t timer) {
	if n.b.overloads {
		return
	}
	n.refreshed(s, side, w, p, func(kind entryKind, i inner) { n.start(at, kind, s.protocol, i, t) })
}

// refreshed calls f for each entry that a packet of a session refreshes.
func (n *NAT) refreshed(s *session, side Side, w way, p Packet, f func(entryKind, inner)) {
	from, inside := s.sender(side, w)
	for i, end := range s.ends {
		if n.b.refreshes(inside && from == i, p) {
			for kind := range entryKinds {
				f(kind, end)
			}
		}
	}
}

// start starts the timer of an entry, which is made if there is none.
func (n *NAT) start(at Window, kind entryKind, protocol Protocol, i inner, t timer) {
	n.entries = slices.DeleteFunc(n.entries, func(e *entry) bool {
		return e.kind == kind && e.protocol == protocol && n.b.matches(kind, e.inner, i)
	})
	n.entries = append(n.entries, &entry{kind: kind, protocol: protocol, inner: i, timer: t, seen: at})
}
