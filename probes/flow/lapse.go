package flow

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"outlive/lab/units"
	"outlive/nat"
)

const never = units.Seconds(1<<63 - 1)

const (
	// jiffies is how far the instant at which the kernel forgets may lie from the
	// one that is computed: measured are −3 to +2 ms at HZ=250.
	jiffies = units.Seconds(50 * time.Millisecond)
	// clocks is how far the stamp of a packet and that of an event may lie apart for
	// the conversion between their clocks.
	clocks = units.Seconds(time.Millisecond)
	// disagreement is from where a computed and a confirmed expiry cannot both be right.
	disagreement = units.Seconds(time.Second)
	// newsLag is how late the news of a mapping may come.
	newsLag = units.Seconds(time.Second)
)

// lapse is a stretch in which NAT k of the connection's path had no mapping for it.
type lapse struct {
	k           int
	from, until units.Seconds // until is never where it lasts to the end
	cause       string
	refresh     int32 // the observation that refreshed the mapping last, -1 if not known
	runs        timer // what it started
	// doubts are why what the packets say of it does not fit what the kernel said.
	// They are problems if the lapse matters.
	doubts []string
}

func (l *lapse) doubt(format string, args ...any) {
	l.doubts = append(l.doubts, fmt.Sprintf(format, args...))
}

// life is one mapping of a NAT from its making to its end.
type life struct {
	lan, wan tuple
	born     units.Seconds
	gone     *Mapping // nil while it lives
}

// lives sorts the truth about mappings by the connection and the NAT that they served.
func (j *joiner) lives(truth *Truth) map[*connection][][]life {
	type number struct {
		nat string
		id  uint32
	}
	type spot struct {
		p *path
		k int
	}
	spots := map[string]spot{}
	for _, p := range j.paths {
		for k, n := range p.nats {
			spots[n.Name] = spot{p, k}
		}
	}
	all := map[*connection][][]life{}
	add := func(s spot, l life) {
		owners := s.p.history[s.k][l.lan]
		for _, i := range slices.Backward(owners) {
			c := j.conns[i]
			// The kernel tells of a mapping after the packet that made it.
			if j.seen[c.seen[0]].at > l.born+clocks {
				continue
			}
			// A mapping to another port than the first is of no use to the server.
			if c.tuples[s.k] == l.lan && (c.tuples[s.k+1] == 0 || c.tuples[s.k+1] == l.wan) {
				if all[c] == nil {
					all[c] = make([][]life, len(s.p.nats))
				}
				all[c][s.k] = append(all[c][s.k], l)
			}
			return
		}
	}
	alive := map[number]life{}
	lost := map[string]bool{}
	for i := range truth.Mappings {
		m := &truth.Mappings[i]
		s, known := spots[m.NAT]
		if !known || m.Mapping.Protocol != "tcp" || m.Mapping.Remote != s.p.addr {
			continue
		}
		if m.Lost && !lost[m.NAT] {
			lost[m.NAT] = true
			j.problem("the kernel lost events about the mappings of %s", s.p.nats[s.k])
		}
		n := number{m.NAT, m.Mapping.ID}
		l, ok := alive[n]
		if !ok || m.Kind == nat.MappingNew {
			l = life{lan: j.addrs.tuple(m.Mapping.LAN), wan: j.addrs.tuple(m.Mapping.WAN), born: m.At - m.Window}
		}
		if m.Kind == nat.MappingNew {
			alive[n] = l
			continue
		}
		delete(alive, n)
		l.gone = m
		add(s, l)
	}
	for i := range truth.Mappings {
		// In the order of the events, so that the result does not hang on that of a map.
		m := &truth.Mappings[i]
		n := number{m.NAT, m.Mapping.ID}
		if l, ok := alive[n]; ok && m.Kind == nat.MappingNew && l.born == m.At-m.Window {
			add(spots[m.NAT], l)
			delete(alive, n)
		}
	}
	for _, byNAT := range all {
		for _, l := range byNAT {
			slices.SortStableFunc(l, func(a, b life) int { return cmp.Compare(a.born, b.born) })
		}
	}
	return all
}

