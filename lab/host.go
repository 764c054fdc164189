package lab

import (
	"net"
	"net/netip"

	"outlive/lab/netns"
)

// Role is what a host is in the network.
type Role string

// The roles of hosts.
const (
	// RoleDevice is a simulated phone.
	RoleDevice Role = "device"
	// RoleNAT forwards between a LAN side and a WAN side. As the topology makes it,
	// it is a plain router: package nat installs the translation.
	RoleNAT Role = "nat"
	// RoleFirewall forwards IPv6 between a LAN side and a WAN side, without
	// translating. As the topology makes it, it lets everything through.
	RoleFirewall Role = "firewall"
	// RoleServer is the host of the push server.
	RoleServer Role = "server"
	// RoleProbe is an end of a Probe. It takes no part in the scenario.
	RoleProbe Role = "probe"
)

// forwards says whether hosts of the role stand between devices and the server.
func (r Role) forwards() bool { return r == RoleNAT || r == RoleFirewall }

// The sides of a path on which an interface can be.
const (
	SideDevice = "device"
	SideLAN    = "lan"
	SideWAN    = "wan"
	SideServer = "server"
)

// Host is one network namespace with a role.
type Host struct {
	// Name is unique in the topology: the device's name, the NAT's, "server".
	Name string
	Role Role
	// NS is where the host's programs and sockets live. It belongs to the topology.
	NS *netns.NS
	// Interfaces are the host's interfaces without the loopback and without those
	// that AddProbe gives to a NAT.
	Interfaces []*Interface

	given int // how many indices of interfaces were given
	probe int // the number of its probe, which need not be there
	pool  netip.Prefix
}

// Interface is one network interface of a host. Its fields do not change once
// the topology is built.
type Interface struct {
	Host *Host
	// Name is the kernel's name for it: in devices and in the server the uplink's
	// name, in a NAT "lan0" and "wan0", and "lan9" and "wan9" towards a Probe. The server has
	// a second interface, "cell-6", towards the firewall of an uplink that has both.
	Name string
	// Point names it as a point of capture: "phone:cell", "cell:lan", "cell:wan",
	// "server:cell". Interfaces of probes have none.
	Point string
	// Uplink is the uplink that it belongs to, empty for probes.
	Uplink string
	// Side is SideDevice, SideLAN, SideWAN or SideServer.
	Side string
	// Addr is its IPv4 address, with the length of the link's prefix; invalid (the zero
	// Prefix) where it speaks no IPv4. The address under
	// which the server is reached is not on an interface: see Topology.ServerAddr.
	Addr netip.Prefix
	// Addr6 is its IPv6 address, invalid where it speaks no IPv6. Devices have a prefix of
	// 128 bits: each is on a link of its own with the firewall, as in a mobile network.
	Addr6 netip.Prefix
	// MAC is its hardware address, 02:00 followed by the four bytes of Addr, or where
	// there is none 02:06 followed by bytes of Addr6.
	MAC net.HardwareAddr
	// Index is the kernel's number for it in the host's namespace.
	Index int
	// Peer is the interface at the other end of its wire. Where an uplink has
	// several devices, its first LAN side is a bridge with a wire to each of them,
	// and its Peer is nil.
	Peer *Interface

	bridge   bool
	gateway  netip.Addr // of a default route over this interface, if valid
	gateway6 netip.Addr
	metric   int // of these routes
	// networks are those that the other end of the link, via, is the way to.
	networks []netip.Prefix
	via      netip.Addr
	// pool is that of the NAT at the other end.
	pool netip.Prefix
	// neighbours are entered by hand, so that nobody ever asks by ARP.
	neighbours []neighbour
}

type neighbour struct {
	addr netip.Addr
	mac  net.HardwareAddr
}

// macOf gives the hardware address that goes with an IPv4 address. Its first byte
// says "locally administered, for one host".
func macOf(addr netip.Addr) net.HardwareAddr {
	a := addr.As4()
	return net.HardwareAddr{0x02, 0, a[0], a[1], a[2], a[3]}
}

// mac gives the hardware address that goes with the interface's addresses.
func (i *Interface) mac() net.HardwareAddr {
	if !i.Addr.IsValid() {
		return macOf6(i.Addr6.Addr())
	}
	return macOf(i.Addr.Addr())
}

// knows enters a neighbour.
func (i *Interface) knows(addr netip.Prefix, mac net.HardwareAddr) {
	i.neighbours = append(i.neighbours, neighbour{addr.Addr(), mac})
}

// portMAC is that of the bridge port towards the host with this hardware address. No
// packet ever carries it.
func portMAC(near net.HardwareAddr) net.HardwareAddr {
	mac := append(net.HardwareAddr(nil), near...)
	mac[1]++
	return mac
}
