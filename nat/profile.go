// Package nat makes a router of the lab a NAT: profiles (how a NAT behaves), the
// rules and conntrack settings that make the kernel behave so, the mappings as the
// kernel has them, and the self-check that proves from packets that a NAT is the
// one that was asked for.
//
// The words are those of RFC 4787 (UDP), RFC 5382 (TCP), RFC 6888 (carriers' NATs)
// and RFC 7857. An endpoint is an address with a port and a protocol.
package nat

import (
	"outlive/lab"
	"outlive/lab/units"
)

// Profile describes how one NAT behaves. The zero value is not useful; start
// from Default.
type Profile struct {
	// Name is the profile's name in the catalogue, or empty for one written in a scenario.
	Name string `yaml:"-" json:"name,omitempty"`
	// Timeouts are the idle timeouts. Unset ones are the Linux kernel's.
	Timeouts Timeouts `yaml:"timeouts,omitempty" json:"timeouts"`
	// Late is what happens to a packet whose mapping has expired.
	Late Late `yaml:"late,omitempty" json:"late"`
	// Mapping says which connections of one inside endpoint share a mapping. Empty
	// means EndpointIndependent, with LANRemap AddressAndPortDependent.
	Mapping Behaviour `yaml:"mapping,omitempty" json:"mapping,omitempty"`
	// Filtering says who may send to a mapping from outside. Empty means
	// AddressAndPortDependent.
	Filtering Behaviour `yaml:"filtering,omitempty" json:"filtering,omitempty"`
	// Ports are the outside ports.
	Ports Ports `yaml:"ports,omitempty" json:"ports,omitzero"`
	// Pool are the outside addresses.
	Pool Pool `yaml:"pool,omitempty" json:"pool,omitzero"`
	// Hairpin lets an inside host reach another one, or itself, by the outside
	// endpoint of its mapping. The packet then comes from the sender's own outside
	// endpoint (RFC 4787 REQ-9, "External source IP address and port").
	Hairpin bool `yaml:"hairpin,omitempty" json:"hairpin,omitempty"`
	// Refresh says which packets keep a mapping alive.
	Refresh Refresh `yaml:"refresh,omitempty" json:"refresh,omitzero"`
	// Limits bound the table of mappings.
	Limits Limits `yaml:"limits,omitempty" json:"limits,omitzero"`
}

// Behaviour is how much of the far end a NAT takes into account, for mapping
// (RFC 4787 §4.1) or for filtering (§5). RFC 5382 has the same for TCP (§4.1, §4.3).
type Behaviour string

// The behaviours.
const (
	// EndpointIndependent: the far end does not matter. As mapping: one inside
	// endpoint has one outside endpoint. As filtering: whoever sends to a mapping
	// gets through.
	EndpointIndependent Behaviour = "endpoint-independent"
	// AddressDependent: the far end's address matters. As mapping: one outside
	// endpoint for each address. As filtering: only addresses get through to which
	// the inside endpoint has sent.
	AddressDependent Behaviour = "address-dependent"
	// AddressAndPortDependent: the far end's address and port matter. As mapping: one
	// outside endpoint for each of the far end's endpoints ("symmetric"). As
	// filtering: only endpoints get through to which the inside endpoint has sent.
	AddressAndPortDependent Behaviour = "address-and-port-dependent"
)

// Ports says which outside port a new mapping gets. TCP and UDP have ports, and
// blocks of them, of their own. No outside port belongs to two mappings at once,
// with one exception: a profile whose Backend is iptables is conntrack's own
// translation, which gives a port a second time for another far end.
type Ports struct {
	// Allocation is how the port is chosen. Empty means PortPreserve, with LANRemap PortRandom.
	Allocation PortAllocation `yaml:"allocation,omitempty" json:"allocation,omitempty"`
	// Range is what the NAT may use. Zero means 1024-65535 for ports that are
	// drawn, and any for one that is preserved.
	Range PortRange `yaml:"range,omitempty" json:"range,omitzero"`
	// Block gives each inside address a block of so many consecutive ports of the
	// range and no others (RFC 6888 REQ-14, RFC 7422), so that it can have no more
	// mappings of one protocol than that. The blocks are laid out one after the other in the
	// order of the inside addresses; an address for which the range has no block left
	// gets no mapping. Zero means no blocks.
	Block int `yaml:"block,omitempty" json:"block,omitempty"`
}

