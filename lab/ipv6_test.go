package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"outlive/lab/labtest"
)

// bothFamilies has every shape of an uplink with IPv6:
//
//	phone ─── cell ──┬── lan0 [cell.1] wan0 ── lan0 [cell.2] wan0 ─────── cell ───┐
//	                 └── lan0 [cell.firewall] wan0 ───────────────────── cell-6 ──┤
//	phone ─┬─ six ────── lan0 [six] wan0 ────────────────────────────────── six ──[server]
//	tablet ┘                                                                      │
//	tablet ── old ────── lan0 [old] wan0 ────────────────────────────────── old ──┘
var bothFamilies = TopologySpec{
	Uplinks: []UplinkSpec{
		{Name: "cell", NATs: []string{"cell.1", "cell.2"}, Firewall: "cell.firewall"},
		{Name: "six", Firewall: "six"},
		{Name: "old", NATs: []string{"old"}},
	},
	Devices: []DeviceSpec{
		{Name: "phone", Uplinks: []string{"cell", "six"}},
		{Name: "tablet", Uplinks: []string{"six", "old"}},
	},
}

func TestPlanIPv6(t *testing.T) {
	topology, err := plan(bothFamilies)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, i := range topology.Points() {
		if !i.Addr6.IsValid() {
			continue
		}
		line := fmt.Sprintf("%s %s on %s, %s %s %s", i.Point, i.Name, i.Host.Name, i.Side, i.Addr6, i.MAC)
		if i.gateway6.IsValid() {
			line += fmt.Sprintf(" via %s metric %d", i.gateway6, i.metric)
		}
		for _, n := range i.neighbours {
			line += fmt.Sprintf(" [%s %s]", n.addr, n.mac)
		}
		for _, n := range i.networks {
			line += fmt.Sprintf(" %s via %s", n, i.via)
		}
		got = append(got, line)
	}
	for _, w := range topology.wires {
		got = append(got, strings.TrimSpace(fmt.Sprintf("wire %s to %s %s", w.near.Point, w.far.Point, w.port)))
	}
	want := []string{
		"phone:cell cell on phone, device 2001:db8:64::2/128 02:00:0a:40:00:02 via 2001:db8:64::1 metric 100 [10.64.0.1 02:00:0a:40:00:01] [2001:db8:64::1 02:06:64:00:00:01]",
		"phone:six six on phone, device 2001:db8:64:1::2/128 02:06:64:01:00:02 via 2001:db8:64:1::1 metric 200 [2001:db8:64:1::1 02:06:64:01:00:01]",
		"tablet:six six on tablet, device 2001:db8:64:1::3/128 02:06:64:01:00:03 via 2001:db8:64:1::1 metric 100 [2001:db8:64:1::1 02:06:64:01:00:01]",
		"cell.firewall:lan lan0 on cell.firewall, lan 2001:db8:64::1/64 02:06:64:00:00:01 [2001:db8:64::2 02:00:0a:40:00:02]",
		"cell.firewall:wan wan0 on cell.firewall, wan 2001:db8:cb::2/64 02:06:cb:00:00:02 via 2001:db8:cb::1 metric 0 [2001:db8:cb::1 02:06:cb:00:00:01]",
		"six:lan lan0 on six, lan 2001:db8:64:1::1/64 02:06:64:01:00:01 [2001:db8:64:1::2 02:06:64:01:00:02] [2001:db8:64:1::3 02:06:64:01:00:03]",
		"six:wan wan0 on six, wan 2001:db8:cb:1::2/64 02:06:cb:01:00:02 via 2001:db8:cb:1::1 metric 0 [2001:db8:cb:1::1 02:06:cb:01:00:01]",
		"server:cell-6 cell-6 on server, server 2001:db8:cb::1/64 02:06:cb:00:00:01 [2001:db8:cb::2 02:06:cb:00:00:02] 2001:db8:64::/64 via 2001:db8:cb::2",
		"server:six six on server, server 2001:db8:cb:1::1/64 02:06:cb:01:00:01 [2001:db8:cb:1::2 02:06:cb:01:00:02] 2001:db8:64:1::/64 via 2001:db8:cb:1::2",
		"wire cell.1:wan to cell.2:lan",
		"wire cell.firewall:lan to cell.1:lan port0",
		"wire cell.2:wan to server:cell",
		"wire cell.firewall:wan to server:cell-6",
		"wire six:wan to server:six",
		"wire old:wan to server:old",
		"wire phone:cell to cell.1:lan port1",
		"wire phone:six to six:lan port1",
		"wire tablet:six to six:lan port2",
		"wire tablet:old to old:lan",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := topology.DeviceAddr("phone", "six"); got.IsValid() {
		t.Errorf("IPv4 address of phone where there is no IPv4: got %s; want none", got)
	}
	if got := topology.Interface("old:wan").Addr6; got.IsValid() {
		t.Errorf("IPv6 address where there is no firewall: got %s; want none", got)
	}
}

func TestPlanRefusesIPv6(t *testing.T) {
	both := func(name string) UplinkSpec {
		return UplinkSpec{Name: name, NATs: []string{name + ".nat"}, Firewall: name + ".firewall"}
	}
	tests := []struct {
		name    string
		uplinks []UplinkSpec
		want    string
	}{
		{"no room for the server's second interface", []UplinkSpec{both("fourteen-chars")},
			`planning uplink "fourteen-chars": the server's second interface towards it would be called "fourteen-chars-6": an interface is called after it, and the kernel allows 15 bytes`},
		{"its name is taken", []UplinkSpec{both("cell"), {Name: "cell-6", NATs: []string{"n"}}},
			`planning uplink "cell": the server's second interface towards it would be called "cell-6", as the uplink of that name`},
		{"a firewall called as a NAT", []UplinkSpec{{Name: "cell", NATs: []string{"cell"}, Firewall: "cell"}},
			`planning the topology: there are two hosts called "cell"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := plan(TopologySpec{Uplinks: tt.uplinks})
			if err == nil {
				t.Fatal("got no error")
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// at6 is the server's IPv6 address with a port.
func at6(t *Topology, port uint16) string {
	return netip.AddrPortFrom(t.ServerAddr6(), port).String()
}

// TestReachServerByIPv6 reaches the server over IPv6 by every uplink that has it, from
// the device's own address, and over IPv4 beside it. Nothing on the way answers for anybody.
func TestReachServerByIPv6(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		topology := build(t, bothFamilies)
		tap := listen(t, topology.Points()...)
		server := topology.Server()
		accepted := serve(t, server, at6(topology, 443))
		for _, tt := range []struct{ device, from, seen string }{
			{"phone", "2001:db8:64::2", "phone:cell cell.firewall:lan cell.firewall:wan server:cell-6"},
			{"tablet", "2001:db8:64:1::3", "tablet:six six:lan six:wan server:six"},
		} {
			start := time.Now()
			client, conn := dial(t, topology.Host(tt.device), at6(topology, 443), accepted)
			// A SYN that was lost because a link was not ready takes 1 s to repeat.
			if took := time.Since(start); took > 900*time.Millisecond {
				t.Errorf("connecting from %s took %v: the first packet was lost", tt.device, took)
			}
			if diff := cmp.Diff(tt.from, netip.MustParseAddrPort(conn.RemoteAddr().String()).Addr().String()); diff != "" {
				t.Errorf("address that the server sees (-want +got):\n%s", diff)
			}
			say(t, client, conn, "up\n")
			say(t, conn, client, "down\n")
			for _, point := range strings.Fields(tt.seen) {
				tap.await(t, 1, func(f frame) bool { return f.at == point })
			}
		}
		// Neither anything but IPv6, nor at a point where it does not belong.
		if odd := tap.all(func(f frame) bool {
			return f.head[24:28] != "86dd" || strings.HasPrefix(f.at, "old") || strings.HasPrefix(f.at, "cell.1") || strings.HasPrefix(f.at, "cell.2")
		}); len(odd) > 0 {
			t.Errorf("%d frames that nobody sent on purpose, such as %+v", len(odd), odd[0])
		}
		routeBack(t, server, "10.64.0.0/16", netip.MustParseAddr("203.0.113.2"))
		routeBack(t, topology.Host("cell.2"), "10.64.0.0/16", netip.MustParseAddr("100.64.0.2"))
		accepted = serve(t, server, netip.AddrPortFrom(topology.ServerAddr(), 444).String())
		client, conn := dial(t, topology.Host("phone"), "198.51.100.1:444", accepted)
		say(t, client, conn, "up\n")
	})
}

// TestDevicesReachEachOtherByIPv6: by way of the firewall, which is their only neighbour.
func TestDevicesReachEachOtherByIPv6(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		topology := build(t, bothFamilies)
		tap := listen(t, topology.Points()...)
		accepted := serve(t, topology.Host("tablet"), "[2001:db8:64:1::3]:5000")
		// The phone's first uplink is the other one.
		_, there := netip.MustParsePrefix("2001:db8:64:1::/64"), topology.Interface("phone:six")
		err := there.Host.NS.Netlink().RouteAdd(&netlink.Route{
			LinkIndex: there.Index, Dst: ipNet(netip.MustParsePrefix("2001:db8:64:1::3/128")),
			Gw: there.gateway6.AsSlice(), Src: there.Addr6.Addr().AsSlice(), Flags: int(netlink.FLAG_ONLINK),
		})
		if err != nil {
			t.Fatal(err)
		}
		client, server := dial(t, topology.Host("phone"), "[2001:db8:64:1::3]:5000", accepted)
		say(t, client, server, "hello\n")
		tap.await(t, 1, func(f frame) bool { return f.at == "six:lan" })
		// A router would like to tell them that they are neighbours (type 137): 58 is ICMPv6.
		if told := tap.all(func(f frame) bool { return f.head[24:28] == "86dd" && f.head[40:42] == "3a" }); len(told) > 0 {
			t.Errorf("%d packets of ICMPv6, such as %+v", len(told), told[0])
		}
	})
}

// TestInterfacesAsPlannedIPv6 reads back what the kernel has: one address and no more,
// none of it tentative, and on interfaces without IPv6 nothing.
func TestInterfacesAsPlannedIPv6(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		topology := build(t, bothFamilies)
		for _, i := range topology.Points() {
			nl := i.Host.NS.Netlink()
			link, err := nl.LinkByName(i.Name)
			if err != nil {
				t.Fatal(err)
			}
			addrs, err := nl.AddrList(link, netlink.FAMILY_V6)
			if err != nil {
				t.Fatal(err)
			}
			got, want := []string{}, []string{}
			for _, a := range addrs {
				got = append(got, a.IPNet.String())
				if a.Flags&0x40 != 0 { // IFA_F_TENTATIVE
					t.Errorf("address %s of %s is tentative", a.IPNet, i.Point)
				}
			}
			if i.Addr6.IsValid() {
				want = append(want, i.Addr6.String())
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("IPv6 addresses of %s (-want +got):\n%s", i.Point, diff)
			}
			if i.Addr6.IsValid() {
				continue
			}
			if off, err := i.Host.NS.Sysctl("net.ipv6.conf." + i.Name + ".disable_ipv6"); err != nil || off != "1" {
				t.Errorf("disable_ipv6 of %s: got %s, %v; want 1", i.Point, off, err)
			}
		}
	})
}

// TestSilenceIPv6 is TestSilence on a network with IPv6, also while links come and go.
func TestSilenceIPv6(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		topology := build(t, bothFamilies)
		tap := listen(t, topology.Points()...)
		for _, point := range []string{"server:cell-6", "six:lan", "phone:cell"} {
			if err := topology.Unplug(point); err != nil {
				t.Fatal(err)
			}
			if err := topology.Replug(point); err != nil {
				t.Fatal(err)
			}
		}
		// Nothing is what is waited for, so there is no event to wait for.
		time.Sleep(3 * time.Second)
		if got := tap.all(func(frame) bool { return true }); len(got) != 0 {
			t.Errorf("%d packets that nobody caused: %+v", len(got), got)
		}
	})
}

// TestUnplugIPv6 pulls the server's IPv6 cable under a connection and puts it back.
// Nobody is told: the server's data waits, and comes when the link is there again.
func TestUnplugIPv6(t *testing.T) {
	for _, point := range []string{"server:cell-6", "cell.firewall:lan", "phone:cell"} {
		t.Run(point, func(t *testing.T) {
			labtest.Run(t, func(t *testing.T) {
				topology := build(t, bothFamilies)
				accepted := serve(t, topology.Server(), at6(topology, 443))
				client, conn := dial(t, topology.Host("phone"), at6(topology, 443), accepted)
				say(t, client, conn, "up\n")
				if err := topology.Unplug(point); err != nil {
					t.Fatal(err)
				}
				tap := listen(t, topology.Points()...)
				if _, err := conn.Write([]byte("late\n")); err != nil {
					t.Fatalf("writing over a pulled cable: %v", err)
				}
				if _, err := client.Write([]byte("late too\n")); err != nil {
					t.Fatalf("writing over a pulled cable: %v", err)
				}
				if err := topology.Replug(point); err != nil {
					t.Fatal(err)
				}
				hear(t, client, "late\n")
				hear(t, conn, "late too\n")
				icmp := tap.all(func(f frame) bool { return f.head[24:28] != "86dd" || f.head[40:42] != "06" })
				if len(icmp) > 0 {
					t.Errorf("somebody was told: %+v", icmp)
				}
			})
		})
	}
}

// TestIPv4AloneIsAsEver: hosts of a network without firewalls are not touched by IPv6's settings.
func TestIPv4AloneIsAsEver(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		topology := build(t, twoUplinks)
		if got := topology.ServerAddr6(); got.IsValid() {
			t.Errorf("the server's IPv6 address: got %s; want none", got)
		}
		for _, h := range topology.Hosts() {
			for key, want := range map[string]string{"default.addr_gen_mode": "0", "all.forwarding": "0", "default.disable_ipv6": "1"} {
				if got, err := h.NS.Sysctl("net.ipv6.conf." + key); err != nil || got != want {
					t.Errorf("%s of %s: got %s, %v; want %s", key, h.Name, got, err, want)
				}
			}
			links, err := h.NS.Netlink().LinkList()
			if err != nil {
				t.Fatal(err)
			}
			if slices.ContainsFunc(links, func(l netlink.Link) bool { return l.Attrs().RawFlags&0x80 != 0 }) { // IFF_NOARP
				t.Errorf("a link of %s has no ARP", h.Name)
			}
		}
	})
}

// TestProbeIPv6 puts a probe beside the firewall's path and one at a twin of it. Nothing of
// them shows at the scenario's points, and nobody says anything without being asked:
//
//	phone ────────────── lan0 [six] wan0 ────────────── [server]
//	[probe LAN] eth0 ─── lan9 [six] wan9 ─── eth0 [probe WAN]
//	[probe LAN] eth0 ─── lan9 [twin] wan9 ─── eth0 [probe WAN]
func TestProbeIPv6(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		topology := build(t, bothFamilies)
		tap := listen(t, topology.Points()...)
		probe, err := topology.AddProbe("six")
		if err != nil {
			t.Fatal(err)
		}
		twin, second, err := topology.AddTwin("six")
		if err != nil {
			t.Fatal(err)
		}
		if twin.Role != RoleFirewall {
			t.Errorf("the twin is a %s", twin.Role)
		}
		for _, p := range []*Probe{probe, second} {
			lan, wan := p.LAN.Interfaces[0], p.WAN.Interfaces[0]
			if lan.Addr.IsValid() || !ProbeNetwork6.Contains(lan.Addr6.Addr()) || !ProbeNetwork6.Contains(p.Insides.Addr()) {
				t.Errorf("the probe's LAN side has the addresses %s and %s, and behind it are %s", lan.Addr, lan.Addr6, p.Insides)
			}
			// For once it is told the way back, to have its kernel answer.
			err := p.WAN.NS.Netlink().RouteAdd(&netlink.Route{Dst: ipNet(lan.Addr6.Masked()), Gw: wan.Peer.Addr6.Addr().AsSlice()})
			if err != nil {
				t.Fatal(err)
			}
			around := listen(t, lan, wan)
			address := netip.AddrPortFrom(wan.Addr6.Addr(), 80).String()
			accepted := serve(t, p.WAN, address)
			client, server := dial(t, p.LAN, address, accepted)
			say(t, client, server, "through the firewall\n")
			say(t, server, client, "and back\n")
			if odd := around.all(func(f frame) bool { return f.head[24:28] != "86dd" || f.head[40:42] != "06" }); len(odd) > 0 {
				t.Errorf("packets that nobody sent on purpose: %+v", odd)
			}
		}
		if seen := tap.all(func(frame) bool { return true }); len(seen) > 0 {
			t.Errorf("%d packets of probes at points of the scenario, such as %+v", len(seen), seen[0])
		}
	})
}
