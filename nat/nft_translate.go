package nat

import (
	"fmt"
	"net/netip"
	"strings"

	"outlive/lab"
)

// anyDrawn is the range of ports that are drawn where the profile has none (RFC 4787
// REQ-3 keeps well-known ports apart).
var anyDrawn = PortRange{1024, 65535}

// probeBlocks is how many blocks the hosts behind a probe share: a power of two.
const probeBlocks = 32

// probeOwn is where probes' own hosts have their addresses; the other half of the
// network is behind them.
var probeOwn = netip.PrefixFrom(lab.ProbeNetwork.Addr(), lab.ProbeNetwork.Bits()+1)

// ports is the range that ports are drawn from.
func (p Profile) ports() PortRange {
	if p.Ports.Range == (PortRange{}) {
		return anyDrawn
	}
	return p.Ports.Range
}

// choices is how many outside endpoints a new mapping of one inside address may have.
func (p Profile) choices() int {
	n := p.ports().Ports()
	if p.Ports.Block > 0 {
		n = p.Ports.Block
	}
	if !p.Pool.Paired {
		n *= max(1, p.Pool.Addresses)
	}
	return n
}

// outward gives the source of a new connection its outside endpoint.
func (r *nftRuleset) outward() {
	r.block("chain outward", func() {
		r.line("type nat hook postrouting priority srcnat")
		r.line("# Not what the NAT says itself, such as resets.")
		r.line(`iifname "lan*" oifname "wan*" jump translate`)
		if r.p.Hairpin {
			r.line("# What goes back inside, comes from its own outside endpoint (RFC 4787 REQ-9).")
			r.line(`iifname "lan*" oifname "lan*" ct status dnat jump translate`)
		}
	})
	r.takeChain()
	if r.p.Ports.Block > 0 {
		r.blockChains()
	}
	r.drawChains()
	r.block("chain translate", func() {
		r.line("meta l4proto != { tcp, udp } masquerade")
		r.line("# An endpoint that has a mapping.")
		key := "ip saddr . th sport" + far(r.p.Mapping, "ct original ip daddr", "ct original proto-dst")
		for _, protocol := range []string{"tcp", "udp"} {
			r.line("meta l4proto %s snat ip to %s map @%s%[1]s fully-random", protocol, key, nftMapped)
		}
		r.line("# A new one. The packet itself is where the candidate is noted: its source becomes an outside")
		r.line("# endpoint that nobody owns. A datagram without a checksum is to stay so.")
		r.line("udp checksum 0 meta mark set 0x1")
		for _, s := range r.s.sides {
			r.chooseAddress(s)
		}
		if r.p.Ports.Block > 0 {
			r.line("# Whoever has no block gets nothing.")
			others := ""
			if inside := r.withBlock(); len(inside) > 0 {
				others = " ct original ip saddr != " + addresses(inside)
			}
			r.line(`oifname %s%s counter drop`, interfaces(r.s.sides[0]), others)
		}
		if r.p.Ports.Allocation == PortPreserve {
			r.line("# Its own port, if that is free.")
			switch {
			case r.p.Ports.Block > 0:
				r.perBlock("keep")
			case r.p.Ports.Range != (PortRange{}):
				r.line("th sport %s jump take", r.p.Ports.Range)
			default:
				r.line("jump take")
			}
		}
		r.line("# One drawn at random, as often as it takes.")
		r.line("jump draw%s", r.tries())
		r.line("# There is none.")
		r.line("counter drop")
	})
}

// interfaces are both of a side: what is hairpinned leaves on the LAN side.
func interfaces(s side) string { return fmt.Sprintf(`{ "wan%s", "lan%s" }`, s.suffix, s.suffix) }

// chooseAddress writes an outside address into the packet.
func (r *nftRuleset) chooseAddress(s side) {
	if len(s.outside) == 1 {
		r.line("oifname %s ip saddr set %s", interfaces(s), s.outside[0])
		return
	}
	var all []string
	for i, a := range s.outside {
		all = append(all, fmt.Sprintf("%d : %s", i, a))
	}
	choice := fmt.Sprintf("numgen random mod %d", len(all))
	if r.p.Pool.Paired {
		choice = fmt.Sprintf("jhash ip saddr mod %d seed 0x1", len(all))
	}
	r.line("oifname %s ip saddr set %s map { %s }", interfaces(s), choice, strings.Join(all, ", "))
}

