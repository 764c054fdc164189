package lab

import (
	"fmt"
	"net/netip"
	"strings"
)

// ServerName is the name of the server's host.
const ServerName = "server"

// The limits of a topology.
const (
	// MaxUplinks comes from the /24 of the public side, cut into /30s.
	MaxUplinks = 64
	// MaxNATs in a row on one uplink comes from the /24 between them, cut likewise.
	// Of firewalls there is at most one.
	MaxNATs = 64
	// MaxDevices on one uplink is what a bridge of the kernel takes (BR_MAX_PORTS in
	// net/bridge/br_private.h, of which 0 is none), without the firewall's port.
	MaxDevices = 1<<10 - 2
	// MaxNameLength is what the kernel allows for the name of an interface
	// (IFNAMSIZ - 1 in linux/if.h).
	MaxNameLength = 15
)

// serverAddr is from TEST-NET-2 (RFC 5737). The public side is 203.0.113.0/24,
// TEST-NET-3; between the NATs of a chain 100.64.0.0/10 (RFC 6598), as carriers do.
var serverAddr = netip.AddrFrom4([4]byte{198, 51, 100, 1})

// lanPrefix is the network of an uplink's devices.
func lanPrefix(uplink int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(64 + uplink), 0, 0}), 16)
}

// chainAddrs gives the addresses of the link behind NAT k of an uplink, counted
// from the device side: the inner NAT's WAN side and the outer one's LAN side.
func chainAddrs(uplink, k int) (inner, outer netip.Prefix) {
	at := func(last int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, byte(uplink), byte(last)}), 30)
	}
	return at(4*k + 2), at(4*k + 1)
}

// publicAddrs gives the addresses of the link between an uplink's last NAT and the server.
func publicAddrs(uplink int) (nat, server netip.Prefix) {
	at := func(last int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(last)}), 30)
	}
	return at(4*uplink + 2), at(4*uplink + 1)
}

// nthAddr gives the address n above the first one of the prefix.
func nthAddr(p netip.Prefix, n int) netip.Prefix {
	a := p.Addr().AsSlice()
	a[len(a)-2], a[len(a)-1] = byte(n>>8), byte(n)
	addr, _ := netip.AddrFromSlice(a)
	return netip.PrefixFrom(addr, p.Bits())
}

// plan lays out hosts, interfaces, addresses and wires, without making any.
func plan(spec TopologySpec) (*Topology, error) {
	if err := checkSpec(spec); err != nil {
		return nil, err
	}
	t := &Topology{byName: map[string]*Host{}, byPoint: map[string]*Interface{}, pulled: map[string]bool{}}
	devices := make(map[string]*Host)
	for _, d := range spec.Devices {
		devices[d.Name] = t.addHost(d.Name, RoleDevice)
	}
	attached := make(map[string]int) // devices by uplink
	for _, d := range spec.Devices {
		for _, u := range d.Uplinks {
			attached[u]++
		}
	}
	lans := make([]*Interface, len(spec.Uplinks)) // where the devices attach
	outer := make([]*Interface, len(spec.Uplinks))
	for u, up := range spec.Uplinks {
		lan := nthAddr(lanPrefix(u), 1)
		for k, name := range up.NATs {
			h := t.addHost(name, RoleNAT)
			h.pool = poolOf(u, k, k == len(up.NATs)-1)
			l := h.add(&Interface{Name: "lan0", Point: name + ":lan", Uplink: up.Name, Side: SideLAN, Addr: lan})
			// A single device is wired to the NAT itself, which is faster, unless the
			// firewall is to reach it too.
			l.bridge = k == 0 && (attached[up.Name] != 1 || up.Firewall != "")
			if l.bridge {
				l.Index = h.giveIndex()
			}
			wan, next := chainAddrs(u, k)
			if k == len(up.NATs)-1 {
				wan, next = publicAddrs(u)
			}
			w := h.add(&Interface{Name: "wan0", Point: name + ":wan", Uplink: up.Name, Side: SideWAN, Addr: wan, gateway: next.Addr()})
			if k == 0 {
				lans[u] = l
			} else {
				t.connect(outer[u], l)
			}
			outer[u], lan = w, next
		}
	}
	firewalls := planFirewalls(t, spec, attached, lans)
	server := t.addHost(ServerName, RoleServer)
	for u, up := range spec.Uplinks {
		if outer[u] != nil {
			_, addr := publicAddrs(u)
			i := server.add(&Interface{Name: up.Name, Point: ServerName + ":" + up.Name, Uplink: up.Name, Side: SideServer, Addr: addr})
			t.connect(outer[u], i)
		}
		if f := firewalls[u]; f != nil {
			f.reachServer(t, server, u, up)
		}
	}
	attachDevices(t, spec, devices, lans, firewalls)
	for _, h := range t.hosts {
		for _, i := range h.Interfaces {
			t.points = append(t.points, i)
			t.byPoint[i.Point] = i
		}
	}
	return t, nil
}

