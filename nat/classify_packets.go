package nat

import (
	"fmt"
	"net/netip"
	"slices"
)

const (
	// portSamples is of how many new flows the ports are compared.
	portSamples = 6
	// poolTries is of how many inside hosts for each address of a pool there are flows
	// before an address is missed, and poolHosts is of how many at least: so many have
	// two flows with the same address by chance once in 4,000 times if there are two.
	poolTries = 20
	poolHosts = 12
	// mostFilled is the largest block that is filled to see that it ends. spareFlows is
	// how many flows more there are than fit, each of which costs the NAT thousands of
	// draws, and drawnFlows is that where ports are drawn out of so many that the last
	// free one is often not found.
	mostFilled = 4096
	spareFlows = 2
	drawnFlows = 24
	manyPorts  = 256
	// batch is how many first packets are sent before they are looked for. A packet
	// socket holds some hundreds.
	batch = 64
)

// classifier finds out what a NAT does to new flows of one protocol. It waits for
// nothing but its packets, of which each takes microseconds.
type classifier struct {
	*prober
	udp bool
	view
	// why says what did not happen without which nothing can be said.
	why *note
}

// classify runs all tests whose answers the profile depends on.
func (c *classifier) classify() error {
	for _, test := range []func() error{c.findMapping, c.findFiltering, c.findPorts, c.findBlock, c.findPool, c.findHairpin} {
		if err := test(); err != nil || c.why != nil {
			return err
		}
	}
	return nil
}

// far gives an endpoint of the far side, by the number of its address and of its port.
func (c *classifier) far(address, port int) netip.AddrPort {
	a := c.outsides.Addr().Next()
	if address > 0 {
		a = a.Next()
	}
	return netip.AddrPortFrom(a, uint16(3478+port))
}

// first makes the first packet of a flow: a SYN, or a datagram.
func (c *classifier) first(from, to netip.AddrPort) segment {
	c.packets++
	s := segment{udp: c.udp, from: from, to: to, flags: syn, seq: uint32(c.packets) << 8}
	if c.udp {
		s.payload = fmt.Sprint("first packet ", c.packets)
	}
	return s
}

// contact sends the first packet of a flow and gives the outside endpoint from which
// it arrived. It is false if it did not.
func (c *classifier) contact(inside, far netip.AddrPort) (netip.AddrPort, bool, error) {
	sent := c.first(inside, far)
	saw, err := c.fromLAN(sent)
	if err != nil {
		return netip.AddrPort{}, false, err
	}
	for _, s := range saw.wan {
		if s.same(sent) && s.to == far {
			return s.from, true, nil
		}
	}
	return netip.AddrPort{}, false, nil
}

// mustContact is contact for a flow that every NAT lets out.
func (c *classifier) mustContact(inside, far netip.AddrPort) (netip.AddrPort, error) {
	mapped, ok, err := c.contact(inside, far)
	if err == nil && !ok {
		c.why = new(noteOf("the first packet of a new flow from %s to %s did not leave on the WAN side", inside, far))
	}
	return mapped, err
}

// reach sends a packet to an outside endpoint and says whether it arrived at the
// inside endpoint.
func (c *classifier) reach(sent segment, inside netip.AddrPort) (bool, error) {
	saw, err := c.fromWAN(sent)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(saw.lan, func(s segment) bool { return s.same(sent) && s.to == inside && s.from == sent.from }), nil
}

// findMapping is RFC 5780 §4.3: one inside endpoint, four far ones.
func (c *classifier) findMapping() (err error) {
	if err := c.reserve(4, 1); err != nil {
		return err
	}
	inside := c.endpoint(4)
	// Each of the others may have a mapping of its own.
	c.flows += 3
	c.used += 3
	for address := range c.mapped {
		for port := range c.mapped[address] {
			c.mapped[address][port], err = c.mustContact(inside, c.far(address, port))
			if err != nil || c.why != nil {
				return err
			}
		}
	}
	return nil
}

// findFiltering is RFC 5780 §4.4: one of them is spoken to, and all four answer.
func (c *classifier) findFiltering() error {
	if err := c.reserve(1, 1); err != nil {
		return err
	}
	inside := c.endpoint(1)
	mapped, err := c.mustContact(inside, c.far(0, 0))
	if err != nil || c.why != nil {
		return err
	}
	for _, at := range [][2]int{{1, 1}, {1, 0}, {0, 1}, {0, 0}} {
		answer := c.first(c.far(at[0], at[1]), mapped)
		if !c.udp && at == [2]int{0, 0} {
			answer.flags = syn | ack
		}
		came, err := c.reach(answer, inside)
		if err != nil {
			return err
		}
		c.answered[at[0]][at[1]] = came
	}
	return nil
}

// findPorts makes new flows of one inside host, each from another port, and one from a
// port that the NAT may not use, if there are such.
func (c *classifier) findPorts() error {
	samples := portSamples
	for _, limit := range []int{c.most(), c.room()} {
		if limit > 0 {
			samples = min(samples, max(limit-1, 1))
		}
	}
	if err := c.reserve(samples+1, 2); err != nil {
		return err
	}
	for i := range samples {
		inside := c.endpoint(samples + 1 - i)
		mapped, err := c.mustContact(inside, c.far(0, 0))
		if err != nil || c.why != nil {
			return err
		}
		c.given = append(c.given, given{inside, mapped})
	}
	usable := c.nat.profile.Ports.Range
	if c.port++; usable == (PortRange{}) || usable.contains(c.port) {
		return nil
	}
	mapped, err := c.mustContact(netip.AddrPortFrom(c.endpoint(1).Addr(), c.port), c.far(0, 0))
	c.others = append(c.others, mapped)
	return err
}

