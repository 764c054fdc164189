package lab

import (
	"context"
	"fmt"
	"net/netip"
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
type Probe struct {
	// LAN and WAN each have one interface, whose Peer is the NAT's.
	LAN, WAN *Host
}

// ProbeNetwork is where the LAN hosts of probes have their addresses. Nothing of a
// scenario has an address there.
var ProbeNetwork = netip.MustParsePrefix("10.255.0.0/16")

var (
	probeLAN = netip.PrefixFrom(ProbeNetwork.Addr(), 30)
	probeWAN = netip.MustParsePrefix("198.18.0.0/30")
)

// maxProbes comes from the /16 that their addresses are cut from.
const maxProbes = 1 << 14

// AddProbe adds a probe to a NAT, as interfaces lan9 and wan9; a NAT can have one.
// The rules of the NAT apply to it as far as they match lan+ and wan+. It disturbs
// nothing and may be called while a scenario runs.
func (t *Topology) AddProbe(nat string) (*Probe, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.byName[nat]
	if h == nil || h.Role != RoleNAT {
		return nil, fmt.Errorf("adding a probe: there is no NAT %q", nat)
	}
	p, err := t.addProbe(h)
	if err != nil {
		return nil, fmt.Errorf("adding a probe to NAT %s: %w", nat, err)
	}
	return p, nil
}

// AddTwin makes a second NAT host, connected to nothing but a probe of its own. It
// is a plain router, set as the NAT of that name is before rules are installed.
// Its name is the NAT's with "/twin".
func (t *Topology) AddTwin(nat string) (*Host, *Probe, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h := t.byName[nat]; h == nil || h.Role != RoleNAT {
		return nil, nil, fmt.Errorf("adding a twin: there is no NAT %q", nat)
	}
	twin := &Host{Name: nat + "/twin", Role: RoleNAT}
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

// addProbe makes the probe's hosts and wires. The NAT's ends are not among its
// Interfaces if it takes part in the scenario: others are reading those.
func (t *Topology) addProbe(nat *Host) (*Probe, error) {
	k := t.probes
	if k == maxProbes {
		return nil, fmt.Errorf("there are %d already", maxProbes)
	}
	t.probes++
	p := &Probe{
		LAN: &Host{Name: nat.Name + "/probe-lan", Role: RoleProbe},
		WAN: &Host{Name: nat.Name + "/probe-wan", Role: RoleProbe},
	}
	lan9 := &Interface{Host: nat, Name: "lan9", Side: SideLAN, Addr: nthAddr(probeLAN, 4*k+1)}
	wan9 := &Interface{Host: nat, Name: "wan9", Side: SideWAN, Addr: nthAddr(probeWAN, 4*k+2)}
	for _, i := range []*Interface{lan9, wan9} {
		i.MAC = macOf(i.Addr.Addr())
	}
	inner := p.LAN.add(&Interface{Name: "eth0", Side: SideDevice, Addr: nthAddr(probeLAN, 4*k+2), gateway: lan9.Addr.Addr()})
	outer := p.WAN.add(&Interface{Name: "eth0", Side: SideServer, Addr: nthAddr(probeWAN, 4*k+1)})
	for _, h := range []*Host{p.LAN, p.WAN} {
		t.extra = append(t.extra, h)
		if err := h.boot(context.Background()); err != nil {
			return nil, err
		}
	}
	wires := []*wire{join(inner, lan9), join(wan9, outer)}
	for _, w := range wires {
		if err := w.lay(); err != nil {
			return nil, err
		}
	}
	if err := finish(context.Background(), []*Interface{inner, lan9, wan9, outer}, wires); err != nil {
		return nil, err
	}
	return p, nil
}
