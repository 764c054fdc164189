package socket

import (
	"container/heap"
	"time"

	"outlive/lab/units"
)

const (
	// lookPause is the shortest time between two look-ups of one tuple.
	lookPause = 5 * time.Millisecond
	// expiryLead is how long before a timer's time a socket is looked at, so that it
	// is known to have lived until then.
	expiryLead = 4 * time.Millisecond
	// expirySlack is how much earlier than told a timer may fire: the kernel tells
	// whole milliseconds of a time in ticks, which are of 1 to 10 ms.
	expirySlack = 12 * time.Millisecond
	// What a packet or a sign tells may show in the kernel a little later: a socket
	// is looked at after stirPause, and then in growing steps.
	stirPause = time.Millisecond
	// resetHold is for how long that goes on, and how long a close is held back until
	// it is certain that no RST came before it.
	resetHold = 250 * time.Millisecond
	// signLag is how long a sign may have been on its way. A lab that is later than
	// that with what it does proves nothing anyway.
	signLag = 250 * time.Millisecond
	// A socket that cannot be found any more may have been closed, of which the
	// kernel tells a little later. That is waited for: causeWait if something speaks
	// for its having been given up, closeWait if nothing does.
	causeWait = 50 * time.Millisecond
	closeWait = time.Second
	// repeatLook and repeatLookMax limit the time between look-ups while a socket
	// that is not guarded repeats unanswered data. A program that closes it then
	// shows in no other way. It grows to 1/2000 of the time that this goes on.
	repeatLook, repeatLookMax = lookPause, 20 * time.Millisecond
	// quietLook is the shortest time to a look-up for which nothing calls.
	quietLook = 50 * time.Millisecond
)

// tracker makes events of what is learnt about the sockets of one host. It knows
// no kernel and no clock: whoever has looked at a socket says so, and when.
type tracker struct {
	host string
	emit func(Event)
	// ask asks for signs of a socket whose end may show nowhere else. There may be none.
	ask func(cookie uint64, inode uint32)

	// now are the sockets by tuple, of which a later one may replace an earlier
	// one; known are those by cookie, until they are freed.
	now   map[tuple]*tracked
	known map[uint64]*tracked
	// waiting are the sockets that were not found or are freed, of which it is not
	// certain yet whether the kernel gave them up, with the end of the waiting.
	waiting  map[*tracked]time.Time
	schedule schedule
}

// tracked is one socket, or a tuple of which none is known yet.
type tracked struct {
	tuple
	cookie uint64 // 0 until the connection is established

	// last is what the last look-up found, made at lastAlive at the earliest.
	last      info
	lastAlive time.Time
	// overdue and repeating are since when the timer has been overdue, and since
	// when the socket has been repeating itself. Zero: it is not.
	overdue, repeating time.Time
	// resetAt is when the host was seen to receive a RST for it. Zero: it was not.
	resetAt time.Time
	// stirred is since when something that was seen may be about to show in the
	// kernel: a RST, a sign. Zero: nothing is.
	stirred time.Time
	// asked and guarded say that its signs were asked for, and that they will come.
	asked, guarded bool
	// vouched is until when a sign shows it to have been alive.
	vouched time.Time

	orphaned, gaveUp, gone bool
	// goneAt is when it was found to be gone, freedAt when the kernel freed it.
	goneAt, freedAt time.Time

	due   time.Time // of the next look-up
	place int       // in the schedule; -1: no look-up is due
}

func newTracker(host string, emit func(Event)) *tracker {
	return &tracker{
		host: host, emit: emit,
		now: map[tuple]*tracked{}, known: map[uint64]*tracked{},
		waiting: map[*tracked]time.Time{},
	}
}

// packet takes note of a packet that the host has sent or received, which may have
// changed its socket. reset says that it is a RST that came in.
func (t *tracker) packet(at time.Time, key tuple, reset bool) {
	if reset {
		for s := range t.waiting {
			if s.tuple == key {
				s.resetAt = at
				t.settleOne(s)
			}
		}
	}
	s := t.now[key]
	if s == nil {
		s = &tracked{tuple: key, place: -1}
		t.now[key] = s
	}
	soon := at.Add(lookPause)
	if reset {
		s.resetAt, s.stirred = at, at
		soon = at.Add(stirPause)
	}
	if s.place < 0 || soon.Before(s.due) {
		t.lookAt(s, soon)
	}
}

