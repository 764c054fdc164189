package model

// tcpState is a state of a TCP connection as Linux's connection tracking names it.
// It is what the NAT in the middle knows, not what either end is in.
type tcpState uint8

const (
	none tcpState = iota
	synSent
	synRecv
	established
	finWait
	closeWait
	lastAck
	timeWait
	closed
	synSent2 // both ends have sent a SYN: simultaneous open

	// What a table says instead of a state.

	invalid // the packet does not belong to a connection in this state
	ignored // the packet is let pass, and nothing follows from it
)

func (s tcpState) String() string {
	return [...]string{"NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2", "invalid", "ignored"}[s]
}

// closing says that the end of the connection has begun.
func (s tcpState) closing() bool { return s >= finWait && s <= closed }

// segment is a kind of TCP packet, by its flags.
type segment uint8

const (
	segSYN segment = iota
	segSYNACK
	segFIN
	segACK
	segRST
	segNone
)

func (p Packet) segment() segment {
	switch {
	case p.Flags.has(RST):
		return segRST
	case p.Flags.has(SYN | ACK):
		return segSYNACK
	case p.Flags.has(SYN):
		return segSYN
	case p.Flags.has(FIN):
		return segFIN
	case p.Flags.has(ACK):
		return segACK
	}
	return segNone
}

// wellFormed says that a packet's flags are a combination that RFC 9293 knows.
func (p Packet) wellFormed() bool {
	switch p.Flags &^ PSH {
	case SYN, SYN | ACK, RST, RST | ACK, FIN | ACK, ACK:
		return true
	}
	return false
}

// way is a direction of a session: that of the packet that began it, or back.
type way uint8

const (
	forth way = iota
	back
)

func (w way) other() way { return 1 - w }

// transitions gives the state that follows, by the way, the kind of segment and
// the state.
var transitions = [2][segNone + 1][synSent2 + 1]tcpState{
	forth: {
		segSYN: {
			none: synSent, synSent: synSent, synSent2: synSent2, timeWait: synSent, closed: synSent,
			// It may be that the ends know better than the NAT.
			synRecv: ignored, established: ignored, finWait: ignored, closeWait: ignored, lastAck: ignored,
		},
		segSYNACK: {
			none: invalid, synSent: invalid, synSent2: synRecv, synRecv: synRecv,
			established: invalid, finWait: invalid, closeWait: invalid, lastAck: invalid, timeWait: invalid, closed: invalid,
		},
		segFIN: {
			none: invalid, synSent: invalid, synSent2: invalid, synRecv: finWait, established: finWait,
			finWait: lastAck, closeWait: lastAck, lastAck: lastAck, timeWait: timeWait, closed: closed,
		},
		segACK: {
			// Out of nothing: taken up in the middle, where the NAT does that.
			none: established, synSent: invalid, synSent2: invalid, synRecv: established, established: established,
			finWait: closeWait, closeWait: closeWait, lastAck: timeWait, timeWait: timeWait, closed: closed,
		},
		segRST: {
			none: invalid, synSent: closed, synSent2: closed, synRecv: closed, established: closed,
			finWait: closed, closeWait: closed, lastAck: closed, timeWait: closed, closed: closed,
		},
		segNone: allInvalid,
	},
	back: {
		segSYN: {
			none: invalid, synSent: synSent2, synSent2: synSent2, synRecv: invalid, established: invalid,
			finWait: invalid, closeWait: invalid, lastAck: invalid, timeWait: synSent, closed: invalid,
		},
		segSYNACK: {
			none: invalid, synSent: synRecv, synSent2: synRecv, synRecv: ignored, established: ignored,
			finWait: ignored, closeWait: ignored, lastAck: ignored, timeWait: ignored, closed: ignored,
		},
		segFIN: {
			none: invalid, synSent: invalid, synSent2: invalid, synRecv: finWait, established: finWait,
			finWait: lastAck, closeWait: lastAck, lastAck: lastAck, timeWait: timeWait, closed: closed,
		},
		segACK: {
			// The answer to a SYN for a connection that the far end still has.
			none: invalid, synSent: ignored, synSent2: ignored, synRecv: synRecv, established: established,
			finWait: closeWait, closeWait: closeWait, lastAck: timeWait, timeWait: timeWait, closed: closed,
		},
		segRST: {
			none: invalid, synSent: closed, synSent2: closed, synRecv: closed, established: closed,
			finWait: closed, closeWait: closed, lastAck: closed, timeWait: closed, closed: closed,
		},
		segNone: allInvalid,
	},
}

var allInvalid = [synSent2 + 1]tcpState{invalid, invalid, invalid, invalid, invalid, invalid, invalid, invalid, invalid, invalid}
