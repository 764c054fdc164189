package scenarios

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/units"
)

func TestTimeline(t *testing.T) {
	at := func(d time.Duration, push string) Event { return Event{At: units.Duration(d), Push: push} }
	after := func(name string, plus time.Duration, push string) Event {
		return Event{After: name, Plus: units.Duration(plus), Push: push}
	}
	type happening struct {
		at   time.Duration
		name string
	}
	tests := []struct {
		name   string
		events []Event
		// happens is what the protocol does, and when.
		happens []happening
		want    []string
	}{
		{
			name:   "in order of time, not of the file",
			events: []Event{at(3*time.Second, "b"), at(time.Second, "a"), at(9*time.Second, "c")},
			want:   []string{"1s a", "3s b", "9s c"},
		},
		{
			name:   "equal instants in the order of the file",
			events: []Event{at(time.Second, "a"), at(time.Second, "b"), at(time.Second, "c")},
			want:   []string{"1s a", "1s b", "1s c"},
		},
		{
			name:    "relative to the first occurrence only",
			events:  []Event{after("phone.connack", 500*time.Millisecond, "a")},
			happens: []happening{{2 * time.Second, "phone.connack"}},
			want:    []string{"2.5s a"},
		},
		{
			name:   "what never happens releases nothing",
			events: []Event{after("phone.connack", 0, "a"), at(4*time.Second, "b")},
			want:   []string{"4s b"},
		},
		{
			name:    "a relative event that would fall after the end does not happen",
			events:  []Event{after("phone.connack", 5*time.Second, "a")},
			happens: []happening{{8 * time.Second, "phone.connack"}},
			want:    nil,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				zero := time.Now()
				var got []string
				l := newTimeline(tt.events, func(_ context.Context, e Event, late time.Duration) {
					got = append(got, fmt.Sprintf("%s %s", time.Since(zero), e.Push))
					if late != 0 {
						t.Errorf("%s was %s late", e.Push, late)
					}
				})
				for _, h := range tt.happens {
					time.AfterFunc(h.at, func() { l.happened <- occurrence{h.name, time.Now()} })
				}
				l.run(t.Context(), zero, tt.events, zero.Add(10*time.Second))
				if took := time.Since(zero); took != 10*time.Second {
					t.Errorf("it ran for %s, want to the end", took)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// A fault that never came, taken for one that did no harm, would be a pass that nothing deserves.
func TestTimelineTellsWhatItMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := []Event{
			{At: units.Duration(time.Second), Push: "phone"},
			{After: "phone.ping", Plus: units.Duration(5 * time.Second), FaultName: "server-kill"},
			{After: "phone.pong", FaultName: "nat-reboot"},
			{After: "phone.rst", Plus: units.Duration(time.Second), Push: "phone"},
		}
		l := newTimeline(events, func(context.Context, Event, time.Duration) {})
		for _, name := range []string{"phone.ping", "phone.pong"} {
			time.AfterFunc(8*time.Second, func() { l.happened <- occurrence{name, time.Now()} })
		}
		zero := time.Now()
		l.run(t.Context(), zero, events, zero.Add(10*time.Second))
		want := []string{
			"the push to phone, 1s after phone.rst, did not happen: what it waits for never came",
			"the fault server-kill, 5s after phone.ping, did not happen: that was not before the end of the scenario",
		}
		if diff := cmp.Diff(want, l.missed()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestTimelineEndsWhenInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		events := []Event{{At: units.Duration(5 * time.Second), Push: "never"}}
		l := newTimeline(events, func(context.Context, Event, time.Duration) { t.Error("an event fired after the interruption") })
		zero := time.Now()
		l.run(ctx, zero, events, zero.Add(time.Minute))
		if took := time.Since(zero); took != 2*time.Second {
			t.Errorf("it ended after %s, want 2s", took)
		}
	})
}

// A lab that is late says so: the lateness is measured, not assumed.
func TestTimelineMeasuresItsLateness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := []Event{{At: units.Duration(time.Second), Push: "slow"}, {At: units.Duration(2 * time.Second), Push: "late"}}
		l := newTimeline(events, func(_ context.Context, e Event, _ time.Duration) {
			if e.Push == "slow" {
				time.Sleep(1500 * time.Millisecond) // in the bubble's time
			}
		})
		zero := time.Now()
		l.run(t.Context(), zero, events, zero.Add(5*time.Second))
		if l.maxLate != 500*time.Millisecond {
			t.Errorf("the greatest lateness is %s, want 500ms", l.maxLate)
		}
	})
}
