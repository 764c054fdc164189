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
	return r.deleting || p.least > r.timeout+2*tick
}

// sharp says that the probe came soon enough after the timeout to tell it from the
// next longer one.
func (r *round) sharp(p probed) bool {
	return r.deleting || p.most < r.timeout+time.Second-2*tick
}

// tooLate notes a probe that came when it could prove nothing.
func (r *round) tooLate(p probed) {
	meant := r.timeout + probeMargin
	if p.aim == aliveLAN || p.aim == aliveWAN {
		meant = r.timeout - probeMargin
	}
	r.note("the lab was late: a probe meant for %s of silence came after %s to %s", readable(meant), readable(p.least), readable(p.most))
}

// judgeAlive is for a probe just before the timeout: it must pass.
func (r *round) judgeAlive(p probed) {
	switch {
	case p.passed:
		r.good[p.aim]++
		if !r.deleting {
			r.lastAlive = max(r.lastAlive, p.least)
		}
	case r.deleting || p.most < r.timeout-2*tick:
		r.wrong(p.aim, "%s did not pass after %s of silence, although the timeout asked for is %s", p.aim, readable(p.most), units.Duration(r.timeout))
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
	if !r.deleting && (r.firstDead == 0 || p.most < r.firstDead) {
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
	if p.aim == lateWAN {
		r.seen.WAN = wanPass
	} else {
		r.seen.LAN = lanPass
	}
	if r.deleting {
		r.wrong(p.aim, "%s passed although its mapping had been deleted", p.aim)
		return
	}
	r.wrong(aliveLAN, "a connection still had its mapping after %s of silence; the timeout asked for is %s", readable(p.least), units.Duration(r.timeout))
}

// judgeLAN is for a late packet from the LAN side.
func (r *round) judgeLAN(p probed, saw sighting) error {
	outcome, port := LANDrop, p.mapped.Port()
	for _, s := range saw.wan {
		switch {
		case s.from.Addr() != r.prober.wan.near:
			r.seen.LAN = lanLeak
			r.wrong(p.aim, "%s left on the WAN side with its private address %s", p.aim, s.from.Addr())
			return nil
		case sameContent(s, p.sent) && s.from == p.mapped:
			outcome = LANRevive
		case sameContent(s, p.sent):
			outcome, port = LANRemap, s.from.Port()
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
		return r.answer(p, port)
	}
	r.good[p.aim]++
	return nil
}

// answer proves that a mapping made anew also carries packets inwards.
func (r *round) answer(p probed, port uint16) error {
	f := *p.flow
	f.lanNext += uint32(len(p.sent.payload))
	back := f.inward(ack, "")
	if port != f.mapped.Port() {
		// The far end does not know the connection under its new port.
		back = f.inward(rst, "")
	}
	back.to = netip.AddrPortFrom(f.mapped.Addr(), port)
	saw, err := r.prober.fromWAN(back)
	if err != nil {
		return err
	}
	if !r.passedIn(back, saw) {
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
	if r.passedIn(p.sent, saw) {
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
