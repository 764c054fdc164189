package flow

import (
	"net/netip"
	"time"

	"outlive/lab/units"
	"outlive/nat"
	"outlive/probes/socket"
)

// Truth is what the lab knows by construction and by asking the kernel; Analyze
// holds the packets against it.
type Truth struct {
	// Start is scenario time zero on the capture's clock.
	Start time.Time `json:"start"`
	// End is the end of the scenario. Packets after it are not judged.
	End units.Seconds `json:"end_s"`
	// Server is the push server's IPv4 address and port; Server6 the same over IPv6. One of
	// them may be invalid (the zero AddrPort): then nobody reaches it so.
	Server  netip.AddrPort `json:"server"`
	Server6 netip.AddrPort `json:"server6,omitzero"`
	// Protocol is "line", "mqtt", or empty if it is not one that can be decoded.
	Protocol string   `json:"protocol,omitempty"`
	Points   []Point  `json:"points"`
	Devices  []Device `json:"devices"`
	NATs     []NAT    `json:"nats"`

	Mappings []Mapping   `json:"-"`
	Sockets  []Socket    `json:"-"`
	Breaks   []Break     `json:"-"`
	Pushes   []PushOrder `json:"-"`
}

// Port is the server's.
func (t *Truth) Port() uint16 { return max(t.Server.Port(), t.Server6.Port()) }

// Point is a point of capture. Its packets carry its name as interface name.
type Point struct {
	Name   string `json:"name"` // "phone:cell", "cell:lan", "cell:wan", "server:cell"
	Host   string `json:"host"`
	Side   string `json:"side"` // "device", "lan", "wan", "server"
	Uplink string `json:"uplink"`
	MAC    string `json:"mac"` // source address of what leaves the host here
	// Addr is its IPv4 address and Addr6 its IPv6 address; what it does not speak is
	// invalid. One without either speaks IPv4.
	Addr  netip.Addr `json:"addr"`
	Addr6 netip.Addr `json:"addr6,omitzero"`
}

// Device is a device and its addresses by uplink, IPv4 and IPv6.
type Device struct {
	Name   string                `json:"name"`
	Addrs  map[string]netip.Addr `json:"addrs"`
	Addrs6 map[string]netip.Addr `json:"addrs6,omitempty"`
}

// NAT is a NAT on the way of an uplink, or its IPv6 firewall, which forgets as a NAT does and
// translates nothing: its LAN and WAN are IPv6 addresses. Order counts from the device side,
// from 0, in each family for itself.
type NAT struct {
	Name    string      `json:"name"`
	Uplink  string      `json:"uplink"`
	Order   int         `json:"order"`
	LAN     netip.Addr  `json:"lan"`
	WAN     netip.Addr  `json:"wan"`
	Profile nat.Profile `json:"profile"`
}

// Firewall says that it is an IPv6 firewall.
func (n NAT) Firewall() bool { return n.LAN.Is6() }

// String is what people call it: "NAT cell", "firewall cell".
func (n NAT) String() string {
	if n.Firewall() {
		return "firewall " + n.Name
	}
	return "NAT " + n.Name
}

// Memory is what people call that which it forgets: "mapping", "state".
func (n NAT) Memory() string {
	if n.Firewall() {
		return "state"
	}
	return "mapping"
}

// Mapping is a nat.MappingEvent in scenario time.
type Mapping struct {
	At units.Seconds
	nat.MappingEvent
}

// Socket is a socket.Event in scenario time.
type Socket struct {
	At units.Seconds
	socket.Event
}

// Break is an instant from which the lab itself has made a host unable to take
// part: its program killed, its cable pulled.
type Break struct {
	At units.Seconds
	// Host is the host that it happened to: "server".
	Host string
	// Cause is the fault's name: "server-kill", "server-power-off"; or
	// CauseServerExit or CauseClientExit where the program ended by itself. A fault's At is the
	// instant before the lab acted, so that nothing it caused lies before it.
	Cause string
}

