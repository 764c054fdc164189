package scenarios

import (
	"container/heap"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// timeline fires a scenario's events, each at its instant, in the file's order
// where instants are equal.
type timeline struct {
	zero time.Time
	due  dueHeap
	// waiting are the relative events, by what they wait for.
	waiting map[string][]Event
	// happened receives the protocol events that something waits for.
	happened chan occurrence
	// fire does one event; late is how much after its instant it was reached.
	fire func(ctx context.Context, e Event, late time.Duration)

	maxLate time.Duration
	order   int
}

// occurrence is a protocol event ("phone.connack") and the time of its packet.
type occurrence struct {
	name string
	at   time.Time
}

type dueEvent struct {
	at    time.Time
	order int
	Event
}

func newTimeline(events []Event, fire func(context.Context, Event, time.Duration)) *timeline {
	t := &timeline{
		waiting: map[string][]Event{},
		// Only what an event waits for is sent, each once: room for all of
		// them means that the sender, a reader of packets, never waits.
		happened: make(chan occurrence, len(events)),
		fire:     fire,
	}
	for _, e := range events {
		if e.After != "" {
			t.waiting[e.After] = append(t.waiting[e.After], e)
		}
	}
	return t
}

// awaited lists the protocol events that something waits for.
func (t *timeline) awaited() []string { return slices.Collect(maps.Keys(t.waiting)) }

// run fires events until the end or until ctx is done. It returns when the last
// one that was due has been done.
func (t *timeline) run(ctx context.Context, zero time.Time, events []Event, end time.Time) {
	t.zero = zero
	for _, e := range events {
		if e.After == "" {
			t.add(zero.Add(e.At.D()), e)
		}
	}
	timer := time.NewTimer(time.Until(end))
	defer timer.Stop()
	for {
		next := end
		if len(t.due) > 0 && t.due[0].at.Before(end) {
			next = t.due[0].at
		}
		timer.Reset(time.Until(next))
		select {
		case <-ctx.Done():
			return
		case o := <-t.happened:
			for _, e := range t.waiting[o.name] {
				t.add(o.at.Add(e.Plus.D()), e)
			}
			delete(t.waiting, o.name)
		case <-timer.C:
			late := time.Since(next)
			t.maxLate = max(t.maxLate, late)
			if next.Equal(end) {
				return
			}
			t.fire(ctx, heap.Pop(&t.due).(dueEvent).Event, late)
		}
	}
}

// missed says of every event that has not been done by the end why it was not.
func (t *timeline) missed() []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(t.waiting)) {
		for _, e := range t.waiting[name] {
			all = append(all, e.what()+" did not happen: what it waits for never came")
		}
	}
	for _, e := range t.due {
		all = append(all, e.what()+" did not happen: that was not before the end of the scenario")
	}
	return all
}

// what names an event by what it does and when.
func (e Event) what() string {
	text := "the push to " + e.Push
	if e.Push == "" {
		text = "the fault " + e.FaultName
	}
	switch {
	case e.After == "":
		return fmt.Sprintf("%s at %s", text, e.At)
	case e.Plus > 0:
		return fmt.Sprintf("%s, %s after %s,", text, e.Plus, e.After)
	}
	return fmt.Sprintf("%s after %s", text, e.After)
}

func (t *timeline) add(at time.Time, e Event) {
	t.order++
	heap.Push(&t.due, dueEvent{at: at, order: t.order, Event: e})
}

// dueHeap orders events by instant, then by the order of the file.
type dueHeap []dueEvent

func (h dueHeap) Len() int { return len(h) }
func (h dueHeap) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	return h[i].order < h[j].order
}
func (h dueHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)   { *h = append(*h, x.(dueEvent)) }
func (h *dueHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
