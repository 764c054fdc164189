// Package socket tells what a host's kernel and its programs know of their TCP
// connections, where nothing shows on the wire.
package socket

import (
	"net/netip"
	"time"

	"outlive/lab/units"
)

// The kinds of an Event.
const (
	// Opened: the kernel has an established socket for the tuple.
	Opened = "opened"
	// GaveUp: the kernel has unhashed the socket (retransmission or keepalive
	// timeout, TCP_USER_TIMEOUT, a RST received); a look-up by tuple finds
	// nothing. The program may still hold it and not know.
	GaveUp = "gave-up"
	// Orphaned: the program has closed it, and the kernel keeps the socket to deliver
	// what is left (INET_DIAG: state FIN_WAIT1, CLOSING or LAST_ACK, inode 0).
	// On the wire nothing may show: Linux (seen on 6.18) sends no FIN while data is
	// unacknowledged and repeated, which on a dead path is until it gives up, minutes later.
	Orphaned = "orphaned"
	// Closed: the program has closed it and the kernel has freed the socket.
	Closed = "closed"
)

// Event is something that happened to one TCP socket of a host.
type Event struct {
	// At is when it was learnt.
	At time.Time `json:"-"`
	// Host is the host's name in the topology.
	Host string `json:"host"`
	Kind string `json:"kind"`
	// Local and Remote are the socket's ends, as its host sees them.
	Local  netip.AddrPort `json:"local"`
	Remote netip.AddrPort `json:"remote"`
	// Cookie is the kernel's number of the socket, never used twice.
	Cookie uint64 `json:"cookie"`
	// Cause is why the kernel gave up, from the last look at its timers:
	// "retransmission", "keepalive", "reset", or empty where it is not known.
	// TCP_USER_TIMEOUT cuts short one of the first two and is told as that one.
	Cause string `json:"cause,omitempty"`
	// Window is how long before At the socket was last seen alive, or not yet
	// orphaned. It is zero for Opened and Closed.
	Window units.Seconds `json:"window_s,omitempty"`
	// Lost says that the kernel dropped events before this one.
	Lost bool `json:"lost,omitempty"`
}
