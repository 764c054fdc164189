package lab

import (
	"net/netip"
	"testing"

	"outlive/lab/labtest"
)

// Every NAT has a pool of its own, in no network of the lab.
func TestPoolsAreApart(t *testing.T) {
	var spec TopologySpec
	for _, up := range []string{"a", "b"} {
		spec.Uplinks = append(spec.Uplinks, UplinkSpec{Name: up, NATs: []string{up + ".1", up + ".2", up + ".3"}})
	}
	topology, err := plan(spec)
	if err != nil {
		t.Fatal(err)
	}
	taken := []netip.Prefix{ProbeNetwork, netip.PrefixFrom(serverAddr, 32)}
	for _, p := range topology.points {
		taken = append(taken, p.Addr)
	}
	for _, h := range topology.hosts {
		if h.Role != RoleNAT {
			if h.Pool().IsValid() {
				t.Errorf("%s has the pool %s", h.Name, h.Pool())
			}
			continue
		}
		for _, other := range taken {
			if h.Pool().Overlaps(other) {
				t.Errorf("the pool of %s, %s, overlaps %s", h.Name, h.Pool(), other)
			}
		}
		if n := 1 << (32 - h.Pool().Bits()); n != PoolSize {
			t.Errorf("the pool of %s has %d addresses", h.Name, n)
		}
		taken = append(taken, h.Pool())
	}
}

// What is sent to a NAT's pool arrives at the NAT, also after its cable was out, and
// the address towards its probe is known before there is one.
//
//	phone ── cell.1 ── cell.2 ── server
//	     pool 100.127.0.0/30  pool 192.0.2.0/30
func TestPoolIsRoutedToNAT(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		topology := build(t, chain)
		arrives := func(what string) {
			t.Helper()
			for _, c := range []struct{ nat, sender string }{{"cell.2", "server"}, {"cell.1", "cell.2"}} {
				routes, err := topology.Host(c.sender).NS.Netlink().RouteGet(topology.Host(c.nat).Pool().Addr().AsSlice())
				wan := topology.Interface(c.nat + ":wan")
				if err != nil || len(routes) != 1 || !routes[0].Gw.Equal(wan.Addr.Addr().AsSlice()) {
					t.Errorf("%s: the way of %s to the pool of %s is %v, %v; want it by %s", what, c.sender, c.nat, routes, err, wan.Addr)
				}
			}
		}
		arrives("at first")
		for _, point := range []string{"cell.2:wan", "cell.1:wan"} {
			if err := topology.Unplug(point); err != nil {
				t.Fatal(err)
			}
			if err := topology.Replug(point); err != nil {
				t.Fatal(err)
			}
		}
		arrives("after the cables were out")
		for _, name := range []string{"cell.2", "cell.1"} {
			probe, err := topology.AddProbe(name)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := probe.WAN.Interfaces[0].Peer.Addr.Addr(), topology.Host(name).ProbeWAN(); got != want {
				t.Errorf("%s has %s towards its probe, said was %s", name, got, want)
			}
		}
	})
}