// CauseClientExit is the cause of a Break that the lab did not make: a signal killed the
// client's program, which did not get to decide anything. At is as for CauseServerExit.
const CauseClientExit = "client-exit"

// CauseServerExit is the cause of a Break that the lab did not make: the server's
// program ended by itself. At is when that was seen, up to half a second late.
const CauseServerExit = "server-exit"

// PushOrder is a push that the lab handed to the server at an instant.
type PushOrder struct {
	ID     string
	Device string
	At     units.Seconds
}

// Analysis is what happened, in scenario time.
type Analysis struct {
	// Connections are in order of their first packet.
	Connections []Connection
	// Pushes has one entry for every PushOrder, in the same order.
	Pushes []Push
	// Heartbeats are in order of time.
	Heartbeats []Heartbeat
	// Packets counts the packets of the capture, all points together; Captured those of each point.
	Packets  int
	Captured map[string]int
	// Problems are reasons for which this analysis cannot be relied on
	// (truncated capture, packets that could not be joined, clock out of order).
	// Any of them makes the verdict inconclusive.
	Problems []string
}

// Connection is one TCP connection between a device and the server, followed
// through every NAT between them.
type Connection struct {
	Device string
	Uplink string
	// Client and Server are the ends as the device sees them; Mapped is the
	// client's end after each NAT, device side first, as far as the capture shows it.
	Client netip.AddrPort
	Server netip.AddrPort
	// Mapped has none where nothing is translated (IPv6).
	Mapped []netip.AddrPort
	// ISN is the sequence number of the client's SYN: the key by which the points are joined.
	ISN uint32

	// SYN is the first SYN at the device's interface. Opened is when the
	// handshake was complete there: the device acknowledged the server's SYN. Ready is when
	// pushes could be sent (SUBACK, WELCOME, or a CONNACK that resumes a session, as it
	// arrived at the device), or Opened where the protocol is not decoded. Nil: never.
	SYN    units.Seconds
	Opened *units.Seconds
	Ready  *units.Seconds

	// Refused is the first NAT that had no room for a mapping of the connection when it
	// was begun, and dropped its SYN; empty if there was none. It may have opened later all the same.
	Refused string

	// Lapses are the stretches in which nothing could pass because a NAT had
	// no mapping for it, in order of From. With several NATs they may overlap. Those that began
	// when the connection was over for both sides, or closed in order, are left out.
	Lapses []Lapse

	// Died is the instant from which the connection could never again deliver
	// from server to client; nil if it lived to the end or was closed in order
	// (Closed). Cause says of what, in words ("mapping expired at NAT cell", "state expired at firewall cell").
	Died  *units.Seconds
	Cause string
	// CauseKind is one word: "mapping-expired", "mapping-deleted", "mapping-closed", at a firewall too, or a fault's name.
	CauseKind string

	// Closed is set where a side ended a connection whose path was fine. By is
	// "client" or "server". FalseAlarm says that it gave up a living connection
	// rather than taking leave of it (MQTT DISCONNECT) or ending with its process.
	Closed *Closing

	// ClientSide and ServerSide are what each side learnt of the death.
	ClientSide Side
	ServerSide Side

	// Marks are the packets that a story may need, in order of time.
	Marks []Mark
	// Packets counts the packets of the connection at all points, up to the end of the scenario.
	Packets int
}

// Side is what one end learnt of its connection's death. It is zero for a
// connection that did not die.
type Side struct {
	// NoticedAt is when the program showed that it knew: its FIN or RST, the SYN
	// of its replacement, or its closing of the socket. Nil: never.
	NoticedAt *units.Seconds
	// NoticedBy is "fin", "rst", "syn" or "close".
	NoticedBy string
	// NoticedPacket is the number of that packet in capture.pcapng, from 1; 0 for "close".
	NoticedPacket int
	// GaveUpAt is when its kernel knew. Nil: never, or not before the program.
	GaveUpAt *units.Seconds
	// GaveUpBy is "retransmission", "keepalive", "user-timeout", "reset" or empty.
	GaveUpBy string
	// GoneAt is when the lab took this side's program or host away while it had
	// not noticed (Break). From then on it holds nothing. Where it equals Died, the
	// loss of this side was the death, and there is nothing that it could notice.
	GoneAt *units.Seconds
}