// lapses are those of one connection, by order of their start.
func (j *joiner) lapses(c *connection, byNAT [][]life) []lapse {
	var all []lapse
	for k, lives := range byNAT {
		w := lapser{j: j, c: c, k: k, nat: &c.path.nats[k], cross: j.crossings(c, k), swallowed: j.swallowed(c, k)}
		for i := range lives {
			var next *life
			if i+1 < len(lives) {
				next = &lives[i+1]
			}
			if l, ok := w.end(&lives[i], next); ok && l.from <= j.end {
				all = append(all, l)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b lapse) int { return cmp.Compare(a.from, b.from) })
	return all
}

// lapser goes through the mappings of one connection at one NAT.
type lapser struct {
	j     *joiner
	c     *connection
	k     int
	nat   *NAT
	cross []crossing
	// swallowed are those of which only the kernel's word can tell whether they found a mapping.
	swallowed []crossing
	// made is the crossing that made the present mapping.
	made int
}

func (w *lapser) revives() bool { return w.nat.Profile.Late.LAN == nat.LANRevive }

// end is the lapse that began with the end of a mapping; next is the mapping that
// the connection got after it, if any.
func (w *lapser) end(l, next *life) (lapse, bool) {
	if l.gone == nil || w.c.opened == nil || l.gone.At < *w.c.opened {
		return lapse{}, false
	}
	made := w.remade(l, next)
	last, runs, after := w.refresh(l, made)
	x := lapse{k: w.k, from: l.gone.At, until: never, cause: l.gone.Cause, refresh: -1}
	if last != nil {
		x.refresh, x.runs = last.in, runs
		if l.gone.Cause == nat.CauseExpired {
			w.expiry(&x, l, last.at+units.Seconds(runs.d))
		}
		x.from = w.dropped(x.from, last.at)
	}
	x.until = w.heal(&x, made, after)
	if made >= 0 {
		w.made = made
	}
	return x, true
}

// remade is the crossing that made the next mapping, -1 if there is none.
func (w *lapser) remade(l, next *life) int {
	if next == nil {
		return -1
	}
	best := -1
	// The news of a mapping follows the packet that made it, but may be late; and the
	// packet may have been faster than the news of the end before.
	for _, late := range []units.Seconds{clocks, jiffies} {
		for i := w.made; i < len(w.cross) && w.cross[i].at <= next.born+late; i++ {
			x := w.cross[i]
			if x.d != toServer {
				continue
			}
			if x.at >= l.gone.At {
				return i
			}
			if x.at >= l.gone.At-l.gone.Window-jiffies {
				best = i
			}
		}
		if best >= 0 {
			break
		}
	}
	return best
}

// refresh is the last packet that refreshed a mapping, nil if none is known, and the
// timer that it started; after is the next crossing that did not. made is the crossing that
// made the mapping after it.
//
// Where the NAT takes only some packets for a refresh, there are two clocks: its own, which
// they start, and conntrack's, which every packet does, with a timer that may be shorter. The
// mapping goes with the first of them.
func (w *lapser) refresh(l *life, made int) (last *crossing, runs timer, after int) {
	t := tracked{timeouts: w.nat.Profile.Timeouts}
	var own *crossing
	var ownRuns timer
	take := func(x *crossing) bool {
		o := &w.j.seen[x.in]
		r, ok := t.packet(o)
		if !ok {
			return false
		}
		last, runs = x, r
		if refreshes(w.nat.Profile.Refresh, o) {
			own, ownRuns = x, r
		}
		return true
	}
	unseen := slices.DeleteFunc(slices.Clone(w.swallowed), func(x crossing) bool {
		// Later ones may have met no mapping any more, and earlier ones are of another.
		return x.at >= l.gone.At-l.gone.Window || x.at < l.born-clocks
	})
	after = w.made
	for i := w.made; i < len(w.cross) && i != made; i++ {
		x := &w.cross[i]
		if x.at > l.gone.At {
			break
		}
		for len(unseen) > 0 && unseen[0].at < x.at {
			take(&unseen[0])
			unseen = unseen[1:]
		}
		if take(x) {
			after = i + 1
		}
	}
	for i := range unseen {
		take(&unseen[i])
	}
	if own != nil && own.at+units.Seconds(ownRuns.d) <= last.at+units.Seconds(runs.d) {
		return own, ownRuns, after
	}
	return last, runs, after
}

// refreshes says whether a packet is of those that restart the NAT's own timer.
func refreshes(r nat.Refresh, o *observation) bool {
	silent := o.length == 0 && o.flags&(flagSYN|flagFIN|flagRST) == 0
	return (r.Direction != nat.RefreshOutbound || o.d == toServer) && (!r.IgnoreACK || !silent)
}

// expiry sets the start of a lapse to when the mapping expired: the computed
// instant where it agrees with what the kernel said, else the latest possible by the kernel.
func (w *lapser) expiry(x *lapse, l *life, computed units.Seconds) {
	earliest, latest := l.gone.At-l.gone.Window, l.gone.At
	if l.gone.Lost {
		earliest = min(earliest, computed)
	}
	if computed >= earliest-jiffies && computed <= latest+jiffies {
		x.from = computed
		return
	}
	if away := max(earliest-computed, computed-latest); away > disagreement {
		x.doubt("the %s of the connection from %s at %s should have expired at %v by its packets, and did between %v and %v by the kernel",
			w.nat.Memory(), w.c.client, w.nat, round(computed), round(earliest), round(latest))
	}
}

// dropped moves the start of a lapse to the first packet that the NAT dropped
// within the width of its clock before: it shows that the mapping was gone.
func (w *lapser) dropped(from, refreshed units.Seconds) units.Seconds {
	for _, i := range w.c.seen {
		o := &w.j.seen[i]
		if o.at >= from {
			break
		}
		if o.at < from-jiffies || o.at <= refreshed || w.j.droppedAt(o) != w.k {
			continue
		}
		// For this packet the path was broken when it left.
		if left := w.j.seen[w.j.origin(i)].at; left >= from-jiffies && left > refreshed {
			return left
		}
		return o.at
	}
	return from
}

// heal is when the connection had a mapping again, or never.
func (w *lapser) heal(x *lapse, made, after int) units.Seconds {
	if made >= 0 {
		// A SYN makes a mapping on every NAT: that is a beginning, nothing revived.
		const beginning = flagSYN | flagACK
		if in := &w.j.seen[w.cross[made].in]; !w.revives() && in.flags&beginning != flagSYN {
			x.doubt("%s made a %s anew for the connection from %s, which its profile rules out", w.nat, w.nat.Memory(), w.c.client)
		}
		w.contradicted(x, after, made)
		return max(x.from, w.cross[made].at)
	}
	for i := after; i < len(w.cross); i++ {
		if at := w.cross[i].at; at > x.from+jiffies && (w.cross[i].d == toServer || !w.revives()) {
			// No mapping was reported, yet it passed.
			w.contradicted(x, after, i)
			if !w.revives() && at <= w.j.end {
				w.passed(x, i)
			}
			return at
		}
	}
	w.contradicted(x, after, len(w.cross))
	return never
}

// contradicted reports packets that passed towards the client while there was no mapping.
func (w *lapser) contradicted(x *lapse, after, until int) {
	for i := after; i < until; i++ {
		if at := w.cross[i].at; at > x.from+jiffies && at <= w.j.end && w.cross[i].d == toClient {
			w.passed(x, i)
			return
		}
	}
}

func (w *lapser) passed(x *lapse, i int) {
	o := &w.j.seen[w.cross[i].in]
	x.doubt("%s passed %s although its %s was gone", w.j.describe(o), w.nat, w.nat.Memory())
}

// droppedAt is the NAT at which a packet was last seen before it was lost, -1 if there is none.
// It is asked of an observation at the side where the packet came in.
func (j *joiner) droppedAt(o *observation) int {
	if o.next >= 0 || o.sender >= senderNAT {
		return -1
	}
	p := j.paths[o.path]
	to := p.next(int(o.position), o.d)
	if to < 0 || level(to) == level(int(o.position)) {
		return -1
	}
	if o.d == toServer {
		return level(int(o.position))
	}
	return level(to)
}
