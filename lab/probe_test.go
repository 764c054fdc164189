package lab

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/labtest"
)

// TestProbe puts a probe beside the scenario's path, and a twin of the NAT with a
// probe of its own; both reach through the rules, and nothing of it shows at the
// scenario's points:
//
//	phone ────────────── lan0 [cell] wan0 ────────────── [server]
//	[probe LAN] eth0 ─── lan9 [cell] wan9 ─── eth0 [probe WAN]
//	[probe LAN] eth0 ─── lan9 [twin] wan9 ─── eth0 [probe WAN]
func TestProbe(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		topology := build(t, oneNAT)
		tool := findRestore(t)
		nat := topology.Host("cell")
		if err := restore(nat, tool, masquerade); err != nil {
			t.Fatal(err)
		}
		tap := listen(t, topology.Points()...)
		probe, err := topology.AddProbe("cell")
		if err != nil {
			t.Fatal(err)
		}
		twin, second, err := topology.AddTwin("cell")
		if err != nil {
			t.Fatal(err)
		}
		if err := restore(twin, tool, masquerade); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, h := range []*Host{probe.LAN, probe.WAN, twin, second.LAN, second.WAN} {
			names = append(names, h.Name)
		}
		want := []string{"cell/probe-lan", "cell/probe-wan", "cell/twin", "cell/twin/probe-lan", "cell/twin/probe-wan"}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("names (-want +got):\n%s", diff)
		}
		for _, tt := range []struct {
			name       string
			probe      *Probe
			nat        *Host
			translated string
		}{
			{"probe", probe, nat, "198.18.0.2"},
			{"twin", second, twin, "198.18.0.6"},
		} {
			lan, wan := tt.probe.LAN.Interfaces[0], tt.probe.WAN.Interfaces[0]
			if lan.Peer.Host != tt.nat || lan.Peer.Name != "lan9" || wan.Peer.Host != tt.nat || wan.Peer.Name != "wan9" {
				t.Errorf("%s is attached to %s of %s and %s of %s", tt.name, lan.Peer.Name, lan.Peer.Host.Name, wan.Peer.Name, wan.Peer.Host.Name)
			}
			beyond := listen(t, wan)
			address := netip.AddrPortFrom(wan.Addr.Addr(), 80).String()
			accepted := serve(t, tt.probe.WAN, address)
			client, server := dial(t, tt.probe.LAN, address, accepted)
			say(t, client, server, "through the NAT\n")
			say(t, server, client, "and back\n")
			got := netip.MustParseAddrPort(server.RemoteAddr().String()).Addr().String()
			if diff := cmp.Diff(tt.translated, got); diff != "" {
				t.Errorf("%s: address after translation (-want +got):\n%s", tt.name, diff)
			}
			for network, want := range map[netip.Prefix]*Interface{tt.probe.Insides: lan, tt.probe.Outsides: wan} {
				routes, err := tt.nat.NS.Netlink().RouteGet(network.Addr().Next().AsSlice())
				if err != nil || len(routes) != 1 || routes[0].Gw.String() != want.Addr.Addr().String() {
					t.Errorf("%s: the NAT's way to %s is %v, %v; want it by %s", tt.name, network, routes, err, want.Addr.Addr())
				}
			}
			// 0aff is 10.255, where the source address of an IPv4 packet stands.
			if leaks := beyond.all(func(f frame) bool { return f.head[52:56] == "0aff" }); len(leaks) > 0 {
				t.Errorf("%s: private addresses on the WAN side: %+v", tt.name, leaks)
			}
		}
		if seen := tap.all(func(frame) bool { return true }); len(seen) > 0 {
			t.Errorf("%d packets of probes at points of the scenario, such as %+v", len(seen), seen[0])
		}
		if got := len(nat.Interfaces); got != 2 {
			t.Errorf("the NAT has %d interfaces of the scenario; want 2", got)
		}
		if _, err := topology.AddProbe("cell"); err == nil {
			t.Error("a second probe of the same NAT: got no error")
		}
		if _, err := topology.AddProbe("phone"); err == nil {
			t.Error("a probe of a device: got no error")
		}
	})
}

// A NAT of many devices has a port for each, whose numbers are the kernel's. They do not
// meet those that the lab gives.
func TestProbeBesideManyDevices(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		spec := TopologySpec{Uplinks: []UplinkSpec{{Name: "cell", NATs: []string{"cell"}}}}
		for i := range 120 {
			spec.Devices = append(spec.Devices, DeviceSpec{Name: fmt.Sprintf("phone-%d", i+1), Uplinks: []string{"cell"}})
		}
		if _, err := build(t, spec).AddProbe("cell"); err != nil {
			t.Error(err)
		}
	})
}
