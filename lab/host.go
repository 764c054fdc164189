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
	// RoleServer is the host of the push server.
	RoleServer Role = "server"
	// RoleProbe is an end of a Probe. It takes no part in the scenario.
	RoleProbe Role = "probe"
)

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
}

// Interface is one network interface of a host. Its fields do not change once
// the topology is built.
type Interface struct {
	Host *Host
	// Name is the kernel's name for it: in devices and in the server the uplink's
	// name, in a NAT "lan0" and "wan0", and "lan9" and "wan9" towards a Probe.
	Name string
	// Point names it as a point of capture: "phone:cell", "cell:lan", "cell:wan",
	// "server:cell". Interfaces of probes have none.
	Point string
	// Uplink is the uplink that it belongs to, empty for probes.
	Uplink string
	// Side is SideDevice, SideLAN, SideWAN or SideServer.
	Side string
	// Addr is its address, with the length of the link's prefix. The address under
	// which the server is reached is not on an interface: see Topology.ServerAddr.
	Addr netip.Prefix
	// MAC is its hardware address, 02:00 followed by the four bytes of Addr.
	MAC net.HardwareAddr
	// Index is the kernel's number for it in the host's namespace.
	Index int
	// Peer is the interface at the other end of its wire. Where an uplink has
	// several devices, its first LAN side is a bridge with a wire to each of them,
	// and its Peer is nil.
	Peer *Interface

	bridge  bool
	gateway netip.Addr // of a default route over this interface, if valid
	metric  int        // of that route
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

// portMAC is that of the bridge port towards the device with this address. No
// packet ever carries it.
func portMAC(addr netip.Addr) net.HardwareAddr {
	mac := macOf(addr)
	mac[1] = 1
	return mac
}
