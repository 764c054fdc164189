package nat

import (
	"net/netip"
	"time"

	"outlive/lab/units"
)

// Mapping is one entry of a NAT's table, as conntrack has it.
type Mapping struct {
	// ID is conntrack's number of the entry, unique while it lives.
	ID uint32 `json:"id"`
	// Protocol is "tcp" or "udp".
	Protocol string `json:"protocol"`
	// LAN is the inside source, WAN what the outside sees of it, Remote the far end.
	LAN    netip.AddrPort `json:"lan"`
	WAN    netip.AddrPort `json:"wan"`
	Remote netip.AddrPort `json:"remote"`
	// State is conntrack's TCP state ("ESTABLISHED"), empty for UDP.
	State string `json:"state,omitempty"`
	// Left is the time until the entry expires if no packet refreshes it, in
	// whole seconds as the kernel reports it (rounded down).
	Left units.Seconds `json:"left_s"`
}

// The kinds of a MappingEvent.
const (
	MappingNew  = "new"
	MappingGone = "gone"
)

// The causes for which a mapping goes.
const (
	// CauseExpired: nothing refreshed it for its idle timeout.
	CauseExpired = "expired"
	// CauseDeleted: the lab deleted it (nat-reboot, mapping-expire).
	CauseDeleted = "deleted"
	// CauseClosed: the kernel ended it before its time and without being asked: the
	// first answer to it was a reset, a new connection took over its addresses and
	// ports, or the interface that it translated to went down.
	CauseClosed = "closed"
	// CauseEvicted: the table was full, and it had to make room for another
	// (Limits.WhenFull).
	CauseEvicted = "evicted"
)

// MappingEvent is the ground truth about one mapping, asked of the kernel and
// not concluded from packets.
type MappingEvent struct {
	// At is when the mapping was made, or the first instant at which the kernel no longer had it.
	At   time.Time `json:"-"`
	Kind string    `json:"kind"`
	// NAT is the name of the NAT's host.
	NAT     string  `json:"nat"`
	Mapping Mapping `json:"mapping"`
	// Cause says why it went; empty for MappingNew.
	Cause string `json:"cause,omitempty"`
	// Window is how long before At the mapping was last seen alive: the width of
	// the interval in which it went. Zero where the kernel gave the instant itself.
	Window units.Seconds `json:"window_s,omitempty"`
	// Lost says that the kernel dropped events, so that At may be late and other
	// mappings may be missing.
	Lost bool `json:"lost,omitempty"`
}

// CanBeFull says whether a new connection may find no room for its mapping: the
// table is limited, or the ports are more than by their nature.
func (p Profile) CanBeFull() bool {
	return p.Limits.Mappings > 0 || p.Limits.Subscriber > 0 || p.Ports.Block > 0 || p.Ports.Range != PortRange{}
}