// takeChain translates to the endpoint that the packet's source now is.
func (r *nftRuleset) takeChain() {
	r.block("chain take", func() {
		// The flag draws nothing from one port; without it the kernel does not look whether
		// an entry of conntrack that has run out is in the way, and drops the packet.
		r.line("meta l4proto . ip saddr . th sport != @%s meta l4proto { tcp, udp } snat ip to ip saddr : th sport fully-random", nftTaken)
	})
}

// random writes a port drawn from a range into the packet. The draw is of 32 bits,
// of which nft takes the first 16.
func (r *nftRuleset) random(from PortRange) {
	for _, protocol := range []string{"tcp", "udp"} {
		r.line("%s sport set numgen random mod %d offset %d", protocol, uint32(from.Ports())<<16, uint32(from.First)<<16)
	}
}

// withBlock are the inside addresses for which there is a block.
func (r *nftRuleset) withBlock() []netip.Addr {
	inside := r.s.sides[0].inside
	return inside[:min(len(inside), r.p.blocks())]
}

// blocks is how many blocks the range holds.
func (p Profile) blocks() int { return p.ports().Ports() / p.Ports.Block }

// sharedBlocks is how many the probes have: a power of two.
func (r *nftRuleset) sharedBlocks() int {
	n := 1
	for n*2 <= min(probeBlocks, r.p.blocks()) {
		n *= 2
	}
	return n
}

// blockChains writes for each block how a port of it is drawn, or kept.
func (r *nftRuleset) blockChains() {
	r.line("# The blocks of ports.")
	for k := range max(len(r.withBlock()), min(r.sharedBlocks()+1, r.p.blocks())) {
		first := r.p.ports().First + uint16(k*r.p.Ports.Block)
		ports := PortRange{first, first + uint16(r.p.Ports.Block-1)}
		r.block(fmt.Sprintf("chain draw_%d", k), func() { r.random(ports) })
		if r.p.Ports.Allocation == PortPreserve {
			r.block(fmt.Sprintf("chain keep_%d", k), func() { r.line("th sport %s jump take", ports) })
		}
	}
}

// perBlock jumps to a chain of the block that a packet's inside address has.
func (r *nftRuleset) perBlock(chain string) {
	var own []string
	for k, a := range r.withBlock() {
		own = append(own, fmt.Sprintf("%s : jump %s_%d", a, chain, k))
	}
	if len(own) > 0 {
		r.line("oifname %s ct original ip saddr vmap { %s }", interfaces(r.s.sides[0]), strings.Join(own, ", "))
	}
	// The probe's own host has the first block, the hosts behind it share the others.
	shared := r.sharedBlocks()
	first := min(1, r.p.blocks()-shared)
	probes := interfaces(r.s.sides[1])
	r.line("oifname %s ct original ip saddr %s jump %s_0", probes, probeOwn, chain)
	var all []string
	for k := range shared {
		all = append(all, fmt.Sprintf("0.0.0.%d : jump %s_%d", k, chain, first+k))
	}
	r.line("oifname %s ct original ip saddr != %s ct original ip saddr & 0.0.0.%d vmap { %s }", probes, probeOwn, shared-1, strings.Join(all, ", "))
}

// tries is the name of the chain that draws often enough: of n ports each draw finds
// the last free one with a chance of 1/n, so 14n draws miss it once in a million
// times. Where there are thousands of ports, 4096 draws must do.
func (r *nftRuleset) tries() string {
	n := r.p.Ports.Block
	if n == 0 {
		n = r.p.ports().Ports()
	}
	switch {
	case n > 4096:
		// Most of them are free.
		return "16"
	case 14*n <= 256:
		return "256"
	}
	return "4096"
}

func (r *nftRuleset) drawChains() {
	r.block("chain draw", func() {
		if r.p.Ports.Block > 0 {
			r.perBlock("draw")
		} else {
			r.random(r.p.ports())
		}
		r.line("jump take")
	})
	for inner, times := "", 16; ; times *= 16 {
		r.block(fmt.Sprintf("chain draw%d", times), func() {
			for range 16 {
				r.line("jump draw%s", inner)
			}
		})
		inner = fmt.Sprint(times)
		if inner == r.tries() {
			return
		}
	}
}
