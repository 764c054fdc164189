package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"outlive/lab/units"
	"outlive/nat"
)

func natEntries() []entry {
	var out []entry
	for _, n := range nat.Profiles() {
		out = append(out, entry{n.Profile.Name, n.Summary, func(w io.Writer) { writeProfile(w, n) }})
	}
	return out
}

// writeProfiles writes the catalogue of NAT profiles as tables, one a family.
func writeProfiles(w io.Writer, width int) {
	all := nat.Profiles()
	rows := [][]string{{"", "TCP", "how sure", "UDP", "maps by", "lets in by", "late packets"}}
	for _, n := range all {
		p, o := n.Profile, n.Origin("timeouts.tcp_established")
		sure := string(o.Sure)
		if o.Says != "" {
			sure += " *"
		}
		rows = append(rows, []string{
			p.Name, p.Timeouts.TCPEstablished.String(), sure,
			fmt.Sprintf("%s / %s", p.Timeouts.UDP, p.Timeouts.UDPStream), short(p.Mapping), short(p.Filtering),
			fmt.Sprintf("%s / %s", p.Late.LAN, p.Late.WAN),
		})
	}
	columns := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			columns[i] = max(columns[i], len(cell))
		}
	}
	write := func(row []string) {
		var line strings.Builder
		for i, cell := range row {
			fmt.Fprintf(&line, "%-*s  ", columns[i], cell)
		}
		fmt.Fprintln(w, strings.TrimRight("  "+line.String(), " "))
	}
	for i, n := range all {
		if i == 0 || n.Family != all[i-1].Family {
			if i > 0 {
				fmt.Fprintln(w)
			}
			fmt.Fprintln(w, strings.ToUpper(string(n.Family)))
			write(rows[0])
		}
		write(rows[i+1])
		writeWrapped(w, "    ", n.Summary, width)
	}
	fmt.Fprintln(w)
	for _, line := range []string{
		"TCP, UDP: how long a silence it takes to be forgotten; UDP without answers / with answers.",
		"How sure: the figure of TCP; * where a bound or a range is known, out of which we picked it. 'outlive show NAME' has that of every figure, and its source.",
		"Maps by, lets in by: mapping and filtering as in RFC 4787: endpoint-independent (endpoint), address-dependent (address), address-and-port-dependent (address+port).",
		"Late packets: what a packet of a forgotten TCP connection meets, from the device / from the server.",
	} {
		writeWrapped(w, "", line, width)
	}
}

// short is a behaviour in a table.
func short(b nat.Behaviour) string {
	return map[nat.Behaviour]string{
		nat.EndpointIndependent: "endpoint", nat.AddressDependent: "address", nat.AddressAndPortDependent: "address+port",
	}[b]
}

// firewallEntries are the profiles of IPv6 firewalls.
func firewallEntries() []entry {
	var out []entry
	for _, n := range nat.FirewallProfiles() {
		out = append(out, entry{n.Profile.Name, n.Summary, func(w io.Writer) { writeFirewall(w, n) }})
	}
	return out
}

// writeFirewall writes the profile of an IPv6 firewall as writeProfile does that of a NAT.
func writeFirewall(w io.Writer, n nat.Named) {
	n.Profile = n.Profile.CompleteFirewall()
	p := n.Profile
	writeNamed(w, n, fmt.Sprintf("In the words of RFC 6092: %s filtering, no translation.", p.Filtering), nat.FirewallRules(p))
}

// writeProfile writes a profile with the origin of each figure and the rules that make it.
func writeProfile(w io.Writer, n nat.Named) {
	n.Profile = n.Profile.Complete()
	writeNamed(w, n, "In the words of RFC 4787: "+words(n.Profile)+".", nat.Rules(n.Profile))
}

func writeNamed(w io.Writer, n nat.Named, words, rules string) {
	const width = 100
	p := n.Profile
	fmt.Fprint(w, p.Name)
	if n.Family != "" {
		fmt.Fprintf(w, " (%s)", n.Family)
	}
	fmt.Fprintln(w)
	if n.Summary != "" {
		fmt.Fprintln(w)
		writeWrapped(w, "", n.Summary, width)
	}
	fmt.Fprintln(w)
	writeWrapped(w, "", words, width)
	fmt.Fprintln(w)

	var sources []string
	number := map[string]int{}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range p.Fields() {
		if n.Family == nat.Firewalls && !nat.OfFirewall(f.Name) {
			continue
		}
		o := n.Origin(f.Name)
		if number[o.Source] == 0 {
			sources = append(sources, o.Source)
			number[o.Source] = len(sources)
		}
		value := map[string]string{"": "-", "false": "no", "true": "yes"}[f.Value]
		if value == "" {
			value = f.Value
		}
		says := ""
		if o.Says != "" {
			says = "the source says: " + o.Says
		}
		fmt.Fprintln(t, strings.TrimRight(fmt.Sprintf("%s\t%s\t%s\t[%d]\t%s", f.Name, value, o.Sure, number[o.Source], says), "\t"))
	}
	_ = t.Flush()
	fmt.Fprintln(w)
	for i, source := range sources {
		writeWrapped(w, fmt.Sprintf("[%d] ", i+1), source, width)
	}
	fmt.Fprintf(w, "\nThe rules that make it:\n\n%s", rules)
}

// words are the profile's behaviours as RFC 4787 calls them.
func words(p nat.Profile) string {
	list := []string{string(p.Mapping) + " mapping", string(p.Filtering) + " filtering"}
	if p.Ports.Allocation == nat.PortPreserve {
		list = append(list, "port preservation")
	} else {
		list = append(list, "no port preservation")
	}
	if p.Pool.Addresses > 1 {
		pooling := "arbitrary"
		if p.Pool.Paired {
			pooling = "paired"
		}
		list = append(list, fmt.Sprintf("%s pooling of %d addresses", pooling, p.Pool.Addresses))
	}
	if p.Hairpin {
		list = append(list, "hairpinning")
	} else {
		list = append(list, "no hairpinning")
	}
	if p.Refresh.Direction == nat.RefreshOutbound {
		list = append(list, "outbound refresh only")
	} else {
		list = append(list, "outbound and inbound refresh")
	}
	return units.List(list)
}

// writeWrapped writes a text behind a lead, under which its further lines are indented.
func writeWrapped(w io.Writer, lead, text string, width int) {
	indent := strings.Repeat(" ", len([]rune(lead)))
	at := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
			fmt.Fprint(w, lead)
			at = len(indent)
		case at+1+len([]rune(word)) > width:
			fmt.Fprintf(w, "\n%s", indent)
			at = len(indent)
		default:
			fmt.Fprint(w, " ")
			at++
		}
		fmt.Fprint(w, word)
		at += len([]rune(word))
	}
	fmt.Fprintln(w)
}
