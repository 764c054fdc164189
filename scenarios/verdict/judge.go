package verdict

import (
	"fmt"
	"slices"

	"outlive/lab/units"
	"outlive/nat"
	"outlive/probes/flow"
)

// Input is everything that a verdict is made of.
type Input struct {
	// Analysis is what the packets say. Nil means that there is no capture, and
	// then nothing can be judged.
	Analysis *flow.Analysis
	// Truth is what the lab knows by construction. Every NAT in it must have a check.
	Truth        flow.Truth
	Expectations []Expectation
	// Checks are the results of the NATs' self-checks.
	Checks []nat.CheckResult
	// Spoilt are reasons of the lab for which nothing can be judged: it was
	// interrupted, it was late, the capture lost packets.
	Spoilt []string
}

// Outcome is what came of a scenario.
type Outcome struct {
	// Verdict is that of all expectations together; with none it is inconclusive.
	Verdict Verdict
	// Reasons are those for which the whole scenario is inconclusive: with any,
	// no expectation passes or fails.
	Reasons []string
	// Sentence says in a line or two what happened, judged or not; empty without packets.
	Sentence string
	// Expectations has one entry for each of the input's, in the same order.
	Expectations []Judged
	// Metrics are the figures of all devices together, by the metric's name.
	// Those for which there was nothing to observe are left out.
	Metrics map[string]Summary
	// Stories has one for each connection that died, lapsed or was given up, in
	// the order of the connections.
	Stories []Story
}

// Judged is an expectation with its verdict.
type Judged struct {
	Expectation
	Verdict Verdict
	// Observed is the value that was compared, as people read it, also where
	// nothing could be judged: "1.204s", "67% (2 of 3)", "at least 12s". Empty
	// where there was none.
	Observed string
	// Why is why it failed or could not be judged, in one sentence. Empty for a pass.
	Why string
	// Samples counts the samples.
	Samples int
	// Story is that of the connection which decided it, where there is one and
	// the expectation did not pass.
	Story *Story
}

// Judge holds what was observed against what was expected.
func Judge(in Input) Outcome {
	s := newScene(in.Analysis, in.Truth)
	out := Outcome{
		Reasons: reasons(in),
		Metrics: summaries(s),
		Stories: stories(s),
	}
	if in.Analysis != nil {
		// Without packets nothing is known of what the devices did.
		out.Sentence = sentence(s)
	}
	var verdicts []Verdict
	for _, e := range in.Expectations {
		j := judge(s.only(e.Device), e)
		if len(out.Reasons) > 0 {
			j.Verdict, j.Why, j.Story = Inconclusive, "nothing can be judged: "+out.Reasons[0], nil
			if more := len(out.Reasons) - 1; more > 0 {
				j.Why += fmt.Sprintf(" (and %s)", units.Count(more, "more reason", "more reasons"))
			}
		}
		out.Expectations = append(out.Expectations, j)
		verdicts = append(verdicts, j.Verdict)
	}
	if len(in.Expectations) == 0 {
		out.Reasons = append(out.Reasons, "nothing was expected")
	}
	out.Verdict = worst(verdicts...)
	return out
}

// reasons are those for which nothing can be judged.
func reasons(in Input) []string {
	all := slices.Clone(in.Spoilt)
	if in.Analysis == nil {
		all = append(all, "there is no capture to judge from")
	} else {
		all = append(all, in.Analysis.Problems...)
	}
	for _, n := range in.Truth.NATs {
		checks := slices.DeleteFunc(slices.Clone(in.Checks), func(c nat.CheckResult) bool { return c.NAT != n.Name })
		if len(checks) == 0 {
			all = append(all, fmt.Sprintf("%s was not checked: it may not be the one that was asked for", n))
		}
		for _, c := range checks {
			if !c.OK {
				all = append(all, fmt.Sprintf("%s was not shown to be the one that was asked for%s", n, reason(c.Why)))
			}
		}
	}
	var once []string
	for _, r := range all {
		if !slices.Contains(once, r) {
			once = append(once, r)
		}
	}
	return once
}

