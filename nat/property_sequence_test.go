package nat_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"outlive/nat"
	"outlive/nat/model"
)

// step is one packet of a sequence, before it is known which numbers it will carry.
type step struct {
	// gap is the time since the step before.
	gap      time.Duration
	side     model.Side
	protocol model.Protocol
	act      act
	// host and port say which inside endpoint, peer and peerPort which remote one: 0 or 1 each.
	host, port, peer, peerPort int
	// hairpin sends it to the outside endpoint of the other inside host instead.
	hairpin bool
}

// act is what a TCP endpoint does in a step. A datagram is a datagram.
type act uint8

const (
	doSYN act = iota
	doSYNACK
	doACK
	doData
	doFIN
	doRST
	doProbe     // a keepalive probe without data: the byte before the next, not sent again
	doProbeByte // one that does send it again
	doRepeat    // the last packet of this end once more
	doZero      // an acknowledgement that closes the window
	doOdd       // flags that mean nothing together
	acts
)

func (a act) String() string {
	return [...]string{"SYN", "SYN+ACK", "ACK", "data", "FIN", "RST", "keepalive probe", "keepalive probe with a byte", "the last one again", "window 0", "SYN+FIN"}[a]
}

// sequence is what one small group of hosts does: two inside hosts, two remote ones,
// two ports each. Nothing of it touches another sequence through the same NAT.
type sequence struct {
	steps []step
}

func (s sequence) length() time.Duration {
	var total time.Duration
	for _, step := range s.steps {
		total += step.gap
	}
	return total
}

// generator draws sequences that dwell where a NAT has to decide.
type generator struct {
	*rand.Rand
	// timeouts are those to be late for, and longest is how long a sequence may take.
	timeouts []time.Duration
	longest  time.Duration
	hairpin  bool
	// crowd says that a group opens many connections at once.
	crowd bool
}

// suit fits the generator to what a profile has.
func (g *generator) suit(p nat.Profile) {
	g.hairpin = p.Hairpin
	g.crowd = p.Limits.Mappings > 0 || p.Limits.Subscriber > 0 || p.Ports.Block > 0
}

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

func (g *generator) between(least, most time.Duration) time.Duration {
	return least + time.Duration(g.Int64N(int64(most-least)))
}

// gap draws the time before a step: often none, mostly just below or above a
// timeout, now and then right on it.
func (g *generator) gap() time.Duration {
	t := g.timeouts[g.IntN(len(g.timeouts))]
	near := min(t/4, 250*time.Millisecond)
	switch {
	case g.chance(45):
		return g.between(0, 20*time.Millisecond)
	case g.chance(15):
		return g.between(0, t)
	case g.chance(45):
		return t - g.between(near/4, near)
	case g.chance(90):
		return t + g.between(near/4, near)
	}
	return t + g.between(-20*time.Millisecond, 20*time.Millisecond)
}

// soon is a gap that no timeout notices.
func (g *generator) soon() time.Duration { return g.between(0, 10*time.Millisecond) }

func (g *generator) sequence() sequence {
	var s sequence
	main := step{protocol: model.TCP, port: g.IntN(2), peer: g.IntN(2), peerPort: g.IntN(2)}
	if g.chance(30) {
		main.protocol = model.UDP
	}
	if main.protocol == model.TCP {
		s.steps = g.opening(main)
	}
	if g.crowd && g.chance(60) {
		for range 3 + g.IntN(4) {
			step := step{protocol: model.Protocol(g.IntN(2)), host: g.IntN(2), port: g.IntN(2), peer: g.IntN(2), peerPort: g.IntN(2), gap: g.soon()}
			s.steps = append(s.steps, step)
		}
	}
	for n := 2 + g.IntN(8); n > 0; n-- {
		step := main
		step.gap = g.gap()
		if g.chance(30) {
			g.elsewhere(&step)
		}
		if g.chance(50) && !step.hairpin {
			step.side = model.WAN
		}
		if step.protocol == model.TCP {
			step.act = g.act(step.side)
		}
		if s.length()+step.gap > g.longest {
			break
		}
		s.steps = append(s.steps, step)
		if step.act == doRepeat && g.chance(60) {
			// Enough of them to count as retransmissions.
			step.gap = g.soon()
			for range 3 {
				s.steps = append(s.steps, step)
			}
		}
	}
	return s
}

