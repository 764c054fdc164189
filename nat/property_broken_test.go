package nat_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"outlive/lab/labtest"
	"outlive/lab/units"
	"outlive/nat"
)

// brokenSequences is how many sequences find each of the broken rulesets.
const brokenSequences = 400

// Each of these rulesets differs from what its profile says in one thing, and the
// sequences find it.
func TestBrokenRulesAreFound(t *testing.T) {
	t.Parallel()
	// without leaves out the lines that contain a text.
	without := func(text string) func(string) string {
		return func(rules string) string {
			var kept strings.Builder
			for line := range strings.Lines(rules) {
				if !strings.Contains(line, text) {
					kept.WriteString(line)
				}
			}
			return kept.String()
		}
	}
	replace := func(old, replacement string) func(string) string {
		return func(rules string) string { return strings.ReplaceAll(rules, old, replacement) }
	}
	pattern := func(pattern, replacement string) func(string) string {
		return func(rules string) string { return regexp.MustCompile(pattern).ReplaceAllString(rules, replacement) }
	}
	outbound := nat.Refresh{Direction: nat.RefreshOutbound}
	seed := chooseSeed()
	labtest.Run(t, func(t *testing.T) {
		for _, tt := range []struct {
			name    string
			profile nat.Profile
			edit    func(string) string
			// timeouts are changed behind the profile's back.
			timeouts func(*nat.Timeouts)
		}{
			{name: "INVALID is not dropped", edit: without("--ctstate INVALID -j DROP")},
			{name: "the port is not preserved", edit: replace("-j MASQUERADE", "-j MASQUERADE --random-fully")},
			{name: "a late packet from outside is not reset", profile: nat.Profile{Late: nat.Late{WAN: nat.WANReset}}, edit: without("-j REJECT")},
			{name: "a timeout is a second longer", edit: asIs, timeouts: func(t *nat.Timeouts) { t.TCPEstablished += units.Duration(time.Second) }},
			{name: "a timeout is a second shorter", edit: asIs, timeouts: func(t *nat.Timeouts) { t.TCPSynSent -= units.Duration(time.Second) }},
			{name: "the filter is too open", profile: nat.Profile{Mapping: ei, Filtering: ad}, edit: pattern(`(?m)^(.*iifname "wan\*" ).* @allowed (dnat .*)$`, "$1$2")},
			{name: "packets from outside refresh", profile: nat.Profile{Refresh: outbound}, edit: pattern(" ct direction (original|reply)", "")},
			{name: "a bare ACK refreshes", profile: nat.Profile{Refresh: nat.Refresh{IgnoreACK: true}}, edit: without("tcp doff")},
			{name: "one mapping too many", profile: nat.Profile{Mapping: apd, Limits: nat.Limits{Subscriber: 3}}, edit: replace("ct count over 3", "ct count over 4")},
			{name: "no hairpinning", profile: nat.Profile{Mapping: ei, Filtering: ei, Hairpin: true}, edit: pattern(`(?m)^.*iifname "lan\*" ip daddr .* dnat .*$`, "")},
			{name: "random ports outside the range", profile: nat.Profile{Ports: nat.Ports{Allocation: nat.PortRandom, Range: nat.PortRange{First: 20000, Last: 29999}}},
				edit: pattern(`numgen random mod \d+`, fmt.Sprintf("numgen random mod %d", 20000<<16))},
		} {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				p := short(tt.profile)
				installed, changed := p, false
				if tt.timeouts != nil {
					tt.timeouts(&installed.Timeouts)
				}
				n, err := setUp(t.Context(), installed, func(rules string) string {
					edited := tt.edit(rules)
					changed = edited != rules
					return edited
				})
				labtest.SkipUnsupported(t, err)
				t.Cleanup(n.close)
				if tt.timeouts == nil && !changed {
					t.Fatal("the edit changes nothing: the rules look different now")
				}
				n.profile = p
				_, d, err := n.examine(draw(seedOf(seed, tt.name), p, brokenSequences), 2*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				if d == nil {
					t.Fatalf("%d sequences did not find it (-seed %d)", brokenSequences, seed)
				}
				t.Logf("found:\n%s", d)
			})
		}
	})
}
