package nat

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"outlive/lab"
	"outlive/lab/units"
)

// An IPv6 firewall is made of the same profile as a NAT. It forgets as a NAT does and
// lets in what a NAT lets in, and translates nothing (RFC 6092): what remembers a
// connection is called its state record there, and a Mapping here, whose WAN is its LAN.

// Firewall says whether this is an IPv6 firewall, which translates nothing.
func (n *NAT) Firewall() bool { return n.host.Role == lab.RoleFirewall }

// firewallTable is the name of the one nftables table of a firewall.
const firewallTable = "firewall"

// FirewallRules gives the nftables ruleset of an IPv6 firewall of this profile, as text
// for nft -f. As with Rules every decision is stated; the timeouts and tcp_loose
// are not rules: see FirewallSysctls. Pure.
func FirewallRules(p Profile) string {
	p = p.CompleteFirewall()
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }

	if p.Name != "" {
		line("# IPv6 firewall %s.", p.Name)
	}
	line("# A late packet, one whose state record has expired: from the LAN side %s, from the WAN side %s.", p.Late.LAN, p.Late.WAN)
	line("# Filtering is %s. lan0 and wan0 carry the scenario, lan9 and wan9 the", p.Filtering)
	line("# packets that prove this firewall. What no rule speaks of is let through.")
	line("table ip6 %s {", firewallTable)
	open := openKey(p.Filtering)
	if open != nil {
		line("  # The inside endpoints that have state, and so are open to%s.", open.to)
		line("  set open {")
		line("    type %s", open.types)
		line("    size 65535")
		line("    flags dynamic,timeout")
		line("  }")
	}
	line("  chain forward {")
	line("    type filter hook forward priority filter; policy accept;")
	switch p.Late.LAN {
	case LANDrop:
		line("    # A late packet from inside is invalid (tcp_loose=0) and dropped below.")
	case LANReset:
		line("    # A late packet from inside is invalid (tcp_loose=0). Its sender gets a reset, the far end nothing.")
		line(`    iifname "lan*" ct state invalid meta l4proto tcp reject with tcp reset`)
	case LANRevive:
		line("    # A late packet from inside makes its state anew (tcp_loose=1). A late FIN or RST cannot: it is")
		line("    # invalid and dropped below.")
	}
	if open != nil {
		line("    # A first packet from outside to an open endpoint.")
		line(`    iifname "wan*" ct state new tcp flags & (fin | syn | rst | ack) == syn %s @open accept`, open.inward)
		line(`    iifname "wan*" ct state new meta l4proto udp %s @open accept`, open.inward)
	}
	line("    # Nobody else opens a connection from outside, and nothing late comes in.")
	if p.Late.WAN == WANReset {
		line(`    iifname "wan*" ct state { invalid, new } meta l4proto tcp reject with tcp reset`)
	}
	line(`    ct state invalid drop`)
	line(`    iifname "wan*" ct state new drop`)
	if open != nil {
		line("    # Every packet that passes keeps its endpoint open, as it keeps its state.")
		for _, r := range openTimeouts(p.Timeouts) {
			line(`    iifname "lan*" %s update @open { %s timeout %s }`, r.packets, open.outward, r.timeout)
			line(`    iifname "wan*" %s update @open { %s timeout %s }`, r.packets, open.inward, r.timeout)
		}
	}
	line("  }")
	line("  chain input {")
	line("    type filter hook input priority filter; policy accept;")
	line("    # The firewall itself says nothing to the outside.")
	line(`    iifname "wan*" drop`)
	line("  }")
	line("}")
	return b.String()
}

// openSet is by what a firewall that filters less strictly knows an open endpoint.
type openSet struct{ types, outward, inward, to string }

