package nat

import (
	"context"
	"fmt"
	"slices"
	"time"

	"outlive/lab/units"
)

const (
	// probeSets is how many sets of probes a round has, and probeStagger how far
	// they are apart: a machine that stands still for a moment spoils one set.
	probeSets    = 3
	probeStagger = 120 * time.Millisecond
)

// What can be seen besides the words of a profile.
const (
	lanLeak LateLAN = "leak"
	lanPass LateLAN = "pass"
	wanPass LateWAN = "pass"
)

// aim is what one probe connection is for.
type aim int

const (
	aliveLAN aim = iota
	aliveWAN
	lateLAN
	lateWAN
	lateFIN
	aims
)

func (a aim) String() string {
	return [...]string{"a packet from the LAN side", "a packet from the WAN side",
		"a late packet from the LAN side", "a late packet from the WAN side", "a late FIN from the LAN side"}[a]
}

// round is one run of probes through one NAT.
type round struct {
	prober  *prober
	late    Late
	timeout time.Duration
	// deleting makes connections late by deleting their mappings, not by waiting.
	deleting bool

	problems []string
	// told are the problems by their kind, so that three sets of probes say a thing once.
	told map[string]bool
	// notes say why a probe proved nothing.
	notes []note
	// silent says that a packet which every NAT lets through did not come.
	silent bool
	// good counts the probes that proved what they were for.
	good [aims]int
	// kept counts the late packets of a NAT that remaps which met the same port again.
	kept                 int
	seen                 Late
	lastAlive, firstDead time.Duration
}

type shot struct {
	aim aim
	due time.Time
	*flow
}

// wrong notes a contradiction to the profile, the first of its kind: of the same
// words about the same kind of packet.
func (r *round) wrong(about aim, format string, args ...any) {
	kind := about.String() + format
	if r.told[kind] {
		return
	}
	if r.told == nil {
		r.told = map[string]bool{}
	}
	r.told[kind] = true
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// note is a reason for which a probe proved nothing. Those of one kind differ in figures only.
type note struct{ kind, text string }

func (r *round) note(format string, args ...any) {
	r.notes = append(r.notes, note{format, fmt.Sprintf(format, args...)})
}

// proven says that each thing has been shown at least once and nothing contradicts.
func (r *round) proven() bool {
	return len(r.problems) == 0 && !slices.Contains(r.good[:], 0)
}

// conclusive says that another round would not change the answer.
func (r *round) conclusive() bool { return len(r.problems) > 0 || r.proven() }

func (r *round) run(ctx context.Context) error {
	var shots []shot
	begin := time.Now()
	for set := range probeSets {
		if r.deleting && set == probeSets-1 {
			break
		}
		if !r.deleting {
			if err := until(ctx, begin.Add(time.Duration(set)*probeStagger)); err != nil {
				return err
			}
		}
		for a := range aims {
			var f *flow
			err := onOneCPU(func() (err error) {
				f, err = r.prober.open()
				return err
			})
			if err != nil {
				return err
			}
			due := f.refreshed.to.Add(r.timeout + probeMargin)
			switch {
			case r.deleting:
				due = f.refreshed.to
			case a == aliveLAN || a == aliveWAN:
				due = f.refreshed.from.Add(r.timeout - probeMargin)
			}
			if err := r.checkEntry(f); err != nil {
				return err
			}
			if near := r.prober.wan.near; f.mapped.Addr() != near {
				r.wrong(aliveLAN, "a new connection left on the WAN side with the address %s, not the NAT's %s", f.mapped.Addr(), near)
				return nil
			}
			shots = append(shots, shot{aim: a, due: due, flow: f})
		}
	}
	slices.SortStableFunc(shots, func(a, b shot) int { return a.due.Compare(b.due) })
	for _, s := range shots {
		if err := until(ctx, s.due); err != nil {
			return err
		}
		if err := onOneCPU(func() error { return r.fire(s) }); err != nil {
			return err
		}
	}
	if r.kept > 1 {
		// A port drawn at random is the same once in 60,000 times, not twice in a row.
		r.seen.LAN = LANRevive
		r.wrong(lateLAN, "%s: asked for was %s, but it passed with the same port as before", lateLAN, LANRemap)
	}
	return nil
}

// until waits for an instant.
func until(ctx context.Context, at time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	left := time.Until(at)
	if left <= 0 {
		return nil
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// checkEntry holds the time that the kernel gives a fresh mapping against the timeout.
func (r *round) checkEntry(f *flow) error {
	got, ok, err := r.prober.table.get(f.tuple())
	if err != nil {
		return err
	}
	age := time.Since(f.refreshed.from)
	left := time.Duration(got.Timeout) * time.Second
	switch {
	case !ok && age < r.timeout-2*tick:
		r.wrong(aliveLAN, "the mapping of a new connection was gone after %s; asked for was %s", readable(age), units.Duration(r.timeout))
	case ok && (left > r.timeout || left < r.timeout-age-time.Second-2*tick):
		r.wrong(aliveLAN, "the mapping of a new connection has %s left; asked for was a timeout of %s", units.Duration(left), units.Duration(r.timeout))
	}
	return nil
}

// fire sends one probe and judges what was seen of it.
func (r *round) fire(s shot) error {
	gone := false
	if s.aim >= lateLAN && (r.deleting || s.aim == lateLAN) {
		got, ok, err := r.prober.table.get(s.tuple())
		if err != nil {
			return err
		}
		gone = !ok
		if r.deleting {
			if !ok {
				r.note("a probe's mapping was deleted by somebody else")
				return nil
			}
			if gone, err = r.prober.table.remove(got); err != nil {
				return err
			}
		}
	}
	var saw sighting
	var sent segment
	var err error
	switch s.aim {
	case aliveLAN, lateLAN:
		sent = s.outward(psh|ack, "late")
		saw, err = r.prober.fromLAN(sent)
	case lateFIN:
		sent = s.outward(fin|ack, "")
		saw, err = r.prober.fromLAN(sent)
	case aliveWAN, lateWAN:
		sent = s.inward(psh|ack, "late")
		saw, err = r.prober.fromWAN(sent)
	}
	if err != nil {
		return err
	}
	p := probed{shot: s, sent: sent, gone: gone}
	p.least = saw.within.from.Sub(s.refreshed.to)
	p.most = saw.within.to.Sub(s.refreshed.from)
	switch s.aim {
	case aliveLAN:
		p.passed = r.passedOut(s, sent, saw)
		r.judgeAlive(p)
	case aliveWAN:
		p.passed = r.passedIn(sent, saw)
		r.judgeAlive(p)
	case lateLAN, lateFIN:
		return r.judgeLAN(p, saw)
	case lateWAN:
		r.judgeWAN(p, saw)
	}
	return nil
}

func (r *round) passedOut(s shot, sent segment, saw sighting) bool {
	return slices.ContainsFunc(saw.wan, func(x segment) bool { return x.from == s.mapped && sameContent(x, sent) })
}

func (r *round) passedIn(sent segment, saw sighting) bool {
	return slices.ContainsFunc(saw.lan, func(x segment) bool { return sameContent(x, sent) })
}

func sameContent(x, y segment) bool {
	return !x.udp && x.flags == y.flags && x.seq == y.seq && x.payload == y.payload
}

// readable is a length of time as people want to read it.
func readable(d time.Duration) units.Duration {
	return units.Duration(max(d, 0).Round(time.Millisecond))
}
