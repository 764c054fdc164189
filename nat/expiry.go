package nat

import (
	"container/heap"
	"context"
	"time"

	"github.com/ti-mo/conntrack"
)

const (
	// tick is the coarsest clock by which a kernel expires entries: HZ=100.
	tick = 10 * time.Millisecond
	// eventDelay is how long an event may have waited before it was read.
	eventDelay = 250 * time.Millisecond
	// scanLead is how long before the earliest possible expiry its phase is sought:
	// conntrack tells the time that is left in whole seconds, rounded down, so
	// looking while that falls from 1 to 0 shows the fraction.
	scanLead = time.Second + 100*time.Millisecond
	// scanStep is how finely.
	scanStep = 50 * time.Millisecond
	// lastStep is the distance of looks at an entry that may expire any moment.
	lastStep = 4 * time.Millisecond
	// gateLead is how long before the rules let go of a mapping it is looked at once more:
	// whatever refreshes it then gives it longer than is left until the next look.
	gateLead = 100 * time.Millisecond
	// grace is how long the event of a deletion may take after a look found nothing.
	grace = 200 * time.Millisecond
)

// watcher knows the mappings of one NAT and when each is to be looked at.
type watcher struct {
	nat     *NAT
	look    *table
	report  func(MappingEvent)
	entries map[uint32]*entry
	due     schedule
	// resynced is when the table was last listed because events were lost, and ended
	// are the mappings that were found to have gone then. Events that were already
	// waiting at that time tell of the past.
	resynced time.Time
	ended    map[uint32]bool
	// gate says how long the rules keep a mapping if nothing refreshes it; not ok if they
	// have it no more. It is nil where conntrack alone decides.
	gate func(Mapping) (left time.Duration, ok bool, err error)
	// forgotten are the mappings that the rules have let go of while conntrack still has them.
	forgotten map[uint32]bool
}

func newWatcher(n *NAT, look *table, report func(MappingEvent)) *watcher {
	w := &watcher{nat: n, look: look, report: report, entries: map[uint32]*entry{}, forgotten: map[uint32]bool{}}
	if n.gated() {
		w.gate = n.leftInGate
	}
	return w
}

// minimum is the shortest timeout that the kernel can give the mapping without
// telling: within one TCP state it also uses those for unacknowledged data and for
// repeated retransmissions. That for a reset which it does not trust is left to wasReset.
func (w *watcher) minimum(m Mapping) time.Duration {
	t := w.nat.profile.Timeouts
	if m.Protocol == "udp" {
		return min(t.UDP, t.UDPStream).D()
	}
	shortest := min(t.TCPUnacknowledged, t.TCPMaxRetrans)
	if own := t.ofState(m.State); own > 0 {
		shortest = min(shortest, own)
	}
	return shortest.D()
}

// entry is what is known of one mapping.
type entry struct {
	mapping Mapping
	flow    conntrack.Flow
	// seen is when the kernel last had it. It cannot have expired before safe. If
	// nothing has refreshed it since it was seen, conntrack lets it expire between earliest and latest.
	seen, safe, earliest, latest time.Time
	// gated is when the rules let it expire if nothing has refreshed it, to a tick. It is
	// zero where they do not.
	gated time.Time
	// minimum is the shortest timeout that a packet can give it, and rough says that
	// what is known comes from an event.
	minimum time.Duration
	rough   bool
	// missed is when a look did not find it any more; its event is awaited.
	missed time.Time
	// next is when to look at it, index its place in the schedule.
	next  time.Time
	index int
}

// learn takes in what the kernel said of the mapping at an instant: in answer to
// a look, or in an event, which may have been waiting for a while.
func (e *entry) learn(at time.Time, m Mapping, minimum time.Duration, event bool) {
	slack := tick
	if event {
		slack = eventDelay
	}
	earliest, latest := at.Add(m.Left.D()-slack), at.Add(m.Left.D()+time.Second)
	if !event && !e.rough && !earliest.After(e.latest) && !latest.Before(e.earliest) {
		// The same expiry as before: both statements hold.
		if e.earliest.After(earliest) {
			earliest = e.earliest
		}
		if e.latest.Before(latest) {
			latest = e.latest
		}
	}
	if earliest.Before(at) {
		// It is still there, and the rest was rounded down.
		earliest = at
	}
	if latest.Before(earliest) {
		latest = earliest.Add(tick)
	}
	e.mapping, e.seen, e.earliest, e.latest = m, at, earliest, latest
	e.minimum, e.rough, e.missed = minimum, event, time.Time{}
	// A packet right after this may have given it the shortest of all timeouts.
	e.safe = earliest
	if soonest := at.Add(minimum - slack); soonest.Before(earliest) && soonest.After(at) {
		e.safe = soonest
	}
	e.gated = time.Time{}
	e.plan(at, m.Left.D() >= time.Second)
}

// limit takes in how long the rules keep the mapping that conntrack has just told of.
func (e *entry) limit(at time.Time, left time.Duration) {
	e.gated = at.Add(left)
	if soonest := e.gated.Add(-tick); soonest.Before(e.safe) {
		e.safe = soonest
		if e.safe.Before(at) {
			e.safe = at
		}
	}
	next := e.gated.Add(-gateLead)
	if left <= gateLead {
		next = e.gated.Add(tick)
	}
	if next.Before(e.next) {
		e.next = next
	}
}