// absent takes note that a look-up, answered at a time, found no connection.
func (t *tracker) absent(at time.Time, key tuple) {
	s := t.now[key]
	if s == nil {
		return
	}
	t.forget(s)
	if s.cookie != 0 && !s.gone {
		t.vanished(s, at)
	}
}

// found takes note of what a look-up found. It was asked at asked and answered at answered.
func (t *tracker) found(asked, answered time.Time, key tuple, i info) {
	s := t.now[key]
	if i.state == stateTimeWait {
		// The connection has ended in order; what is left is no socket.
		if s != nil {
			s.last.state = i.state
		}
		t.absent(answered, key)
		return
	}
	if s != nil && s.cookie != 0 && s.cookie != i.cookie {
		// The tuple is in use again.
		t.absent(answered, key)
		s = nil
	}
	if s == nil {
		s = &tracked{tuple: key, place: -1}
		t.now[key] = s
	}
	if i.state == stateSynSent || i.state == stateSynReceived {
		s.last = i
		t.lookAt(s, nextLook(s, answered))
		return
	}
	if s.cookie == 0 {
		s.cookie = i.cookie
		t.known[i.cookie] = s
		t.event(s, Opened, answered, "")
	}
	if !s.orphaned && i.inode == 0 && isClosing(i.state) {
		s.orphaned = true
		t.event(s, Orphaned, answered, "")
	}
	s.last, s.lastAlive = i, asked
	if s.stirred.Before(asked.Add(-resetHold)) {
		// The kernel has ignored the RST, or the sign was of something else.
		s.resetAt, s.stirred = time.Time{}, time.Time{}
	}
	if s.inTrouble() && !s.asked && i.inode != 0 && t.ask != nil {
		s.asked = true
		t.ask(s.cookie, i.inode)
	}
	t.lookAt(s, nextLook(s, answered))
}

// sign takes note of a sign of a socket.
func (t *tracker) sign(at time.Time, cookie uint64, what sign) {
	s := t.known[cookie]
	if s == nil || s.gone || s.orphaned {
		return
	}
	s.guarded = what == signGuarded || what == signFailed
	if what == signRefused {
		return
	}
	// Also where guarding has just begun: what happened before it gave no sign.
	t.lookAt(s, at)
	if what == signGuarded {
		return
	}
	s.stirred, s.vouched = at, at.Add(-signLag)
	if fires := s.lastAlive.Add(s.last.expires - expirySlack); what == signFailed && fires.After(s.vouched) && fires.Before(at) {
		// Unless it was a RST, it was the timer.
		s.vouched = fires
	}
}

// isClosing says of a state that the program can only have brought it about by
// closing, if it does not hold the socket.
func isClosing(state uint8) bool {
	return state == stateFinWait1 || state == stateFinWait2 || state == stateClosing || state == stateLastAck
}

// vanished decides what it means that a socket is not found any more.
func (t *tracker) vanished(s *tracked, at time.Time) {
	s.gone, s.goneAt = true, at
	if s.orphaned {
		return // the kernel has only ended what the program had left to it
	}
	wait := closeWait
	if s.cause() != "" {
		wait = causeWait
	}
	t.waiting[s] = at.Add(wait)
}

// freed takes note of a destroy event.
func (t *tracker) freed(at time.Time, i info) {
	s := t.known[i.cookie]
	if s == nil {
		return
	}
	delete(t.known, s.cookie)
	delete(t.waiting, s)
	t.forget(s)
	s.freedAt = at
	if !s.gone {
		s.gone, s.goneAt = true, at
	}
	if s.gaveUp || s.orphaned {
		t.event(s, Closed, at, "")
		return
	}
	if i.detailed {
		s.last.repeats = i.repeats
	}
	if i.remote.Port() == 0 {
		// The program has thrown it away (SO_LINGER 0), which the kernel does by
		// disconnecting it first.
		s.last.repeats = 0
	}
	if s.cause() == "" {
		t.waiting[s] = at.Add(resetHold)
		return
	}
	t.settleOne(s)
}

