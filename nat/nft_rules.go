package nat

import (
	"fmt"
	"net/netip"
	"strings"
)

// nftTable is the name of the one table of a NAT's ruleset.
const nftTable = "nat"

// The maps of the ruleset in which the mappings are.
const (
	nftMapped  = "mapped_" // and the protocol
	nftOwner   = "owner"
	nftAllowed = "allowed"
	// The keys of the maps once more, because before Linux 6.8 a rule cannot ask
	// whether a key is in a map without using what it finds.
	nftTaken = "taken" // of nftOwner
	nftAlive = "alive" // of nftMapped, TCP only
)

// nftSize bounds a map: every port of every address, and as many far ends.
const nftSize = 1 << 16

// nftRuleset writes the ruleset of a profile for a place.
type nftRuleset struct {
	p     Profile
	s     site
	b     strings.Builder
	depth int
}

// nftRules gives a ruleset for nft.
func nftRules(p Profile, s site) string {
	r := &nftRuleset{p: p, s: s}
	if p.Name != "" {
		r.line("# NAT profile %s.", p.Name)
	}
	r.line("# Mapping %s, filtering %s.", p.Mapping, p.Filtering)
	r.line("# A late packet, one whose mapping has expired: from the LAN side %s, from the WAN side %s.", p.Late.LAN, p.Late.WAN)
	r.line("# lan0 and wan0 carry the scenario, lan9 and wan9 the packets that prove this NAT. What no rule")
	r.line("# speaks of is let through.")
	r.line("table ip %s {", nftTable)
	r.depth++
	r.maps()
	if p.Gated() {
		r.gate()
	}
	r.inward()
	r.forward()
	r.input()
	r.outward()
	r.learn()
	r.depth--
	r.line("}")
	return r.b.String()
}

func (r *nftRuleset) line(format string, args ...any) {
	if format != "" {
		r.b.WriteString(strings.Repeat("\t", r.depth))
		fmt.Fprintf(&r.b, format, args...)
	}
	r.b.WriteString("\n")
}

// block writes a chain, map or set.
func (r *nftRuleset) block(head string, body func()) {
	r.line("%s {", head)
	r.depth++
	body()
	r.depth--
	r.line("}")
	// What follows must begin on a line of its own for nft 1.0.6.
}

// farType is the part of a key's type that is the far end, as far as it matters.
func farType(b Behaviour) string {
	switch b {
	case AddressDependent:
		return " . ipv4_addr"
	case AddressAndPortDependent:
		return " . ipv4_addr . inet_service"
	}
	return ""
}

// far is the same for the key itself, from the words for an address and a port.
func far(b Behaviour, address, port string) string {
	switch b {
	case AddressDependent:
		return " . " + address
	case AddressAndPortDependent:
		return " . " + address + " . " + port
	}
	return ""
}

// filters says whether it matters who sends to a mapping.
func (r *nftRuleset) filters() bool { return r.p.Filtering != EndpointIndependent }

func (r *nftRuleset) maps() {
	const endpoint = "inet_proto . ipv4_addr . inet_service"
	r.line("# The mappings: the outside endpoint of each inside endpoint%s, and back.",
		map[Behaviour]string{AddressDependent: " towards each far address", AddressAndPortDependent: " towards each far endpoint"}[r.p.Mapping])
	for _, protocol := range []string{"tcp", "udp"} {
		// One key for both would be too long for nft 1.0.6.
		r.block("map "+nftMapped+protocol, func() {
			r.line("type ipv4_addr . inet_service%s : ipv4_addr . inet_service", farType(r.p.Mapping))
			r.line("size %d", nftSize*len(r.s.sides[0].outside))
			r.line("flags dynamic,timeout")
		})
	}
	r.block("map "+nftOwner, func() {
		r.line("type %s : ipv4_addr . inet_service", endpoint)
		r.line("size %d", nftSize*len(r.s.sides[0].outside))
		r.line("flags dynamic,timeout")
	})
	r.line("# Their keys alone.")
	r.block("set "+nftTaken, func() {
		r.line("type %s", endpoint)
		r.line("size %d", nftSize*len(r.s.sides[0].outside))
		r.line("flags dynamic,timeout")
	})
	if r.p.Gated() {
		r.block("set "+nftAlive, func() {
			r.line("type ipv4_addr . inet_service%s", farType(r.p.Mapping))
			r.line("size %d", nftSize*len(r.s.sides[0].outside))
			r.line("flags dynamic,timeout")
		})
	}
	if r.filters() {
		r.line("# Who may send to an outside endpoint.")
		r.block("set "+nftAllowed, func() {
			r.line("type %s%s", endpoint, farType(r.p.Filtering))
			r.line("size %d", 2*nftSize*len(r.s.sides[0].outside))
			r.line("flags dynamic,timeout")
		})
	}
	if r.refuses(r.p.Limits.Mappings) {
		r.line("# Connections by the side that they leave on: the probes have one of their own.")
		r.block("set connections", func() {
			r.line("type ifname")
			r.line("size 2")
			r.line("flags dynamic")
		})
	}
	if r.refuses(r.p.Limits.Subscriber) {
		r.line("# Connections by inside address.")
		r.block("set subscribers", func() {
			r.line("type ipv4_addr")
			r.line("size %d", nftSize)
			r.line("flags dynamic")
		})
	}
}

