package nat

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"outlive/lab"
	"outlive/lab/feature"
	"outlive/lab/labtest"
	"outlive/lab/netns"
)

func sortedSettings(settings map[string]string) []string {
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		lines = append(lines, key+" = "+settings[key])
	}
	return lines
}

// policy is a line of a listing that the rules leave out.
var policy = regexp.MustCompile(`(?m)^:[A-Z]+ ACCEPT .*\n`)

// Both variants of iptables take the rules of every profile, list them as they
// were written, and make a NAT that passes its check.
func TestBothVariants(t *testing.T) {
	for _, variant := range []string{"nf_tables", "legacy"} {
		t.Run(variant, func(t *testing.T) {
			labtest.Run(t, func(t *testing.T) {
				useVariant(t, variant)
				found, err := tryTool(t.Context())
				if err != nil || !strings.Contains(found, "("+variant+")") {
					t.Fatalf("in use is %q, %v; want %s", found, err, variant)
				}
				results := make(chan string)
				var labs []*natLab
				for _, late := range combinations() {
					labs = append(labs, build(t, profile(time.Second, late.LAN, late.WAN)))
				}
				for _, l := range labs {
					go func() {
						late := l.profile.Late
						r := SelfCheck(within(t, time.Minute), l.Topology, l.NAT, time.Minute)
						if r.OK {
							results <- ""
							return
						}
						results <- fmt.Sprintf("%s-%s: %s", late.LAN, late.WAN, r.Why)
					}()
				}
				for range labs {
					if why := <-results; why != "" {
						t.Error(why)
					}
				}
				for _, l := range labs {
					listed, err := save(t.Context(), l.host.NS)
					if err != nil {
						t.Fatal(err)
					}
					if wrong := compareRules(l.Rules(), policy.ReplaceAllString(listed, "")); len(wrong) > 0 {
						t.Errorf("the listing differs from the rules: %s", strings.Join(wrong, "; "))
					}
				}
				counters, err := labs[0].Counters(t.Context())
				if err != nil || !strings.Contains(counters, "-A INPUT -i wan+ -j DROP") || !strings.Contains(counters, "[") {
					t.Errorf("counters: %v\n%s", err, counters)
				}
			})
		})
	}
}

func TestInstallErrors(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		ns, err := netns.New()
		labtest.SkipUnsupported(t, err)
		defer ns.Close()
		const bad = "*filter\n-A FORWARD -j NOSUCHTARGET\nCOMMIT\n"
		err = restore(t.Context(), ns, bad)
		var refused *RuleError
		if !errors.As(err, &refused) {
			t.Fatalf("restoring nonsense gave %v", err)
		}
		if short := fmt.Sprintf("%v", err); strings.Contains(short, "\n") || !strings.HasPrefix(short, "installing rules with ") {
			t.Errorf("the short form is %q", short)
		}
		long := fmt.Sprintf("%+v", err)
		for _, part := range []string{"  2  -A FORWARD -j NOSUCHTARGET", "said:", "the ruleset:", "NOSUCHTARGET"} {
			if !strings.Contains(long, part) {
				t.Errorf("the long form lacks %q:\n%s", part, long)
			}
		}

		host := &lab.Host{Name: "cell", Role: lab.RoleNAT, NS: ns}
		n, err := Install(t.Context(), host, Default())
		if err != nil {
			t.Fatal(err)
		}
		n.Close()
		if err := n.Close(); err != nil {
			t.Errorf("closing twice: %v", err)
		}
	})
}

// A user's PATH may lack the system directories; without iptables at all the error
// says what to install.
func TestFindTool(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	path, err := findTool("iptables-restore")
	if err == nil {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	_, err = findTool("no-such-tables-restore")
	var missing *feature.Unsupported
	if !errors.As(err, &missing) || !strings.Contains(err.Error(), "sudo apt-get install iptables") {
		t.Errorf("without the tool: %v", err)
	}
}

func TestChecks(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		for _, c := range Checks() {
			found, err := c.Try(within(t, 10*time.Second))
			var missing *feature.Unsupported
			if err != nil && !errors.As(err, &missing) {
				t.Errorf("%s: %v", c.Name, err)
			}
			t.Logf("%s: %s (%v)", c.Name, found, err)
		}
	})
}