// plan sets the time of the next look. wholeSeconds says that the kernel still
// reports at least one second left.
func (e *entry) plan(now time.Time, wholeSeconds bool) {
	switch {
	case e.earliest.Sub(now) > scanLead:
		e.next = e.earliest.Add(-scanLead)
	case wholeSeconds && e.latest.Sub(e.earliest) > 2*scanStep:
		e.next = now.Add(scanStep)
	case now.Before(e.earliest):
		e.next = e.earliest
	default:
		e.next = now.Add(lastStep)
	}
	if e.safe.Before(e.next) && e.safe.After(now) {
		e.next = e.safe
	}
}

// learn takes in what the kernel said of a mapping, and asks the rules about it where
// it is they who decide.
func (w *watcher) learn(e *entry, at time.Time, m Mapping, event bool) error {
	left, kept, asked, err := w.ask(m)
	if err != nil {
		return err
	}
	if !kept {
		w.forget(e, asked)
		return nil
	}
	e.learn(at, m, w.minimum(m), event)
	if w.gate != nil {
		e.limit(asked, left)
	}
	w.due.fix(e)
	return nil
}

// ask asks the rules how long they keep a mapping. Where it is not they who decide they keep it.
func (w *watcher) ask(m Mapping) (left time.Duration, kept bool, at time.Time, err error) {
	if w.gate == nil {
		return 0, true, time.Now(), nil
	}
	left, kept, err = w.gate(m)
	return left, kept, time.Now(), err
}

// forget deals with a mapping that the rules do not have any more, while conntrack
// does, which may be for long, without anything coming of it.
func (w *watcher) forget(e *entry, at time.Time) {
	switch {
	case !at.Before(e.safe):
		if !e.gated.IsZero() {
			e.latest = e.gated.Add(tick)
		}
		w.forgotten[e.mapping.ID] = true
		w.finish(e, at, CauseExpired, false)
	case e.missed.IsZero():
		// Somebody deletes it, and conntrack's event knows who.
		e.missed, e.next = at, at.Add(grace)
		w.due.fix(e)
	case !at.Before(e.missed.Add(grace)):
		w.forgotten[e.mapping.ID] = true
		w.finish(e, e.missed, w.causeUnseen(e, e.missed), true)
	}
}

// wasReset takes note of a reset, after which a mapping may have less time left than
// it has ever been given without an event: it is looked at once the kernel has dealt with it.
func (w *watcher) wasReset(at time.Time, r reset) {
	for _, e := range w.entries {
		if !r.concerns(e.mapping) {
			continue
		}
		if soon := at.Add(lastStep); soon.Before(e.next) {
			e.next = soon
			w.due.fix(e)
		}
	}
}

// lookDue looks at every mapping whose time has come.
func (w *watcher) lookDue(ctx context.Context) error {
	for ctx.Err() == nil {
		next, ok := w.due.next()
		if !ok || time.Until(next) > 0 {
			return nil
		}
		if err := w.lookAt(w.due.entries[0]); err != nil {
			return err
		}
	}
	return nil
}

func (w *watcher) lookAt(e *entry) error {
	got, ok, err := w.look.get(e.flow.TupleOrig)
	now := time.Now()
	if err != nil {
		return err
	}
	if ok && got.ID == e.mapping.ID {
		if m, ok := mappingOf(got); ok {
			return w.learn(e, now, m, false)
		}
	}
	if e.missed.IsZero() {
		// The event of its end is on the way and knows the cause: this very look
		// has evicted it if it had expired.
		e.missed = now
		e.next = now.Add(grace)
		w.due.fix(e)
		return nil
	}
	w.finish(e, e.missed, w.causeUnseen(e, e.missed), true)
	return nil
}

// schedule is a heap of entries by the time of their next look.
type schedule struct{ entries []*entry }

func (s *schedule) next() (time.Time, bool) {
	if len(s.entries) == 0 {
		return time.Time{}, false
	}
	return s.entries[0].next, true
}

func (s *schedule) push(e *entry)   { heap.Push(s, e) }
func (s *schedule) fix(e *entry)    { heap.Fix(s, e.index) }
func (s *schedule) remove(e *entry) { heap.Remove(s, e.index) }

// Len, Less, Swap, Push and Pop are for container/heap.
func (s *schedule) Len() int           { return len(s.entries) }
func (s *schedule) Less(i, j int) bool { return s.entries[i].next.Before(s.entries[j].next) }
func (s *schedule) Swap(i, j int) {
	s.entries[i], s.entries[j] = s.entries[j], s.entries[i]
	s.entries[i].index, s.entries[j].index = i, j
}
func (s *schedule) Push(x any) {
	e := x.(*entry)
	e.index = len(s.entries)
	s.entries = append(s.entries, e)
}
func (s *schedule) Pop() any {
	last := len(s.entries) - 1
	e := s.entries[last]
	s.entries = s.entries[:last]
	return e
}
