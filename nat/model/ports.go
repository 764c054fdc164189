package model

import (
	"net/netip"
	"slices"

	"outlive/nat"
)

// The ranges that port allocation keeps apart (RFC 4787 REQ-3: a well-known port
// becomes a well-known port).
const (
	firstPort     = 1
	lastWellKnown = 1023
	lastPort      = 65535
)

// allocate gives the outside endpoints that an inside one may get towards a remote
// one. It is not ok if the NAT has none for it.
func (n *NAT) allocate(at Window, protocol Protocol, inside, remote netip.AddrPort) (c Choice, ok bool) {
	if n.b.overloads {
		return n.overload(at, protocol, inside, remote), true
	}
	var taken []netip.AddrPort
	paired := netip.Addr{}
	for _, each := range []Protocol{TCP, UDP} {
		n.each(at, each, func(e inner) {
			if each == protocol {
				taken = append(taken, e.outside)
			}
			if e.inside.Addr() == inside.Addr() {
				paired = e.outside.Addr()
			}
		})
	}
	addrs := n.b.Place.Pool
	if n.b.Profile.Pool.Paired && paired.IsValid() {
		addrs = []netip.Addr{paired}
	}
	first, last, ok := n.b.portsFor(inside.Addr())
	if !ok {
		return Choice{}, false
	}
	addr := addrs[n.tape.choose(len(addrs))]
	kept := netip.AddrPortFrom(addr, inside.Port())
	anyPort := n.b.Ports.Range == (nat.PortRange{}) && n.b.Ports.Block == 0
	if n.b.Ports.Allocation == nat.PortPreserve && (anyPort || first <= kept.Port() && kept.Port() <= last) && !slices.Contains(taken, kept) {
		return only(kept), true
	}
	taken = slices.DeleteFunc(taken, func(e netip.AddrPort) bool { return e.Addr() != addr || e.Port() < first || e.Port() > last })
	slices.SortFunc(taken, netip.AddrPort.Compare)
	taken = slices.Compact(taken)
	if len(taken) > int(last-first) {
		return Choice{}, false
	}
	return Choice{Addrs: []netip.Addr{addr}, First: first, Last: last, Not: taken}, true
}

// portsFor gives the ports that an inside address may have. It is not ok if there
// is no block for it (RFC 6888, RFC 7422).
func (b *behaviour) portsFor(inside netip.Addr) (first, last uint16, ok bool) {
	first, last = lastWellKnown+1, lastPort
	if b.Ports.Range != (nat.PortRange{}) {
		first, last = b.Ports.Range.First, b.Ports.Range.Last
	}
	if b.Ports.Block == 0 {
		return first, last, true
	}
	k := slices.Index(b.Inside, inside)
	begin := int(first) + k*b.Ports.Block
	if k < 0 || begin+b.Ports.Block-1 > int(last) {
		return 0, 0, false
	}
	return uint16(begin), uint16(begin + b.Ports.Block - 1), true
}

// overload gives the endpoints where a port may serve several inside endpoints.
//
// The port is kept if nobody uses it towards the same remote endpoint; else any
// other may be taken. An inside endpoint that has a mapping towards another remote
// endpoint keeps its port, if that is free (RFC 4787 REQ-1 as far as it goes).
func (n *NAT) overload(at Window, protocol Protocol, inside, remote netip.AddrPort) Choice {
	var taken, options []netip.AddrPort
	n.each(at, protocol, func(e inner) {
		if e.remote == remote {
			taken = append(taken, e.outside)
		}
		if e.inside == inside {
			options = append(options, e.outside)
		}
	})
	free := Choice{Addrs: n.b.Place.Pool, First: lastWellKnown + 1, Last: lastPort, Not: taken}
	if inside.Port() <= lastWellKnown {
		free.First, free.Last = firstPort, lastWellKnown
	}
	if n.b.Ports.Allocation == nat.PortRandom {
		return free
	}
	kept := netip.AddrPortFrom(n.b.Place.Pool[0], inside.Port())
	if len(options) == 0 {
		options = append(options, kept)
	}
	for _, f := range n.former {
		// The NAT may not have noticed that a mapping has run out.
		if f.protocol == protocol && f.inside == inside {
			options = append(options, f.outside)
		}
	}
	slices.SortFunc(options, netip.AddrPort.Compare)
	options = slices.Compact(options)
	first := options[n.tape.choose(len(options))]
	for _, e := range []netip.AddrPort{first, kept} {
		if !slices.Contains(taken, e) {
			return only(e)
		}
	}
	return free
}
