package model

import "time"

// tcp is what the NAT knows of one TCP connection.
type tcp struct {
	state tcpState
	seq   sequence
	// replied says that a packet came back, and assured that the connection was
	// seen to be established by both ends.
	replied, assured bool
	// simultaneous says that both ends sent a SYN.
	simultaneous bool
	// challenge says that a SYN was let pass while the last acknowledgement was
	// awaited: the answer may be a challenge (RFC 5961 §4) and not that acknowledgement.
	challenge bool
}

// effect is what a packet does to a connection.
type effect uint8

const (
	refreshes effect = iota // it passes, and an idle timeout begins anew
	passes                  // it passes, and nothing begins anew
	ends                    // it passes, and the connection is forgotten
	foreign                 // it does not belong to the connection
	reopens                 // it begins another connection in the place of this one
)

// synSent2Timeout is the idle timeout while both ends have sent a SYN, which Linux
// has no setting for.
const synSent2Timeout = 120 * time.Second

// maxRepeats is how many repetitions make the timeout for retransmissions count
// (nf_conntrack_tcp_max_retrans, which profiles do not change).
const maxRepeats = 3

// packet takes in a packet. idle is the timeout that it begins, where it refreshes.
func (c *tcp) packet(w way, p Packet, timeouts timeouts) (does effect, idle time.Duration) {
	if !p.wellFormed() {
		return foreign, 0
	}
	kind, old := p.segment(), c.state
	if old == none {
		c.seq.begin(p)
	}
	state := transitions[w][kind][old]
	if state == synSent && old >= timeWait {
		if c.mayReopen(w) {
			return reopens, 0
		}
		state = ignored
	}
	switch state {
	case invalid:
		return foreign, 0
	case ignored:
		if !c.resyncs(w, p) {
			c.ignore(w, p)
			if w == back {
				c.replied = true
			}
			return passes, 0
		}
		old, state = synSent, synRecv
	case timeWait:
		if old == lastAck && kind == segACK && c.seq.last.way != w && c.seq.last.kind == segSYN && c.challenge {
			c.challenge = false
			if w == back {
				c.replied = true
			}
			return passes, 0
		}
	case synSent2:
		c.simultaneous = true
	case synRecv:
		if w == back && kind == segACK && c.simultaneous {
			state = established
		}
	case closed:
		if kind == segRST {
			var ok, counts bool
			if state, ok, counts = c.reset(w, p); !ok {
				return foreign, 0
			} else if !counts {
				c.seq.take(w, c.state, p)
			}
			return c.enter(w, p, old, state, timeouts)
		}
	}
	c.seq.take(w, c.state, p)
	return c.enter(w, p, old, state, timeouts)
}

// mayReopen says that a SYN begins another connection where this one was closed in
// order, or by a reset from the same end.
func (c *tcp) mayReopen(w way) bool {
	return c.seq.half[forth].closedFirst || c.seq.half[back].closedFirst ||
		c.seq.last.way == w && c.seq.last.kind == segRST
}

// resyncs says that a SYN+ACK answers a SYN that was ignored, so that both ends are
// in a new connection. What was noted of that SYN then counts.
func (c *tcp) resyncs(w way, p Packet) bool {
	l := c.seq.last
	if p.segment() != segSYNACK || l.kind != segSYN || l.way == w || p.Ack != l.end {
		return false
	}
	first := &c.seq.half[l.way]
	first.end, first.limit, first.window = l.end, l.end, max(uint32(l.window), 1)
	first.unacked, first.hasAcked, first.closedFirst = false, false, false
	c.seq.half[w] = half{}
	c.challenge = false
	return true
}

// ignore notes a packet that is let pass although it does not fit.
func (c *tcp) ignore(w way, p Packet) {
	l := &c.seq.last
	l.kind, l.way, l.seq, l.end, l.window = p.segment(), w, p.Seq, p.end(), p.Window
	switch {
	case l.kind == segSYN && w == forth:
		c.challenge = c.state == lastAck
		c.simultaneous = false
	case l.kind == segACK && w == back && c.state == synSent:
		l.ack = p.Ack
	}
}

// reset judges a RST. It is not ok where its number shows that it is not of this
// connection. It counts where it is believed without a look at the windows. The
// state is the old one where the other end may answer it with a challenge.
func (c *tcp) reset(w way, p Packet) (state tcpState, ok, counts bool) {
	if c.state.closing() {
		return closed, true, true
	}
	state = closed
	other, l := c.seq.half[w.other()], c.seq.last
	if other.hasAcked && l.kind != segSYN {
		live := c.state == established && c.assured
		switch {
		case p.Seq == 0 && !live:
			return closed, true, false
		case before(p.Seq, other.acked):
			return 0, false, false
		case !live || p.Seq == other.acked:
			return closed, true, false
		case l.kind == segACK && l.way == w && p.Seq == l.end:
			return closed, true, false
		}
		state = c.state
	}
	answers := (c.replied && l.kind == segSYN || !c.assured && l.kind == segACK) && p.Ack == l.end
	halfOpen := c.state == synSent && l.kind == segACK && l.way == back && p.Seq == l.ack
	return state, true, answers || halfOpen
}

// enter is for a packet that belongs to the connection.
func (c *tcp) enter(w way, p Packet, old, state tcpState, timeouts timeouts) (effect, time.Duration) {
	kind := p.segment()
	c.seq.last.kind, c.seq.last.way = kind, w
	c.state = state
	if state == finWait && old != finWait {
		c.seq.half[w].closedFirst = true
	}
	idle := c.idle(kind, timeouts)
	replied := c.replied
	if w == back {
		c.replied = true
	}
	switch {
	case !replied && kind == segRST:
		return ends, 0
	case !replied && kind == segSYN && old == synSent:
		// A SYN that is repeated while nobody answers.
		return passes, 0
	case !replied && state == established:
		idle = min(idle, timeouts.unacknowledged)
	case replied && state == established && (old == synRecv || old == established):
		c.assured = true
	}
	return refreshes, idle
}

// idle is the timeout that a packet begins.
func (c *tcp) idle(kind segment, timeouts timeouts) time.Duration {
	idle := timeouts.of(c.state)
	switch {
	case c.seq.repeats >= maxRepeats && idle > timeouts.maxRetrans:
		return timeouts.maxRetrans
	case kind == segRST:
		return timeouts.close
	case c.seq.unacked() && idle > timeouts.unacknowledged:
		return timeouts.unacknowledged
	case c.seq.last.window == 0:
		// The last plain packet closed the window.
		return min(idle, timeouts.maxRetrans)
	}
	return idle
}
