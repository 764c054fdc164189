package verdict

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"outlive/probes/flow"
)

// sampleValues are one value for each unit, as it is written.
var sampleValues = map[Unit]string{Duration: "1h30m", Number: "3", Share: "99.5%", Bytes: "104"}

// expectations are one for each metric, aggregate and comparison.
func everyExpectation() []string {
	var all []string
	for _, m := range Metrics() {
		for _, a := range m.Aggregates {
			value := sampleValues[m.Unit]
			term := m.Name
			if a != Bare {
				term = string(a) + "(" + m.Name + ")"
			}
			if a == Count {
				value = sampleValues[Number]
			}
			for _, op := range []Op{Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual} {
				all = append(all, fmt.Sprintf("%s %s %s", term, op, value))
			}
		}
	}
	return all
}

func TestMetrics(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range Metrics() {
		if m.Name == "" || seen[m.Name] || strings.ToLower(m.Name) != m.Name {
			t.Errorf("metric %q: its name is missing, taken or not in lower case", m.Name)
		}
		seen[m.Name] = true
		if !strings.HasSuffix(m.Definition, ".") {
			t.Errorf("metric %s: its definition is no sentence: %q", m.Name, m.Definition)
		}
		if sampleValues[m.Unit] == "" || len(m.Aggregates) == 0 || m.observe == nil {
			t.Errorf("metric %s: it lacks a known unit, an aggregate, or a way to observe it", m.Name)
		}
		if slices.Contains(m.Aggregates, Bare) != (m.bare != Bare) {
			t.Errorf("metric %s: what it means without an aggregate must be said if and only if it is allowed", m.Name)
		}
		if strings.Count(table(), "| `"+m.Name+"` |") != 1 {
			t.Errorf("metric %s is not in the documents' table once", m.Name)
		}
	}
}

func TestEveryExpectationReadsItsOwnText(t *testing.T) {
	for _, text := range everyExpectation() {
		e, err := Parse(text)
		if err != nil {
			t.Error(err)
			continue
		}
		again, err := Parse(e.Text)
		if err != nil {
			t.Error(err)
		}
		if d := cmp.Diff(e, again); d != "" {
			t.Errorf("Parse(%q) read again (-first +again):\n%s", text, d)
		}
		if got := e.Value.String(); !strings.HasSuffix(text, " "+got) {
			t.Errorf("the value of %q is written %q", text, got)
		}
	}
}

func TestNeeds(t *testing.T) {
	for text, want := range map[string][]Need{
		"push.delivered == 100%":         {NeedPush},
		"count(push.duplicates) == 0":    {NeedPush},
		"max(heartbeat.interval) < 5m":   {NeedHeartbeat},
		"count(heartbeat.sent) == 0":     nil,
		"count(heartbeat.interval) == 0": nil,
		"max(detect.client) < 5s":        nil,
	} {
		if d := cmp.Diff(want, mustParse(text).Needs()); d != "" {
			t.Errorf("%q needs (-want +got):\n%s", text, d)
		}
	}
}

// Nothing that was not observed may pass or fail, whatever the metric.
func TestNoSampleIsInconclusive(t *testing.T) {
	connectedOnly := &flow.Analysis{Connections: []flow.Connection{connected()}}
	unopened := connected()
	unopened.Opened, unopened.Ready, unopened.Mapped = nil, nil, nil
	for name, a := range map[string]*flow.Analysis{
		"no packet at all":                  {},
		"a connection that is not answered": {Connections: []flow.Connection{unopened}},
	} {
		for _, text := range everyExpectation() {
			out := Judge(Input{Analysis: a, Truth: theTruth(), Checks: theChecks(), Expectations: []Expectation{mustParse(text)}})
			got := out.Expectations[0]
			if got.Verdict != Inconclusive || got.Why == "" || got.Observed != "" || out.Verdict != Inconclusive {
				t.Errorf("%s: %s is %s (observed %q, because %q)", name, text, got.Verdict, got.Observed, got.Why)
			}
		}
	}
	// With a connection, what can be counted or measured of it may be judged; the
	// rest may not.
	judged := map[string]bool{}
	for _, text := range everyExpectation() {
		e := mustParse(text)
		got := Judge(Input{Analysis: connectedOnly, Truth: theTruth(), Checks: theChecks(), Expectations: []Expectation{e}}).Expectations[0]
		if got.Verdict != Inconclusive {
			judged[strings.Fields(text)[0]] = true
		} else if !strings.HasPrefix(got.Why, "no sample: ") {
			t.Errorf("%s is inconclusive because %q", text, got.Why)
		}
	}
	want := map[string]bool{
		"count(death)": true, "count(false_alarm)": true, "count(reconnect)": true, "count(refused)": true, "count(lapse)": true,
		"alive": true, "min(alive)": true, "mean(alive)": true, "max(alive)": true,
		"deaf": true, "min(deaf)": true, "mean(deaf)": true, "max(deaf)": true,
		"count(heartbeat.sent)": true, "count(heartbeat.interval)": true, "count(heartbeat.bytes)": true,
	}
	if d := cmp.Diff(want, judged); d != "" {
		t.Errorf("judged on a connection to which nothing happened (-want +got):\n%s", d)
	}
}
