package lab

import (
	"context"
	"fmt"
	"net/netip"
)

// RoleBystander is a neighbour behind a NAT who is none of the scenario's devices.
const RoleBystander Role = "bystander"

// BystanderAddr is the address of every bystander. No two of them are on one side of
// a NAT, and nothing of a scenario has it.
var BystanderAddr = netip.MustParseAddr("10.254.0.2")

// Nowhere is an address at which nobody is (TEST-NET-1, RFC 5737). What is sent there
// passes all NATs and ends at the server's host, which says nothing.
var Nowhere = netip.MustParseAddr("192.0.2.1")

// AddBystander gives a NAT a neighbour of the scenario's devices: a host on an
// interface of its own, lan8, whose packets leave the NAT by wan0 like theirs. To
// the NAT it is one more subscriber. A NAT has one at most; asked again, it is the same.
// It may be called while a scenario and a self-check run, and disturbs neither.
//
//	[phone] ─────────── lan0 ┐
//	[bystander] eth0 ── lan8 [NAT] wan0 ── …
//	10.254.0.2     10.254.0.1
func (t *Topology) AddBystander(nat string) (*Host, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.byName[nat]
	if h == nil || h.Role != RoleNAT {
		return nil, fmt.Errorf("adding a bystander: there is no NAT %q", nat)
	}
	name := nat + "/bystander"
	for _, x := range t.extra {
		if x.Name == name {
			return x, nil
		}
	}
	b, err := h.addBystander(name)
	if err != nil {
		return nil, fmt.Errorf("adding a bystander to NAT %s: %w", nat, err)
	}
	t.extra = append(t.extra, b)
	return b, nil
}

// addBystander makes the NAT's bystander. The NAT's end is not among its
// Interfaces: others are reading those.
func (h *Host) addBystander(name string) (_ *Host, err error) {
	b := &Host{Name: name, Role: RoleBystander}
	lan8 := &Interface{Host: h, Name: "lan8", Side: SideLAN, Addr: netip.PrefixFrom(BystanderAddr.Prev(), 30)}
	lan8.MAC = macOf(lan8.Addr.Addr())
	inner := b.add(&Interface{Name: "eth0", Side: SideDevice, Addr: netip.PrefixFrom(BystanderAddr, 30), gateway: lan8.Addr.Addr()})
	defer func() {
		if err != nil && b.NS != nil {
			b.NS.Close()
		}
	}()
	if err := b.boot(context.Background()); err != nil {
		return nil, err
	}
	w := join(inner, lan8)
	if err := w.lay(); err != nil {
		return nil, err
	}
	return b, finish(context.Background(), []*Interface{inner, lan8}, []*wire{w})
}
