package nat

import (
	"context"
	"fmt"
	"math"
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
	// Those of a mapping that is refreshed halfway, or not, by what is named here.
	byLAN
	byWAN
	byACK
	// Those of UDP.
	aliveUDP
	lateUDP
	byLANUDP
	byWANUDP
	aims
)

func (a aim) String() string {
	return [...]string{
		"a packet from the LAN side", "a packet from the WAN side",
		"a late packet from the LAN side", "a late packet from the WAN side", "a late FIN from the LAN side",
		"a packet from the LAN side", "a packet from the WAN side", "a TCP keepalive probe from the LAN side",
		"a datagram from the WAN side", "a late datagram from the WAN side",
		"a datagram from the LAN side", "a datagram from the WAN side",
	}[a]
}

// udp says that the connection is one of UDP, and halfway that a packet passes
// halfway through its timeout.
func (a aim) udp() bool     { return a >= aliveUDP }
func (a aim) halfway() bool { return a >= byLAN && a <= byACK || a >= byLANUDP }

// what is the probe's kind of flow.
func (a aim) what() string {
	if a.udp() {
		return "flow of datagrams"
	}
	return "connection"
}

// tcpAims and udpAims are what a round is to prove, of a NAT of this profile.
func tcpAims(p Profile, deleting bool) []aim {
	all := []aim{aliveLAN, aliveWAN, lateLAN, lateWAN, lateFIN}
	if deleting {
		return all
	}
	all = append(all, byLAN, byWAN)
	if p.Refresh.IgnoreACK {
		all = append(all, byACK)
	}
	return all
}

var udpAims = []aim{aliveUDP, lateUDP, byLANUDP, byWANUDP}

// round is one run of probes through one NAT.
type round struct {
	prober *prober
	late   Late
	// timeout is that of established TCP connections, and udp that of UDP.
	timeout, udp time.Duration
	// deleting makes connections late by deleting their mappings, not by waiting.
	deleting bool
	// aims are what it is to prove.
	aims []aim
	// number is how many rounds there were with it.
	number int

	problems []string
	// told are the problems by their kind, so that three sets of probes say a thing once.
	told map[string]bool
	// notes say why a probe proved nothing.
	notes []note
	// silent says that a packet which every NAT lets through did not come.
	silent bool
	// good counts the probes that proved what they were for.
	good [aims]int
	// kept counts the late packets of a NAT that remaps which met the same port again, and
	// choices is how many ports it draws from.
	kept, choices        int
	seen                 Late
	lastAlive, firstDead time.Duration
}

// shot is a probe that is to be sent. Where its connection is refreshed halfway, that
// is a shot of its own before.
type shot struct {
	aim    aim
	nudges bool
	due    time.Time
	*flow
}

