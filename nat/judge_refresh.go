package nat

import (
	"slices"

	"outlive/lab/units"
)

// refreshes says whether the packet that an aim is about is to refresh a mapping.
func (r *round) refreshes(a aim) bool {
	rule := r.prober.nat.profile.Refresh
	switch a {
	case byWAN, byWANUDP:
		return rule.Direction == RefreshBoth
	case byACK:
		return !rule.IgnoreACK
	}
	return true
}

// nudge is the packet halfway that refreshes a mapping or does not. One from the LAN
// side does by every profile, so a bare acknowledgement is sent wherever that is to
// be enough. One from the WAN side has data where it must not be enough.
func (r *round) nudge(s shot) segment {
	// As the kernel makes them: the last sequence number again, and no data.
	probe := func(x segment) segment {
		x.flags, x.payload = ack, ""
		x.seq--
		return x
	}
	data := s.outward(psh|ack, "halfway")
	if s.aim == byWAN || s.aim == byWANUDP {
		data = s.inward(psh|ack, "halfway")
	}
	rule := r.prober.nat.profile.Refresh
	switch s.aim {
	case byACK:
		return probe(data)
	case byLAN:
		if !rule.IgnoreACK {
			return probe(data)
		}
	case byWAN:
		// Without an answer to data the kernel's own shorter timer would run.
		if rule == (Refresh{Direction: RefreshBoth}) {
			return probe(data)
		}
	}
	return data
}

// fireRefresh sends a packet halfway, or the one after the timeout by which it is seen
// whether that refreshed the mapping.
func (r *round) fireRefresh(s shot) error {
	if s.nudges {
		return r.fireNudge(s)
	}
	if s.nudged.to.IsZero() {
		// The first packet has said why.
		return nil
	}
	sent := s.inward(psh|ack, "after")
	saw, err := r.prober.fromWAN(sent)
	if err != nil {
		return err
	}
	if r.strayed(s, sent, saw) {
		return nil
	}
	p := probed{shot: s, sent: sent, passed: r.passedIn(s, sent, saw)}
	p.least = saw.within.from.Sub(s.refreshed.to)
	p.most = saw.within.to.Sub(s.nudged.from)
	r.judgeRefreshed(p)
	return nil
}

func (r *round) fireNudge(s shot) error {
	sent := r.nudge(s)
	send := r.prober.fromLAN
	if s.aim == byWAN || s.aim == byWANUDP {
		send = r.prober.fromWAN
	}
	saw, err := send(sent)
	if err != nil {
		return err
	}
	passed := slices.ContainsFunc(slices.Concat(saw.lan, saw.wan), sent.same)
	most := saw.within.to.Sub(s.refreshed.from)
	switch {
	case passed && most < r.timeoutOf(s.aim)-2*tick:
		s.nudged = saw.within
	case most < r.timeoutOf(s.aim)-2*tick:
		r.wrong(s.aim, "%s did not pass after %s of silence, although the timeout asked for is %s",
			s.aim, readable(most), units.Duration(r.timeoutOf(s.aim)))
	default:
		r.wasLate(r.timeoutOf(s.aim)/2, saw.within.from.Sub(s.refreshed.to), most)
	}
	return nil
}

// judgeRefreshed is for a packet after the timeout of a mapping that another packet
// passed halfway. least counts from the making of the mapping, most from that other packet.
func (r *round) judgeRefreshed(p probed) {
	timeout := r.timeoutOf(p.aim)
	// Only then does one answer mean that it was refreshed and the other one that it was not.
	telling := p.least > timeout+2*tick && p.most < timeout-2*tick
	switch refreshes := r.refreshes(p.aim); {
	case !telling:
		r.note("the lab was late: a probe of what refreshes a mapping came %s after its making and %s after the packet in question; the timeout asked for is %s",
			readable(p.least), readable(p.most), units.Duration(timeout))
	case p.passed == refreshes:
		r.good[p.aim]++
	case refreshes:
		r.wrong(p.aim, "%s did not refresh the mapping of a %s, as it should", p.aim, p.aim.what())
	default:
		r.wrong(p.aim, "%s refreshed the mapping of a %s; asked for was refresh by %s", p.aim, p.aim.what(), r.ruleWords())
	}
}

// ruleWords says what was asked for.
func (r *round) ruleWords() string {
	rule := r.prober.nat.profile.Refresh
	words := rule.Direction.words()
	if rule.IgnoreACK {
		words += ", not by bare acknowledgements"
	}
	return words
}

// shown enters into what is known of TCP or UDP what the round has shown.
func (r *round) shown(n *Nature, udp bool) {
	out, in := byLAN, byWAN
	if udp {
		out, in = byLANUDP, byWANUDP
	}
	if r.good[out] == 0 || r.good[in] == 0 {
		return
	}
	rule := r.prober.nat.profile.Refresh
	n.Refresh = rule.Direction
	if !udp && (!rule.IgnoreACK || r.good[byACK] > 0) {
		n.IgnoreACK = &rule.IgnoreACK
	}
}
