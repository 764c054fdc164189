package model

import "time"

// Window is when something happened, since any instant: not before From and not
// after To. Where they are the same, it is known exactly.
type Window struct{ From, To time.Duration }

// At is the window of what happened exactly then.
func At(t time.Duration) Window { return Window{t, t} }

// timer is an idle timeout that runs.
type timer struct {
	since Window
	idle  time.Duration
}

// ran says whether the timer has run out at some time: yes, no, or that it may have.
// A timer of ten seconds has run out when ten seconds have passed.
func (t timer) ran(at Window) truth {
	switch {
	case at.From-t.since.To >= t.idle:
		return yes
	case at.To-t.since.From < t.idle:
		return no
	}
	return maybe
}

// still takes in that the timer had not run out at some time, which tells more
// about when it was started.
func (t *timer) still(at Window) { t.since.From = max(t.since.From, at.From-t.idle) }

// truth is what is known about something.
type truth uint8

const (
	no truth = iota
	yes
	maybe
)