// refuses says whether the rules hold a limit. Where a mapping gives way to a new
// one, that is done from outside.
func (r *nftRuleset) refuses(limit int) bool { return limit > 0 && r.p.Limits.WhenFull == RefuseNew }

// outside are all outside addresses, as a set.
func (r *nftRuleset) outside() string {
	var all []string
	for _, s := range r.s.sides {
		for _, a := range s.outside {
			all = append(all, a.String())
		}
	}
	return "{ " + strings.Join(all, ", ") + " }"
}

// late writes what a late packet meets that matches.
func (r *nftRuleset) late(match string, reset bool) {
	if reset {
		r.line("%s meta l4proto tcp counter reject with tcp reset", match)
	}
	r.line("%s counter drop", match)
}

// gate judges before conntrack, which would refresh by what it sees.
func (r *nftRuleset) gate() {
	r.line("# The life of a mapping is that of its element: what finds none is late, and conntrack must not see it.")
	r.block("chain gate", func() {
		r.line("type filter hook prerouting priority raw")
		r.line("meta l4proto != { tcp, udp } accept")
		r.line(`iifname "wan*" goto gate_wan`)
		r.line(`iifname "lan*" meta l4proto tcp jump gate_lan`)
		if r.p.Hairpin {
			r.line(`iifname "lan*" ip daddr %s goto gate_wan`, r.outside())
		}
	})
	r.block("chain gate_lan", func() {
		r.line("tcp flags & (fin | syn | rst | ack) == syn return")
		if r.p.Late.LAN != LANRevive {
			key := "ip saddr . tcp sport" + far(r.p.Mapping, "ip daddr", "tcp dport")
			r.late(key+" != @"+nftAlive, r.p.Late.LAN == LANReset)
		}
	})
	r.block("chain gate_wan", func() {
		key := "meta l4proto . ip daddr . th dport"
		from := `iifname "wan*" `
		if !r.p.Hairpin {
			from = ""
		}
		reset := r.p.Late.WAN == WANReset
		if reset && r.p.Hairpin {
			r.line("%s%s != @%s meta l4proto tcp counter reject with tcp reset", from, key, nftTaken)
			reset = false
		}
		r.late(key+" != @"+nftTaken, reset)
		if r.filters() {
			// A hairpinned packet is judged when it has its outside source.
			r.late(from+key+far(r.p.Filtering, "ip saddr", "th sport")+" != @"+nftAllowed, r.p.Late.WAN == WANReset)
		}
	})
}

// inward lets in what mapping and filtering let in.
func (r *nftRuleset) inward() {
	key := "meta l4proto . ip daddr . th dport"
	r.block("chain inward", func() {
		r.line("type nat hook prerouting priority dstnat")
		to := "dnat ip to " + key + " map @" + nftOwner
		if r.filters() {
			r.line(`iifname "wan*" %s%s @%s %s`, key, far(r.p.Filtering, "ip saddr", "th sport"), nftAllowed, to)
		} else {
			r.line(`iifname "wan*" %s`, to)
		}
		if r.p.Hairpin {
			r.line("# Whoever sends to an outside address from inside.")
			r.line(`iifname "lan*" ip daddr %s %s`, r.outside(), to)
		}
	})
}

func (r *nftRuleset) forward() {
	r.block("chain forward", func() {
		r.line("type filter hook forward priority filter")
		switch r.p.Late.LAN {
		case LANRevive, LANRemap:
			r.line("# A late packet from inside makes its mapping anew (tcp_loose=1). A late FIN or RST cannot: it is")
			r.line("# INVALID and dropped; let through, it would leave with its private address.")
		case LANReset:
			r.line("# A late packet from inside is INVALID (tcp_loose=0). Its sender gets a reset, the far end nothing.")
			r.line(`iifname "lan*" ct state invalid meta l4proto tcp counter reject with tcp reset`)
		default:
			r.line("# A late packet from inside is INVALID (tcp_loose=0). It is dropped; let through, it would")
			r.line("# leave with its private address.")
		}
		if r.p.Late.WAN == WANReset {
			r.line(`iifname "wan*" ct state invalid meta l4proto tcp counter reject with tcp reset`)
		}
		r.line("ct state invalid counter drop")
		r.line("# From outside comes what has a mapping.")
		r.late(`iifname "wan*" ct state new ct status ! dnat`, r.p.Late.WAN == WANReset)
		r.line(`iifname "lan*" ip daddr %s counter drop`, r.outside())
		for _, limit := range []struct {
			most     int
			set, key string
		}{{r.p.Limits.Subscriber, "subscribers", "ip saddr"}, {r.p.Limits.Mappings, "connections", "oifname"}} {
			// In this order, because what is dropped still counts for a tick of the clock.
			if r.refuses(limit.most) {
				r.line(`iifname "lan*" ct status ! confirmed meta l4proto { tcp, udp } add @%s { %s ct count over %d } counter drop`, limit.set, limit.key, limit.most)
			}
		}
	})
}

func (r *nftRuleset) input() {
	r.block("chain input", func() {
		r.line("type filter hook input priority filter")
		r.line("# What comes for the NAT itself belongs to no mapping.")
		r.late(`iifname "wan*"`, r.p.Late.WAN == WANReset)
		r.line(`iifname "lan*" ip daddr %s counter drop`, r.outside())
	})
}

// addresses writes addresses for a set.
func addresses(all []netip.Addr) string {
	var out []string
	for _, a := range all {
		out = append(out, a.String())
	}
	return "{ " + strings.Join(out, ", ") + " }"
}
