package model

import (
	"outlive/nat"
)

// late is what a packet meets that belongs to no connection which the NAT knows, and
// cannot begin one. What comes unasked from outside is no different from what comes late.
func (n *NAT) late(side Side, p Packet, why string) Outcome {
	if side == LAN && n.b.outsideAddr(p.To.Addr()) {
		return Outcome{Verdict: Keep, Why: why + ", and it is addressed to the NAT"}
	}
	resets := n.b.Late.LAN == nat.LANReset
	if side == WAN {
		resets = n.b.Late.WAN == nat.WANReset
	}
	if p.Protocol == TCP && resets {
		return resetOf(side, p, why)
	}
	return Outcome{Why: why}
}

// resetOf answers a packet as the end would that knows no such connection (RFC 9293
// §3.10.7.1). A RST is never answered.
func resetOf(side Side, p Packet, why string) Outcome {
	if p.Flags.has(RST) {
		return Outcome{Why: why + ", and a RST is not answered"}
	}
	o := Outcome{Verdict: Reset, Side: side, From: only(p.To), To: p.From, Why: why}
	if p.Flags.has(ACK) {
		o.Flags, o.Seq = RST, p.Ack
	} else {
		o.Flags, o.Ack = RST|ACK, p.end()
	}
	return o
}