func attachDevices(t *Topology, spec TopologySpec, devices map[string]*Host, lans []*Interface, firewalls []*firewall) {
	index := make(map[string]int)
	for u, up := range spec.Uplinks {
		index[up.Name] = u
	}
	attached := make([]int, len(spec.Uplinks))
	for _, d := range spec.Devices {
		for order, name := range d.Uplinks {
			u := index[name]
			lan := lans[u]
			attached[u]++
			i := &Interface{
				Name: name, Point: d.Name + ":" + name, Uplink: name, Side: SideDevice,
				metric: 100 * (order + 1),
			}
			if len(spec.Uplinks[u].NATs) > 0 {
				i.Addr, i.gateway = nthAddr(lanPrefix(u), attached[u]+1), lan.Addr.Addr()
			}
			f := firewalls[u]
			if f != nil {
				i.Addr6, i.gateway6 = netip.PrefixFrom(nthAddr(lanPrefix6(u), attached[u]+1).Addr(), 128), f.lan.Addr6.Addr()
			}
			devices[d.Name].add(i)
			if w := t.connect(i, lan); lan.bridge {
				w.port = fmt.Sprintf("port%d", attached[u])
			}
			if f != nil {
				f.know(i)
			}
		}
	}
}

func (t *Topology) addHost(name string, role Role) *Host {
	h := &Host{Name: name, Role: role}
	if role.forwards() {
		h.probe = t.probes
		t.probes++
	}
	t.hosts = append(t.hosts, h)
	t.byName[name] = h
	return h
}

func (h *Host) add(i *Interface) *Interface {
	i.Host, i.MAC = h, i.mac()
	h.Interfaces = append(h.Interfaces, i)
	return i
}

// firstIndex is the lowest number of an interface that is given rather than asked
// for, which saves time. The kernel itself counts up from 2, and does not get there: a
// host has less than two ports for each of MaxDevices.
const firstIndex = 1 << 17

func (h *Host) giveIndex() int {
	h.given++
	return firstIndex + h.given - 1
}

// connect plans the wire between two interfaces of the scenario.
func (t *Topology) connect(near, far *Interface) *wire {
	w := join(near, far)
	if near.Side == SideWAN {
		far.pool = near.Host.pool
	}
	t.wires = append(t.wires, w)
	return w
}

// join plans the wire between two interfaces, near being the one on the device's
// side, and makes the ends known to each other.
func join(near, far *Interface) *wire {
	near.Index = near.Host.giveIndex()
	near.Peer = far
	if !far.bridge {
		far.Peer = near
	}
	if near.Addr.IsValid() && far.Addr.IsValid() {
		near.knows(far.Addr, far.MAC)
		far.knows(near.Addr, near.MAC)
	}
	return &wire{near: near, far: far}
}

// checkSpec refuses what cannot be built.
func checkSpec(spec TopologySpec) error {
	hosts := map[string]bool{ServerName: true}
	claim := func(name, what string) error {
		if name == "" || strings.ContainsAny(name, ":/ \t\n") {
			return fmt.Errorf("planning the topology: %q cannot be the name of %s", name, what)
		}
		if hosts[name] {
			return fmt.Errorf("planning the topology: there are two hosts called %q", name)
		}
		hosts[name] = true
		return nil
	}
	if n := len(spec.Uplinks); n > MaxUplinks {
		return fmt.Errorf("planning the topology: %d uplinks; at most %d are possible", n, MaxUplinks)
	}
	devices := make(map[string]int) // by uplink
	for _, u := range spec.Uplinks {
		if err := checkInterfaceName(u.Name); err != nil {
			return fmt.Errorf("planning uplink %q: %w", u.Name, err)
		}
		if _, twice := devices[u.Name]; twice {
			return fmt.Errorf("planning the topology: there are two uplinks called %q", u.Name)
		}
		devices[u.Name] = 0
		if n := len(u.NATs); n > MaxNATs || n == 0 && u.Firewall == "" {
			return fmt.Errorf("planning uplink %q: %d NATs in a row; there can be 1 to %d, or none beside a firewall", u.Name, n, MaxNATs)
		}
		for _, name := range u.NATs {
			if err := claim(name, "a NAT"); err != nil {
				return err
			}
		}
		if u.Firewall != "" {
			if err := claim(u.Firewall, "a firewall"); err != nil {
				return err
			}
		}
	}
	for _, u := range spec.Uplinks {
		if !u.dual() {
			continue
		}
		second := u.Name + secondSuffix
		if err := checkInterfaceName(second); err != nil {
			return fmt.Errorf("planning uplink %q: the server's second interface towards it would be called %q: %w", u.Name, second, err)
		}
		if _, taken := devices[second]; taken {
			return fmt.Errorf("planning uplink %q: the server's second interface towards it would be called %q, as the uplink of that name", u.Name, second)
		}
	}
	for _, d := range spec.Devices {
		if err := claim(d.Name, "a device"); err != nil {
			return err
		}
		seen := make(map[string]bool)
		for _, u := range d.Uplinks {
			if _, ok := devices[u]; !ok {
				return fmt.Errorf("planning device %q: there is no uplink %q", d.Name, u)
			}
			if seen[u] {
				return fmt.Errorf("planning device %q: uplink %q is named twice", d.Name, u)
			}
			seen[u] = true
			if devices[u]++; devices[u] > MaxDevices {
				return fmt.Errorf("planning uplink %q: more than %d devices", u, MaxDevices)
			}
		}
	}
	return nil
}

func checkInterfaceName(name string) error {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
	switch {
	case name == "" || strings.Trim(name, allowed) != "" || strings.Trim(name, ".") == "":
		return fmt.Errorf(`an interface cannot be called that; use letters, digits, "-", "_" and "."`)
	case len(name) > MaxNameLength:
		return fmt.Errorf("an interface is called after it, and the kernel allows %d bytes", MaxNameLength)
	case name == "lo", name == "all", name == "default":
		return fmt.Errorf("the kernel uses that name itself")
	}
	return nil
}
