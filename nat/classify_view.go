package nat

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"outlive/lab"
)

// view is what the packets of one classification have shown of one protocol.
type view struct {
	// mapped are the outside endpoints that one inside endpoint got towards two
	// addresses of the far side and two ports of each (RFC 5780 §4.3).
	mapped [2][2]netip.AddrPort
	// answered says from which of those far endpoints a packet came in to an inside
	// endpoint that had spoken to the first one only (RFC 5780 §4.4).
	answered [2][2]bool
	// given are new flows of one inside host, in the order in which they were made.
	given []given
	// others are outside endpoints of which only the port matters.
	others []netip.AddrPort
	// block are the outside endpoints of one inside host that made many flows, more than
	// the fill that it can have, if that is not zero. beside is one of another host.
	block  []netip.AddrPort
	fill   int
	beside netip.AddrPort
	// hairpinned says that a packet of one inside host to the outside endpoint of another
	// one arrived there, and unmasked that it came from an inside address.
	hairpinned, unmasked bool
	// perHost are the outside addresses of several inside hosts, each with those of its flows.
	perHost [][]netip.Addr
}

// given is an inside endpoint and the outside endpoint that it got.
type given struct{ inside, outside netip.AddrPort }

// mapping says what the outside endpoint depends on. It is false where it depends on
// something that RFC 4787 has no word for.
func (v *view) mapping() (Behaviour, bool) {
	m := v.mapped
	byPort := m[0][0] != m[0][1] && m[1][0] != m[1][1]
	byAddress := m[0][0] != m[1][0] && m[0][1] != m[1][1] && m[0][0] != m[1][1] && m[0][1] != m[1][0]
	switch {
	case m[0][0] == m[0][1] && m[0][0] == m[1][0] && m[0][0] == m[1][1]:
		return EndpointIndependent, true
	case m[0][0] == m[0][1] && m[1][0] == m[1][1] && byAddress:
		return AddressDependent, true
	case byPort && byAddress:
		return AddressAndPortDependent, true
	}
	return "", false
}

// filtering says who may send to an outside endpoint. It is false where even the far
// endpoint that was spoken to may not, or where RFC 4787 has no word for it.
func (v *view) filtering() (Behaviour, bool) {
	switch v.answered {
	case [2][2]bool{{true, true}, {true, true}}:
		return EndpointIndependent, true
	case [2][2]bool{{true, true}, {false, false}}:
		return AddressDependent, true
	case [2][2]bool{{true, false}, {false, false}}:
		return AddressAndPortDependent, true
	}
	return "", false
}

// allocation says how the outside ports of new flows are chosen.
func (v *view) allocation() (PortAllocation, bool) {
	kept, next := 0, 0
	for i, g := range v.given {
		if g.outside.Port() == g.inside.Port() {
			kept++
		}
		if i > 0 && g.outside.Port() == v.given[i-1].outside.Port()+1 {
			next++
		}
	}
	switch n := len(v.given); {
	case n > 0 && kept == n:
		return PortPreserve, true
	case kept > 1 || n < 2 || next == n-1:
		return "", false
	}
	return PortRandom, true
}

