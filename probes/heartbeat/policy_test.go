package heartbeat

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/units"
)

// zero is an arbitrary instant: policies only ever see differences.
var zero = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time {
	return zero.Add(time.Duration(seconds * float64(time.Second)))
}

func seconds(s float64) units.Duration { return units.Duration(s * float64(time.Second)) }

func TestPolicies(t *testing.T) {
	type step struct {
		observe Event
		want    Action
	}
	fixed := Spec{Policy: "fixed", Interval: seconds(20), Deadline: seconds(5)}
	tests := []struct {
		name  string
		spec  Spec
		steps []step
	}{
		{
			name: "fixed beats from the connection, then from beat to beat",
			spec: fixed,
			steps: []step{
				{Event{At: at(0), Kind: Connected}, Action{Beat, at(20)}},
				{Event{At: at(20), Kind: Sent}, Action{GiveUp, at(25)}},
				{Event{At: at(21), Kind: Answered}, Action{Beat, at(40)}},
				{Event{At: at(40), Kind: Sent}, Action{GiveUp, at(45)}},
			},
		},
		{
			name: "fixed is not moved by other traffic",
			spec: fixed,
			steps: []step{
				{Event{At: at(0), Kind: Connected}, Action{Beat, at(20)}},
				{Event{At: at(19), Kind: Received}, Action{Beat, at(20)}},
				{Event{At: at(20), Kind: Sent}, Action{GiveUp, at(25)}},
				{Event{At: at(21), Kind: Received}, Action{GiveUp, at(25)}},
			},
		},
		{
			name: "fixed does not catch up on heartbeats it was too late for",
			spec: fixed,
			steps: []step{
				{Event{At: at(0), Kind: Connected}, Action{Beat, at(20)}},
				{Event{At: at(65), Kind: Sent}, Action{GiveUp, at(70)}},
				{Event{At: at(66), Kind: Answered}, Action{Beat, at(85)}},
			},
		},
		{
			name: "fixed starts again with every connection",
			spec: fixed,
			steps: []step{
				{Event{At: at(0), Kind: Connected}, Action{Beat, at(20)}},
				{Event{At: at(20), Kind: Sent}, Action{GiveUp, at(25)}},
				{Event{At: at(25), Kind: Lost, Cause: Unanswered}, Action{}},
				{Event{At: at(31), Kind: Connected}, Action{Beat, at(51)}},
			},
		},
		{
			name: "fixed fills in half the interval as deadline",
			spec: Spec{Interval: seconds(4)},
			steps: []step{
				{Event{At: at(0), Kind: Connected}, Action{Beat, at(4)}},
				{Event{At: at(4), Kind: Sent}, Action{GiveUp, at(6)}},
			},
		},
		{
			name: "fixed fills in at most ten seconds as deadline",
			spec: Spec{Policy: "fixed", Interval: seconds(240)},
			steps: []step{
				{Event{At: at(0), Kind: Connected}, Action{Beat, at(240)}},
				{Event{At: at(240), Kind: Sent}, Action{GiveUp, at(250)}},
			},
		},
		{
			name: "none never does anything",
			spec: Spec{},
			steps: []step{
				{Event{At: at(0), Kind: Connected}, Action{}},
				{Event{At: at(9), Kind: Received}, Action{}},
				{Event{At: at(9), Kind: Lost, Cause: Reset}, Action{}},
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			policy, err := New(tt.spec)
			if err != nil {
				t.Fatal(err)
			}
			if got := policy.Next(); got != (Action{}) {
				t.Errorf("before any connection: %v, want to wait", got)
			}
			for i, s := range tt.steps {
				policy.Observe(s.observe)
				// Asking is free of consequences.
				policy.Next()
				if diff := cmp.Diff(s.want, policy.Next()); diff != "" {
					t.Errorf("step %d, after %v at %v (-want +got):\n%s", i, s.observe.Kind, s.observe.At.Sub(zero), diff)
				}
			}
		})
	}
}