// elsewhere makes a step one of another connection: of the other host with the same
// port, to another remote endpoint, from another port, or hairpinned.
func (g *generator) elsewhere(s *step) {
	switch g.IntN(5) {
	case 0:
		s.host = 1
	case 1:
		s.peer = 1 - s.peer
	case 2:
		s.peerPort = 1 - s.peerPort
	case 3:
		s.port = 1 - s.port
	case 4:
		if g.hairpin {
			s.hairpin = true
			s.host = g.IntN(2)
		}
	}
}

// opening draws how a connection begins: mostly with a handshake, or some of it, and
// often with data and an end.
func (g *generator) opening(main step) []step {
	var steps []step
	add := func(side model.Side, a act) {
		s := main
		s.side, s.act, s.gap = side, a, g.soon()
		steps = append(steps, s)
	}
	if g.chance(10) {
		return nil
	}
	add(model.LAN, doSYN)
	if g.chance(15) {
		return steps
	}
	add(model.WAN, doSYNACK)
	if g.chance(10) {
		return steps
	}
	add(model.LAN, doACK)
	for g.chance(40) {
		from := model.Side(g.IntN(2))
		add(from, doData)
		if g.chance(70) {
			add(1-from, doACK)
		}
	}
	if g.chance(25) {
		from := model.Side(g.IntN(2))
		ending := []step{{side: from, act: doFIN}, {side: 1 - from, act: doACK}, {side: 1 - from, act: doFIN}, {side: from, act: doACK}}
		for _, e := range ending[:1+g.IntN(4)] {
			add(e.side, e.act)
		}
	}
	return steps
}

// act draws what an end does next.
func (g *generator) act(side model.Side) act {
	weights := [acts]int{doSYN: 12, doSYNACK: 4, doACK: 22, doData: 24, doFIN: 6, doRST: 5, doProbe: 8, doProbeByte: 4, doRepeat: 8, doZero: 3, doOdd: 2}
	if side == model.WAN {
		weights[doSYN], weights[doSYNACK] = 5, 8
	}
	sum := 0
	for _, w := range weights {
		sum += w
	}
	n := g.IntN(sum)
	for a, w := range weights {
		if n -= w; n < 0 {
			return act(a)
		}
	}
	return doACK
}

// group is the hosts of one sequence: its number says which addresses and ports are theirs.
type group int

// groups is how many a NAT has room for.
const groups = 12000

func (g group) host(n int) netip.Addr {
	return addrAfter(netip.AddrFrom4([4]byte{10, 64, 0, 4}), 2*int(g)+n)
}
func (g group) peer(n int) netip.Addr {
	return addrAfter(netip.AddrFrom4([4]byte{198, 19, 0, 0}), 2*int(g)+n)
}
func (g group) port(n int) uint16 { return uint16(10000 + 2*int(g) + n) }

// groupOfPort finds whose an inside port is.
func groupOfPort(port uint16) group { return group((int(port) - int(group(0).port(0))) >> 1) }

func (g group) inside(s step) netip.AddrPort {
	return netip.AddrPortFrom(g.host(s.host), g.port(s.port))
}
func (g group) remote(s step) netip.AddrPort {
	return netip.AddrPortFrom(g.peer(s.peer), [2]uint16{443, 8443}[s.peerPort])
}

// groupOf finds whose an address is; nobody is -1.
func groupOf(a netip.Addr) group {
	for _, base := range []netip.Addr{group(0).host(0), group(0).peer(0)} {
		if n := int64(number(a)) - int64(number(base)); n >= 0 && n < 2*groups {
			return group(n / 2)
		}
	}
	return nobody
}

const nobody = group(-1)

func number(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func addrAfter(a netip.Addr, n int) netip.Addr {
	v := number(a) + uint32(n)
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

func (s step) String() string {
	what := s.act.String()
	if s.protocol == model.UDP {
		what = "a datagram"
	}
	from, to := fmt.Sprintf("inside %c:%d", 'A'+rune(s.host), 1+s.port), fmt.Sprintf("remote %c:%d", 'X'+rune(s.peer), 1+s.peerPort)
	if s.hairpin {
		to = fmt.Sprintf("the outside endpoint of inside %c:%d", 'B'-rune(s.host), 1+s.port)
	}
	if s.side == model.WAN {
		from, to = to, from
	}
	return fmt.Sprintf("%s → %s: %s", from, to, what)
}