// Closing is the end of a connection that was alive.
type Closing struct {
	At         units.Seconds
	By         string // "client" or "server"
	How        string // "fin", "rst", "close", or "gave-up" where its kernel did it alone
	Packet     int    // the number of the packet that shows it, 0 if none does
	FalseAlarm bool
	Why        string // in words: "ping unanswered for 3s", "sent DISCONNECT"
}

// Lapse is a stretch without a mapping.
type Lapse struct {
	From  units.Seconds
	Until *units.Seconds // nil: to the end
	// NAT is the NAT that forgot; Cause is nat.CauseExpired, CauseDeleted,
	// CauseClosed or CauseEvicted.
	NAT   string
	Cause string
	// Refresh is the last packet that refreshed the mapping, as it came in at the
	// NAT, and Timeout the idle timeout that then ran: From is their sum where Cause is
	// expired and the kernel's own account agrees with it. Both are zero where not known.
	Refresh Mark
	Timeout time.Duration
	// Timer says which of the NAT's idle timers that was, one of the Timer words. It is
	// empty where Timeout is zero.
	Timer string
}

// The idle timers of a NAT, as nat.Timeouts and the kernel name them, without "tcp_".
const (
	TimerEstablished    = "established"
	TimerUnacknowledged = "unacknowledged"
	TimerMaxRetrans     = "max_retrans"
	TimerSynSent        = "syn_sent"
	TimerSynRecv        = "syn_recv"
	TimerFinWait        = "fin_wait"
	TimerCloseWait      = "close_wait"
	TimerLastAck        = "last_ack"
	TimerTimeWait       = "time_wait"
	TimerClose          = "close"
)

// Mark is one noteworthy packet.
type Mark struct {
	At units.Seconds
	// Packet is its number in capture.pcapng, from 1.
	Packet int
	Point  string
	// Kind is "syn", "data", "ack", "retransmission", "keepalive-probe", "fin",
	// "rst", or the protocol's word: "pingreq", "publish", "ping", "push" …
	Kind string
	// From is who sent it: "client", "server" or "nat:NAME".
	From string
	// Fate is where the packet was last seen if it did not arrive: "dropped at NAT cell". Empty if it arrived.
	Fate string
}

// Push is the fate of one push.
type Push struct {
	PushOrder
	// Left is when it first left the server's interface; Arrived when its bytes
	// first reached the device's interface on a connection that was open there;
	// Acked when the device's acknowledgement reached the server. Nil: never, or
	// for Acked that the protocol has none or is not decoded.
	Left, Arrived, Acked *units.Seconds
	// Copies counts the times that the device's program was given it (more than one: duplicates).
	Copies int
	// Connection is the index in Analysis.Connections on which it left last, -1 if none.
	Connection int
	// Packet is the number of the packet in which it first left, at the server, and
	// ArrivedPacket that of the one with which it had arrived, at the device; 0 if none.
	Packet, ArrivedPacket int
}

// Heartbeat is one heartbeat and its answer.
type Heartbeat struct {
	Connection int
	// From is "client" or "server".
	From string
	// Sent is when it left its sender's interface; Answered when the answer came in there. Nil: never.
	Sent     units.Seconds
	Answered *units.Seconds
	// Bytes counts the IP bytes of heartbeat and answer at the device's interface,
	// repetitions included, and of the acknowledgements of both that carry nothing else.
	Bytes int
	// Packet is the number of the packet in which it left its sender's interface.
	Packet int
}
