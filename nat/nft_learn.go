package nat

import (
	"fmt"
	"slices"
	"time"

	"outlive/lab/units"
)

// synSent2 is the idle timeout while both ends have sent a SYN, for which conntrack
// has no setting.
const synSent2 = units.Duration(120 * time.Second)

// idleTimes are the idle timeouts that connections of a protocol can have, each once, longest first.
func (p Profile) idleTimes(protocol string) []units.Duration {
	t := p.Timeouts
	all := []units.Duration{t.UDP, t.UDPStream}
	if protocol == "tcp" {
		all = []units.Duration{
			t.TCPEstablished, t.TCPSynSent, t.TCPSynRecv, t.TCPFinWait, t.TCPCloseWait, t.TCPLastAck, t.TCPTimeWait, t.TCPClose,
			t.TCPMaxRetrans, t.TCPUnacknowledged, synSent2,
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	slices.Reverse(all)
	return all
}

// chainFor names the chain that keeps a mapping for a time.
func chainFor(protocol string, idle units.Duration) string {
	return fmt.Sprintf("%s_%ds", protocol, int64(idle.D()/time.Second))
}

// learn keeps the maps: each packet that refreshes keeps its mappings for as long as
// conntrack keeps its connection. Where several connections share a mapping, it is the
// last such packet that decides, whichever it belongs to.
func (r *nftRuleset) learn() {
	for _, protocol := range []string{"tcp", "udp"} {
		for _, idle := range r.p.idleTimes(protocol) {
			r.keep(protocol, idle)
		}
		r.idle(protocol)
	}
	r.line("# After translation, so that conntrack knows both endpoints.")
	r.block("chain learn", func() {
		r.line("type filter hook postrouting priority 110")
		r.line("meta mark 0x1 udp checksum set 0")
		r.line("meta l4proto tcp jump tcp_idle")
		r.line("meta l4proto udp jump udp_idle")
	})
}

// idle writes which idle timeout a packet has begun.
func (r *nftRuleset) idle(protocol string) {
	t := r.p.Timeouts
	r.line("# Which idle timeout this packet has begun.")
	r.block("chain "+protocol+"_idle", func() {
		if protocol == "tcp" {
			r.line("ct status ! confirmed tcp flags & (fin | syn | rst | ack) == syn goto %s", chainFor("tcp", t.TCPSynSent))
			r.line("ct status ! confirmed goto %s", chainFor("tcp", min(t.TCPEstablished, t.TCPUnacknowledged)))
			if r.p.Refresh.IgnoreACK {
				r.line("# Not a segment without data, which is as long as its headers.")
				for words := 5; words <= 15; words++ {
					r.line("tcp flags & (fin | syn | rst) == 0x0 tcp doff %d ip length %d return", words, 20+4*words)
				}
			}
		} else {
			r.line("ct status ! confirmed goto %s", chainFor("udp", t.UDP))
		}
		for _, idle := range r.p.idleTimes(protocol) {
			// Begun just now: it cannot have run for half a second yet.
			seconds := int64(idle.D() / time.Second)
			r.line("ct expiration %ds500ms-%ds goto %s", seconds-1, seconds, chainFor(protocol, idle))
		}
	})
}

// keep writes the chain that keeps the mappings of a packet's connection for a time:
// that of the side which began it, and that of the other one if it was sent to.
func (r *nftRuleset) keep(protocol string, idle units.Duration) {
	r.block("chain "+chainFor(protocol, idle), func() {
		r.update(protocol, idle, "snat", "original", "reply")
		if r.p.Hairpin && r.filters() {
			r.line("# A hairpinned packet has its outside source now.")
			r.line(`iifname "lan*" oifname "lan*" ct state new meta l4proto %s meta l4proto . ct original ip daddr . ct original proto-dst%s != @%s counter drop`,
				protocol, far(r.p.Filtering, "ip saddr", "th sport"), nftAllowed)
		}
		r.update(protocol, idle, "dnat", "reply", "original")
	})
}

// update writes the updates of one mapping, whose inside endpoint is the source of
// conntrack's tuple in one direction, and its outside endpoint the destination in the other.
func (r *nftRuleset) update(protocol string, idle units.Duration, status, there, back string) {
	match := fmt.Sprintf("meta l4proto %s ct status %s", protocol, status)
	if r.p.Refresh.Direction == RefreshOutbound {
		match += " ct direction " + there
	}
	inside := fmt.Sprintf("ct %s ip saddr . ct %[1]s proto-src", there)
	outside := fmt.Sprintf("ct %s ip daddr . ct %[1]s proto-dst", back)
	address, port := fmt.Sprintf("ct %s ip daddr", there), fmt.Sprintf("ct %s proto-dst", there)
	timeout := fmt.Sprintf("timeout %ds", int64(idle.D()/time.Second))
	r.line("%s update @%s { %s%s %s : %s }", match, nftMapped+protocol, inside, far(r.p.Mapping, address, port), timeout, outside)
	r.line("%s update @%s { meta l4proto . %s %s : %s }", match, nftOwner, outside, timeout, inside)
	r.line("%s update @%s { meta l4proto . %s %s }", match, nftTaken, outside, timeout)
	if r.p.Gated() && protocol == "tcp" {
		r.line("%s update @%s { %s%s %s }", match, nftAlive, inside, far(r.p.Mapping, address, port), timeout)
	}
	if r.filters() {
		r.line("%s update @%s { meta l4proto . %s%s %s }", match, nftAllowed, outside, far(r.p.Filtering, address, port), timeout)
	}
}