// openKey gives it; nil where what conntrack knows is enough.
func openKey(filtering Behaviour) *openSet {
	switch filtering {
	case EndpointIndependent:
		return &openSet{
			types:   "inet_proto . ipv6_addr . inet_service",
			outward: "meta l4proto . ip6 saddr . th sport", inward: "meta l4proto . ip6 daddr . th dport",
			to: " everybody",
		}
	case AddressDependent:
		return &openSet{
			types:   "inet_proto . ipv6_addr . inet_service . ipv6_addr",
			outward: "meta l4proto . ip6 saddr . th sport . ip6 daddr", inward: "meta l4proto . ip6 daddr . th dport . ip6 saddr",
			to: " all ports of the address that they have sent to",
		}
	}
	return nil
}

type openTimeout struct{ packets, timeout string }

// openTimeouts are for how long packets keep an endpoint open: about as long as their state lives.
func openTimeouts(t Timeouts) []openTimeout {
	seconds := func(d units.Duration) string { return strconv.Itoa(int(d.D()/time.Second)) + "s" }
	const opening = "tcp flags & (fin | syn | rst) == 0 ct status "
	return []openTimeout{
		{"meta l4proto udp ct status & assured == 0", seconds(t.UDP)},
		{"meta l4proto udp ct status assured", seconds(t.UDPStream)},
		{"tcp flags syn", seconds(t.TCPSynSent)},
		{opening + "& assured == 0", seconds(t.TCPSynRecv)},
		{opening + "assured", seconds(t.TCPEstablished)},
		{"tcp flags fin", seconds(t.TCPFinWait)},
		{"tcp flags rst", seconds(t.TCPClose)},
	}
}

// FirewallSysctls gives the kernel settings of a firewall's namespace that the profile
// needs, by their dotted names, as Sysctls does for a NAT. That it forwards IPv6 is the
// lab's doing.
func FirewallSysctls(p Profile) map[string]string {
	settings := Sysctls(p.CompleteFirewall())
	delete(settings, "net.ipv4.ip_forward")
	return settings
}

// CompleteFirewall is Complete for the profile of a firewall: nothing is translated, so
// that whatever says how stays unset.
func (p Profile) CompleteFirewall() Profile {
	p = p.Complete()
	p.Mapping, p.Ports, p.Pool, p.Hairpin, p.Limits = "", Ports{}, Pool{}, false, Limits{}
	return p
}

// OfFirewall says whether a field of a profile, by its YAML key, has a meaning for a firewall.
func OfFirewall(field string) bool {
	for _, name := range []string{"timeouts", "late", "filtering", "refresh.direction"} {
		if under(field, name) {
			return true
		}
	}
	return false
}

// CheckFirewall finds what is wrong with the profile of a firewall: what Check finds, and
// what a firewall does not have.
func (p Profile) CheckFirewall() []units.Problem {
	// What a firewall does not have is not looked at any closer.
	known := p
	known.Mapping, known.Ports, known.Pool, known.Hairpin, known.Limits, known.Refresh = "", Ports{}, Pool{}, false, Limits{}, Refresh{}
	if known.Late.LAN == LANRemap {
		known.Late.LAN = ""
	}
	problems := known.Check()
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"mapping", p.Mapping != ""},
		{"ports", p.Ports != Ports{}},
		{"pool", p.Pool != Pool{}},
		{"hairpin", p.Hairpin},
		{"limits", p.Limits != Limits{}},
	} {
		if f.set {
			problems = append(problems, units.Problem{Field: f.name, Text: f.name + " is of a NAT; an IPv6 firewall translates nothing"})
		}
	}
	if p.Late.LAN == LANRemap {
		problems = append(problems, units.Problem{
			Field: "late.lan", Text: "an IPv6 firewall cannot remap: it translates nothing", Suggestion: string(LANRevive),
		})
	}
	if p.Refresh != (Refresh{}) && p.Refresh != (Refresh{Direction: RefreshBoth}) {
		problems = append(problems, units.Problem{
			Field: "refresh", Text: "of an IPv6 firewall every packet of both directions refreshes the state; leave refresh out",
		})
	}
	return problems
}
