package model

import (
	"fmt"
	"net/netip"
	"slices"
)

// Verdict is what becomes of a packet.
type Verdict uint8

const (
	// Drop is silence: nothing leaves the NAT.
	Drop Verdict = iota
	// Forward lets it pass, with other addresses.
	Forward
	// Reset answers its sender with a RST; nothing else leaves the NAT.
	Reset
	// Keep does not forward it, as it is for the NAT's own host. What that says to
	// the sender is not a matter of translation.
	Keep
	// Unsaid means that no document says what happens, and nothing is said of what
	// happens afterwards.
	Unsaid
)

func (v Verdict) String() string {
	return [...]string{"dropped", "forwarded", "answered with a RST", "kept by the NAT", "anything"}[v]
}

// Outcome is what must happen to a packet.
type Outcome struct {
	Verdict Verdict
	// Side is where something leaves the NAT, for Forward and Reset. A packet from
	// the LAN side that leaves there again was hairpinned.
	Side Side
	// From is what the source of the packet that leaves must be one of, and To its destination.
	From Choice
	To   netip.AddrPort
	// Seq, Ack and Flags are those of the RST, for Reset.
	Seq, Ack uint32
	Flags    Flags
	// Why says in words what decided it.
	Why string
}

func (o Outcome) String() string {
	text := o.Verdict.String()
	if o.Verdict == Forward {
		text = fmt.Sprintf("forwarded to the %s side as %s → %s", o.Side, o.From, o.To)
	}
	if o.Why != "" {
		text += " (" + o.Why + ")"
	}
	return text
}

// Choice is a set of endpoints, from which the NAT takes one.
type Choice struct {
	Addrs       []netip.Addr
	First, Last uint16
	// Not are endpoints that are taken.
	Not []netip.AddrPort
}

// only is the choice that leaves none.
func only(e netip.AddrPort) Choice {
	return Choice{Addrs: []netip.Addr{e.Addr()}, First: e.Port(), Last: e.Port()}
}

// one gives the endpoint where there is no choice.
func (c Choice) one() (netip.AddrPort, bool) {
	if len(c.Addrs) == 1 && c.First == c.Last && len(c.Not) == 0 {
		return netip.AddrPortFrom(c.Addrs[0], c.First), true
	}
	return netip.AddrPort{}, false
}

// Allows says whether an endpoint is one of them.
func (c Choice) Allows(e netip.AddrPort) bool {
	return slices.Contains(c.Addrs, e.Addr()) && c.First <= e.Port() && e.Port() <= c.Last && !slices.Contains(c.Not, e)
}

func (c Choice) String() string {
	if e, ok := c.one(); ok {
		return e.String()
	}
	text := fmt.Sprintf("one of %v:%d-%d", c.Addrs, c.First, c.Last)
	if len(c.Not) > 0 {
		text += fmt.Sprintf(" but %v", c.Not)
	}
	return text
}

// Branch is one thing that may happen to a packet.
type Branch struct {
	Outcome
	next *NAT
}

// Next gives the NAT after this branch. chosen is the source that a forwarded packet
// had when it left; it is not ok if the NAT may not choose that one. For other
// verdicts chosen means nothing.
func (b Branch) Next(chosen netip.AddrPort) (n *NAT, ok bool) {
	if b.Verdict != Forward {
		return b.next, true
	}
	if !b.From.Allows(chosen) {
		return nil, false
	}
	n = b.next
	if n.choosing != nil {
		// Others may come by here again with another choice.
		n = n.clone()
		n.choose(chosen)
	}
	return n, true
}
