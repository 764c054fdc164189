package flow

import (
	"cmp"
	"net/netip"
	"slices"

	"outlive/lab/units"
)

// direction is which way a packet goes.
type direction uint8

const (
	toServer direction = iota
	toClient
)

func (d direction) back() direction { return 1 - d }

// sender is the word for who speaks in this direction.
func (d direction) sender() string {
	if d == toServer {
		return "client"
	}
	return "server"
}

// A path is one uplink, from the device's interface over each NAT to the server's. An
// uplink with both families has two of them, which begin at the same interface.
// Its positions count from the device: 0 is the device, 2k+1 and 2k+2 are the LAN and
// the WAN side of NAT k, and the last is the server. Its levels are the stretches in
// which addresses do not change: level 0 up to the LAN side of the first NAT, level 1 from its WAN side on.
type path struct {
	index int
	name  string
	nats  []NAT
	// six says that it is the one of IPv6, with a firewall that translates nothing in place
	// of NATs; addr is where the server is by this way.
	six  bool
	addr netip.AddrPort
	// captured says of which positions there is a capture; first and last are the
	// outermost of them, which stand for the ends.
	captured    []bool
	first, last int
	// history has the connections that a tuple of a level has belonged to, in order of time.
	history []map[tuple][]int32
	// waiting are the observations that have not been seen at the next position yet.
	waiting map[hop]int32
	// left is when a packet to the server was last seen behind all NATs.
	left units.Seconds
}

func (p *path) server() int { return 2*len(p.nats) + 1 }

func level(position int) int { return position / 2 }

// before is the nearest captured position that a packet comes from, -1 if there is none.
func (p *path) before(position int, d direction) int { return p.next(position, d.back()) }

// next is the nearest captured position that a packet goes to, -1 if there is none.
func (p *path) next(position int, d direction) int {
	step := 1
	if d == toClient {
		step = -1
	}
	for i := position + step; i >= 0 && i < len(p.captured); i += step {
		if p.captured[i] {
			return i
		}
	}
	return -1
}

// origin is the position at which a direction's sender is seen, target where its receiver is.
func (p *path) origin(d direction) int {
	if d == toServer {
		return p.first
	}
	return p.last
}

func (p *path) target(d direction) int { return p.origin(d.back()) }

func (p *path) capture(position int) {
	p.captured[position] = true
	p.first = slices.Index(p.captured, true)
	for p.last = len(p.captured) - 1; !p.captured[p.last]; p.last-- {
	}
}

// owner is the connection that a tuple of a level belongs to now, -1 if none.
func (p *path) owner(level int, t tuple) int32 {
	if all := p.history[level][t]; len(all) > 0 {
		return all[len(all)-1]
	}
	return -1
}

// bind makes a tuple a connection's from now on.
func (p *path) bind(level int, t tuple, c int32) {
	if p.owner(level, t) != c {
		p.history[level][t] = append(p.history[level][t], c)
	}
}

// hop is by what an observation is known again at the next position: what a NAT leaves as it is.
type hop struct {
	seq, ack, ts uint32
	tuple        tuple // zero where an IPv4 NAT lies between
	length, id   uint16
	position     uint8
	d            direction
	flags        uint8
}

// tuple is the client's end of a packet as one point sees it: an interned address and a port. Zero is none.
type tuple uint32

// addresses turns ends into tuples and back.
type addresses struct {
	index map[netip.Addr]uint32
	all   []netip.Addr
}

func newAddresses() *addresses {
	return &addresses{index: map[netip.Addr]uint32{{}: 0}, all: []netip.Addr{{}}}
}

func (a *addresses) tuple(end netip.AddrPort) tuple {
	i, ok := a.index[end.Addr()]
	if !ok && len(a.all) <= 0xffff {
		i = uint32(len(a.all))
		a.index[end.Addr()] = i
		a.all = append(a.all, end.Addr())
	}
	return tuple(i<<16 | uint32(end.Port()))
}

func (a *addresses) end(t tuple) netip.AddrPort {
	if t>>16 == 0 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.all[t>>16], uint16(t))
}

// place is where a point of capture lies on a path.
type place struct {
	point    *Point
	path     *path
	position int
}

// spot is where a point lies by the family of what passes it: IPv4, IPv6. A place without a path is none.
type spot [2]place

func family(six bool) int {
	if six {
		return 1
	}
	return 0
}

// families are those that a point speaks.
func (p *Point) families() []bool {
	switch {
	case !p.Addr6.IsValid():
		return []bool{false}
	case !p.Addr.IsValid():
		return []bool{true}
	}
	return []bool{false, true}
}

// lay makes the paths of the lab and finds the places of every point.
func lay(truth *Truth) (paths []*path, spots map[string]spot) {
	type way struct {
		uplink string
		six    bool
	}
	byName := map[way]*path{}
	of := func(uplink string, six bool) *path {
		p := byName[way{uplink, six}]
		if p == nil {
			p = &path{index: len(paths), name: uplink, six: six, addr: truth.Server, waiting: map[hop]int32{}}
			if six {
				p.addr = truth.Server6
			}
			byName[way{uplink, six}] = p
			paths = append(paths, p)
		}
		return p
	}
	for _, n := range truth.NATs {
		p := of(n.Uplink, n.Firewall())
		n.Profile = n.Profile.Complete()
		p.nats = append(p.nats, n)
	}
	for i := range truth.Points {
		for _, six := range truth.Points[i].families() {
			of(truth.Points[i].Uplink, six)
		}
	}
	for _, p := range paths {
		slices.SortStableFunc(p.nats, func(a, b NAT) int { return cmp.Compare(a.Order, b.Order) })
		p.captured = make([]bool, p.server()+1)
		for range len(p.nats) + 1 {
			p.history = append(p.history, map[tuple][]int32{})
		}
	}
	spots = map[string]spot{}
	for i := range truth.Points {
		point := &truth.Points[i]
		var s spot
		for _, six := range point.families() {
			s[family(six)] = of(point.Uplink, six).place(point)
		}
		spots[point.Name] = s
	}
	return paths, spots
}

// place is where a point lies on the path.
func (p *path) place(point *Point) place {
	nat := slices.IndexFunc(p.nats, func(n NAT) bool { return n.Name == point.Host })
	switch {
	case point.Side == "device":
		return place{point, p, 0}
	case point.Side == "server":
		return place{point, p, p.server()}
	case point.Side == "lan" && nat >= 0:
		return place{point, p, 2*nat + 1}
	case point.Side == "wan" && nat >= 0:
		return place{point, p, 2*nat + 2}
	}
	return place{}
}
