package flow

// kind is what a packet is to TCP.
type kind uint8

const (
	kindACK kind = iota
	kindData
	kindSYN
	kindFIN
	kindRST
	kindRetransmission
	kindProbe
)

var kindNames = [...]string{
	kindACK: "ack", kindData: "data", kindSYN: "syn", kindFIN: "fin", kindRST: "rst",
	kindRetransmission: "retransmission", kindProbe: "keepalive-probe",
}

func (k kind) String() string { return kindNames[k] }

// spoken is what one end has said so far, by which its next packet is known for what it is.
type spoken struct {
	seq      sequence
	syn, fin bool
	// sent is up to where it has sent, acked up to where it knows that it arrived. The FIN counts one.
	sent, acked int64
	// leaving is what it sent as seen at its own interface; arrived what the other
	// end was given; acks how acked grew.
	leaving, arrived stream
	acks             progress
}

// classify says what the next packet of an end is, and takes note of it. Its off is set.
func (s *spoken) classify(o *observation) kind {
	fin := int64(0)
	if o.flags&flagFIN != 0 {
		fin = 1
	}
	end := o.off + int64(o.length) + fin
	defer func() {
		if o.flags&flagRST == 0 {
			s.sent = max(s.sent, end)
			s.seq.saw(end)
		}
	}()
	switch {
	case o.flags&flagRST != 0:
		return kindRST
	case o.flags&flagSYN != 0:
		if s.syn {
			return kindRetransmission
		}
		s.syn = true
		return kindSYN
	case fin == 1 && !s.fin:
		s.fin = true
		return kindFIN
	case o.length <= 1 && fin == 0 && o.off == s.sent-1 && s.acked >= s.sent:
		// One byte back, of which the other end has told that it has it: it asks for
		// nothing but an answer. Linux sends no byte in it, others one.
		return kindProbe
	case end <= o.off:
		return kindACK
	case end <= s.sent:
		return kindRetransmission
	}
	return kindData
}
