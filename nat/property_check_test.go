package nat_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"outlive/nat"
	"outlive/nat/model"
)

// disagreement is where kernel and model part.
type disagreement struct {
	trace trace
	// at is the event at which they do, and could is what the model says may happen there.
	at    int
	could []model.Outcome
}

// statesLimit is how many states the model may be in at once. More mean that the
// packets' times are hardly known.
const statesLimit = 256

// compare plays a trace through the model. It gives nil if the kernel did what the
// model says, packet by packet.
func compare(p nat.Profile, place model.Place, t trace) (*disagreement, error) {
	states := []*model.NAT{model.New(p, place)}
	for at, e := range t {
		var next []*model.NAT
		var could []model.Outcome
		for _, state := range states {
			for _, b := range state.Packet(e.within, e.step.side, e.packet) {
				if b.Verdict == model.Unsaid {
					return nil, nil
				}
				could = append(could, b.Outcome)
				if n, ok := agrees(b, e); ok {
					next = append(next, n)
				}
			}
		}
		if len(next) == 0 {
			return &disagreement{t, at, could}, nil
		}
		if len(next) > statesLimit/8 {
			next = different(next)
		}
		if len(next) > statesLimit {
			return nil, fmt.Errorf("after %d packets there are %d states that the NAT may be in", at+1, len(next))
		}
		states = next
	}
	return nil, nil
}

// different leaves out states that are the same as another.
func different(states []*model.NAT) []*model.NAT {
	var kept []*model.NAT
	for _, s := range states {
		if !slices.ContainsFunc(kept, func(k *model.NAT) bool { return reflect.DeepEqual(k, s) }) {
			kept = append(kept, s)
		}
	}
	return kept
}

// agrees says whether what was seen is what a branch of the model says.
func agrees(b model.Branch, e event) (*model.NAT, bool) {
	switch b.Verdict {
	case model.Drop:
		if len(e.seen) != 0 {
			return nil, false
		}
	case model.Keep:
		for _, s := range e.seen {
			if s.side != e.step.side || s.packet.Flags&model.RST == 0 {
				return nil, false
			}
		}
	case model.Reset:
		if len(e.seen) != 1 {
			return nil, false
		}
		s := e.seen[0]
		want := model.Packet{Protocol: model.TCP, From: s.packet.From, To: b.To, Flags: b.Flags, Seq: b.Seq, Ack: b.Ack}
		if s.side != b.Side || !b.From.Allows(s.packet.From) || s.packet != want {
			return nil, false
		}
	case model.Forward:
		if len(e.seen) != 1 {
			return nil, false
		}
		s := e.seen[0]
		want := e.packet
		want.From, want.To = s.packet.From, b.To
		if s.side != b.Side || s.packet != want {
			return nil, false
		}
		return b.Next(s.packet.From)
	}
	return b.Next(netip.AddrPort{})
}

// kind says roughly what became of a packet.
func (e event) kind() string {
	switch {
	case len(e.seen) == 0:
		return "silence"
	case e.seen[0].side != e.step.side:
		return "forwarded"
	case e.seen[0].packet.Flags&model.RST != 0 && e.packet.Flags&model.RST == 0:
		return "reset"
	}
	return "hairpinned"
}

// String tells the sequence up to where they part.
func (d *disagreement) String() string {
	var b strings.Builder
	begin := d.trace[0].within.From
	for i, e := range d.trace[:d.at+1] {
		mark := "  "
		if i == d.at {
			mark = "→ "
		}
		fmt.Fprintf(&b, "%s%2d  %8.3fs (+%.3fs)  %s\n", mark, i+1, (e.within.From - begin).Seconds(), e.step.gap.Seconds(), e.step)
		fmt.Fprintf(&b, "        at the %s side: %s\n", e.step.side, e.packet)
		if len(e.seen) == 0 {
			fmt.Fprintf(&b, "        kernel: nothing left the NAT\n")
		}
		for _, s := range e.seen {
			fmt.Fprintf(&b, "        kernel: at the %s side %s\n", s.side, s.packet)
		}
	}
	var could []string
	for _, o := range d.could {
		could = append(could, o.String())
	}
	slices.Sort(could)
	for _, o := range slices.Compact(could) {
		fmt.Fprintf(&b, "        model: %s\n", o)
	}
	e := d.trace[d.at]
	fmt.Fprintf(&b, "        (known to %s)\n", (e.within.To - e.within.From).Round(time.Microsecond))
	return b.String()
}
