package nat

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Nature is what a NAT does to the connections of one protocol, as its packets
// have shown. What was not found out is left empty.
type Nature struct {
	// Mapping and Filtering are by the tests of RFC 5780 §4.3 and §4.4, with two
	// addresses of the far side and two ports of each.
	Mapping   Behaviour `json:"mapping,omitempty"`
	Filtering Behaviour `json:"filtering,omitempty"`
	// Ports is how the ports of new mappings were chosen, Range the range that was asked
	// for if all lay in it, and Block the size of the blocks if every inside host had
	// one, and no more mappings than it has ports.
	Ports PortAllocation `json:"ports,omitempty"`
	Range PortRange      `json:"range,omitzero"`
	Block int            `json:"block,omitempty"`
	// Addresses is how many outside addresses there were. Paired says, where there were
	// several, that each inside host had the same one for all of its mappings.
	Addresses int  `json:"addresses,omitempty"`
	Paired    bool `json:"paired,omitempty"`
	// Hairpin says whether an inside host reached another one by its outside endpoint. It
	// is left out where mapping and filtering both depend on the far end, so that nobody
	// inside can know an endpoint that would let him in.
	Hairpin *bool `json:"hairpin,omitempty"`
	// Refresh is the direction of the packets that kept a mapping alive.
	Refresh RefreshDirection `json:"refresh,omitempty"`
	// IgnoreACK says whether a mapping lapsed although TCP keepalive probes without
	// data passed. TCP only.
	IgnoreACK *bool `json:"ignore_ack,omitempty"`
}

// String says it in the words of RFC 4787, such as "endpoint-independent mapping,
// address-and-port-dependent filtering, port preservation, no hairpinning, refresh
// by packets of both directions".
func (n Nature) String() string {
	var words []string
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	if n.Mapping != "" {
		add("%s mapping", n.Mapping)
	}
	if n.Filtering != "" {
		add("%s filtering", n.Filtering)
	}
	if n.Ports != "" {
		add("%s", n.Ports.words())
	}
	if n.Range != (PortRange{}) {
		add("ports %s", n.Range)
	}
	if n.Block > 0 {
		add("a block of %d ports for each inside address", n.Block)
	}
	if n.Addresses > 1 {
		add("%d outside addresses with %s pooling", n.Addresses, pooling(n.Paired))
	}
	if n.Hairpin != nil {
		add("%s", hairpinning(*n.Hairpin))
	}
	if n.Refresh != "" {
		add("refresh by %s", n.Refresh.words())
	}
	if n.IgnoreACK != nil && *n.IgnoreACK {
		add("no refresh by bare acknowledgements")
	}
	return strings.Join(words, ", ")
}

// natures says what a NAT does to both protocols, in one sentence where that is the same.
func natures(tcp, udp Nature) string {
	tcpWords, udpWords := tcp.String(), udp.String()
	// Only TCP has acknowledgements.
	tcp.IgnoreACK = nil
	switch {
	case udpWords == "":
		return tcpWords
	case tcp.String() != udpWords:
		return "TCP: " + tcpWords + "; UDP: " + udpWords
	}
	return tcpWords
}

// words says in RFC 4787's words how ports are chosen (§4.2).
func (a PortAllocation) words() string {
	if a == PortRandom {
		return "random ports"
	}
	return "port preservation"
}

// words says which packets refresh a mapping (RFC 4787 §4.3).
func (d RefreshDirection) words() string {
	if d == RefreshOutbound {
		return "outbound packets only"
	}
	return "packets of both directions"
}

// pooling is RFC 4787's word for how outside addresses are given out (§4.1).
func pooling(paired bool) string {
	if paired {
		return "paired"
	}
	return "arbitrary"
}

func hairpinning(yes bool) string {
	if yes {
		return "hairpinning"
	}
	return "no hairpinning"
}

// classify finds out what the NAT does to connections of both protocols.
func (c *check) classify(ctx context.Context, p *prober) (err error) {
	if c.result.TCP, err = c.classifyOne(ctx, p, false); err == nil {
		c.result.UDP, err = c.classifyOne(ctx, p, true)
	}
	return err
}

// classifyOne classifies once if the NAT is then seen to be as asked for, and otherwise
// until it is seen to be the same twice in a row: two ports drawn at random may be one
// by chance, and the lab may delete mappings meanwhile.
func (c *check) classifyOne(ctx context.Context, p *prober, udp bool) (Nature, error) {
	protocol := "TCP"
	if udp {
		protocol = "UDP"
	}
	var before, all []note
	for n := range roundLimit {
		if err := ctx.Err(); err != nil {
			return Nature{}, err
		}
		touches := c.nat.touchCount()
		k := &classifier{prober: p, udp: udp}
		classify := k.classify
		if c.nat.Firewall() {
			classify = k.classifyFirewall
		}
		err := onOneCPU(classify)
		var quiet *silence
		switch {
		case errors.As(err, &quiet):
			k.why = new(noteOf("%v", quiet))
		case err != nil:
			return Nature{}, err
		case c.nat.touchCount() != touches:
			all = append(all, noteOf("the lab deleted the NAT's mappings while they were being probed"))
			continue
		}
		var seen Nature
		var wrong []note
		switch {
		case k.why != nil:
			wrong = []note{*k.why}
		case c.nat.Firewall():
			seen, wrong = k.firewallNature(p.nat.profile, p.insides)
		default:
			seen, wrong = k.nature(p.nat.profile)
		}
		if n == 0 && len(wrong) == 0 || n > 0 && slices.EqualFunc(wrong, before, func(a, b note) bool { return a.kind == b.kind }) {
			for _, w := range wrong {
				c.wrong("%s: %s", protocol, w.text)
			}
			return seen, nil
		}
		before = wrong
		all = append(all, wrong...)
	}
	c.wrong("%s: %s", protocol, summarise(all))
	return Nature{}, nil
}
