package lab

import (
	"net"
	"net/netip"
)

// All IPv6 addresses of a scenario are from 2001:db8::/32, the prefix for
// documentation (RFC 3849).
var serverAddr6 = netip.MustParseAddr("2001:db8::1")

// secondSuffix makes, of an uplink's name, that of the server's interface towards its
// firewall where the other one goes to its NAT.
const secondSuffix = "-6"

// dual says that the uplink has both families.
func (u UplinkSpec) dual() bool { return len(u.NATs) > 0 && u.Firewall != "" }

// lanPrefix6 is the network of an uplink's devices.
func lanPrefix6(uplink int) netip.Prefix { return prefix6(0x64, uplink) }

// publicAddrs6 gives the addresses of the link between an uplink's firewall and the server.
func publicAddrs6(uplink int) (firewall, server netip.Prefix) {
	p := prefix6(0xcb, uplink)
	return nthAddr(p, 2), nthAddr(p, 1)
}

// prefix6 is the /64 number n of a kind of networks.
func prefix6(kind byte, n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, kind, byte(n >> 8), byte(n)}), 64)
}

// macOf6 gives the hardware address that goes with an IPv6 address of the lab. On one
// link no two are the same.
func macOf6(addr netip.Addr) net.HardwareAddr {
	a := addr.As16()
	return net.HardwareAddr{0x02, 0x06, a[5], a[7], a[14], a[15]}
}

// firewall is one while it is planned.
type firewall struct{ lan, wan *Interface }

// planFirewalls lays out the firewalls, by uplink, nil where there is none. Where an uplink
// has NATs too, its firewall is one more host on the bridge of the first of them; where it
// has not, the devices attach to the firewall.
func planFirewalls(t *Topology, spec TopologySpec, attached map[string]int, lans []*Interface) []*firewall {
	all := make([]*firewall, len(spec.Uplinks))
	for u, up := range spec.Uplinks {
		if up.Firewall == "" {
			continue
		}
		h := t.addHost(up.Firewall, RoleFirewall)
		wan, next := publicAddrs6(u)
		f := &firewall{
			lan: h.add(&Interface{Name: "lan0", Point: up.Firewall + ":lan", Uplink: up.Name, Side: SideLAN, Addr6: nthAddr(lanPrefix6(u), 1)}),
			wan: h.add(&Interface{Name: "wan0", Point: up.Firewall + ":wan", Uplink: up.Name, Side: SideWAN, Addr6: wan, gateway6: next.Addr()}),
		}
		if lans[u] == nil {
			if f.lan.bridge = attached[up.Name] != 1; f.lan.bridge {
				f.lan.Index = h.giveIndex()
			}
			lans[u] = f.lan
		} else {
			t.connect(f.lan, lans[u]).port = "port0"
		}
		all[u] = f
	}
	return all
}

// reachServer wires the firewall's WAN side to the server, which has to know the way
// back to the devices: nothing translates their addresses.
func (f *firewall) reachServer(t *Topology, server *Host, uplink int, up UplinkSpec) {
	name := up.Name
	if up.dual() {
		name += secondSuffix
	}
	_, addr := publicAddrs6(uplink)
	i := server.add(&Interface{
		Name: name, Point: ServerName + ":" + name, Uplink: up.Name, Side: SideServer, Addr6: addr,
		networks: []netip.Prefix{lanPrefix6(uplink)}, via: f.wan.Addr6.Addr(),
	})
	t.connect(f.wan, i)
	f.wan.knows(i.Addr6, i.MAC)
	i.knows(f.wan.Addr6, f.wan.MAC)
}

// know makes a device and the firewall known to each other.
func (f *firewall) know(device *Interface) {
	device.knows(f.lan.Addr6, f.lan.MAC)
	f.lan.knows(device.Addr6, device.MAC)
}

// speaks6 says whether any interface of the host has an IPv6 address.
func (h *Host) speaks6() bool {
	if h.Role == RoleFirewall {
		return true
	}
	for _, i := range h.Interfaces {
		if i.Addr6.IsValid() {
			return true
		}
	}
	return false
}