// A NAT behind a NAT, two devices with the same source port: each mapping is
// listed at its own NAT, and one device's can be deleted without the other's.
//
//	phone-1 ─┐
//	         ├ cell.1 ── cell.2 ── server
//	phone-2 ─┘
func TestMappings(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		topology, err := lab.Build(t.Context(), lab.TopologySpec{
			Uplinks: []lab.UplinkSpec{{Name: "cell", NATs: []string{"cell.1", "cell.2"}}},
			Devices: []lab.DeviceSpec{{Name: "phone-1", Uplinks: []string{"cell"}}, {Name: "phone-2", Uplinks: []string{"cell"}}},
		})
		labtest.SkipUnsupported(t, err)
		defer topology.Close()
		nats := map[string]*NAT{}
		for _, name := range []string{"cell.1", "cell.2"} {
			n, err := Install(t.Context(), topology.Host(name), Default())
			labtest.SkipUnsupported(t, err)
			defer n.Close()
			nats[name] = n
		}
		inner, outer := nats["cell.1"], nats["cell.2"]
		list := func(n *NAT) []string {
			t.Helper()
			mappings, err := n.Mappings()
			if err != nil {
				t.Fatal(err)
			}
			var lines []string
			for _, m := range mappings {
				lines = append(lines, fmt.Sprintf("%s %s→%s %s %v", m.Protocol, m.LAN.Addr(), m.WAN.Addr(), m.Remote, m.Left.D() > 28*time.Second))
			}
			slices.Sort(lines)
			return lines
		}
		for _, name := range []string{"phone-1", "phone-2"} {
			h := topology.Host(name)
			if err := h.NS.Do(func() error { return sendDatagrams(h.Interfaces[0].Addr.Addr(), serverPort, 1) }); err != nil {
				t.Fatal(err)
			}
		}
		want := map[*NAT][]string{
			inner: {"udp 10.64.0.2→100.64.0.2 198.51.100.1:9 true", "udp 10.64.0.3→100.64.0.2 198.51.100.1:9 true"},
			outer: {"udp 100.64.0.2→203.0.113.2 198.51.100.1:9 true", "udp 100.64.0.2→203.0.113.2 198.51.100.1:9 true"},
		}
		for n, lines := range want {
			if got := list(n); !slices.Equal(got, lines) {
				t.Errorf("mappings of %s: %q, want %q", n.Name(), got, lines)
			}
		}
		gone, err := inner.Expire(func(m Mapping) bool { return m.LAN.Addr() == topology.DeviceAddr("phone-2", "cell") })
		if err != nil || gone != 1 {
			t.Errorf("deleted %d, %v; want 1", gone, err)
		}
		if got := list(inner); !slices.Equal(got, want[inner][:1]) {
			t.Errorf("left are %q, want %q", got, want[inner][:1])
		}
		if err := outer.Flush(); err != nil {
			t.Fatal(err)
		}
		if got := list(outer); len(got) != 0 {
			t.Errorf("after the flush there are %q", got)
		}
	})
}

// Deleting names the entry and not its tuple, so that a mapping made anew meanwhile is safe.
func TestRemoveNamesTheEntry(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		l := build(t, Default())
		l.sendFrom(t, 1)
		flows, err := l.table.dump()
		if err != nil || len(flows) != 1 {
			t.Fatalf("%d entries, %v; want 1", len(flows), err)
		}
		other := flows[0]
		other.ID++
		if gone, err := l.table.remove(other); gone || err != nil {
			t.Errorf("an entry of another number was deleted: %v, %v", gone, err)
		}
		if _, ok, err := l.table.get(flows[0].TupleOrig); !ok || err != nil {
			t.Errorf("the entry is not found: %v, %v", ok, err)
		}
		if gone, err := l.table.remove(flows[0]); !gone || err != nil {
			t.Errorf("the entry was not deleted: %v, %v", gone, err)
		}
		if _, ok, err := l.table.get(flows[0].TupleOrig); ok || err != nil {
			t.Errorf("the entry is still found: %v, %v", ok, err)
		}
		if gone, err := l.table.remove(flows[0]); gone || err != nil {
			t.Errorf("deleting it again: %v, %v", gone, err)
		}
	})
}

// The probes' own mappings are no scenario's: they are not listed, not expired, not
// watched, and the check leaves a scenario's alone.
func TestProbesAreApart(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		l := build(t, profile(time.Second, LANDrop, WANDrop))
		e := watch(t, l.NAT)
		probe, err := l.AddProbe("cell")
		if err != nil {
			t.Fatal(err)
		}
		p, err := newProber(l.NAT, probe)
		if err != nil {
			t.Fatal(err)
		}
		defer p.close()
		f, err := p.open()
		if err != nil {
			t.Fatal(err)
		}
		if !lab.ProbeNetwork.Contains(f.inside.Addr()) {
			t.Fatalf("the probe's address %s is not in %s", f.inside.Addr(), lab.ProbeNetwork)
		}
		c := l.connect(t, 1)[0]
		mappings, err := l.Mappings()
		if err != nil || len(mappings) != 1 || mappings[0].LAN != c.lan {
			t.Errorf("mappings are %+v, %v; want that of %s", mappings, err, c.lan)
		}
		if n, err := l.Expire(func(m Mapping) bool { return lab.ProbeNetwork.Contains(m.LAN.Addr()) }); n != 0 || err != nil {
			t.Errorf("deleted %d of the probes' mappings, %v", n, err)
		}
		e.await(t, MappingGone, c.lan, 1, 5*time.Second)
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, m := range e.all {
			if lab.ProbeNetwork.Contains(m.Mapping.LAN.Addr()) {
				t.Errorf("the watch reports a probe's mapping: %+v", m)
			}
		}
	})
}