// findBlock makes flows of one inside host until it gets no more, where it is to
// have no more ports than a block, and then one of another host.
func (c *classifier) findBlock() error {
	ports := c.nat.profile.Ports
	if ports.Block == 0 {
		return nil
	}
	protocol := 0
	if c.udp {
		protocol = 1
	}
	shared, _ := c.blocks()
	if c.filled[protocol] || shared == 1 {
		if err := c.release(); err != nil {
			return err
		}
	}
	c.filled[protocol] = true
	host, far := c.spareHost(), c.far(0, 0)
	first, err := c.mustContact(netip.AddrPortFrom(host, markerPort), far)
	if err != nil || c.why != nil {
		return err
	}
	c.block = append(c.block, first)
	c.fill = ports.Block
	if limit := c.nat.profile.Limits.Subscriber; limit > 0 {
		c.fill = min(c.fill, limit)
	}
	if limit := c.nat.profile.Limits; limit.Mappings > 0 && limit.Mappings < 2*c.fill ||
		limit.WhenFull == EvictOldest && limit.Mappings+limit.Subscriber > 0 || ports.Block > mostFilled {
		// Then something else than the block ends it, or it is too large to be filled.
		c.fill = 0
	}
	flows := c.fill + spareFlows
	if ports.Allocation == PortRandom && ports.Block > manyPorts {
		flows = c.fill + drawnFlows
	}
	// The marker is a flow of datagrams, perhaps in this block.
	if c.udp && c.blockOf(c.lan.addr) == c.blockOf(host) {
		c.fill = max(c.fill-1, 0)
	}
	from := int(blockOf(ports, first.Port()).First)
	for done := 0; done < flows; done += batch {
		mapped, err := c.contactMany(host, from+done, min(batch, flows-done), far)
		if err != nil {
			return err
		}
		c.block = append(c.block, mapped...)
	}
	if shared == 1 {
		return c.release()
	} else if err = c.reserve(1, 1); err == nil {
		c.beside, err = c.mustContact(c.endpoint(1), far)
	}
	return err
}

// contactMany sends first packets of several flows of one inside host and gives the
// outside endpoints of those that arrived.
func (c *classifier) contactMany(host netip.Addr, from, n int, far netip.AddrPort) ([]netip.AddrPort, error) {
	sent := make([]segment, n)
	for i := range sent {
		port := from + i
		if port > 65535 {
			port -= 65536 - 1024
		}
		sent[i] = c.first(netip.AddrPortFrom(host, uint16(port)), far)
		if i < n-1 {
			if err := c.lan.send(sent[i]); err != nil {
				return nil, err
			}
		}
	}
	saw, err := c.fromLAN(sent[n-1])
	if err != nil {
		return nil, err
	}
	var mapped []netip.AddrPort
	for _, s := range saw.wan {
		if slices.ContainsFunc(sent, s.same) {
			mapped = append(mapped, s.from)
		}
	}
	return mapped, nil
}

// findPool makes flows of several inside hosts until every address of the pool has
// been seen, if there is more than one.
func (c *classifier) findPool() error {
	addresses := c.nat.profile.Pool.Addresses
	if addresses < 2 {
		return nil
	}
	// Two flows of a host that has one address for all are as good as many.
	const each = 2
	for range poolTries * addresses {
		if err := c.reserve(each, 1); err != nil {
			return err
		}
		c.nextHost()
		var got []netip.Addr
		for range each {
			mapped, err := c.mustContact(c.endpoint(1), c.far(0, 0))
			if err != nil || c.why != nil {
				return err
			}
			got = append(got, mapped.Addr())
		}
		c.perHost = append(c.perHost, got)
		if len(c.addresses()) >= addresses && len(c.perHost) >= poolHosts {
			break
		}
	}
	return nil
}

// findHairpin lets two inside hosts send to each other's outside endpoint.
func (c *classifier) findHairpin() error {
	if err := c.reserve(4, 2); err != nil {
		return err
	}
	a := c.endpoint(2)
	c.nextHost()
	b := c.endpoint(2)
	c.flows++
	c.used += 2
	outA, err := c.mustContact(a, c.far(0, 0))
	if err != nil || c.why != nil {
		return err
	}
	outB, err := c.mustContact(b, c.far(0, 0))
	if err != nil || c.why != nil {
		return err
	}
	// The first packet may meet a filter that knows nobody yet. What it leaves behind
	// lets the next one in.
	for _, way := range []struct{ from, to, arrive netip.AddrPort }{{a, outB, b}, {b, outA, a}, {a, outB, b}} {
		sent := c.first(way.from, way.to)
		saw, err := c.fromLAN(sent)
		if err != nil {
			return err
		}
		for _, s := range saw.lan {
			if s.same(sent) && s.to == way.arrive {
				c.hairpinned = true
				c.unmasked = c.unmasked || c.insides.Contains(s.from.Addr()) || s.from.Addr() == c.lan.addr
			}
		}
	}
	return nil
}
