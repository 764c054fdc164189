package capture

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	ms = int64(time.Millisecond)
	s  = int64(time.Second)
)

// newTestClock is a clock that starts with the offset 1000 s and has seen the readings.
func newTestClock(readings ...reading) *clock {
	c := &clock{start: time.Now(), base: 1000 * s, spans: []span{{offset: 1000 * s}}}
	for _, r := range readings {
		c.observe(r)
	}
	return c
}

func TestClockObserve(t *testing.T) {
	tests := []struct {
		name     string
		readings []reading
		want     []span
	}{{
		name:     "noise within a reading's width is no step",
		readings: []reading{{mono: 1 * s, offset: 1000*s + 1500}, {mono: 2 * s, offset: 1000*s - 69_000, width: 70_000}},
		want:     []span{{offset: 1000 * s, confirmed: 2 * s}},
	}, {
		name:     "a step lies between the last reading of the old and the first of the new",
		readings: []reading{{mono: 1 * s, offset: 1000 * s}, {mono: 2 * s, offset: 1000*s + 5000, width: 100}, {mono: 3 * s, offset: 1000*s + 5050, width: 100}},
		want:     []span{{offset: 1000 * s, confirmed: 1 * s}, {offset: 1000*s + 5000, from: 1 * s, seen: 2 * s, confirmed: 3 * s}},
	}, {
		name:     "there and back are two steps",
		readings: []reading{{mono: 1 * s, offset: 1060 * s}, {mono: 2 * s, offset: 1000 * s}},
		want: []span{
			{offset: 1000 * s},
			{offset: 1060 * s, seen: 1 * s, confirmed: 1 * s},
			{offset: 1000 * s, from: 1 * s, seen: 2 * s, confirmed: 2 * s},
		},
	}, {
		name:     "a reading that another reader has overtaken tells nothing",
		readings: []reading{{mono: 2 * s, offset: 1060 * s}, {mono: 1 * s, offset: 1000 * s}},
		want:     []span{{offset: 1000 * s}, {offset: 1060 * s, seen: 2 * s, confirmed: 2 * s}},
	}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newTestClock(tt.readings...)
			if diff := cmp.Diff(tt.want, c.spans, cmp.AllowUnexported(span{})); diff != "" {
				t.Errorf("spans (-want +got):\n%s", diff)
			}
			if got, want := c.steps(), len(tt.want)-1; got != want {
				t.Errorf("steps = %d, want %d", got, want)
			}
		})
	}
}

// Stamps are given as what the machine's clock said, in nanoseconds.
func TestStampToMonotonic(t *testing.T) {
	forward := newTestClock(reading{mono: 9 * s, offset: 1000 * s}, reading{mono: 10 * s, offset: 4600 * s})
	backward := newTestClock(reading{mono: 9 * s, offset: 1000 * s}, reading{mono: 10 * s, offset: 940 * s})
	small := newTestClock(reading{mono: 9990 * ms, offset: 1000 * s}, reading{mono: 10 * s, offset: 1000*s + 3*ms})
	tests := []struct {
		name                string
		clock               *clock
		stamp               int64
		notBefore, notAfter int64
		want                int64
		ambiguous           bool
	}{
		{"no step near", newTestClock(), 1005 * s, 4 * s, 6 * s, 5 * s, false},
		{"before an hour's step forward, read after it", forward, 1009*s + 500*ms, 9 * s, 10 * s, 9*s + 500*ms, false},
		{"after an hour's step forward", forward, 4609*s + 600*ms, 9 * s, 10 * s, 9*s + 600*ms, false},
		{"long after it: only one offset is left", forward, 4612 * s, 11 * s, 13 * s, 12 * s, false},
		{"quiet for hours before it", forward, 4609*s + 600*ms, 0, 10 * s, 9*s + 600*ms, false},
		{"before a minute's step back, read after it", backward, 1009*s + 999*ms, 9 * s, 10 * s, 9*s + 999*ms, false},
		{"after a minute's step back", backward, 949*s + 999*ms, 9 * s, 10 * s, 9*s + 999*ms, false},
		{"beside a step smaller than what is in doubt: the later one", small, 1009*s + 996*ms, 9990 * ms, 10 * s, 9996 * ms, true},
		{"before a small step, and too early to be after it", small, 1009*s + 991*ms, 9990 * ms, 10 * s, 9991 * ms, false},
		{"after a small step, and too late to be before it", small, 1010*s + 2*ms, 9990 * ms, 10 * s, 9999 * ms, false},
		{"a stamp that nothing explains is held within bounds", forward, 2000 * s, 9 * s, 10 * s, 9 * s, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ambiguous := tt.clock.between(tt.notBefore, tt.notAfter).mono(tt.stamp, tt.notBefore, tt.notAfter)
			if got != tt.want || ambiguous != tt.ambiguous {
				t.Errorf("got %s, ambiguous %t; want %s, %t", time.Duration(got), ambiguous, time.Duration(tt.want), tt.ambiguous)
			}
		})
	}
}

// The capture's clock agrees with the machine's as long as nobody sets that.
func TestClockAgreesWithMachine(t *testing.T) {
	c := newClock()
	now := time.Now()
	if d := c.realtime(now).Sub(now.Round(0)); d.Abs() > time.Millisecond {
		t.Errorf("realtime differs from the machine's clock by %s", d)
	}
	mono := c.check()
	if c.steps() != 0 {
		t.Errorf("%d steps seen", c.steps())
	}
	at := c.time(mono)
	if d := time.Since(at); d < 0 || d > time.Second {
		t.Errorf("the reading was made %s ago", d)
	}
	if got := c.realtime(at).UnixNano() - c.base; got != mono {
		t.Errorf("time and realtime disagree by %d ns", got-mono)
	}
}

// The timer that tells of steps can be armed, and its watch ends.
func TestWatchClock(t *testing.T) {
	w, err := watchClock(newClock())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.arm(); err != nil {
		t.Error(err)
	}
	if err := w.close(); err != nil {
		t.Error(err)
	}
}
