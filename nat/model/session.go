package model

import (
	"net/netip"
	"time"
)

// session is what passes between an inside endpoint and a remote one, by one protocol.
type session struct {
	protocol Protocol
	// ends are the inside endpoints of it with their mappings: one, or two where the
	// session is hairpinned. The first is the one that began a hairpinned session.
	ends []inner
	// begun is the side that the first packet came from.
	begun Side
	// timer is how long the NAT knows the state of the session.
	timer timer
	// seen is when it was last found to be running, and gone says that it is not.
	seen Window
	gone bool
	tcp  tcp
	udp  udp
}

// inner is one inside endpoint in a session: inside is mapped to outside towards
// remote. outside is not valid until it is known what the NAT chose.
type inner struct{ inside, outside, remote netip.AddrPort }

// udp is what the NAT knows of a session of datagrams.
type udp struct {
	replied bool
	since   Window
}

// streamAge is how old a session of datagrams must be to have the timeout of a stream
// if it goes both ways (Linux; the documents say only "a stream").
const streamAge = 2 * time.Second

// hairpinned says that both ends are inside.
func (s *session) hairpinned() bool { return len(s.ends) == 2 }

// match says whether a packet is of the session, and which way it goes.
func (s *session) match(side Side, p Packet) (w way, ok bool) {
	if s.protocol != p.Protocol {
		return 0, false
	}
	first := s.ends[0]
	switch {
	case s.hairpinned():
		for w, e := range s.ends {
			if side == LAN && p.From == e.inside && p.To == e.remote {
				return way(w), true
			}
		}
		return 0, false
	case side == LAN && p.From == first.inside && p.To == first.remote, side == WAN && p.From == first.remote && p.To == first.outside:
		if side == s.begun {
			return forth, true
		}
		return back, true
	}
	return 0, false
}

// forwarded is what becomes of a packet of the session that passes.
func (s *session) forwarded(side Side, w way) Outcome {
	o := Outcome{Verdict: Forward}
	switch {
	case s.hairpinned():
		o.Side, o.From, o.To = LAN, only(s.ends[w].outside), s.ends[w.other()].inside
	case side == LAN:
		o.Side, o.From, o.To = WAN, only(s.ends[0].outside), s.ends[0].remote
	default:
		o.Side, o.From, o.To = LAN, only(s.ends[0].remote), s.ends[0].inside
	}
	return o
}

// sender gives the number of the end that sent a packet, if that is inside.
func (s *session) sender(side Side, w way) (end int, ok bool) {
	switch {
	case s.hairpinned():
		return int(w), true
	case side == LAN:
		return 0, true
	}
	return 0, false
}

// take takes in a packet of the session: what it does, and the idle timeout that it begins.
func (s *session) take(at Window, w way, p Packet, b *behaviour, t *tape) (effect, time.Duration) {
	if s.protocol == TCP {
		return s.tcp.packet(w, p, b.timeouts)
	}
	return refreshes, s.udp.packet(at, w, b.timeouts, t)
}

func (u *udp) packet(at Window, w way, timeouts timeouts, t *tape) time.Duration {
	replied := u.replied
	if w == back {
		u.replied = true
	}
	if !replied {
		return timeouts.udp
	}
	// More than the age, not as much.
	young := timer{since: u.since, idle: streamAge + 1}
	if t.is(young.ran(at)) {
		return timeouts.udpStream
	}
	return timeouts.udp
}
