package heartbeat

import (
	"fmt"
	"time"

	"outlive/lab/units"
)

// maxDeadline bounds the deadline that is chosen for a fixed policy: Tencent
// Mars waits 8 s and whatsmeow 10 s, so 10 s is at the patient end of what
// push clients do.
const maxDeadline = units.Duration(10 * time.Second)

var fixedKind = Kind{
	Name:    "fixed",
	Summary: "A heartbeat every interval, whatever else is sent; a connection whose answer does not come within the deadline is given up.",
	Takes:   []string{"interval", "deadline"},
	defaults: func(s Spec) Spec {
		if s.Deadline == 0 {
			s.Deadline = min(s.Interval/2, maxDeadline)
		}
		return s
	},
	check: func(s Spec) []units.Problem {
		switch {
		case s.Interval < 0:
			return []units.Problem{{Field: "interval", Text: "the interval must be more than 0s"}}
		case s.Interval == 0:
			return []units.Problem{{Text: "a fixed heartbeat needs an interval, such as 4m"}}
		case s.Interval < 2:
			return []units.Problem{{Field: "interval", Text: "the interval is too short to leave time for an answer"}}
		case s.Deadline < 0:
			return []units.Problem{{Field: "deadline", Text: "the deadline must be more than 0s"}}
		case s.Deadline > s.Interval:
			return []units.Problem{{
				Field: "deadline",
				Text: fmt.Sprintf("the deadline %v is longer than the interval %v, so the next heartbeat would be due before this one is given up",
					s.Deadline, s.Interval),
			}}
		}
		return nil
	},
	build: func(s Spec) Policy {
		return &fixed{interval: s.Interval.D(), deadline: s.Deadline.D()}
	},
}

// fixed counts the interval from heartbeat to heartbeat. Other traffic neither
// postpones a heartbeat nor counts as its answer: an answer proves that the
// other side's program lives, a stray packet only that its kernel did.
type fixed struct {
	interval, deadline time.Duration

	connected bool
	last      time.Time // of the last heartbeat, or of the connection before the first
	waiting   bool      // for the answer to the heartbeat sent at last
}

func (p *fixed) Observe(e Event) {
	switch e.Kind {
	case Connected:
		p.connected, p.last, p.waiting = true, e.At, false
	case Sent:
		p.last, p.waiting = e.At, true
	case Answered:
		p.waiting = false
	case Lost:
		p.connected, p.waiting = false, false
	}
}

func (p *fixed) Next() Action {
	switch {
	case !p.connected:
		return Action{}
	case p.waiting:
		return Action{Do: GiveUp, At: p.last.Add(p.deadline)}
	default:
		return Action{Do: Beat, At: p.last.Add(p.interval)}
	}
}
