package nat

import (
	"net/netip"

	"outlive/lab"
)

// site is what a ruleset must know of the place where it is installed.
type site struct {
	// sides are the ways out: that of the scenario and that of the probes.
	sides []side
}

// side is one pair of interfaces, lan and wan followed by the suffix.
type side struct {
	suffix string
	// outside are the NAT's outside addresses there.
	outside []netip.Addr
	// inside are the addresses that have a block of ports, in order. The probes have so
	// many that the end of an address says which block it has.
	inside []netip.Addr
}

// exampleSite stands in where rules are shown and not installed: an uplink with two devices.
func exampleSite(p Profile) site {
	addr := func(text string) netip.Addr { return netip.MustParseAddr(text) }
	s := site{sides: []side{
		{suffix: "0", outside: []netip.Addr{addr("203.0.113.2")}, inside: []netip.Addr{addr("10.64.0.2"), addr("10.64.0.3")}},
		{suffix: "9", outside: []netip.Addr{addr("198.18.0.2")}},
	}}
	if n := p.Complete().Pool.Addresses; n > 1 {
		s.sides[0].outside = poolOf(addr("192.0.2.0"), n)
		s.sides[1].outside = poolOf(addr("198.19.255.252"), n)
	}
	return s
}

// siteOf reads it from the host, whose interfaces need only be planned. A host
// without any, as a twin or a test has, is taken for the example's.
func siteOf(host *lab.Host, p Profile) site {
	s := exampleSite(p)
	pool := len(s.sides[0].outside)
	s.sides[1].outside = []netip.Addr{host.ProbeWAN()}
	for _, i := range host.Interfaces {
		for k := range s.sides {
			switch i.Name {
			case "wan" + s.sides[k].suffix:
				s.sides[k].outside = []netip.Addr{i.Addr.Addr()}
			case "lan" + s.sides[k].suffix:
				// A bystander, who may come later, is one more subscriber.
				s.sides[k].inside = append(i.Neighbours(), lab.BystanderAddr)
			}
		}
	}
	if pool > 1 {
		if own := host.Pool(); own.IsValid() {
			s.sides[0].outside = poolOf(own.Addr(), pool)
		}
		s.sides[1].outside = poolOf(host.ProbePool().Addr(), pool)
	}
	return s
}

// poolOf gives n addresses from the first one on.
func poolOf(first netip.Addr, n int) []netip.Addr {
	var all []netip.Addr
	for a := first; len(all) < n; a = a.Next() {
		all = append(all, a)
	}
	return all
}
