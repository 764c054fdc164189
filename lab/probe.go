package lab

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// Probe is two hosts of their own on either side of a NAT, by which the lab finds
// out how the NAT behaves while the scenario's traffic passes beside it. Their
// packets appear at no point of the scenario.
//
//	[LAN] eth0 ──── lan9 [NAT] wan9 ──── eth0 [WAN]
//	10.255.x.2     10.255.x.1  198.18.x.2     198.18.x.1
//
// The LAN host reaches the WAN host through the NAT. The WAN host knows no way to
// 10.255.0.0/16, so that it cannot hide a NAT that does not translate. The
// addresses of the WAN side are those for benchmarks (RFC 2544).
//
// The NAT also sends to the LAN host what is for an address in Insides, and to the
// WAN host what is for one in Outsides. Neither host has those addresses: they are
// for who makes his packets himself and needs many of them.
//
// The probe of a firewall speaks IPv6 and no IPv4: its LAN host is 2001:db8:ffff:x::2, its
// WAN host 2001:2:0:x::1 (RFC 5180), and that one knows no way back either.
type Probe struct {
	// LAN and WAN each have one interface, whose Peer is the NAT's.
	LAN, WAN *Host
	// Insides and Outsides are the networks behind the LAN and the WAN host.
	Insides, Outsides netip.Prefix
}

// ProbeNetwork is where the LAN hosts of probes have their addresses. Nothing of a
// scenario has an address there.
var ProbeNetwork = netip.MustParsePrefix("10.255.0.0/16")

// ProbeNetwork6 is where those of firewalls' probes have theirs.
var ProbeNetwork6 = netip.MustParsePrefix("2001:db8:ffff::/48")

var (
	probeLAN  = netip.PrefixFrom(ProbeNetwork.Addr(), 30)
	probeWAN  = netip.MustParsePrefix("198.18.0.0/30")
	probeLAN6 = netip.PrefixFrom(ProbeNetwork6.Addr(), 64)
	probeWAN6 = netip.MustParsePrefix("2001:2::/64")
	// The networks behind them are the same for every probe: no two are ever connected.
	probeInsides   = netip.MustParsePrefix("10.255.128.0/17")
	probeOutsides  = netip.MustParsePrefix("198.19.0.0/16")
	probeInsides6  = netip.MustParsePrefix("2001:db8:ffff:8000::/49")
	probeOutsides6 = netip.MustParsePrefix("2001:2:0:8000::/49")
)

// maxProbes comes from the half of the /16 that their addresses are cut from.
const maxProbes = 1 << 13

// AddProbe adds a probe to a NAT or a firewall, as interfaces lan9 and wan9; each can have one.
// The rules of the NAT apply to it as far as they match lan+ and wan+. It disturbs
// nothing and may be called while a scenario runs.
func (t *Topology) AddProbe(nat string) (*Probe, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.byName[nat]
	if h == nil || !h.Role.forwards() {
		return nil, fmt.Errorf("adding a probe: there is no NAT %q", nat)
	}
	p, err := t.addProbe(h)
	if err != nil {
		return nil, fmt.Errorf("adding a probe to NAT %s: %w", nat, err)
	}
	return p, nil
}

// AddTwin makes a second NAT host, or firewall, connected to nothing but a probe of its own. It
// is a plain router, set as the one of that name is before rules are installed.
// Its name is that one's with "/twin".
func (t *Topology) AddTwin(nat string) (*Host, *Probe, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.byName[nat]
	if h == nil || !h.Role.forwards() {
		return nil, nil, fmt.Errorf("adding a twin: there is no NAT %q", nat)
	}
	twin := &Host{Name: nat + "/twin", Role: h.Role, probe: t.probes, pool: h.pool}
	t.probes++
	t.extra = append(t.extra, twin)
	err := twin.boot(context.Background())
	if err != nil {
		return nil, nil, fmt.Errorf("adding a twin of NAT %s: %w", nat, err)
	}
	p, err := t.addProbe(twin)
	if err != nil {
		return nil, nil, fmt.Errorf("adding a twin of NAT %s: %w", nat, err)
	}
	twin.Interfaces = []*Interface{p.LAN.Interfaces[0].Peer, p.WAN.Interfaces[0].Peer}
	return twin, p, nil
}