// PortAllocation is how the outside port of a new mapping is chosen.
type PortAllocation string

// The ways to choose a port.
const (
	// PortPreserve keeps the inside port; where that belongs to another mapping
	// already, or is outside the range, the port is drawn at random.
	PortPreserve PortAllocation = "preserve"
	// PortRandom draws the port at random.
	PortRandom PortAllocation = "random"
)

// Pool are the outside addresses of a NAT.
type Pool struct {
	// Addresses is how many there are. Zero means 1, the address of the interface; more
	// are addresses that are routed to it, at most MaxPool.
	Addresses int `yaml:"addresses,omitempty" json:"addresses,omitempty"`
	// Paired gives all mappings of one inside address the same outside address
	// (RFC 4787 REQ-2). Without it ("arbitrary") each mapping has one drawn at random.
	Paired bool `yaml:"paired,omitempty" json:"paired,omitempty"`
}

// MaxPool is the largest number of addresses in a pool.
const MaxPool = lab.PoolSize

// Refresh says which packets restart a mapping's idle timer.
type Refresh struct {
	// Direction is the direction of the packets that do. Empty means RefreshBoth.
	Direction RefreshDirection `yaml:"direction,omitempty" json:"direction,omitempty"`
	// IgnoreACK leaves out TCP segments with no data that are neither SYN, FIN nor
	// RST: bare acknowledgements, and the keepalive probes that carry no data.
	IgnoreACK bool `yaml:"ignore_ack,omitempty" json:"ignore_ack,omitempty"`
}

// RefreshDirection is which direction of packets refreshes a mapping.
type RefreshDirection string

// The directions that refresh.
const (
	// RefreshBoth is what conntrack does by itself.
	RefreshBoth RefreshDirection = "both"
	// RefreshOutbound is the minimum of RFC 4787 REQ-6: only packets from the LAN
	// side. A server cannot keep the mapping of a silent client.
	RefreshOutbound RefreshDirection = "outbound"
)

// Limits bound the mappings of a NAT. Those of the self-check do not count, and have
// limits of the same size of their own. What is counted are connections: where several
// share a mapping, each counts, and a TCP connection that is closed no longer does.
type Limits struct {
	// Mappings is how many there can be. Zero means no limit but the ports.
	Mappings int `yaml:"mappings,omitempty" json:"mappings,omitempty"`
	// Subscriber is how many one inside address can have (RFC 6888 REQ-4). Zero means no limit.
	Subscriber int `yaml:"subscriber,omitempty" json:"subscriber,omitempty"`
	// WhenFull is what a new connection meets beyond a limit. Empty means RefuseNew.
	WhenFull WhenFull `yaml:"when_full,omitempty" json:"when_full,omitempty"`
}

// WhenFull is what happens when a limit is reached.
type WhenFull string

// What happens when a limit is reached.
const (
	// RefuseNew drops the first packet of the new connection and says nothing.
	RefuseNew WhenFull = "refuse"
	// EvictOldest takes the place of the mapping that has not been refreshed for the longest time.
	EvictOldest WhenFull = "evict-oldest"
)

// Timeouts are conntrack's idle timeouts, in whole seconds, named as the kernel
// names them (Documentation/networking/nf_conntrack-sysctl.rst). Zero means the
// kernel's default.
type Timeouts struct {
	TCPEstablished    units.Duration `yaml:"tcp_established,omitempty" json:"tcp_established,omitempty"`
	TCPSynSent        units.Duration `yaml:"tcp_syn_sent,omitempty" json:"tcp_syn_sent,omitempty"`
	TCPSynRecv        units.Duration `yaml:"tcp_syn_recv,omitempty" json:"tcp_syn_recv,omitempty"`
	TCPFinWait        units.Duration `yaml:"tcp_fin_wait,omitempty" json:"tcp_fin_wait,omitempty"`
	TCPCloseWait      units.Duration `yaml:"tcp_close_wait,omitempty" json:"tcp_close_wait,omitempty"`
	TCPLastAck        units.Duration `yaml:"tcp_last_ack,omitempty" json:"tcp_last_ack,omitempty"`
	TCPTimeWait       units.Duration `yaml:"tcp_time_wait,omitempty" json:"tcp_time_wait,omitempty"`
	TCPClose          units.Duration `yaml:"tcp_close,omitempty" json:"tcp_close,omitempty"`
	TCPMaxRetrans     units.Duration `yaml:"tcp_max_retrans,omitempty" json:"tcp_max_retrans,omitempty"`
	TCPUnacknowledged units.Duration `yaml:"tcp_unacknowledged,omitempty" json:"tcp_unacknowledged,omitempty"`
	UDP               units.Duration `yaml:"udp,omitempty" json:"udp,omitempty"`
	UDPStream         units.Duration `yaml:"udp_stream,omitempty" json:"udp_stream,omitempty"`
	ICMP              units.Duration `yaml:"icmp,omitempty" json:"icmp,omitempty"`
	Generic           units.Duration `yaml:"generic,omitempty" json:"generic,omitempty"`
}

