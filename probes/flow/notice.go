package flow

import "outlive/lab/units"

// learnt is what a side learnt of the connection's death.
func (w *judge) learnt(side direction, died units.Seconds) Side {
	var s Side
	lost := w.lost(side)
	for _, e := range w.endings[side] {
		if e.at < died || e.at >= lost {
			continue
		}
		switch {
		case e.program && (s.NoticedAt == nil || e.at < *s.NoticedAt):
			s.NoticedAt, s.NoticedBy, s.NoticedPacket = &e.at, e.how, w.number(e.packet)
		case !e.program && s.GaveUpAt == nil:
			s.GaveUpAt, s.GaveUpBy = &e.at, e.cause
		}
	}
	if side == toServer {
		if i, ok := w.replacement(died); ok {
			if at := w.seen[i].at; at < lost && (s.NoticedAt == nil || at < *s.NoticedAt) {
				s.NoticedAt, s.NoticedBy, s.NoticedPacket = &at, "syn", w.number(i)
			}
		}
	}
	if s.GaveUpAt != nil && s.NoticedAt != nil && *s.GaveUpAt >= *s.NoticedAt {
		s.GaveUpAt, s.GaveUpBy = nil, ""
	}
	if lost != never && (s.NoticedAt == nil || lost <= *s.NoticedAt) {
		s.GoneAt = &lost
	}
	return s
}

// replacement is the first SYN with which the device began another connection at or after an instant.
func (w *judge) replacement(from units.Seconds) (int32, bool) {
	for _, c := range w.conns {
		// In order of their first packet, so the first that fits is the one.
		if i := c.seen[0]; c != w.c && c.device == w.c.device && w.seen[i].at >= from && w.seen[i].at <= w.end {
			return i, true
		}
	}
	return 0, false
}

// number is the number of an observation in the capture, 0 for none.
func (j *joiner) number(i int32) int {
	if i < 0 {
		return 0
	}
	return int(j.seen[i].number)
}
