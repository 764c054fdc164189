package model

import (
	"time"

	"outlive/nat"
)

// timeouts are a profile's idle timeouts.
type timeouts struct {
	established, synSent, synRecv, finWait, closeWait, lastAck, timeWait, close time.Duration
	maxRetrans, unacknowledged                                                  time.Duration
	udp, udpStream                                                              time.Duration
}

func timeoutsOf(t nat.Timeouts) timeouts {
	return timeouts{
		established: t.TCPEstablished.D(), synSent: t.TCPSynSent.D(), synRecv: t.TCPSynRecv.D(),
		finWait: t.TCPFinWait.D(), closeWait: t.TCPCloseWait.D(), lastAck: t.TCPLastAck.D(),
		timeWait: t.TCPTimeWait.D(), close: t.TCPClose.D(),
		maxRetrans: t.TCPMaxRetrans.D(), unacknowledged: t.TCPUnacknowledged.D(),
		udp: t.UDP.D(), udpStream: t.UDPStream.D(),
	}
}

// of gives the timeout of a state.
func (t timeouts) of(state tcpState) time.Duration {
	switch state {
	case synSent:
		return t.synSent
	case synSent2:
		return synSent2Timeout
	case synRecv:
		return t.synRecv
	case finWait:
		return t.finWait
	case closeWait:
		return t.closeWait
	case lastAck:
		return t.lastAck
	case timeWait:
		return t.timeWait
	case closed:
		return t.close
	}
	return t.established
}
