package model

import (
	"net/netip"
	"slices"

	"outlive/nat"
)

// Place is where a NAT is.
type Place struct {
	// Pool are its outside addresses, at least one.
	Pool []netip.Addr
	// Inside are the inside addresses in their order, for blocks of ports.
	Inside []netip.Addr
}

// behaviour is a profile in the form in which the model asks it.
type behaviour struct {
	nat.Profile
	Place
	timeouts timeouts
	// overloads says that one outside port may serve several inside endpoints, towards
	// different remote ones. RFC 4787 REQ-3 forbids it; conntrack's own translation does it.
	overloads bool
}

func behaviourOf(p nat.Profile, place Place) *behaviour {
	p = p.Complete()
	return &behaviour{Profile: p, Place: place, timeouts: timeoutsOf(p.Timeouts), overloads: p.Backend() == nat.BackendIPTables}
}

// takesUp says that a connection may be taken up in the middle.
func (b *behaviour) takesUp() bool { return b.Late.LAN == nat.LANRevive || b.Late.LAN == nat.LANRemap }

// outsideAddr says whether an address is one of the NAT's outside ones.
func (b *behaviour) outsideAddr(a netip.Addr) bool { return slices.Contains(b.Place.Pool, a) }

// same says whether two remote endpoints are the same to a behaviour (RFC 4787 §4.1, §5).
func same(b nat.Behaviour, x, y netip.AddrPort) bool {
	switch b {
	case nat.AddressDependent:
		return x.Addr() == y.Addr()
	case nat.AddressAndPortDependent:
		return x == y
	}
	return true
}
