package verdict

import (
	"fmt"
	"slices"
	"strings"

	"outlive/lab/units"
)

// Summary is what was observed of one metric, all devices together.
type Summary struct {
	// Unit is that of the figures; Duration means seconds.
	Unit Unit `json:"unit"`
	// Count is the number of samples: of pushes for push.delivered, of devices for
	// alive and deaf, and of events for what only happens or not.
	Count int `json:"count"`
	// Open counts the samples that the scenario's end cut short: they are at
	// least as long as they stand in the figures.
	Open int `json:"open,omitempty"`
	// Spread is nil where there is no sample, and for what only happens or not.
	*Spread
}

// Spread is how samples lie: shares from 0 to 1, durations in seconds.
// Percentiles are by nearest rank. The mean of push.delivered is the share that arrived.
type Spread struct {
	Min  float64 `json:"min"`
	P50  float64 `json:"p50"`
	P95  float64 `json:"p95"`
	P99  float64 `json:"p99"`
	Max  float64 `json:"max"`
	Mean float64 `json:"mean"`
}

// summaries are the figures of every metric that had something to observe.
func summaries(s scene) map[string]Summary {
	all := map[string]Summary{}
	for _, m := range metrics {
		o := m.observe(s)
		if o.basis == 0 {
			continue
		}
		sum := Summary{Unit: m.Unit, Count: len(o.samples)}
		var sorted []float64
		for _, x := range o.samples {
			n := x.n
			if m.Unit == Duration {
				n /= 1e9
			}
			if x.open {
				sum.Open++
			}
			sorted = append(sorted, n)
		}
		if len(sorted) > 0 && !m.only(Count) {
			slices.Sort(sorted)
			sum.Spread = &Spread{
				Min: Min.of(sorted), P50: P50.of(sorted), P95: P95.of(sorted), P99: P99.of(sorted),
				Max: Max.of(sorted), Mean: Mean.of(sorted),
			}
		}
		all[m.Name] = sum
	}
	return all
}

// sentence says in a line or two what happened.
func sentence(s scene) string {
	var parts []string
	var died, opened []int
	for i, c := range s.connections() {
		if c.Ready != nil {
			opened = append(opened, i)
		}
		if c.Died != nil {
			died = append(died, i)
		}
	}
	switch {
	case len(opened) == 0:
		parts = append(parts, "No device ever had a connection that could take pushes.")
	case len(died) == 0 && len(opened) == 1:
		parts = append(parts, s.lifespan(opened[0])+s.heartbeatsOn(opened[0])+".")
	case len(died) == 0:
		parts = append(parts, fmt.Sprintf("None of %d connections died.", len(opened)))
	case len(died) == 1:
		parts = append(parts, s.deathInShort(died[0]))
	default:
		first := &s.analysis.Connections[died[0]]
		parts = append(parts, fmt.Sprintf("%d of %d connections died, the first (%s) at %s: %s.",
			len(died), len(opened), s.name(died[0]), Instant(*first.Died), first.Cause))
	}
	if o := falseAlarms(s); len(o.samples) > 0 && len(opened) > 1 {
		parts = append(parts, fmt.Sprintf("%s up although the path was fine.", units.Count(len(o.samples), "connection was given", "connections were given")))
	}
	if o := delivered(s); o.basis > 0 {
		arrived := 0
		for _, x := range o.samples {
			arrived += int(x.n)
		}
		parts = append(parts, fmt.Sprintf("%d of %s arrived.", arrived, units.Count(o.basis, "push", "pushes")))
	}
	return strings.Join(parts, " ")
}

// deathInShort tells one death and who noticed.
func (s scene) deathInShort(i int) string {
	c := &s.analysis.Connections[i]
	text := fmt.Sprintf("%s died at %s: %s.", s.name(i), Instant(*c.Died), c.Cause)
	for _, d := range []side{client, server} {
		h, ok := s.holds(c, d)
		switch {
		case !ok:
			text += fmt.Sprintf(" The %s was gone itself.", d)
		case h.noticed:
			text += fmt.Sprintf(" The %s noticed %s later.", d, length(h.length()))
		case h.open:
			text += fmt.Sprintf(" The %s never noticed (%s, to the end).", d, length(h.length()))
		default:
			text += fmt.Sprintf(" The %s had not noticed when it was gone itself, %s later.", d, length(h.length()))
		}
	}
	return text
}

// life tells a connection that did not die, in one line without a full stop.
func (s scene) life(i int) string {
	text := s.lifespan(i) + s.heartbeatsOn(i)
	left, arrived := 0, 0
	for p := range s.pushes() {
		if p.Connection == i {
			left++
			if p.Arrived != nil {
				arrived++
			}
		}
	}
	if left > 0 {
		text += fmt.Sprintf("; %d of %s delivered", arrived, units.Count(left, "push", "pushes"))
	}
	return text
}

// lifespan says from when to when a connection lived.
func (s scene) lifespan(i int) string {
	c := &s.analysis.Connections[i]
	if c.Opened == nil {
		return fmt.Sprintf("%s was never opened: the attempt at %s came to nothing", s.name(i), Instant(c.SYN))
	}
	text := fmt.Sprintf("%s lived from %s to ", s.name(i), Instant(*c.Opened))
	switch {
	case c.Closed == nil:
		text += "the end"
	case c.Closed.FalseAlarm:
		text += fmt.Sprintf("%s, when the %s gave it up although its path was fine%s", Instant(c.Closed.At), c.Closed.By, reason(c.Closed.Why))
	default:
		text += fmt.Sprintf("%s, when the %s ended it%s", Instant(c.Closed.At), c.Closed.By, reason(c.Closed.Why))
	}
	for _, l := range c.Lapses {
		until := "the end"
		if l.Until != nil {
			until = Instant(*l.Until)
		}
		n := s.box(l.NAT)
		text += fmt.Sprintf("; %s had no %s for it from %s to %s", n, n.Memory(), Instant(l.From), until)
	}
	return text
}

// heartbeatsOn counts the heartbeats of a connection; empty if there were none.
func (s scene) heartbeatsOn(i int) string {
	sent, answered := 0, 0
	for h := range s.heartbeats() {
		if h.Connection == i {
			sent++
			if h.Answered != nil {
				answered++
			}
		}
	}
	if sent == 0 {
		return ""
	}
	return fmt.Sprintf("; %d of %s answered", answered, units.Count(sent, "heartbeat", "heartbeats"))
}