// judge judges one expectation on evidence that can be relied on.
func judge(s scene, e Expectation) Judged {
	j := Judged{Expectation: e, Verdict: Inconclusive}
	m, ok := metricNamed(e.Metric)
	if !ok {
		j.Why = fmt.Sprintf("%q is not a metric", e.Metric)
		return j
	}
	o := m.observe(s)
	j.Samples = len(o.samples)
	a := e.Aggregate
	if a == Bare {
		a = m.bare
	}
	missing := o.basis == 0 || len(o.samples) == 0 && a != Count
	var low, high float64
	if !missing {
		low, high = aggregate(a, o.samples)
		j.Observed = observed(m, e, low, high, o.samples)
	}
	switch {
	case s.unready() != "":
		j.Why = s.unready()
	case missing:
		j.Why = "no sample: " + o.missing
	default:
		j.Verdict = compare(low, high, e.Op, e.Value.N)
		if j.Verdict == Inconclusive {
			j.Why = "the scenario ended too soon to tell"
		}
	}
	if j.Verdict == Pass {
		return j
	}
	told := s.typical()
	if !missing && s.unready() == "" {
		why, connection := decisive(a, e, o, low)
		j.Why = joined(j.Why, why)
		if s.connection(connection) != nil {
			told = connection
		}
	}
	if told >= 0 {
		j.Story = new(tell(s, told))
	}
	return j
}

// decisive says what kept an expectation from passing, and on which connection;
// -1 where it was none.
func decisive(a Aggregate, e Expectation, o observation, low float64) (why string, connection int) {
	more := e.Op == Greater || e.Op == GreaterOrEqual || low < e.Value.N
	switch {
	case len(o.samples) == 0:
		return o.missing, -1
	case a == Count && more && len(o.samples) == 1:
		return "there was only one", -1
	case a == Count && more:
		return fmt.Sprintf("there were only %d", len(o.samples)), -1
	}
	x := culprit(a, e.Op, o.samples)
	return x.what(), x.connection
}

// unready says which devices of the scope never could take pushes; empty if all could.
func (s scene) unready() string {
	var never []string
	for _, d := range s.devices() {
		if s.firstReady(d) == nil {
			never = append(never, d)
		}
	}
	switch {
	case len(never) == 0:
		return ""
	case len(never) == 1:
		tries := len(s.of[never[0]])
		if tries == 0 {
			return never[0] + " never got ready: it did not even try to connect"
		}
		last := s.analysis.Connections[s.of[never[0]][tries-1]]
		how := "was not answered"
		switch {
		case last.Opened != nil:
			how = "was opened, but the protocol's greeting was not completed"
		case last.Refused != "":
			how = "was refused by NAT " + last.Refused + ", which had no room for its mapping"
		}
		return fmt.Sprintf("%s never got ready: it tried %s, and the last attempt, at %s, %s", never[0], units.Count(tries, "time", "times"), Instant(last.SYN), how)
	}
	return fmt.Sprintf("%d of %d devices never got ready, the first of them %s", len(never), len(s.devices()), never[0])
}

// typical is the index of the connection whose story explains most where no one
// sample does: the first in scope that died, else the first; -1 if there is none.
func (s scene) typical() int {
	first := -1
	for i, c := range s.connections() {
		if c.Died != nil {
			return i
		}
		if first < 0 {
			first = i
		}
	}
	return first
}

// compare judges a value of which is known that it lies between low and high.
func compare(low, high float64, op Op, wanted float64) Verdict {
	var all, none bool
	switch op {
	case Equal:
		all = low == wanted && high == wanted
		none = wanted < low || wanted > high
	case NotEqual:
		all = wanted < low || wanted > high
		none = low == wanted && high == wanted
	default:
		all = op.holds(low, wanted) && op.holds(high, wanted)
		none = !op.holds(low, wanted) && !op.holds(high, wanted)
	}
	switch {
	case all:
		return Pass
	case none:
		return Fail
	}
	return Inconclusive
}

// joined makes one text of two, of which the first may be empty.
func joined(a, b string) string {
	if a == "" {
		return b
	}
	return a + ": " + b
}
