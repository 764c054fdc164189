package heartbeat

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/units"
)

func share(s float64) *units.Share { v := units.Share(s); return &v }

func TestBackoff(t *testing.T) {
	// Each step is a failure at an instant, of an attempt or, where ready is
	// given, of a connection that was ready since then; want is the pause.
	type step struct{ ready, failed, want float64 }
	const attempt = -1
	tests := []struct {
		name  string
		spec  ReconnectSpec
		steps []step
	}{
		{
			name: "pauses grow up to the longest",
			spec: ReconnectSpec{First: seconds(1), Max: seconds(5), Factor: 2, Jitter: share(0)},
			steps: []step{
				{attempt, 0, 1}, {attempt, 1, 2}, {attempt, 3, 4}, {attempt, 7, 5}, {attempt, 12, 5},
			},
		},
		{
			name: "a lost connection is replaced at once and the pauses start again",
			spec: ReconnectSpec{First: seconds(1), Max: seconds(60), Factor: 3, Jitter: share(0)},
			steps: []step{
				{0, 100, 0}, {attempt, 101, 1}, {attempt, 110, 3},
				{120, 200, 0}, {attempt, 201, 1},
			},
		},
		{
			name: "a connection that is closed at once counts as a failed attempt",
			spec: ReconnectSpec{First: seconds(2), Max: seconds(60), Factor: 2, Jitter: share(0)},
			steps: []step{
				{0, 0.5, 2}, {3, 3.5, 4}, {8, 9.999, 8}, {20, 22, 0}, {23, 24, 2},
			},
		},
		{
			name:  "defaults, without the jitter",
			spec:  ReconnectSpec{Jitter: share(0)},
			steps: []step{{attempt, 0, 1}, {attempt, 0, 2}, {attempt, 0, 4}, {attempt, 0, 8}, {attempt, 0, 16}, {attempt, 0, 32}, {attempt, 0, 60}, {attempt, 0, 60}},
		},
		{
			name:  "a first pause above a minute is its own longest",
			spec:  ReconnectSpec{First: seconds(120), Jitter: share(0)},
			steps: []step{{attempt, 0, 120}, {attempt, 0, 120}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, err := NewBackoff(tt.spec, 1)
			if err != nil {
				t.Fatal(err)
			}
			for i, s := range tt.steps {
				if s.ready != attempt {
					b.Connected(at(s.ready))
				}
				if got := b.Failed(at(s.failed)).Sub(at(s.failed)).Seconds(); got != s.want {
					t.Errorf("step %d: pause %v s, want %v s", i, got, s.want)
				}
			}
		})
	}
}

func TestBackoffJitter(t *testing.T) {
	run := func(seed uint64) []time.Duration {
		b, err := NewBackoff(ReconnectSpec{First: seconds(10), Factor: 1, Jitter: share(0.2)}, seed)
		if err != nil {
			t.Fatal(err)
		}
		var pauses []time.Duration
		for range 1000 {
			pauses = append(pauses, b.Failed(zero).Sub(zero))
		}
		return pauses
	}
	first := run(7)
	shortest, longest := time.Hour, time.Duration(0)
	for _, p := range first {
		shortest, longest = min(shortest, p), max(longest, p)
	}
	if shortest < 8*time.Second || shortest > 8100*time.Millisecond || longest > 12*time.Second || longest < 11900*time.Millisecond {
		t.Errorf("pauses from %v to %v, want them to fill 8s to 12s", shortest, longest)
	}
	if diff := cmp.Diff(first, run(7)); diff != "" {
		t.Errorf("the same seed gave other pauses:\n%s", diff)
	}
	if cmp.Equal(first, run(8)) {
		t.Error("another seed gave the same pauses")
	}
}

func TestReconnectSpecCheck(t *testing.T) {
	tests := []struct {
		name string
		spec ReconnectSpec
		want []units.Problem
	}{
		{"nothing", ReconnectSpec{}, nil},
		{"everything", ReconnectSpec{First: seconds(1), Max: seconds(1), Factor: 1, Jitter: share(1)}, nil},
		{"max below first", ReconnectSpec{First: seconds(9), Max: seconds(3)}, []units.Problem{
			{Field: "max", Text: "the longest pause 3s is shorter than the first, 9s"},
		}},
		{"max below the first that is filled in", ReconnectSpec{Max: seconds(0.5)}, []units.Problem{
			{Field: "max", Text: "the longest pause 500ms is shorter than the first, 1s"},
		}},
		{"factor that shrinks", ReconnectSpec{Factor: 0.5}, []units.Problem{
			{Field: "factor", Text: "the factor must be a number of at least 1"},
		}},
		{"factor that is no number", ReconnectSpec{Factor: math.NaN()}, []units.Problem{
			{Field: "factor", Text: "the factor must be a number of at least 1"},
		}},
		{"endless factor", ReconnectSpec{Factor: math.Inf(1)}, []units.Problem{
			{Field: "factor", Text: "the factor must be a number of at least 1"},
		}},
		{"jitter of more than all", ReconnectSpec{Jitter: share(1.5)}, []units.Problem{
			{Field: "jitter", Text: "the jitter must be from 0% to 100%"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.spec.Check()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if _, err := NewBackoff(tt.spec, 1); (err != nil) != (len(tt.want) > 0) {
				t.Errorf("NewBackoff: %v", err)
			}
		})
	}
}
