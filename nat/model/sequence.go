package model

// sequence is what the NAT knows of the sequence numbers of a TCP connection. Only
// two things follow from it here: whether data is on the way that was not
// acknowledged, and whether one end repeats itself. Nothing is dropped for being
// outside a window (tcp_be_liberal=1 is a part of every profile), but such a packet
// teaches the NAT nothing.
type sequence struct {
	half [2]half
	last lastSeen
	// repeats counts the packets in a row that were the same in everything as the one before.
	repeats int
}

// half is what one end has sent.
type half struct {
	// end is the sequence number after the last that it sent, and limit up to where
	// the other end allows it to send.
	end, limit uint32
	// window is the largest that it ever offered; zero if nothing of it was seen.
	window uint32
	// acked is the highest that it acknowledged, if it did.
	acked    uint32
	hasAcked bool
	// unacked says that data of it was not acknowledged.
	unacked bool
	// closedFirst says that its FIN was the first.
	closedFirst bool
}

// lastSeen is what is remembered of the last packet. The kind and the way are of any
// that was let pass as a part of the connection; the numbers only of a plain one
// within the windows, or of one that was ignored.
type lastSeen struct {
	kind          segment
	way           way
	seq, ack, end uint32
	window        uint16
}

// same says that a packet repeats the last one.
func (l lastSeen) same(w way, seq, ack, end uint32, window uint16) bool {
	return l.way == w && l.seq == seq && l.ack == ack && l.end == end && l.window == window
}

// largestLag is how far an acknowledgement may be behind and still be taken for one.
const largestLag = 66000

// begin starts the bookkeeping with the first packet of a connection.
func (s *sequence) begin(p Packet) {
	*s = sequence{last: lastSeen{kind: segNone}}
	first := &s.half[forth]
	first.end = p.end()
	first.window = offered(p)
	first.limit = first.end
	if p.segment() != segSYN {
		first.limit += first.window
	}
}

// offered is the window of a packet; a closed one counts as one byte.
func offered(p Packet) uint32 { return max(uint32(p.Window), 1) }

// take enters a packet of a connection in the given state.
func (s *sequence) take(w way, state tcpState, p Packet) {
	sender, receiver := &s.half[w], &s.half[w.other()]
	seq, ack, end := p.Seq, p.Ack, p.end()
	isSYN := p.Flags.has(SYN)
	switch {
	case sender.window == 0 && isSYN:
		sender.open(p)
		if !p.Flags.has(ACK) {
			return
		}
	case sender.window == 0:
		// The connection was taken up in the middle.
		sender.end, sender.window = end, offered(p)
		sender.limit = end + sender.window
		switch {
		case receiver.window == 0:
			receiver.end, receiver.limit = ack, ack
		case ack == receiver.end+1:
			// It answers a keepalive probe, which repeats the byte before.
			receiver.end++
		}
	case isSYN && before(sender.end, end) && (state == synSent || state == synRecv):
		sender.open(p)
		if w == back && !p.Flags.has(ACK) {
			return
		}
	}
	if !p.Flags.has(ACK) || p.Flags.has(RST) && ack == 0 {
		ack = receiver.end
	}
	if p.Flags.has(RST) && seq == 0 && state == synSent {
		seq, end = sender.end, sender.end
	}
	if !s.within(sender, receiver, seq, ack, end) {
		return
	}

	sender.window = max(sender.window, uint32(p.Window))
	if before(sender.end, end) {
		sender.end, sender.unacked = end, true
	}
	if p.Flags.has(ACK) && (!sender.hasAcked || before(sender.acked, ack)) {
		sender.acked, sender.hasAcked = ack, true
	}
	if receiver.window != 0 && before(sender.limit, end) {
		receiver.window += end - sender.limit
	}
	if allowed := ack + uint32(p.Window); !before(allowed, receiver.limit) {
		receiver.limit = ack + offered(p)
	}
	if ack == receiver.end {
		receiver.unacked = false
	}
	if p.segment() == segACK {
		if s.last.same(w, seq, ack, end, p.Window) {
			s.repeats++
			return
		}
		s.last.way, s.last.seq, s.last.ack, s.last.end, s.last.window = w, seq, ack, end, p.Window
		s.repeats = 0
	}
}

// open enters a SYN.
func (h *half) open(p Packet) {
	h.end, h.limit, h.window = p.end(), p.end(), offered(p)
}

// within says that a packet lies within both windows.
func (s *sequence) within(sender, receiver *half, seq, ack, end uint32) bool {
	lowest := sender.end - receiver.window
	ackLowest := receiver.end - max(sender.window, largestLag)
	fresh := !before(end, lowest)
	recent := !before(ack, ackLowest)
	known := !before(receiver.end, ack)
	if before(sender.limit, seq) {
		// More than the other end allowed, but not by much: it may have allowed it meanwhile.
		if receiver.window != 0 && fresh && recent && known && end-sender.limit+1 <= receiver.window {
			sender.end, sender.unacked = end, true
		}
		return false
	}
	return known && (receiver.window == 0 || fresh) && recent
}

// unacked says that data of either end was not acknowledged.
func (s *sequence) unacked() bool { return s.half[forth].unacked || s.half[back].unacked }
