package nat

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Every profile of the catalogue is complete, possible and told apart from the others.
func TestCatalogue(t *testing.T) {
	seen := map[string]bool{}
	var families []Family
	for _, n := range Profiles() {
		name := n.Profile.Name
		if name == "" || seen[name] || strings.ToLower(name) != name || strings.ContainsAny(name, "./ ") {
			t.Errorf("%q is not a name, or there twice", name)
		}
		seen[name] = true
		if problems := n.Profile.Check(); len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		}
		if diff := cmp.Diff(n.Profile.Complete(), n.Profile); diff != "" {
			t.Errorf("%s is not complete:\n%s", name, diff)
		}
		if !sentence(n.Summary) {
			t.Errorf("%s: the summary %q is no sentence", name, n.Summary)
		}
		if i := slices.Index(families, n.Family); n.Family == "" || i >= 0 && i < len(families)-1 {
			t.Errorf("%s: its family %q is empty or in two places", name, n.Family)
		} else if i < 0 {
			families = append(families, n.Family)
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

// sentence says whether a text reads as one: it ends, and it has no line breaks.
func sentence(s string) bool {
	return strings.HasSuffix(s, ".") && !strings.ContainsAny(s, "\n\t") && !strings.Contains(s, "  ")
}

// Every figure says where it is from and how sure it is: those that a profile sets, and
// those that it leaves as they are, which are our choice and never anything better.
func TestOrigins(t *testing.T) {
	sure := []Sureness{Measured, Documented, Reported, Unverified, Chosen}
	for i, n := range Profiles() {
		name := n.Profile.Name
		asWritten := catalogue[i].Profile.Fields()
		for _, o := range n.Origins {
			if !slices.Contains(sure, o.Sure) || !sentence(o.Source) || len(o.Fields) == 0 {
				t.Errorf("%s: an origin without fields, a source or a word for how sure it is: %+v", name, o)
			}
			for _, field := range o.Fields {
				if !slices.ContainsFunc(asWritten, func(f Field) bool { return under(f.Name, field) }) {
					t.Errorf("%s: the origin of %q, which is no field", name, field)
				}
				if !slices.ContainsFunc(asWritten, func(f Field) bool {
					at := n.Origin(f.Name)
					return under(f.Name, field) && at.Source == o.Source && at.Sure == o.Sure
				}) {
					t.Errorf("%s: other origins leave nothing to the one of %q", name, field)
				}
			}
		}
		for _, f := range asWritten {
			o := n.Origin(f.Name)
			known := slices.ContainsFunc(n.Origins, func(o Origin) bool {
				return slices.ContainsFunc(o.Fields, func(field string) bool { return under(f.Name, field) })
			})
			if isSet(f) && !known {
				t.Errorf("%s: nothing says where its %s (%s) is from", name, f.Name, f.Value)
			}
			if !known && o.Sure != Chosen {
				t.Errorf("%s: nobody set %s, and yet it is %s", name, f.Name, o.Sure)
			}
			if o.Source == "" || o.Sure == "" {
				t.Errorf("%s: %s has no origin", name, f.Name)
			}
		}
	}
}

// isSet says whether a profile of the catalogue says a field itself.
func isSet(f Field) bool { return f.Value != "" && f.Value != "false" }

// The most exact origin is the one that counts, whatever the order.
func TestOriginOf(t *testing.T) {
	n := Named{Origins: []Origin{
		documented("All timers.", "timeouts"), measured("One timer.", "timeouts.udp"), chosen("Its neighbour.", "timeouts.udp_stream"),
	}}
	for field, want := range map[string]Origin{
		"timeouts.udp":        measured("One timer.", "timeouts.udp"),
		"timeouts.udp_stream": chosen("Its neighbour.", "timeouts.udp_stream"),
		"timeouts.icmp":       documented("All timers.", "timeouts"),
		"late.lan":            chosen("Nothing is known of it; it is the lab's default.", "late.lan"),
	} {
		if diff := cmp.Diff(want, n.Origin(field)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", field, diff)
		}
	}
	if got := (Named{}).Origin("timeouts.udp"); got.Sure != Chosen || !strings.Contains(got.Source, "kernel's default") {
		t.Errorf("a timer of which nothing is known: %+v", got)
	}
}

// Fields names every value as a scenario does, and says it as a scenario does.
func TestFields(t *testing.T) {
	p := Profile{Name: "x", Timeouts: Timeouts{UDP: 90 * second}, Late: Late{WAN: WANReset}}
	values := map[string]string{}
	for _, f := range p.Fields() {
		if _, twice := values[f.Name]; twice {
			t.Errorf("%s is there twice", f.Name)
		}
		values[f.Name] = f.Value
	}
	for field, want := range map[string]string{"timeouts.udp": "1m30s", "timeouts.icmp": "", "late.lan": "", "late.wan": "reset"} {
		if got, ok := values[field]; !ok || got != want {
			t.Errorf("%s is %q, %v; want %q", field, got, ok, want)
		}
	}
	for _, timer := range timers {
		if _, ok := values["timeouts."+timer.key]; !ok {
			t.Errorf("there is no field for %s", timer.key)
		}
	}
}
