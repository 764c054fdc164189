// Package nat makes a router of the lab a NAT: profiles (how a NAT behaves), the
// iptables rules and conntrack settings that make the kernel behave so, the
// mappings as the kernel has them, and the self-check that proves from packets
// that a NAT is the one that was asked for.
//
// The kernel back end differs from an ideal NAT in one way that matters here:
// conntrack refreshes a mapping on packets of both directions, where RFC 4787
// (REQ-6) only demands the outbound one.
package nat

import "outlive/lab/units"

// Profile describes how one NAT behaves. The zero value is not useful; start
// from Default.
type Profile struct {
	// Name is the profile's name in the catalogue, or empty for one written in a scenario.
	Name string `yaml:"-" json:"name,omitempty"`
	// Timeouts are the idle timeouts. Unset ones are the Linux kernel's.
	Timeouts Timeouts `yaml:"timeouts,omitempty" json:"timeouts"`
	// Late is what happens to a packet whose mapping has expired.
	Late Late `yaml:"late,omitempty" json:"late"`
}

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
