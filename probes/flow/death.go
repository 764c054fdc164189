package flow

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"outlive/lab/units"
)

// judge decides what became of one connection.
type judge struct {
	*joiner
	c       *connection
	lapses  []lapse
	cuts    []cut
	endings [2][]ending // by side: the direction in which it speaks
	first   *ending     // of both sides
	by      direction   // whose it was
}

// cut is a Break as one connection felt it.
type cut struct {
	from  units.Seconds
	cause string
	// side is the end that was lost; none is true for a host between the ends.
	side direction
	none bool
}

// How long before a Break's At its effects may show.
const (
	faultLead = units.Seconds(20 * time.Millisecond)
	exitLead  = units.Seconds(500 * time.Millisecond)
)

func (j *joiner) judge(c *connection, truth *Truth, byNAT [][]life, sockets [2][]Socket) *judge {
	w := &judge{joiner: j, c: c, lapses: j.lapses(c, byNAT)}
	for side := range w.endings {
		w.endings[side] = j.endings(c, direction(side), sockets[side])
	}
	w.cuts = w.felt(truth)
	for side := range w.endings {
		side := direction(side)
		for _, e := range w.endings[side] {
			if w.first == nil || e.at < w.first.at {
				w.first, w.by = &e, side
			}
		}
	}
	return w
}

// felt are the breaks that the connection lived to see.
func (w *judge) felt(truth *Truth) []cut {
	var all []cut
	if w.c.opened == nil {
		return nil
	}
	server := serverHost(truth)
	for _, b := range truth.Breaks {
		x := cut{from: b.At, cause: b.Cause}
		switch {
		case b.Host == server:
			x.side = toClient
		case b.Host == w.c.device:
			x.side = toServer
		case slices.ContainsFunc(w.c.path.nats, func(n NAT) bool { return n.Name == b.Host }):
			x.none = true
		default:
			continue
		}
		lead := faultLead
		if b.Cause == CauseServerExit {
			lead = exitLead
		}
		if !x.none {
			for _, e := range w.endings[x.side] {
				if e.packet >= 0 && e.program && e.at >= b.At-lead && e.at < x.from {
					x.from = e.at
				}
			}
		}
		if b.At > w.end || w.seen[w.c.seen[0]].at > b.At {
			continue
		}
		x.from = max(x.from, *w.c.opened)
		all = append(all, x)
	}
	slices.SortStableFunc(all, func(a, b cut) int { return cmp.Compare(a.from, b.from) })
	return all
}

// lost is when the lab took a side away, never if it did not.
func (w *judge) lost(side direction) units.Seconds {
	for _, x := range w.cuts {
		if !x.none && x.side == side {
			return x.from
		}
	}
	return never
}

// stretch is a time in which the path was broken, by one or more causes that overlap.
type stretch struct {
	from, until units.Seconds
	// final says that nothing could have mended it; causes and kinds are what broke it, in
	// order, up to the one that made it final.
	final         bool
	causes, kinds []string
}

// stretches are those of the whole connection, in order.
func (w *judge) stretches() []stretch {
	var all []stretch
	for _, l := range w.lapses {
		n := &w.c.path.nats[l.k]
		all = append(all, stretch{
			from: l.from, until: l.until, final: l.until == never && !n.Profile.CanRevive(),
			causes: []string{"mapping " + l.cause + " at NAT " + n.Name}, kinds: []string{"mapping-" + l.cause},
		})
	}
	for _, x := range w.cuts {
		all = append(all, stretch{from: x.from, until: never, final: true, causes: []string{x.cause}, kinds: []string{x.cause}})
	}
	slices.SortStableFunc(all, func(a, b stretch) int { return cmp.Compare(a.from, b.from) })
	var merged []stretch
	for _, s := range all {
		n := len(merged)
		if n == 0 || s.from > merged[n-1].until {
			merged = append(merged, s)
			continue
		}
		m := &merged[n-1]
		m.until = max(m.until, s.until)
		if !m.final {
			m.causes, m.kinds = append(m.causes, s.causes...), append(m.kinds, s.kinds...)
		}
		m.final = m.final || s.final
	}
	return merged
}

// death is the stretch that the connection did not survive, nil if it died of none.
func (w *judge) death() *stretch {
	for _, s := range w.stretches() {
		switch {
		case w.first != nil && w.first.at < s.from:
			// It was over before.
			return nil
		case w.first != nil && w.first.at < s.until, s.final:
			// One side was gone when the path could have been mended, or it could not be.
			return &s
		}
	}
	return nil
}

func (s *stretch) cause() string { return strings.Join(s.causes, ", then ") }

// kind is what made it final, or else what began it.
func (s *stretch) kind() string {
	if s.final {
		return s.kinds[len(s.kinds)-1]
	}
	return s.kinds[0]
}
