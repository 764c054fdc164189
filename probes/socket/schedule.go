package socket

import (
	"container/heap"
	"time"
)

// inTrouble says of a socket that its end may come without a packet: the kernel may
// give it up when its timer fires the next time, which it never does the first
// time, and a program that closes it sends nothing.
func (s *tracked) inTrouble() bool {
	return s.cookie != 0 && (s.last.timer != timerNone && s.last.repeats > 0 || s.last.timer == timerZeroWindow)
}

// nextLook is when a socket that was just looked at is to be looked at again, if no
// packet or sign calls for it earlier: when a timer may have ended it, or a program may
// have closed it unseen. Zero is never.
func nextLook(s *tracked, now time.Time) time.Time {
	i := s.last
	if i.timer == timerNone || i.expires > 0 {
		s.overdue = time.Time{}
	} else if s.overdue.IsZero() {
		s.overdue = now
	}
	repeats := s.inTrouble() && i.timer != timerKeepalive
	if !repeats {
		s.repeating = time.Time{}
	} else if s.repeating.IsZero() {
		s.repeating = now
	}
	late := time.Duration(0)
	if !s.overdue.IsZero() {
		late = now.Sub(s.overdue)
	}
	var wait time.Duration
	switch {
	case s.orphaned:
		// Its end comes as an event.
		return time.Time{}
	case !s.stirred.IsZero():
		return now.Add(max(now.Sub(s.stirred), stirPause))
	case i.timer == timerNone:
		return time.Time{}
	case s.guarded || !s.inTrouble():
		// Whatever the timer does shows by itself, as a packet or a sign. This is
		// for packets that cannot leave.
		return now.Add(max(i.expires+i.expires/4, late/2, quietLook))
	case i.expires > expiryLead+lookPause:
		wait = i.expires - expiryLead
	default:
		// The longer a timer, the later it may fire; the look-ups keep to the same proportion.
		wait = max(lookPause, late/32)
	}
	if repeats {
		often := min(max(now.Sub(s.repeating)/2000, repeatLook), repeatLookMax)
		wait = min(wait, often)
	}
	return now.Add(wait)
}

// schedule is a heap of sockets by the time of their next look-up.
type schedule []*tracked

func (q schedule) Len() int           { return len(q) }
func (q schedule) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q schedule) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

func (q *schedule) Push(x any) {
	s := x.(*tracked)
	s.place = len(*q)
	*q = append(*q, s)
}

func (q *schedule) Pop() any {
	old := *q
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	s.place = -1
	return s
}

// dueAt gives the tuples that are to be looked up at a time, and takes them off
// the schedule.
func (t *tracker) dueAt(now time.Time) []tuple {
	var keys []tuple
	for len(t.schedule) > 0 && !t.schedule[0].due.After(now) {
		s := heap.Pop(&t.schedule).(*tracked)
		keys = append(keys, s.tuple)
	}
	return keys
}

// wakeAt is when the tracker next has something to do. Zero is never.
func (t *tracker) wakeAt() time.Time {
	var at time.Time
	earlier := func(u time.Time) {
		if at.IsZero() || u.Before(at) {
			at = u
		}
	}
	if len(t.schedule) > 0 {
		earlier(t.schedule[0].due)
	}
	for _, until := range t.waiting {
		earlier(until)
	}
	return at
}

// tuples are all tuples that a socket may have.
func (t *tracker) tuples() []tuple {
	keys := make([]tuple, 0, len(t.now))
	for key := range t.now {
		keys = append(keys, key)
	}
	return keys
}