// A loop with real timers does each action at exactly its instant, and a
// missing answer ends it at the deadline and not before.
func TestFixedInATimerLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy, err := New(Spec{Interval: seconds(240), Deadline: seconds(8)})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		var got []string
		policy.Observe(Event{At: start, Kind: Connected})
		answers := 2
		for {
			action := policy.Next()
			time.Sleep(time.Until(action.At))
			got = append(got, time.Since(start).String()+" "+action.Do.String())
			if action.Do == GiveUp {
				break
			}
			policy.Observe(Event{At: time.Now(), Kind: Sent})
			if answers--; answers >= 0 {
				time.Sleep(time.Second)
				policy.Observe(Event{At: time.Now(), Kind: Answered})
			}
		}
		want := []string{"4m0s beat", "8m0s beat", "12m0s beat", "12m8s give-up"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestSpecCheck(t *testing.T) {
	tests := []struct {
		name string
		spec Spec
		want []units.Problem
	}{
		{"nothing", Spec{}, nil},
		{"only an interval", Spec{Interval: seconds(30)}, nil},
		{"deadline as long as the interval", Spec{Interval: seconds(5), Deadline: seconds(5)}, nil},
		{"unknown policy", Spec{Policy: "fix", Interval: seconds(5)}, []units.Problem{
			{Field: "policy", Text: `"fix" is not a heartbeat policy; there are fixed, none`, Suggestion: "fixed"},
		}},
		{"nothing like a policy", Spec{Policy: "exponential"}, []units.Problem{
			{Field: "policy", Text: `"exponential" is not a heartbeat policy; there are fixed, none`},
		}},
		{"fixed without interval", Spec{Policy: "fixed"}, []units.Problem{
			{Text: "a fixed heartbeat needs an interval, such as 4m"},
		}},
		{"deadline too long", Spec{Policy: "fixed", Interval: seconds(5), Deadline: seconds(6)}, []units.Problem{
			{Field: "deadline", Text: "the deadline 6s is longer than the interval 5s, so the next heartbeat would be due before this one is given up"},
		}},
		{"none with parameters", Spec{Policy: "none", Interval: seconds(5), Deadline: seconds(1)}, []units.Problem{
			{Field: "interval", Text: `the heartbeat policy "none" has no interval`},
			{Field: "deadline", Text: `the heartbeat policy "none" has no deadline`},
		}},
		{"a deadline and no interval", Spec{Deadline: seconds(1)}, []units.Problem{
			{Field: "deadline", Text: `the heartbeat policy "none" has no deadline`},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.spec.Check()
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			policy, err := New(tt.spec)
			if (err != nil) != (len(tt.want) > 0) || (policy == nil) != (err != nil) {
				t.Errorf("New: %v, %v; problems %v", policy, err, got)
			}
			if again := tt.spec.WithDefaults().Check(); len(again) != len(got) {
				t.Errorf("with defaults there are other problems: %v", again)
			}
		})
	}
}

// What every kind in the registry owes to those who list and check policies.
func TestEveryKind(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range Policies() {
		if k.Name == "" || k.Summary == "" || seen[k.Name] {
			t.Errorf("policy %q: no name, no summary, or listed twice", k.Name)
		}
		seen[k.Name] = true
		full := Spec{Policy: k.Name}
		for _, key := range k.Takes {
			switch key {
			case "interval":
				full.Interval = seconds(60)
			case "deadline":
				full.Deadline = seconds(10)
			default:
				t.Errorf("policy %q takes %q, which is not a key of Spec", k.Name, key)
			}
		}
		if problems := full.Check(); len(problems) > 0 {
			t.Errorf("policy %q refuses the keys that it takes: %v", k.Name, problems)
		}
		if again := full.WithDefaults().WithDefaults(); again != full.WithDefaults() {
			t.Errorf("policy %q: defaults of defaults differ: %v", k.Name, again)
		}
	}
}
