package nat

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/labtest"
	"outlive/lab/units"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name string
		p    Profile
		want []units.Problem
	}{
		{name: "nothing set"},
		{name: "everything at its default", p: Default()},
		{name: "limits", p: Profile{Timeouts: Timeouts{TCPEstablished: units.Duration(time.Second), UDP: units.Duration(longestTimeout)}}},
		{
			name: "parts of seconds",
			p:    Profile{Timeouts: Timeouts{TCPEstablished: units.Duration(1500 * time.Millisecond), UDP: units.Duration(200 * time.Millisecond)}},
			want: []units.Problem{
				{Field: "timeouts.tcp_established", Text: "1.5s is not a whole number of seconds; the kernel's idle timeouts are", Suggestion: "2s"},
				{Field: "timeouts.udp", Text: "200ms is not a whole number of seconds; the kernel's idle timeouts are", Suggestion: "1s"},
			},
		},
		{
			name: "out of range",
			p:    Profile{Timeouts: Timeouts{TCPClose: -units.Duration(time.Second), ICMP: units.Duration(longestTimeout + time.Second)}},
			want: []units.Problem{
				{Field: "timeouts.tcp_close", Text: "a timeout cannot be negative"},
				{Field: "timeouts.icmp", Text: "24d20h31m24s is too long: the kernel takes at most 24d20h31m23s"},
			},
		},
		{
			name: "words",
			p:    Profile{Late: Late{LAN: "rst", WAN: "Drop"}},
			want: []units.Problem{
				{Field: "late.lan", Text: `"rst" is not something that happens to a late packet from the LAN side; it is one of drop, reset, revive, remap`, Suggestion: "reset"},
				{Field: "late.wan", Text: `"Drop" is not something that happens to a late packet from the WAN side; it is one of drop, reset`, Suggestion: "drop"},
			},
		},
		{
			name: "a word of the other side",
			p:    Profile{Late: Late{WAN: "revive"}},
			want: []units.Problem{
				{Field: "late.wan", Text: `"revive" is not something that happens to a late packet from the WAN side; it is one of drop, reset`},
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, c.p.Check()); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// Every timeout has its key in the YAML, and the key is the JSON's too.
func TestTimersCoverTimeouts(t *testing.T) {
	b, err := json.Marshal(Default().Timeouts)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]units.Duration
	if err := json.Unmarshal(b, &fields); err != nil {
		t.Fatal(err)
	}
	if len(fields) != len(timers) {
		t.Errorf("Timeouts has %d fields, there are %d timers", len(fields), len(timers))
	}
	for _, timer := range timers {
		if fields[timer.key].D() != timer.standard {
			t.Errorf("%s is %s, want %s", timer.key, fields[timer.key], timer.standard)
		}
	}
}

func TestCompleteKeepsWhatIsSet(t *testing.T) {
	p := Profile{Name: "x", Timeouts: Timeouts{UDP: units.Duration(time.Minute)}, Late: Late{LAN: LANRemap}}
	want := Default()
	want.Name, want.Timeouts.UDP, want.Late.LAN = "x", units.Duration(time.Minute), LANRemap
	if diff := cmp.Diff(want, p.Complete()); diff != "" {
		t.Errorf("complete (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Profile{Name: "x", Timeouts: Timeouts{UDP: units.Duration(time.Minute)}, Late: Late{LAN: LANRemap}}, p); diff != "" {
		t.Errorf("Complete changed its receiver:\n%s", diff)
	}
}

func TestCatalogue(t *testing.T) {
	seen := map[string]bool{}
	for _, n := range Profiles() {
		name := n.Profile.Name
		if name == "" || seen[name] || strings.ToLower(name) != name {
			t.Errorf("%q is not a name, or there twice", name)
		}
		seen[name] = true
		if problems := n.Profile.Check(); len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		}
		if diff := cmp.Diff(n.Profile.Complete(), n.Profile); diff != "" {
			t.Errorf("%s is not complete:\n%s", name, diff)
		}
		if !strings.HasSuffix(n.Summary, ".") || !strings.HasSuffix(n.Source, ".") {
			t.Errorf("%s: summary %q and source %q should be sentences", name, n.Summary, n.Source)
		}
		found, ok := Lookup(name)
		if diff := cmp.Diff(n, found); !ok || diff != "" {
			t.Errorf("Lookup(%q) = %v:\n%s", name, ok, diff)
		}
	}
	if _, ok := Lookup("no-such"); ok {
		t.Error("Lookup found a profile that does not exist")
	}
}

func TestCanRevive(t *testing.T) {
	for lan, want := range map[LateLAN]bool{"": false, LANDrop: false, LANReset: false, LANRevive: true, LANRemap: false} {
		if got := (Profile{Late: Late{LAN: lan}}).CanRevive(); got != want {
			t.Errorf("CanRevive with %q is %v", lan, got)
		}
	}
}

func TestRulesGolden(t *testing.T) {
	for _, late := range combinations() {
		labtest.Golden(t, "testdata/rules-"+string(late.LAN)+"-"+string(late.WAN)+".golden", Rules(Profile{Late: late}))
	}
	carrier, _ := Lookup("carrier")
	labtest.Golden(t, "testdata/rules-carrier.golden", Rules(carrier.Profile))
}

func TestSysctlsGolden(t *testing.T) {
	for _, name := range []string{"carrier", "linux"} {
		n, _ := Lookup(name)
		var b strings.Builder
		for _, line := range sortedSettings(Sysctls(n.Profile)) {
			b.WriteString(line + "\n")
		}
		labtest.Golden(t, "testdata/sysctls-"+name+".golden", b.String())
	}
}

func TestCompareRules(t *testing.T) {
	const listing = "# Generated by iptables-save v1.8.9 on Mon Nov 23\n*filter\n:INPUT ACCEPT [3:120]\n-A INPUT -i wan+ -j DROP\n-A FORWARD -j DROP\nCOMMIT\n# Completed\n"
	for _, c := range []struct {
		name, got string
		want      []string
	}{
		{"the same with other counters", strings.ReplaceAll(listing, "[3:120]", "[9:999]"), nil},
		{"a rule less", strings.ReplaceAll(listing, "-A FORWARD -j DROP\n", ""), []string{`the rule "-t filter -A FORWARD -j DROP" is missing`}},
		{"another policy", strings.ReplaceAll(listing, ":INPUT ACCEPT", ":INPUT DROP"), []string{
			`the rule "-t filter :INPUT ACCEPT" is missing`, `the rule "-t filter :INPUT DROP" was not asked for`,
		}},
		{"another table", listing + "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j NOTRACK\nCOMMIT\n", []string{
			`the rule "-t raw :PREROUTING ACCEPT" was not asked for`, `the rule "-t raw -A PREROUTING -j NOTRACK" was not asked for`,
		}},
		{"the same rule twice", strings.ReplaceAll(listing, "-A FORWARD -j DROP\n", "-A FORWARD -j DROP\n-A FORWARD -j DROP\n"), []string{
			"the rules are in another order or number than asked for",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, compareRules(listing, c.got)); diff != "" {
				t.Errorf("differences (-want +got):\n%s", diff)
			}
		})
	}
}
