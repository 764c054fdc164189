package flow

import (
	"cmp"
	"slices"
	"strings"

	"outlive/lab/units"
)

// judge decides what became of one connection.
type judge struct {
	*joiner
	c       *connection
	lives   [][]life // of its mappings, by NAT
	lapses  []lapse
	cuts    []cut
	endings [2][]ending // by side: the direction in which it speaks
	first   *ending     // of both sides
	by      direction   // whose it was
}

func (j *joiner) judge(c *connection, truth *Truth, byNAT [][]life, sockets [2][]Socket) *judge {
	w := &judge{joiner: j, c: c, lives: byNAT, lapses: j.lapses(c, byNAT)}
	for side := range w.endings {
		w.endings[side] = j.endings(c, direction(side), sockets[side])
	}
	w.cuts = w.felt(truth)
	for side := range w.endings {
		side := direction(side)
		for _, e := range w.endings[side] {
			if !e.half && (w.first == nil || e.at < w.first.at) {
				w.first, w.by = &e, side
			}
		}
	}
	return w
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
			causes: []string{n.Memory() + " " + l.cause + " at " + n.String()}, kinds: []string{"mapping-" + l.cause},
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
