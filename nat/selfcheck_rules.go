package nat

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"outlive/lab/netns"
)

// compareRules holds the NAT's rules against those of a namespace in which the
// profile's rules were installed afresh by the same tool.
func (c *check) compareRules(ctx context.Context, reference *netns.NS) error {
	want, err := c.nat.listing(ctx, reference, false)
	if err != nil {
		return err
	}
	got, err := c.nat.listing(ctx, c.nat.host.NS, false)
	if err != nil {
		return err
	}
	for _, w := range compareRules(want, got) {
		c.wrong("%s", w)
	}
	return nil
}

// rulesNamed is how many rules are named that are missing, or too many.
const rulesNamed = 3

// compareRules says in words how two listings of rules differ, of iptables-save or of nft.
func compareRules(want, got string) []string {
	wanted, present := listed(want), listed(got)
	wrong := append(named(missing(wanted, present), "is missing"), named(missing(present, wanted), "was not asked for")...)
	if len(wrong) == 0 && !slices.Equal(wanted, present) {
		wrong = append(wrong, "the rules are in another order than asked for")
	}
	return wrong
}

// missing gives the lines that one listing has, or has more often, than another.
func missing(from, in []string) []string {
	count := map[string]int{}
	for _, line := range in {
		count[line]++
	}
	var lines []string
	for _, line := range from {
		if count[line]--; count[line] < 0 {
			lines = append(lines, line)
		}
	}
	return lines
}

// named says something of rules, the first of them by name.
func named(lines []string, what string) []string {
	var all []string
	for i, line := range lines {
		if i == rulesNamed {
			all[i-1] += fmt.Sprintf(" (and %d more)", len(lines)-i)
			break
		}
		all = append(all, fmt.Sprintf("the rule %q %s", line, what))
	}
	return all
}

// listed gives the lines of a listing that mean something, each with where it stands.
func listed(text string) []string {
	if strings.HasPrefix(strings.TrimSpace(text), "table ") {
		return listedNFT(text)
	}
	return listedIPTables(text)
}

// listedNFT names the table and chain of each line.
func listedNFT(text string) []string {
	var lines, within []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
		case line == "}" && len(within) > 0:
			within = within[:len(within)-1]
		case strings.HasSuffix(line, " {"):
			within = append(within, strings.TrimSuffix(line, " {"))
			lines = append(lines, strings.Join(within, " "))
		default:
			lines = append(lines, strings.Join(append(within[:len(within):len(within)], line), " "))
		}
	}
	return lines
}

// listedIPTables names the table of each line, without the counters of chains. The
// variants of the tool list the tables in different orders, which means nothing.
func listedIPTables(text string) []string {
	tables := map[string][]string{}
	table := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "", line == "COMMIT", strings.HasPrefix(line, "#"):
			continue
		case strings.HasPrefix(line, "*"):
			table = line[1:]
			continue
		case strings.HasPrefix(line, ":"):
			line, _, _ = strings.Cut(line, " [")
		}
		tables[table] = append(tables[table], "-t "+table+" "+line)
	}
	var lines []string
	for _, table := range slices.Sorted(maps.Keys(tables)) {
		lines = append(lines, tables[table]...)
	}
	return lines
}
