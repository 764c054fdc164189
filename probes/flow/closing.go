package flow

import (
	"fmt"
	"time"

	"outlive/lab/units"
)

// closing is the end of a connection by a side while its path was whole; nil if
// no side ended it.
func (w *judge) closing() *Closing {
	e := w.first
	if e == nil || e.at > w.end {
		return nil
	}
	c := &Closing{At: e.at, By: w.by.sender(), How: e.how, Packet: w.number(e.packet)}
	if e.cause == "reset" {
		w.wasReset(c, e)
	} else {
		c.FalseAlarm, c.Why = w.falseAlarm(e)
	}
	return c
}

// wasReset tells of a side that a reset ended though the other side's program had not sent one.
func (w *judge) wasReset(c *Closing, e *ending) {
	switch {
	case e.packet >= 0 && e.by >= senderNAT:
		// crossCheck makes a problem of it: a NAT with a mapping has no cause to.
		c.How, c.Why = "rst", "reset by NAT "+w.c.path.nats[e.by-senderNAT].Name
	default:
		c.By, c.How = w.by.back().sender(), "rst"
		c.FalseAlarm, c.Why = true, "its kernel did not know the connection any more"
		if why, ok := w.going(e.at); ok && w.by == toServer {
			c.FalseAlarm, c.Why = false, why
		}
	}
}

// falseAlarm says whether an end on a whole path was one, and in words what it was about.
func (w *judge) falseAlarm(e *ending) (bool, string) {
	if why, ok := w.goodbye(e.at); ok {
		return false, why
	}
	if w.by == toClient {
		if why, ok := w.going(e.at); ok {
			return false, why
		}
		if at, ok := w.finished(e.at); ok {
			return false, fmt.Sprintf("the client had finished sending (FIN) %v before", round(e.at-at))
		}
		if i, ok := w.newer(e.at); ok {
			return false, fmt.Sprintf("the device had opened another connection (packet %d)", w.number(i))
		}
	}
	since := w.waitingSince(e.at)
	for _, s := range w.stretches() {
		if s.from < e.at && s.until > since {
			return false, fmt.Sprintf("an answer was lost while the path was broken (%s) from %v to %v", s.cause(), round(s.from), round(s.until))
		}
	}
	if e.how == "gave-up" {
		return true, "its kernel gave up (" + e.cause + ")"
	}
	if h, ok := w.unanswered(e.at); ok {
		return true, fmt.Sprintf("%s unanswered for %v", h.name, round(e.at-h.sent))
	}
	if at, ok := w.heard(e.at); ok {
		return true, fmt.Sprintf("nothing from the %s for %v", w.by.back().sender(), round(e.at-at))
	}
	return true, "nothing was wrong with its path"
}

func round(d units.Seconds) time.Duration { return d.D().Round(time.Millisecond) }

// goodbye says whether a side took leave in the protocol's words before the end:
// the one that ended it, or the other one and that arrived.
func (w *judge) goodbye(at units.Seconds) (why string, ok bool) {
	for _, m := range w.c.messages {
		if m.role != roleGoodbye {
			continue
		}
		e := &w.c.ends[m.d]
		if s, sent := e.leaving.grown.reach(m.start); m.d == w.by && sent && s.at <= at {
			return m.why, true
		}
		if s, arrived := e.arrived.grown.reach(m.end - 1); m.d != w.by && arrived && s.at <= at {
			return fmt.Sprintf("the %s had taken its leave (%s)", m.d.sender(), m.why), true
		}
	}
	return "", false
}

// finished is when the client had finished sending before an instant, though it went on listening.
func (w *judge) finished(at units.Seconds) (units.Seconds, bool) {
	for _, e := range w.endings[toServer] {
		if e.half && e.at < at {
			return e.at, true
		}
	}
	return 0, false
}

// newer is the SYN of a later connection of the device that took this one's place at
// an instant: servers close the old one while they greet the new one. Where the
// greeting was long over, the device had both of them, and the new one is no reason.
func (w *judge) newer(at units.Seconds) (int32, bool) {
	for _, c := range w.conns {
		i := c.seen[0]
		if c == w.c || c.device != w.c.device || w.seen[i].at < w.began() || w.seen[i].at >= at {
			continue
		}
		if ready := w.ready(c); ready == nil || *ready+newsLag >= at {
			return i, true
		}
	}
	return 0, false
}

// waitingSince is when the oldest packet left that at an instant was still under
// way between the sides, in either direction, or whose answer had not come. It is
// the instant itself if there is none.
func (w *judge) waitingSince(at units.Seconds) units.Seconds {
	since := at
	older := func(d direction, from int64) {
		if s, ok := w.c.ends[d].leaving.grown.reach(from); ok && s.at < since {
			since = s.at
		}
	}
	older(w.by, w.c.ends[w.by].acks.by(at))
	older(w.by.back(), w.c.ends[w.by.back()].arrived.grown.by(at))
	if h, ok := w.unanswered(at); ok {
		since = min(since, h.sent)
	}
	return since
}

// unanswered is the oldest heartbeat of the side that ended the connection that
// had no answer at an instant.
func (w *judge) unanswered(at units.Seconds) (beat, bool) {
	for _, h := range w.beats(w.c) {
		if h.from == w.by && h.sent < at && (!h.answered || h.answer > at) {
			return h, true
		}
	}
	return beat{}, false
}

// heard is when the side last had data from the other.
func (w *judge) heard(at units.Seconds) (units.Seconds, bool) {
	last, ok := units.Seconds(0), false
	for _, s := range w.c.ends[w.by.back()].arrived.grown {
		if s.at > at {
			break
		}
		last, ok = s.at, true
	}
	return last, ok
}