// cause is why the kernel has given up a socket that is gone, or empty if it does
// not seem to have.
//
// The kernel unhashes a socket that a program holds only when a timer fires after
// too many repetitions, or for a RST. While nobody answers, a program that closes
// does not make it vanish: the kernel goes on trying.
func (s *tracked) cause() string {
	fired := s.last.timer != timerNone && !s.goneAt.Before(s.lastAlive.Add(s.last.expires-expirySlack))
	switch {
	case fired && s.last.repeats > 0 && s.last.timer == timerKeepalive:
		return "keepalive"
	case fired && s.last.repeats > 0:
		return "retransmission"
	case !s.resetAt.IsZero():
		return "reset"
	}
	return ""
}

func (t *tracker) giveUp(s *tracked, at time.Time, cause string) {
	s.gaveUp = true
	t.event(s, GaveUp, at, cause)
}

// settleOne decides about a socket that was waiting, with what is known now.
func (t *tracker) settleOne(s *tracked) {
	delete(t.waiting, s)
	if cause := s.cause(); cause != "" || s.freedAt.IsZero() && s.last.state == stateEstablished {
		t.giveUp(s, s.goneAt, cause)
	}
	// Otherwise both sides have closed their directions, and nothing was given up.
	if !s.freedAt.IsZero() {
		t.event(s, Closed, s.freedAt, "")
	}
}

// settle ends waitings that have lasted long enough.
func (t *tracker) settle(at time.Time) {
	for s, until := range t.waiting {
		if !at.Before(until) {
			t.settleOne(s)
		}
	}
}

// settled is whether nothing waits to be settled.
func (t *tracker) settled() bool { return len(t.waiting) == 0 }

// reconcile makes good for events that the kernel has lost. all are the sockets
// that it has, and holds tells whether a program has the file of that inode.
func (t *tracker) reconcile(asked, answered time.Time, all []info, holds func(inode uint32) bool) {
	alive := map[uint64]info{}
	for _, i := range all {
		alive[i.cookie] = i
	}
	for cookie, s := range t.known {
		if i, ok := alive[cookie]; ok && t.now[s.tuple] == s {
			t.found(asked, answered, s.tuple, i)
			continue
		}
		delete(t.waiting, s)
		t.forget(s)
		if !s.gone {
			s.gone, s.goneAt = true, answered
		}
		if !s.gaveUp && !s.orphaned {
			cause := s.cause()
			if cause != "" || holds(s.last.inode) {
				s.gaveUp = true
				t.lost(s, GaveUp, s.goneAt, cause)
			}
		}
		if !holds(s.last.inode) {
			delete(t.known, cookie)
			t.lost(s, Closed, answered, "")
		}
	}
}

func (t *tracker) event(s *tracked, kind string, at time.Time, cause string) {
	t.emit(t.describe(s, kind, at, cause))
}

// lost is event for what was only found out because events were missing.
func (t *tracker) lost(s *tracked, kind string, at time.Time, cause string) {
	e := t.describe(s, kind, at, cause)
	e.Lost = true
	t.emit(e)
}

func (t *tracker) describe(s *tracked, kind string, at time.Time, cause string) Event {
	e := Event{At: at, Host: t.host, Kind: kind, Local: s.local, Remote: s.remote, Cookie: s.cookie, Cause: cause}
	alive := s.lastAlive
	if s.vouched.After(alive) {
		alive = s.vouched
	}
	if !alive.IsZero() && kind != Closed {
		e.Window = units.Seconds(max(at.Sub(alive), 0))
	}
	return e
}

// lookAt schedules the next look-up of a socket. The zero time is never.
func (t *tracker) lookAt(s *tracked, due time.Time) {
	switch {
	case due.IsZero():
		if s.place >= 0 {
			heap.Remove(&t.schedule, s.place)
		}
	case s.place < 0:
		s.due = due
		heap.Push(&t.schedule, s)
	default:
		s.due = due
		heap.Fix(&t.schedule, s.place)
	}
}

// forget gives the tuple of a socket free.
func (t *tracker) forget(s *tracked) {
	t.lookAt(s, time.Time{})
	if t.now[s.tuple] == s {
		delete(t.now, s.tuple)
	}
}
