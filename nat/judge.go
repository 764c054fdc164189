package nat

import (
	"net/netip"
	"time"

	"outlive/lab/units"
)

// probed is one probe that was sent.
type probed struct {
	shot
	sent segment
	// passed says that it went through by its old mapping.
	passed bool
	// gone says that the kernel had no mapping for it when asked just before.
	gone bool
	// least and most enclose the silence before it.
	least, most time.Duration
}

// surelyLate says that the mapping must have been gone when the probe came.
func (r *round) surelyLate(p probed) bool {
	return r.deleting || p.least > r.timeoutOf(p.aim)+2*tick
}

// sharp says that the probe came soon enough after the timeout to tell it from the
// next longer one.
func (r *round) sharp(p probed) bool {
	return r.deleting || p.most < r.timeoutOf(p.aim)+time.Second-2*tick
}

// tooLate notes a probe that came when it could prove nothing.
func (r *round) tooLate(p probed) {
	meant := r.timeoutOf(p.aim) + probeMargin
	if p.aim == aliveLAN || p.aim == aliveWAN || p.aim == aliveUDP {
		meant = r.timeoutOf(p.aim) - probeMargin
	}
	r.wasLate(meant, p.least, p.most)
}

func (r *round) wasLate(meant, least, most time.Duration) {
	r.note("the lab was late: a probe meant for %s of silence came after %s to %s", readable(meant), readable(least), readable(most))
}

// judgeAlive is for a probe just before the timeout: it must pass.
func (r *round) judgeAlive(p probed) {
	switch {
	case p.passed:
		r.good[p.aim]++
		if !r.deleting && !p.aim.udp() {
			r.lastAlive = max(r.lastAlive, p.least)
		}
	case r.deleting || p.most < r.timeoutOf(p.aim)-2*tick:
		r.wrong(p.aim, "%s did not pass after %s of silence, although the timeout asked for is %s",
			p.aim, readable(p.most), units.Duration(r.timeoutOf(p.aim)))
	default:
		r.tooLate(p)
	}
}

// dead notes a silence after which the mapping was shown to be gone. It is false
// if that came too late to prove the timeout.
func (r *round) dead(p probed) bool {
	if !r.sharp(p) {
		r.tooLate(p)
		return false
	}
	if !r.deleting && !p.aim.udp() && (r.firstDead == 0 || p.most < r.firstDead) {
		r.firstDead = p.most
	}
	return true
}

// stillAlive reports a late packet that found its mapping alive.
func (r *round) stillAlive(p probed) {
	if !r.surelyLate(p) {
		r.tooLate(p)
		return
	}
	switch p.aim {
	case lateWAN:
		r.seen.WAN = wanPass
	case lateLAN, lateFIN:
		r.seen.LAN = lanPass
	}
	if r.deleting {
		r.wrong(p.aim, "%s passed although its mapping had been deleted", p.aim)
		return
	}
	r.wrong(aliveLAN, "a %s still had its mapping after %s of silence; the timeout asked for is %s",
		p.aim.what(), readable(p.least), units.Duration(r.timeoutOf(p.aim)))
}

// judgeLAN is for a late packet from the LAN side.
func (r *round) judgeLAN(p probed, saw sighting) error {
	outcome, now := LANDrop, p.mapped
	for _, s := range saw.wan {
		switch {
		case !r.prober.translated(p.inside, s.from.Addr()):
			r.seen.LAN = lanLeak
			r.wrong(p.aim, "%s left on the WAN side with its private address %s", p.aim, s.from.Addr())
			return nil
		case s.same(p.sent) && s.from == p.mapped:
			outcome = LANRevive
		case s.same(p.sent):
			outcome, now = LANRemap, s.from
		default:
			r.wrong(p.aim, "%s made the NAT send %s on the WAN side", p.aim, s)
			return nil
		}
	}
	for _, s := range saw.lan {
		if s.flags&rst == 0 || s.from != p.outside || s.to != p.inside || outcome != LANDrop {
			r.wrong(p.aim, "%s made the NAT send %s on the LAN side", p.aim, s)
			return nil
		}
	}
	if len(saw.lan) > 0 {
		outcome = LANReset
	}
	if p.aim == lateFIN {
		r.judgeFIN(p, outcome)
		return nil
	}
	if outcome == LANRevive && !p.gone {
		r.stillAlive(p)
		return nil
	}
	if !r.dead(p) {
		return nil
	}
	if outcome == LANRevive && r.late.LAN == LANRemap {
		r.kept++
		return nil
	}
	if r.seen.LAN == "" || outcome != r.late.LAN {
		r.seen.LAN = outcome
	}
	if outcome != r.late.LAN {
		r.wrong(p.aim, "%s: asked for was %s, seen was %s", p.aim, r.late.LAN, outcome)
		return nil
	}
	if outcome == LANRevive || outcome == LANRemap {
		return r.answer(p, now)
	}
	r.good[p.aim]++
	return nil
}

// answer proves that a mapping made anew also carries packets inwards.
func (r *round) answer(p probed, now netip.AddrPort) error {
	f := *p.flow
	f.lanNext += uint32(len(p.sent.payload))
	back := f.inward(ack, "")
	if now != f.mapped {
		// The far end does not know the connection under its new port.
		back = f.inward(rst, "")
	}
	back.to = now
	saw, err := r.prober.fromWAN(back)
	if err != nil {
		return err
	}
	if !r.passedIn(p.shot, back, saw) {
		r.wrong(p.aim, "%s made its mapping anew, but the answer to it did not come in", p.aim)
		return nil
	}
	r.good[p.aim]++
	return nil
}

// judgeFIN is for a late FIN, which no NAT of ours lets out.
func (r *round) judgeFIN(p probed, outcome LateLAN) {
	want := LANDrop
	if r.late.LAN == LANReset {
		want = LANReset
	}
	switch {
	case outcome == LANRevive:
		r.stillAlive(p)
	case !r.dead(p):
	case outcome != want:
		r.wrong(p.aim, "%s: expected was %s, seen was %s", p.aim, want, outcome)
	default:
		r.good[p.aim]++
	}
}

// judgeWAN is for a late packet from the WAN side.
func (r *round) judgeWAN(p probed, saw sighting) {
	if r.passedIn(p.shot, p.sent, saw) {
		r.stillAlive(p)
		return
	}
	if len(saw.lan) > 0 {
		r.wrong(p.aim, "%s made the NAT send %s on the LAN side", p.aim, saw.lan[0])
		return
	}
	outcome := WANDrop
	for _, s := range saw.wan {
		if s.flags&rst == 0 || s.from != p.mapped || s.to != p.outside {
			r.wrong(p.aim, "%s made the NAT send %s on the WAN side", p.aim, s)
			return
		}
		outcome = WANReset
	}
	if !r.dead(p) {
		return
	}
	if r.seen.WAN == "" || outcome != r.late.WAN {
		r.seen.WAN = outcome
	}
	if outcome != r.late.WAN {
		r.wrong(p.aim, "%s: asked for was %s, seen was %s", p.aim, r.late.WAN, outcome)
		return
	}
	r.good[p.aim]++
}

// judgeUDP is for a late datagram from the WAN side, which every NAT drops.
func (r *round) judgeUDP(p probed) {
	switch {
	case p.passed:
		r.stillAlive(p)
	case r.dead(p):
		r.good[p.aim]++
	}
}
