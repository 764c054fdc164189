// Package lab builds the network that a scenario runs in: hosts, uplinks, links,
// addresses, routes. A NAT is just a router here; package nat makes it forget.
//
//	phone ── cell ──────────── lan0 [NAT cell] wan0 ── cell [server]
//	10.64.0.2        10.64.0.1             203.0.113.2 203.0.113.1, 198.51.100.1
//
// An uplink can have an IPv6 firewall in place of the NAT, or beside it, a host of its
// own that forwards without translating:
//
//	phone ── cell ──────┬── lan0 [NAT cell] wan0 ──────────────── cell   [server]
//	10.64.0.2           └── lan0 [firewall cell.firewall] wan0 ── cell-6 [server]
//	2001:db8:64::2          2001:db8:64::1       2001:db8:cb::2   2001:db8:cb::1, 2001:db8::1
//
// It is a host of its own because all that decides when connection tracking forgets
// (its idle timeouts, whether it picks up a connection in the middle) is set per
// namespace and holds for both families.
//
// The network is silent: there is no ARP and no neighbour discovery, no router
// advertisement, no multicast listener report, no IPv6 at all where no firewall is asked
// for, no spanning tree, and every
// packet on it was caused by a program. No interface has offloads, so that what
// is captured is what would be on a wire. Every address exists only in the lab's
// own namespaces and cannot clash with anything outside.
package lab

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
)

// TopologySpec is the network that is asked for.
type TopologySpec struct {
	// Uplinks are the access networks, at most MaxUplinks.
	Uplinks []UplinkSpec
	// Devices are the devices, at most MaxDevices on one uplink.
	Devices []DeviceSpec
	// Prepare, if not nil, is called for each NAT and firewall host as soon as its namespace is
	// there: the place to install rules. It runs in a goroutine of its own while the
	// rest is built, which hides most of its time, so the host may or may not have
	// its interfaces yet. Build waits for all calls; if one fails, ctx ends for the
	// others and Build fails with its error. What calls that succeeded have opened
	// is the caller's to close then.
	Prepare func(ctx context.Context, nat *Host) error
}

// UplinkSpec is one access network: the NATs between its devices and the server.
type UplinkSpec struct {
	// Name is at most MaxNameLength bytes of letters, digits, "-", "_" and ".",
	// because interfaces are called after it.
	Name string
	// NATs are the names of its NAT hosts, device side first, at most MaxNATs. There is at
	// least one, or a Firewall: without NATs the uplink has no IPv4.
	NATs []string
	// Firewall is the name of its IPv6 firewall's host; empty means that the uplink has no IPv6.
	// On an uplink with a firewall devices reach each other by way of that, over IPv6, and
	// not over IPv4.
	Firewall string
}

// DeviceSpec is one device.
type DeviceSpec struct {
	Name string
	// Uplinks are the names of those that it is attached to. Its packets take the
	// first one; the default routes of the others have higher metrics.
	Uplinks []string
}

// Topology is a network that runs. Its methods may be called from several
// goroutines at once.
type Topology struct {
	hosts   []*Host
	byName  map[string]*Host
	points  []*Interface
	byPoint map[string]*Interface
	wires   []*wire

	mu     sync.Mutex // guards what follows, and changes of the network
	extra  []*Host    // of probes and twins
	probes int        // how many numbers of probes were given
	pulled map[string]bool
}

// Build makes the network. It takes a few milliseconds and about one more for
// each device. When it returns, every link carries packets. The error says which
// part could not be made, and is a *feature.Unsupported where the machine lacks
// what it takes.
func Build(ctx context.Context, spec TopologySpec) (*Topology, error) {
	t, err := plan(spec)
	if err != nil {
		return nil, err
	}
	if err := t.build(ctx, spec.Prepare); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// Close lets go of every namespace. The kernel then takes the network apart by
// itself, some tens of milliseconds later, unless a process still runs in it.
// Closing twice is no error.
func (t *Topology) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for _, h := range slices.Concat(t.hosts, t.extra) {
		if h.NS != nil {
			errs = append(errs, h.NS.Close())
		}
	}
	return errors.Join(errs...)
}

// Hosts are all hosts of the scenario: devices, then NATs by uplink from the
// device side, then firewalls by uplink, then the server. Those of probes are not among them.
func (t *Topology) Hosts() []*Host { return slices.Clone(t.hosts) }

// Host gives the host of that name, or nil.
func (t *Topology) Host(name string) *Host { return t.byName[name] }

// Server gives the server's host.
func (t *Topology) Server() *Host { return t.byName[ServerName] }

// ServerAddr is the address at which the server is reached, by whichever uplink that has NATs.
func (t *Topology) ServerAddr() netip.Addr { return serverAddr }

// ServerAddr6 is the address at which the server is reached over IPv6, by whichever
// uplink that has a firewall. It is invalid (the zero Addr) where none has one.
func (t *Topology) ServerAddr6() netip.Addr {
	if !t.Server().speaks6() {
		return netip.Addr{}
	}
	return serverAddr6
}

// Points are the interfaces of all hosts, in the order of Hosts: everywhere a
// packet can be captured.
func (t *Topology) Points() []*Interface { return slices.Clone(t.points) }

// Interface gives the interface at a point ("phone:cell", "cell:lan",
// "server:cell"), or nil.
func (t *Topology) Interface(point string) *Interface { return t.byPoint[point] }

// DeviceAddr gives the IPv4 address of a device on one of its uplinks. It is invalid
// (the zero Addr) if the device is not attached to it, or the uplink has no NAT.
func (t *Topology) DeviceAddr(device, uplink string) netip.Addr {
	if i := t.byPoint[device+":"+uplink]; i != nil && i.Side == SideDevice {
		return i.Addr.Addr()
	}
	return netip.Addr{}
}
