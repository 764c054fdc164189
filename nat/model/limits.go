package model

import (
	"net/netip"

	"outlive/nat"
)

// full says whether another connection of an inside address would be one too many,
// for the table or for that subscriber (RFC 6888 REQ-4). A mapping counts once for
// each connection that uses it, and one that is closed or in TIME_WAIT not at all.
func (n *NAT) full(at Window, inside netip.Addr) (whose string, full bool) {
	limits := n.b.Limits
	if limits.WhenFull == nat.EvictOldest || limits.Mappings == 0 && limits.Subscriber == 0 {
		return "", false
	}
	all, own := 0, 0
	for _, s := range n.sessions {
		if s.begun != LAN || s.protocol == TCP && s.tcp.state >= timeWait && s.tcp.state <= closed || !n.known(at, s) {
			continue
		}
		if all++; s.ends[0].inside.Addr() == inside {
			own++
		}
	}
	switch {
	case limits.Subscriber > 0 && own >= limits.Subscriber:
		return "the subscriber's limit is reached", true
	case limits.Mappings > 0 && all >= limits.Mappings:
		return "the table is full", true
	}
	return "", false
}
