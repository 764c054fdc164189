package lab

import (
	"net/netip"

	"github.com/vishvananda/netlink"
)

// PoolSize is how many addresses are routed to a NAT besides its own.
const PoolSize = 4

// poolOf gives the network that is routed to NAT k of an uplink: public addresses
// (TEST-NET-1, RFC 5737) to the last one, which the server sees, and those of
// carriers (RFC 6598) to the others.
func poolOf(uplink, k int, last bool) netip.Prefix {
	addr := [4]byte{100, 127, byte(uplink), byte(PoolSize * k)}
	if last {
		addr = [4]byte{192, 0, 2, byte(PoolSize * uplink)}
	}
	return netip.PrefixFrom(netip.AddrFrom4(addr), 30)
}

// probePool is the same for what comes through the NAT from its probe. It is the end
// of the network behind the probe's WAN host.
var probePool = netip.MustParsePrefix("198.19.255.252/30")

// Pool is a network of PoolSize addresses that is routed to the NAT from its WAN
// side. None of them is on an interface: what comes for one that no rule translates,
// the NAT would send back. It is invalid (the zero Prefix) for other hosts.
func (h *Host) Pool() netip.Prefix { return h.pool }

// ProbePool is the same for what comes from the NAT's Probe.
func (h *Host) ProbePool() netip.Prefix { return probePool }

// ProbeWAN is the address that the NAT has, or will have, towards the WAN host of its Probe.
func (h *Host) ProbeWAN() netip.Addr { return nthAddr(probeWAN, 4*h.probe+2).Addr() }

// Neighbours are the IPv4 addresses of the hosts at the other end of the interface's
// wires, in order. They are there as soon as the topology is planned.
func (i *Interface) Neighbours() []netip.Addr {
	var all []netip.Addr
	for _, n := range i.neighbours {
		if n.addr.Is4() {
			all = append(all, n.addr)
		}
	}
	return all
}

// addPoolRoute adds the route to the pool of the NAT at the other end, if it has one.
// It may be called again after the kernel has flushed it.
func (i *Interface) addPoolRoute() error {
	if !i.pool.IsValid() {
		return nil
	}
	route := &netlink.Route{LinkIndex: i.Index, Dst: ipNet(i.pool), Gw: i.Peer.Addr.Addr().AsSlice()}
	if err := i.Host.NS.Netlink().RouteReplace(route); err != nil {
		return i.failed("adding a route to "+i.pool.String(), err)
	}
	return nil
}
