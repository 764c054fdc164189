package nat

import (
	"fmt"
	"strings"
)

// Rules gives the profile's rules as text for the tool that Backend names:
// iptables-restore, the nf_tables and the legacy variant alike, or nft. Every
// profile states all of its decisions, also those that are the kernel's defaults.
// The timeouts and tcp_loose are not rules: see Sysctls. A ruleset for nft names
// addresses of the lab; these stand here for an example. Pure.
func Rules(p Profile) string { return rulesFor(p, exampleSite(p)) }

// rulesFor gives the rules of a profile for a place.
func rulesFor(p Profile, s site) string {
	p = p.Complete()
	if p.Backend() == BackendNFTables {
		return nftRules(p, s)
	}
	return iptablesRules(p)
}

// iptablesRules gives the rules of a profile that conntrack's own translation can do.
func iptablesRules(p Profile) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }

	if p.Name != "" {
		line("# NAT profile %s.", p.Name)
	}
	line("# A late packet, one whose mapping has expired: from the LAN side %s, from the WAN side %s.", p.Late.LAN, p.Late.WAN)
	line("# lan0 and wan0 carry the scenario, lan9 and wan9 the packets that prove this NAT. What no rule")
	line("# speaks of is let through.")
	// The chains' policies, ACCEPT in a new namespace, are not stated: the nf_tables
	// variant then waits for a grace period of the kernel, ten times as long as all the rest takes.
	line("*filter")
	line("# What comes from outside and belongs to no mapping is addressed to the NAT itself.")
	if p.Late.WAN == WANReset {
		line("# It is answered with a reset.")
		line("-A INPUT -i wan+ -p tcp -j REJECT --reject-with tcp-reset")
	} else {
		line("# It is dropped; left to the NAT's own TCP it would be answered with a reset.")
	}
	line("-A INPUT -i wan+ -j DROP")
	switch p.Late.LAN {
	case LANDrop:
		line("# A late packet from inside is INVALID (tcp_loose=0). It is dropped; let through, it would")
		line("# leave with its private address.")
	case LANReset:
		line("# A late packet from inside is INVALID (tcp_loose=0). Its sender gets a reset, the far end nothing.")
		line("-A FORWARD -i lan+ -p tcp -m conntrack --ctstate INVALID -j REJECT --reject-with tcp-reset")
	case LANRevive, LANRemap:
		line("# A late packet from inside makes its mapping anew (tcp_loose=1). A late FIN or RST cannot: it is")
		line("# INVALID and dropped; let through, it would leave with its private address.")
	}
	line("-A FORWARD -m conntrack --ctstate INVALID -j DROP")
	line("# Nobody opens a connection from outside.")
	line("-A FORWARD -i wan+ -m conntrack --ctstate NEW -j DROP")
	line("COMMIT")
	line("*nat")
	if p.Ports.Allocation == PortRandom {
		line("# Every mapping gets a port drawn at random, so a mapping made anew has another one.")
		line("-A POSTROUTING -o wan+ -j MASQUERADE --random-fully")
	} else {
		line("# A mapping keeps the inside port where that is free, so a mapping made anew has the same one.")
		line("-A POSTROUTING -o wan+ -j MASQUERADE")
	}
	line("COMMIT")
	return b.String()
}
