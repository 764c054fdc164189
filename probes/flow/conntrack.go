package flow

import (
	"time"

	"outlive/lab/units"
	"outlive/nat"
)

// timer is one idle timer of a NAT: its name and how long it runs. It is zero where
// nothing is known.
type timer struct {
	name string
	d    time.Duration
}

func timerOf(name string, d units.Duration) timer { return timer{name, d.D()} }

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

// packet takes in a packet that passed and gives the idle timer that it started;
// not ok where it does not refresh the entry.
func (t *tracked) packet(o *observation) (runs timer, ok bool) {
	old := t.state
	if !t.advance(o) {
		return timer{}, false
	}
	if o.d == toClient {
		t.replied = true
	}
	t.count(o)
	if o.flags&(flagSYN|flagACK) == flagSYN && old == ctSynSent && !t.replied {
		// A repeated SYN does not renew.
		return timer{}, false
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

// idle is the timer that now runs. The shorter ones only count where they are shorter
// than that of the state, and the first that is wins, whether or not another is shorter still.
func (t *tracked) idle(o *observation) timer {
	runs := t.ofState()
	unacked := timerOf(TimerUnacknowledged, t.timeouts.TCPUnacknowledged)
	retrans := timerOf(TimerMaxRetrans, t.timeouts.TCPMaxRetrans)
	switch {
	case t.repeats >= maxRetrans && retrans.d < runs.d:
		runs = retrans
	case o.flags&flagRST != 0:
		runs = timerOf(TimerClose, t.timeouts.TCPClose)
	case (t.half[toServer].unacked || t.half[toClient].unacked) && unacked.d < runs.d:
		runs = unacked
	case o.window == 0 && retrans.d < runs.d:
		runs = retrans
	}
	if t.state == ctEstablished && !t.replied && unacked.d < runs.d {
		return unacked
	}
	return runs
}

func (t *tracked) ofState() timer {
	switch t.state {
	case ctSynSent:
		return timerOf(TimerSynSent, t.timeouts.TCPSynSent)
	case ctSynRecv:
		return timerOf(TimerSynRecv, t.timeouts.TCPSynRecv)
	case ctFinWait:
		return timerOf(TimerFinWait, t.timeouts.TCPFinWait)
	case ctCloseWait:
		return timerOf(TimerCloseWait, t.timeouts.TCPCloseWait)
	case ctLastAck:
		return timerOf(TimerLastAck, t.timeouts.TCPLastAck)
	case ctTimeWait:
		return timerOf(TimerTimeWait, t.timeouts.TCPTimeWait)
	case ctClose:
		return timerOf(TimerClose, t.timeouts.TCPClose)
	}
	return timerOf(TimerEstablished, t.timeouts.TCPEstablished)
}