// addresses are the different outside addresses of all flows.
func (v *view) addresses() []netip.Addr {
	var all []netip.Addr
	for _, g := range v.given {
		all = append(all, g.outside.Addr())
	}
	all = append(all, slices.Concat(v.perHost...)...)
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// paired says that no inside host had more than one outside address.
func (v *view) paired() bool {
	return !slices.ContainsFunc(v.perHost, func(flows []netip.Addr) bool {
		return slices.ContainsFunc(flows, func(a netip.Addr) bool { return a != flows[0] })
	})
}

// whoAnswered says in words which of the four far endpoints were let in.
func (v *view) whoAnswered() string {
	var from []string
	for i, name := range []string{"the endpoint spoken to", "another port of its address", "its port of another address", "another port of another address"} {
		if v.answered[i/2][i%2] {
			from = append(from, name)
		}
	}
	if len(from) == 0 {
		return "nobody, not even the endpoint spoken to"
	}
	return strings.Join(from, ", ")
}

// blockOf gives the block that a port is in.
func blockOf(p Ports, port uint16) PortRange {
	r := usablePorts(p)
	if p.Block == 0 || port < r.First || port > r.Last {
		return r
	}
	first := int(r.First) + (int(port)-int(r.First))/p.Block*p.Block
	return PortRange{uint16(first), uint16(min(first+p.Block-1, int(r.Last)))}
}

// usablePorts are the ports that may be drawn.
func usablePorts(p Ports) PortRange {
	if p.Range == (PortRange{}) {
		return PortRange{1024, 65535}
	}
	return p.Range
}

func (r PortRange) contains(port uint16) bool { return r.First <= port && port <= r.Last }

// nature says in words what the view shows, and how that differs from the profile.
func (v *view) nature(p Profile) (n Nature, wrong []note) {
	differ := func(format string, args ...any) { wrong = append(wrong, noteOf(format, args...)) }
	if slices.ContainsFunc(v.addresses(), lab.ProbeNetwork.Contains) {
		// Then nothing else means anything.
		return n, []note{noteOf("a new flow left on the WAN side with its private address")}
	}
	var ok bool
	if n.Mapping, ok = v.mapping(); !ok {
		differ("asked for was %s mapping; seen was another outside endpoint now and then, by no rule: %v", p.Mapping, v.mapped)
	} else if n.Mapping != p.Mapping {
		differ("asked for was %s mapping, seen was %s mapping", p.Mapping, n.Mapping)
	}
	if n.Filtering, ok = v.filtering(); !ok {
		differ("asked for was %s filtering; let in was %s", p.Filtering, v.whoAnswered())
	} else if n.Filtering != p.Filtering {
		differ("asked for was %s filtering, seen was %s filtering", p.Filtering, n.Filtering)
	}
	if n.Ports, ok = v.allocation(); !ok {
		differ("asked for was %s; seen were the ports %s", p.Ports.Allocation.words(), v.ports())
	} else if n.Ports != p.Ports.Allocation {
		differ("asked for was %s, seen was %s", p.Ports.Allocation.words(), n.Ports.words())
	}
	wrong = append(wrong, v.differInPorts(p, &n)...)
	addresses := v.addresses()
	n.Addresses = len(addresses)
	if n.Addresses != p.Pool.Addresses {
		differ("asked for were %d outside addresses, seen were %d: %v", p.Pool.Addresses, n.Addresses, addresses)
	}
	if p.Pool.Addresses > 1 {
		n.Paired = v.paired()
		if n.Paired != p.Pool.Paired {
			differ("asked for was %s pooling, seen was %s pooling", pooling(p.Pool.Paired), pooling(n.Paired))
		}
	}
	// Where both mapping and filtering depend on the far end, nobody inside knows an
	// outside endpoint that would let him in.
	blind := p.Mapping != EndpointIndependent && p.Filtering != EndpointIndependent
	if !blind || v.hairpinned {
		n.Hairpin = &v.hairpinned
	}
	switch {
	case v.hairpinned != (p.Hairpin && !blind):
		differ("asked for was %s, seen was %s", hairpinning(p.Hairpin), hairpinning(v.hairpinned))
	case v.unmasked:
		differ("a hairpinned packet came from an inside address")
	}
	return n, wrong
}

// differInPorts says how the ports' range and blocks differ from the profile's.
func (v *view) differInPorts(p Profile, n *Nature) (wrong []note) {
	differ := func(format string, args ...any) { wrong = append(wrong, noteOf(format, args...)) }
	if p.Ports.Range != (PortRange{}) {
		n.Range = p.Ports.Range
		for _, m := range v.all() {
			if !p.Ports.Range.contains(m.Port()) {
				n.Range = PortRange{}
				differ("asked for were the ports %s, seen was port %d", p.Ports.Range, m.Port())
				break
			}
		}
	}
	if p.Ports.Block == 0 {
		return wrong
	}
	if len(v.block) == 0 {
		return append(wrong, noteOf("an inside host that was to have a block of ports got none"))
	}
	block := blockOf(p.Ports, v.block[0].Port())
	outside := slices.IndexFunc(v.block, func(m netip.AddrPort) bool { return !block.contains(m.Port()) })
	switch {
	case outside >= 0:
		differ("asked for were blocks of %d ports; one inside host had the ports %d and %d", p.Ports.Block, v.block[0].Port(), v.block[outside].Port())
	case block.contains(v.beside.Port()) && v.beside.Addr() == v.block[0].Addr():
		differ("asked for were blocks of %d ports; two inside hosts had ports of the same one, %s", p.Ports.Block, block)
	case v.fill > 0 && len(v.block) != v.fill:
		differ("asked for were blocks of %d ports; one inside host had %d mappings at once", p.Ports.Block, len(v.block))
	default:
		n.Block = p.Ports.Block
	}
	return wrong
}

// all are the outside endpoints that were seen.
func (v *view) all() []netip.AddrPort {
	all := slices.Concat(v.mapped[0][:], v.mapped[1][:], v.others, v.block)
	for _, g := range v.given {
		all = append(all, g.outside)
	}
	return all
}

// ports says which ports new flows got.
func (v *view) ports() string {
	var pairs []string
	for _, g := range v.given {
		pairs = append(pairs, fmt.Sprintf("%d for %d", g.outside.Port(), g.inside.Port()))
	}
	if len(pairs) == 0 {
		return "none"
	}
	return strings.Join(pairs, ", ")
}