// timeoutOf is the timeout that counts for a probe.
func (r *round) timeoutOf(a aim) time.Duration {
	if a.udp() {
		return r.udp
	}
	return r.timeout
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

// note is something that was seen, or a reason for which a probe proved nothing. Those
// of one kind differ in figures only.
type note struct{ kind, text string }

func noteOf(format string, args ...any) note { return note{format, fmt.Sprintf(format, args...)} }

func (r *round) note(format string, args ...any) {
	r.notes = append(r.notes, noteOf(format, args...))
}

// proven says that each thing has been shown at least once and nothing contradicts.
func (r *round) proven() bool {
	return len(r.problems) == 0 && !slices.ContainsFunc(r.aims, func(a aim) bool { return r.good[a] == 0 })
}

// conclusive says that another round would not change the answer.
func (r *round) conclusive() bool { return len(r.problems) > 0 || r.proven() }

func (r *round) run(ctx context.Context) error {
	var shots []shot
	begin := time.Now()
	sets := probeSets
	if r.deleting {
		sets--
	}
	if room := r.prober.room(); room > 0 {
		sets = min(sets, max(room/len(r.aims), 1))
	}
	for set := range sets {
		if !r.deleting {
			if err := until(ctx, begin.Add(time.Duration(set)*probeStagger)); err != nil {
				return err
			}
		}
		for _, a := range r.aims {
			var f *flow
			err := onOneCPU(func() (err error) {
				f, err = r.prober.openFor(a)
				return err
			})
			if err != nil {
				return err
			}
			if err := r.checkEntry(a, f); err != nil {
				return err
			}
			if !r.prober.translated(f.inside, f.mapped.Addr()) {
				r.wrong(aliveLAN, "a new connection left on the WAN side with the address %s, not %s", f.mapped.Addr(), r.prober.outsideWords(f.inside))
				return nil
			}
			shots = append(shots, r.plan(a, f)...)
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
	r.judgeKept()
	return nil
}

// maxChance is how unlikely something must be that is not taken for chance.
const maxChance = 1e-6

// judgeKept tells a NAT that gives the same port again from one that has drawn it
// again, which happens, and often where there are few to draw from.
func (r *round) judgeKept() {
	if r.kept == 0 {
		return
	}
	if math.Pow(float64(r.choices), -float64(r.kept)) < maxChance {
		r.seen.LAN = LANRevive
		r.wrong(lateLAN, "%s: asked for was %s, but it passed with the same port as before", lateLAN, LANRemap)
		return
	}
	r.note("%s met the same port again, which may be chance: there are %d to draw from", lateLAN, r.choices)
}

// plan says when the packets of a probe are due.
func (r *round) plan(a aim, f *flow) []shot {
	timeout := r.timeoutOf(a)
	switch {
	case r.deleting:
		return []shot{{aim: a, due: f.refreshed.to, flow: f}}
	case a.halfway():
		return []shot{
			{aim: a, due: f.refreshed.from.Add(timeout / 2), flow: f, nudges: true},
			{aim: a, due: f.refreshed.to.Add(timeout + min(probeMargin, timeout/4)), flow: f},
		}
	case a == aliveLAN, a == aliveWAN, a == aliveUDP:
		return []shot{{aim: a, due: f.refreshed.from.Add(timeout - probeMargin), flow: f}}
	}
	return []shot{{aim: a, due: f.refreshed.to.Add(timeout + probeMargin), flow: f}}
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
func (r *round) checkEntry(a aim, f *flow) error {
	timeout := r.timeoutOf(a)
	got, ok, err := r.prober.nat.table.get(f.tuple())
	if err != nil {
		return err
	}
	age := time.Since(f.refreshed.from)
	left := time.Duration(got.Timeout) * time.Second
	switch {
	case !ok && age < timeout-2*tick:
		r.wrong(a, "the mapping of a new %s was gone after %s; asked for was %s", a.what(), readable(age), units.Duration(timeout))
	case ok && (left > timeout || left < timeout-age-time.Second-2*tick):
		r.wrong(a, "the mapping of a new %s has %s left; asked for was a timeout of %s", a.what(), units.Duration(left), units.Duration(timeout))
	}
	return nil
}

// fire sends one probe and judges what was seen of it.
func (r *round) fire(s shot) error {
	if s.aim.halfway() {
		return r.fireRefresh(s)
	}
	gone := false
	if s.aim == lateLAN || r.deleting && (s.aim == lateWAN || s.aim == lateFIN) {
		got, ok, err := r.prober.nat.table.get(s.tuple())
		if err != nil {
			return err
		}
		gone = !ok
		if r.deleting {
			if !ok {
				r.note("a probe's mapping was deleted by somebody else")
				return nil
			}
			if gone, err = r.prober.forget(got); err != nil {
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
	case aliveWAN, lateWAN, aliveUDP, lateUDP:
		sent = s.inward(psh|ack, "late")
		saw, err = r.prober.fromWAN(sent)
	}
	if err != nil {
		return err
	}
	if r.strayed(s, sent, saw) {
		return nil
	}
	p := probed{shot: s, sent: sent, gone: gone}
	p.least = saw.within.from.Sub(s.refreshed.to)
	p.most = saw.within.to.Sub(s.refreshed.from)
	switch s.aim {
	case aliveLAN:
		p.passed = r.passedOut(s, sent, saw)
		r.judgeAlive(p)
	case aliveWAN, aliveUDP:
		p.passed = r.passedIn(s, sent, saw)
		r.judgeAlive(p)
	case lateLAN, lateFIN:
		return r.judgeLAN(p, saw)
	case lateWAN:
		r.judgeWAN(p, saw)
	case lateUDP:
		p.passed = r.passedIn(s, sent, saw)
		r.judgeUDP(p)
	}
	return nil
}

func (r *round) passedOut(s shot, sent segment, saw sighting) bool {
	return slices.ContainsFunc(saw.wan, func(x segment) bool { return x.from == s.mapped && x.same(sent) })
}

func (r *round) passedIn(s shot, sent segment, saw sighting) bool {
	return slices.ContainsFunc(saw.lan, func(x segment) bool { return x.to == s.inside && x.same(sent) })
}

// strayed says that a packet came in to another inside endpoint, which has by now got
// the outside endpoint that it was sent to.
func (r *round) strayed(s shot, sent segment, saw sighting) bool {
	stray := slices.ContainsFunc(saw.lan, func(x segment) bool { return x.to != s.inside && x.same(sent) })
	if stray {
		r.note("a probe's outside port was given to another one")
	}
	return stray
}

// readable is a length of time as people want to read it.
func readable(d time.Duration) units.Duration {
	return units.Duration(max(d, 0).Round(time.Millisecond))
}
