package model

import "net/netip"

// entry is something that a NAT remembers beside the state of sessions, for as long
// as its timer runs. Each has one timer (RFC 4787 REQ-5), which every packet restarts
// that refreshes, with the idle timeout of that packet's session.
type entry struct {
	kind     entryKind
	protocol Protocol
	inner
	timer timer
	seen  Window
	gone  bool
}

// entryKind is what an entry is for.
type entryKind uint8

const (
	// mapped gives an inside endpoint its outside one, towards remote as far as the
	// mapping behaviour looks at it (RFC 4787 §4.1).
	mapped entryKind = iota
	// owned gives an outside endpoint back its inside one.
	owned
	// admitted lets remote send to an outside endpoint, as far as the filtering
	// behaviour looks at it (RFC 4787 §5).
	admitted
	entryKinds
)

// matches says whether two entries of a kind are the same one.
func (b *behaviour) matches(kind entryKind, x, y inner) bool {
	switch kind {
	case mapped:
		return x.inside == y.inside && same(b.Mapping, x.remote, y.remote)
	case owned:
		return x.outside == y.outside
	}
	return x.outside == y.outside && same(b.Filtering, x.remote, y.remote)
}

// known says whether the NAT still knows the state of a session.
func (n *NAT) known(at Window, s *session) bool {
	if s.gone || s.seen == at {
		return !s.gone
	}
	if n.tape.is(s.timer.ran(at)) {
		n.forget(s)
		return false
	}
	s.timer.still(at)
	s.seen = at
	return true
}

// alive says whether an entry's timer is running.
func (n *NAT) alive(at Window, e *entry) bool {
	if e.gone || e.seen == at {
		return !e.gone
	}
	if n.tape.is(e.timer.ran(at)) {
		e.gone = true
		return false
	}
	e.timer.still(at)
	e.seen = at
	return true
}

// forget ends what the NAT knows of a session.
func (n *NAT) forget(s *session) {
	s.gone = true
	if n.b.overloads {
		n.former = append(n.former, former{s.protocol, s.ends[0].inside, s.ends[0].outside})
	}
}

// lookup finds the entry of a kind that is the same as the one described.
func (n *NAT) lookup(at Window, kind entryKind, protocol Protocol, like inner) *entry {
	for _, e := range n.entries {
		if e.kind == kind && e.protocol == protocol && n.b.matches(kind, e.inner, like) && n.alive(at, e) {
			return e
		}
	}
	return nil
}

// each calls f for every mapping.
func (n *NAT) each(at Window, protocol Protocol, f func(inner)) {
	if n.b.overloads {
		// There a mapping is the session that it was made for.
		for _, s := range n.sessions {
			if s.protocol == protocol && n.known(at, s) {
				f(s.ends[0])
			}
		}
		return
	}
	for _, e := range n.entries {
		if e.kind == owned && e.protocol == protocol && n.alive(at, e) {
			f(e.inner)
		}
	}
}

// mapping gives the outside endpoint that an inside one has towards a remote one.
func (n *NAT) mapping(at Window, protocol Protocol, inside, remote netip.AddrPort) (netip.AddrPort, bool) {
	if e := n.lookup(at, mapped, protocol, inner{inside: inside, remote: remote}); e != nil {
		return e.outside, true
	}
	return netip.AddrPort{}, false
}

// owner gives the inside endpoint that an outside one belongs to.
func (n *NAT) owner(at Window, protocol Protocol, outside netip.AddrPort) (netip.AddrPort, bool) {
	if e := n.lookup(at, owned, protocol, inner{outside: outside}); e != nil {
		return e.inside, true
	}
	return netip.AddrPort{}, false
}

// admits is the filter: whether a remote endpoint may send to an outside one, as
// somebody inside has sent to it from there.
func (n *NAT) admits(at Window, protocol Protocol, outside, remote netip.AddrPort) bool {
	return same(n.b.Filtering, netip.AddrPort{}, netip.AddrPortFrom(remote.Addr(), 1)) ||
		n.lookup(at, admitted, protocol, inner{outside: outside, remote: remote}) != nil
}