// Late is the late-packet behaviour, per direction. It is about TCP: a late
// datagram of any other protocol from the LAN side always makes a new mapping,
// and one from the WAN side is always dropped.
type Late struct {
	// LAN is what a late packet from the LAN side meets. Empty means LANDrop.
	LAN LateLAN `yaml:"lan,omitempty" json:"lan"`
	// WAN is what a late packet from the WAN side meets. Empty means WANDrop.
	WAN LateWAN `yaml:"wan,omitempty" json:"wan"`
}

// LateLAN is what happens to a late packet that comes from the LAN side.
type LateLAN string

// The behaviours towards the LAN side. A late FIN or RST never makes a mapping
// anew: with LANRevive and LANRemap it is dropped.
const (
	// LANDrop drops it and says nothing: what a carrier's NAT does.
	LANDrop LateLAN = "drop"
	// LANReset answers it with a RST to the sender; the WAN side hears nothing.
	LANReset LateLAN = "reset"
	// LANRevive makes the mapping anew with the same port (tcp_loose=1: the
	// Linux default), so that the connection lives on.
	LANRevive LateLAN = "revive"
	// LANRemap makes a new mapping with another port, which the server does not know.
	// Ports are then drawn at random, and unless PortRandom is stated, each
	// connection has a mapping of its own: the behaviour of a kernel that is told to
	// translate to random ports.
	LANRemap LateLAN = "remap"
)

// LateWAN is what happens to a late packet that comes from the WAN side.
type LateWAN string

// The behaviours towards the WAN side.
const (
	// WANDrop drops it and says nothing.
	WANDrop LateWAN = "drop"
	// WANReset answers it with a RST to the sender.
	WANReset LateWAN = "reset"
)

// CanRevive says whether a late packet from the LAN side brings an expired
// mapping back, so that expiry alone is not the death of a connection.
func (p Profile) CanRevive() bool { return p.Late.LAN == LANRevive }

// Default is a NAT with the Linux kernel's idle timeouts that drops late packets
// of both sides in silence, keeps inside ports and lets nobody in who was not
// spoken to.
func Default() Profile { return Profile{}.Complete() }

// Complete gives the profile with everything that is not set filled in: the
// kernel's timeouts, late packets dropped, and what each field's zero value means.
// What has no default, such as limits, stays unset.
func (p Profile) Complete() Profile {
	for _, t := range timers {
		if d := t.of(&p.Timeouts); *d == 0 {
			*d = units.Duration(t.standard)
		}
	}
	set(&p.Late.LAN, LANDrop)
	set(&p.Late.WAN, WANDrop)
	if p.Late.LAN == LANRemap && p.Ports.Allocation != PortRandom {
		p.Ports.Allocation = PortRandom
		if p.Mapping == EndpointIndependent {
			p.Mapping = ""
		}
		set(&p.Mapping, AddressAndPortDependent)
	}
	set(&p.Mapping, EndpointIndependent)
	set(&p.Filtering, AddressAndPortDependent)
	set(&p.Ports.Allocation, PortPreserve)
	set(&p.Pool.Addresses, 1)
	set(&p.Refresh.Direction, RefreshBoth)
	set(&p.Limits.WhenFull, RefuseNew)
	return p
}

// set gives a field its default.
func set[T comparable](field *T, standard T) {
	var unset T
	if *field == unset {
		*field = standard
	}
}
