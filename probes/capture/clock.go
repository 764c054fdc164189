package capture

import (
	"sync"
	"time"
)

// clock turns the kernel's packet stamps, which follow the machine's settable
// clock (CLOCK_REALTIME; AF_PACKET has no other), into monotonic time.
//
// The two differ by an amount that is constant until somebody sets the clock: both
// are slewed together. So the clock keeps a list of those amounts and of when
// each was in force. Instants here are nanoseconds of monotonic time since start.
// It is safe for concurrent use.
type clock struct {
	start time.Time
	// base is how far the capture's own clock, which never steps, is ahead of
	// monotonic time: as far as the machine's was at the start.
	base int64

	mu    sync.Mutex
	spans []span
}

// span is a stretch in which realtime was offset + monotonic time.
type span struct {
	offset int64
	// from is the last instant at which the span before it was seen in force,
	// seen the first at which this one was: the step lies between them.
	from, seen int64
	// confirmed is the last instant at which this span was seen in force.
	confirmed int64
}

// reading is one look at both clocks: how far realtime was ahead of monotonic
// time at the instant mono, to within plus or minus width.
type reading struct {
	mono, offset, width int64
}

// stepAtLeast is the smallest difference between two readings that counts as a
// step. Readings that are not disturbed agree to 0.1 µs (sandbox-findings.md §5).
const stepAtLeast = int64(2 * time.Microsecond)

// stampSlack is how far a stamp may lie outside of what a reading allows, because
// the reading itself was disturbed: up to 70 µs have been seen.
const stampSlack = int64(100 * time.Microsecond)

func newClock() *clock {
	c := &clock{start: time.Now()}
	r := c.read()
	c.base = r.offset
	c.spans = []span{{offset: r.offset, from: r.mono, seen: r.mono, confirmed: r.mono}}
	return c
}

// time is the instant mono as a time.Time with a monotonic reading.
func (c *clock) time(mono int64) time.Time { return c.start.Add(time.Duration(mono)) }

// realtime is what the capture's own clock said at t.
func (c *clock) realtime(t time.Time) time.Time {
	return time.Unix(0, c.base+int64(t.Sub(c.start)))
}

// read looks at both clocks: the least disturbed of at most five attempts.
func (c *clock) read() reading {
	const undisturbed = int64(time.Microsecond)
	var best reading
	for i := range 5 {
		before, t, after := time.Now(), time.Now(), time.Now()
		r := reading{mono: int64(t.Sub(c.start)), width: int64(after.Sub(before))}
		r.offset = t.UnixNano() - r.mono
		if i == 0 || r.width < best.width {
			best = r
		}
		if best.width <= undisturbed {
			break
		}
	}
	return best
}

// check looks at both clocks and takes note. It returns the monotonic time.
func (c *clock) check() int64 {
	r := c.read()
	c.observe(r)
	return r.mono
}

// observe takes note of a reading: it confirms the span in force or begins a new one.
func (c *clock) observe(r reading) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := &c.spans[len(c.spans)-1]
	if r.mono < last.confirmed {
		return // another reader has looked since
	}
	if abs(r.offset-last.offset) <= r.width+stepAtLeast {
		last.confirmed = r.mono
		return
	}
	c.spans = append(c.spans, span{offset: r.offset, from: last.confirmed, seen: r.mono, confirmed: r.mono})
}

// steps is how often the clock was set.
func (c *clock) steps() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.spans) - 1
}

// between gives the spans that may have been in force in a stretch of monotonic
// time: all but always a single one.
func (c *clock) between(notBefore, notAfter int64) spans {
	c.mu.Lock()
	defer c.mu.Unlock()
	first, last := 0, len(c.spans)
	for first+1 < last && c.spans[first+1].seen < notBefore {
		first++
	}
	for last-1 > first && c.spans[last-1].from > notAfter {
		last--
	}
	return spans(c.spans[first:last:last])
}

// spans are the candidates for a stamp's offset, in order of time.
type spans []span

// mono converts a packet's stamp, which was made between notBefore and notAfter,
// to monotonic time. It is ambiguous if not exactly one of the offsets fits; then
// the one is taken for which the packet waited for the shortest time.
func (s spans) mono(stamp, notBefore, notAfter int64) (mono int64, ambiguous bool) {
	if len(s) == 1 {
		return stamp - s[0].offset, false
	}
	fits := 0
	for i, candidate := range s {
		m := stamp - candidate.offset
		earliest, latest := notBefore, notAfter
		if i > 0 {
			earliest = max(earliest, candidate.from)
		}
		if i+1 < len(s) {
			latest = min(latest, s[i+1].seen)
		}
		if m < earliest-stampSlack || m > latest+stampSlack {
			continue
		}
		if fits == 0 || m > mono {
			mono = m
		}
		fits++
	}
	if fits == 0 {
		mono = min(max(stamp-s[len(s)-1].offset, notBefore), notAfter)
	}
	return mono, fits != 1
}

func abs(n int64) int64 { return max(n, -n) }
