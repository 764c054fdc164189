package nat

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"outlive/lab/units"
)

// Check finds what is wrong with the profile: timeouts that conntrack cannot hold,
// words that do not exist, and behaviours that exclude each other. Fields are named
// by their YAML keys. What is not set is right.
func (p Profile) Check() []units.Problem {
	var problems []units.Problem
	for _, t := range timers {
		d := t.of(&p.Timeouts).D()
		problem := units.Problem{Field: "timeouts." + t.key}
		switch {
		case d < 0:
			problem.Text = "a timeout cannot be negative"
		case d > longestTimeout:
			problem.Text = fmt.Sprintf("%s is too long: the kernel takes at most %s", units.Duration(d), units.Duration(longestTimeout))
		case d%time.Second != 0:
			problem.Text = fmt.Sprintf("%s is not a whole number of seconds; the kernel's idle timeouts are", units.Duration(d))
			problem.Suggestion = units.Duration(max(d.Round(time.Second), time.Second)).String()
		default:
			continue
		}
		problems = append(problems, problem)
	}
	for _, w := range []struct {
		field, what, word string
		known             []string
	}{
		{"late.lan", "something that happens to a late packet from the LAN side", string(p.Late.LAN),
			[]string{string(LANDrop), string(LANReset), string(LANRevive), string(LANRemap)}},
		{"late.wan", "something that happens to a late packet from the WAN side", string(p.Late.WAN),
			[]string{string(WANDrop), string(WANReset)}},
		{"mapping", "a behaviour", string(p.Mapping), behaviourWords},
		{"filtering", "a behaviour", string(p.Filtering), behaviourWords},
		{"ports.allocation", "a way to choose ports", string(p.Ports.Allocation), []string{string(PortPreserve), string(PortRandom)}},
		{"refresh.direction", "a direction that refreshes", string(p.Refresh.Direction), []string{string(RefreshBoth), string(RefreshOutbound)}},
		{"limits.when_full", "something that happens at a limit", string(p.Limits.WhenFull), []string{string(RefuseNew), string(EvictOldest)}},
	} {
		problems = append(problems, checkWord(w.field, w.what, w.word, w.known)...)
	}
	return append(problems, p.checkTogether()...)
}

var behaviourWords = []string{string(EndpointIndependent), string(AddressDependent), string(AddressAndPortDependent)}

// checkTogether finds numbers that cannot be, and settings that exclude each other.
func (p Profile) checkTogether() []units.Problem {
	var problems []units.Problem
	wrong := func(field, format string, args ...any) {
		problems = append(problems, units.Problem{Field: field, Text: fmt.Sprintf(format, args...)})
	}
	for _, n := range []struct {
		field string
		value int
	}{{"ports.block", p.Ports.Block}, {"limits.mappings", p.Limits.Mappings}, {"limits.subscriber", p.Limits.Subscriber}, {"pool.addresses", p.Pool.Addresses}} {
		if n.value < 0 {
			wrong(n.field, "it cannot be negative")
		}
	}
	if r := p.Ports.Range; r != (PortRange{}) && (r.First == 0 || r.Last < r.First) {
		wrong("ports.range", "%s is no range of ports", r)
	} else if most := p.ports().Ports(); p.Ports.Block > most {
		wrong("ports.block", "a block of %d ports does not fit into the range %s, which has %d", p.Ports.Block, p.ports(), most)
	}
	if p.Pool.Addresses > MaxPool {
		wrong("pool.addresses", "%d are too many: the lab routes %d to each NAT", p.Pool.Addresses, MaxPool)
	}
	if p.Pool.Paired && p.Pool.Addresses < 2 {
		wrong("pool.paired", "there is only one address, so there is nothing to pair: set pool.addresses")
	}
	if p.Late.LAN == LANRemap && p.Gated() {
		wrong("late.lan", "remap cannot be had with this refresh: conntrack still knows the old port when the mapping has gone")
	}
	if p.Late.LAN == LANRevive {
		switch {
		case p.Ports.Allocation == PortRandom || p.Ports.Block > 0:
			wrong("late.lan", "revive needs the same port again, which only ports.allocation preserve without blocks gives")
		case p.Gated():
			wrong("late.lan", "revive cannot be had with this refresh: conntrack still knows a mapping that has gone, so that nobody could tell its end")
		case p.Pool.Addresses > 1 && !p.Pool.Paired:
			wrong("late.lan", "revive needs the same address again, which only pool.paired gives")
		}
	}
	if p.Limits.WhenFull == EvictOldest {
		switch {
		case p.Limits.Mappings <= 0 && p.Limits.Subscriber <= 0:
			wrong("limits.when_full", "there is no limit: set limits.mappings or limits.subscriber")
		case p.Ports.Block > 0 && (p.Limits.Subscriber <= 0 || p.Limits.Subscriber >= p.Ports.Block):
			wrong("limits.when_full", "a full block of ports refuses what is new: set limits.subscriber to less than ports.block")
		}
	}
	return problems
}

// checkWord finds a word that is not one of those that a field knows.
func checkWord(field, what, word string, known []string) []units.Problem {
	if word == "" || slices.Contains(known, word) {
		return nil
	}
	meant := units.Closest(word, known)
	if strings.EqualFold(word, "rst") {
		meant = "reset"
	}
	return []units.Problem{{
		Field:      field,
		Text:       fmt.Sprintf("%q is not %s; it is one of %s", word, what, strings.Join(known, ", ")),
		Suggestion: meant,
	}}
}