// nthProbe6 gives the interfaces of a firewall's probe, the kth, their addresses.
func nthProbe6(k int, inner, lan9, wan9, outer *Interface) {
	network := func(first netip.Prefix) netip.Prefix {
		a := first.Addr().As16()
		a[6], a[7] = byte(k>>8), byte(k)
		return netip.PrefixFrom(netip.AddrFrom16(a), first.Bits())
	}
	lan, wan := network(probeLAN6), network(probeWAN6)
	inner.Addr6, lan9.Addr6 = nthAddr(lan, 2), nthAddr(lan, 1)
	outer.Addr6, wan9.Addr6 = nthAddr(wan, 1), nthAddr(wan, 2)
	inner.gateway6 = lan9.Addr6.Addr()
}

// address is the interface's one address, where it has only one.
func (i *Interface) address() netip.Addr {
	if i.Addr.IsValid() {
		return i.Addr.Addr()
	}
	return i.Addr6.Addr()
}

// addProbe makes the probe's hosts and wires. The NAT's ends are not among its
// Interfaces if it takes part in the scenario: others are reading those.
func (t *Topology) addProbe(nat *Host) (*Probe, error) {
	k := nat.probe
	if k >= maxProbes {
		return nil, fmt.Errorf("there are addresses for %d probes", maxProbes)
	}
	p := &Probe{
		LAN: &Host{Name: nat.Name + "/probe-lan", Role: RoleProbe},
		WAN: &Host{Name: nat.Name + "/probe-wan", Role: RoleProbe},

		Insides: probeInsides, Outsides: probeOutsides,
	}
	lan9 := &Interface{Host: nat, Name: "lan9", Side: SideLAN}
	wan9 := &Interface{Host: nat, Name: "wan9", Side: SideWAN}
	inner := &Interface{Name: "eth0", Side: SideDevice}
	outer := &Interface{Name: "eth0", Side: SideServer}
	if nat.Role == RoleFirewall {
		nthProbe6(k, inner, lan9, wan9, outer)
		p.Insides, p.Outsides = probeInsides6, probeOutsides6
	} else {
		inner.Addr, lan9.Addr = nthAddr(probeLAN, 4*k+2), nthAddr(probeLAN, 4*k+1)
		outer.Addr, wan9.Addr = nthAddr(probeWAN, 4*k+1), nthAddr(probeWAN, 4*k+2)
		inner.gateway = lan9.Addr.Addr()
	}
	for _, i := range []*Interface{lan9, wan9} {
		i.MAC = i.mac()
	}
	p.LAN.add(inner)
	p.WAN.add(outer)
	for _, h := range []*Host{p.LAN, p.WAN} {
		t.extra = append(t.extra, h)
		if err := h.boot(context.Background()); err != nil {
			return nil, err
		}
	}
	wires := []*wire{join(inner, lan9), join(wan9, outer)}
	if nat.Role == RoleFirewall {
		for _, w := range wires {
			w.near.knows(w.far.Addr6, w.far.MAC)
			w.far.knows(w.near.Addr6, w.near.MAC)
		}
	}
	for _, w := range wires {
		if err := w.lay(); err != nil {
			return nil, err
		}
	}
	if err := finish(context.Background(), []*Interface{inner, lan9, wan9, outer}, wires); err != nil {
		return nil, err
	}
	for _, err := range []error{lan9.routeTo(p.Insides, inner.address()), wan9.routeTo(p.Outsides, outer.address())} {
		if err != nil {
			return nil, err
		}
	}
	return p, nil
}

// routeTo makes the interface's host send what is for a network by a neighbour.
func (i *Interface) routeTo(network netip.Prefix, by netip.Addr) error {
	err := i.Host.NS.Netlink().RouteAdd(&netlink.Route{
		LinkIndex: i.Index, Gw: by.AsSlice(),
		Dst: ipNet(network),
	})
	if err != nil {
		return i.failed("adding a route to "+network.String()+" by "+by.String(), err)
	}
	return nil
}
