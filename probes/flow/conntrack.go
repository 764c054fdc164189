package flow

import (
	"time"

	"outlive/nat"
)

// tracked is what Linux's connection tracking thinks of a TCP connection, as far
// as it decides which idle timeout a packet starts (nf_conntrack_proto_tcp.c, Linux
// 6.x, with tcp_be_liberal=1 as the lab sets it). It knows the packets that were let through, in order.
type tracked struct {
	timeouts nat.Timeouts
	state    ctState
	// replied says that a packet of the far end was seen.
	replied bool
	// half is what each direction has sent: up to where, and whether the other end
	// has acknowledged less than that.
	half [2]struct {
		end     uint32
		begun   bool
		unacked bool
	}
	last struct {
		seq, ack, end uint32
		window        uint16
		d             direction
		valid         bool
	}
	// repeats counts acknowledgements in a row that are the same in everything: retransmissions.
	repeats int
}

type ctState uint8

const (
	ctNone ctState = iota
	ctSynSent
	ctSynRecv
	ctEstablished
	ctFinWait
	ctCloseWait
	ctLastAck
	ctTimeWait
	ctClose
)

// maxRetrans is nf_conntrack_tcp_max_retrans, which profiles do not change.
const maxRetrans = 3

// packet takes in a packet that passed and gives the idle timeout that it
// started; not ok where it does not refresh the entry.
func (t *tracked) packet(o *observation) (timeout time.Duration, ok bool) {
	old := t.state
	if !t.advance(o) {
		return 0, false
	}
	if o.d == toClient {
		t.replied = true
	}
	t.count(o)
	if o.flags&(flagSYN|flagACK) == flagSYN && old == ctSynSent && !t.replied {
		// A repeated SYN does not renew.
		return 0, false
	}
	return t.idle(o), true
}

// advance moves the state on; false if the packet is let pass without counting.
func (t *tracked) advance(o *observation) bool {
	syn, fin, rst, ack := o.flags&flagSYN != 0, o.flags&flagFIN != 0, o.flags&flagRST != 0, o.flags&flagACK != 0
	switch {
	case rst:
		t.state = ctClose
	case syn && !ack:
		switch t.state {
		case ctNone, ctSynSent, ctTimeWait, ctClose:
			t.state = ctSynSent
		default:
			return false
		}
	case syn:
		switch t.state {
		case ctSynSent, ctSynRecv:
			t.state = ctSynRecv
		default:
			return false
		}
	case fin:
		switch t.state {
		case ctFinWait, ctCloseWait, ctLastAck:
			t.state = ctLastAck
		case ctTimeWait, ctClose:
		default:
			t.state = ctFinWait
		}
	case ack:
		switch t.state {
		case ctNone:
			// Picked up in the middle (tcp_loose).
			t.state = ctEstablished
		case ctSynRecv:
			if o.d == toServer {
				t.state = ctEstablished
			}
		case ctFinWait:
			t.state = ctCloseWait
		case ctLastAck:
			t.state = ctTimeWait
		}
	}
	return true
}

// count keeps the numbers by which unacknowledged data and repetitions are known.
func (t *tracked) count(o *observation) {
	end := o.seq + uint32(o.length)
	if o.flags&(flagSYN|flagFIN) != 0 {
		end++
	}
	mine, other := &t.half[o.d], &t.half[o.d.back()]
	switch {
	case !mine.begun:
		mine.begun, mine.end = true, end
	case int32(end-mine.end) > 0:
		mine.end, mine.unacked = end, true
	}
	if o.flags&flagACK == 0 {
		return
	}
	if o.ack == other.end {
		other.unacked = false
	}
	if o.flags&(flagSYN|flagFIN|flagRST) != 0 {
		return
	}
	l := &t.last
	if l.valid && l.d == o.d && l.seq == o.seq && l.ack == o.ack && l.end == end && l.window == o.window {
		t.repeats++
		return
	}
	t.repeats = 0
	l.seq, l.ack, l.end, l.window, l.d, l.valid = o.seq, o.ack, end, o.window, o.d, true
}

// idle is the timeout that now runs.
func (t *tracked) idle(o *observation) time.Duration {
	timeout := t.ofState()
	switch {
	case t.repeats >= maxRetrans:
		timeout = min(timeout, t.timeouts.TCPMaxRetrans.D())
	case o.flags&flagRST != 0:
		timeout = t.timeouts.TCPClose.D()
	case t.half[toServer].unacked || t.half[toClient].unacked:
		timeout = min(timeout, t.timeouts.TCPUnacknowledged.D())
	case o.window == 0:
		timeout = min(timeout, t.timeouts.TCPMaxRetrans.D())
	}
	if t.state == ctEstablished && !t.replied {
		timeout = min(timeout, t.timeouts.TCPUnacknowledged.D())
	}
	return timeout
}

func (t *tracked) ofState() time.Duration {
	switch t.state {
	case ctSynSent:
		return t.timeouts.TCPSynSent.D()
	case ctSynRecv:
		return t.timeouts.TCPSynRecv.D()
	case ctFinWait:
		return t.timeouts.TCPFinWait.D()
	case ctCloseWait:
		return t.timeouts.TCPCloseWait.D()
	case ctLastAck:
		return t.timeouts.TCPLastAck.D()
	case ctTimeWait:
		return t.timeouts.TCPTimeWait.D()
	case ctClose:
		return t.timeouts.TCPClose.D()
	}
	return t.timeouts.TCPEstablished.D()
}
