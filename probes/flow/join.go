package flow

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"outlive/lab/units"
)

// sender is who sent a packet: the client, the server, or NAT k of the path as senderNAT+k.
type sender uint8

const (
	senderClient sender = iota
	senderServer
	senderNAT
)

func senderOf(d direction) sender { return sender(d) }

// How long a packet may be under way between two points, on a link and within a
// NAT: beyond it, the same numbers are another packet.
const (
	maxOnLink = units.Seconds(10 * time.Second)
	maxInNAT  = units.Seconds(time.Second)
)

// connection is a connection while it is put together.
type connection struct {
	index  int32
	path   *path
	device string
	isn    uint32
	client netip.AddrPort
	// tuples are the client's ends by level, as first seen there: those by which the
	// NATs and the server know the connection.
	tuples []tuple
	// seen are its observations in order of time.
	seen []int32
	// ends are what each end said, by direction.
	ends [2]spoken
	// synAcked is when the server's SYN reached the client, opened when the client acknowledged it.
	synAcked bool
	opened   *units.Seconds
	// messages are those that the decoder found, in the order in which they were sent.
	decoder  decoder
	messages []message
	broken   error // what the decoder could not read
}

// joiner ties observations to packets and packets to connections.
type joiner struct {
	*reading
	paths    []*path
	protocol string
	finder   *pushFinder
	devices  map[netip.Addr]string
	conns    []*connection
	// byISN finds the connection of a SYN that was not seen on its way before.
	byISN map[uint32][]int32
	// strays are packets that belong to no known connection; skipped those that
	// were not seen at a point that they must have passed. The first of each is told.
	strays, skipped          int
	firstStray, firstSkipped string
	end                      units.Seconds
	// serverBreaks are the instants from which the server was gone.
	serverBreaks []Break
}

func join(in *reading, truth *Truth, paths []*path, finder *pushFinder) *joiner {
	j := &joiner{
		reading: in, paths: paths, protocol: truth.Protocol, finder: finder,
		devices: map[netip.Addr]string{}, byISN: map[uint32][]int32{}, end: truth.End,
	}
	for _, d := range truth.Devices {
		for _, addrs := range []map[string]netip.Addr{d.Addrs, d.Addrs6} {
			for _, a := range addrs {
				j.devices[a] = d.Name
			}
		}
	}
	for _, b := range truth.Breaks {
		if b.Host == serverHost(truth) {
			j.serverBreaks = append(j.serverBreaks, b)
		}
	}
	for i := range j.seen {
		j.observe(int32(i))
	}
	if j.strays > 0 {
		j.problem("%d packets belong to no connection whose beginning was captured, first %s", j.strays, j.firstStray)
	}
	if j.skipped > 0 {
		j.problem("the capture has lost packets: %d were not seen at a point that they passed, first %s", j.skipped, j.firstSkipped)
	}
	for _, c := range j.conns {
		j.check(c)
	}
	return j
}

// observe takes in the next observation.
func (j *joiner) observe(i int32) {
	o := &j.seen[i]
	p := j.paths[o.path]
	here := level(int(o.position))
	from := p.before(int(o.position), o.d)
	if from >= 0 {
		o.prev = j.match(p, o, from)
	}
	if o.d == toServer && here == len(p.nats) {
		p.left = o.at
	}
	if o.prev >= 0 {
		prev := &j.seen[o.prev]
		prev.next = i
		o.conn, o.sender, o.kind, o.off = prev.conn, prev.sender, prev.kind, prev.off
	} else {
		j.begin(p, o, from)
	}
	if to := p.next(int(o.position), o.d); to >= 0 {
		key := j.key(p, o, int(o.position), to)
		if w, ok := p.waiting[key]; ok {
			o.older = w
		}
		p.waiting[key] = i
	}
	if o.conn < 0 {
		if o.at <= j.end {
			j.strays++
			if j.strays == 1 {
				j.firstStray = j.describe(o)
			}
		}
		return
	}
	c := j.conns[o.conn]
	if o.d == toServer && o.sender == senderClient {
		if o.flags&flagSYN != 0 || !slices.Contains(p.history[here][o.tuple], o.conn) {
			p.bind(here, o.tuple, o.conn)
		}
		if c.tuples[here] == 0 {
			c.tuples[here] = o.tuple
		}
	}
	o.foreign = c.tuples[here] != 0 && c.tuples[here] != o.tuple
	c.seen = append(c.seen, i)
	if o.prev < 0 && o.sender < senderNAT {
		j.leaves(c, i)
	}
	if int(o.position) == p.target(o.d) && !o.foreign {
		j.arrives(c, i)
	}
}

func (j *joiner) key(p *path, o *observation, at, to int) hop {
	k := hop{seq: o.seq, ack: o.ack, ts: o.ts, length: o.length, id: o.id, position: uint8(at), d: o.d, flags: o.flags}
	if p.six || level(at) == level(to) {
		k.tuple = o.tuple
	}
	return k
}

// match finds the observation of the same packet at the position before, -1 if
// there is none. Of several with the same numbers it is the latest: the others were lost.
func (j *joiner) match(p *path, o *observation, from int) int32 {
	k := j.key(p, o, from, int(o.position))
	first, ok := p.waiting[k]
	if !ok {
		return -1
	}
	longest := maxOnLink
	if level(from) != level(int(o.position)) {
		longest = maxInNAT
	}
	best, newer, newerOfBest := int32(-1), int32(-1), int32(-1)
	for w := first; w >= 0; newer, w = w, j.seen[w].older {
		if o.at-j.seen[w].at > longest {
			break
		}
		fits := j.fits(p, &j.seen[w], o)
		if best < 0 || fits {
			best, newerOfBest = w, newer
		}
		if fits {
			break
		}
	}
	if best < 0 {
		// All that wait are too old to be this one.
		delete(p.waiting, k)
		return -1
	}
	older := j.seen[best].older
	switch {
	case newerOfBest >= 0:
		j.seen[newerOfBest].older = older
	case older >= 0:
		p.waiting[k] = older
	default:
		delete(p.waiting, k)
	}
	return best
}

// fits says that the tuple of an observation is the one that the connection of
// another has here, so that the two are more likely the same packet than any that only share their numbers.
func (j *joiner) fits(p *path, w, o *observation) bool {
	return w.conn >= 0 && p.owner(level(int(o.position)), o.tuple) == w.conn
}

// begin finds out whose packet it is that was not seen before.
func (j *joiner) begin(p *path, o *observation, from int) {
	here := level(int(o.position))
	o.sender = senderOf(o.d)
	if from >= 0 {
		// It came out of a host without having gone in. A NAT resets for itself; all else was missed.
		comesOut := (o.d == toServer) == (o.position%2 == 0)
		if comesOut && level(from) != here && o.flags&flagRST != 0 {
			o.sender, o.kind = senderNAT+sender((o.position-1)/2), kindRST
		} else if o.at <= j.end {
			j.skipped++
			if j.skipped == 1 {
				j.firstSkipped = j.describe(o)
			}
		}
	}
	if o.d == toServer && o.flags&(flagSYN|flagACK|flagRST) == flagSYN {
		o.conn = j.opens(p, o, from >= 0)
	} else {
		o.conn = j.ownerOf(p, o)
	}
}

// ownerOf is the connection that a packet belongs to by its tuple, -1 if none. Where
// a port has been used again, a late packet of the connection before is known by its numbers.
func (j *joiner) ownerOf(p *path, o *observation) int32 {
	all := p.history[level(int(o.position))][o.tuple]
	if len(all) == 0 {
		return -1
	}
	for i := len(all) - 1; i >= 0; i-- {
		if j.conns[all[i]].plausible(o) {
			return all[i]
		}
	}
	return all[len(all)-1]
}

// plausible says whether a packet's numbers can be those of the connection.
func (c *connection) plausible(o *observation) bool {
	// Wider than any window of a lab, and narrow enough that numbers of another
	// connection hardly ever fall into it.
	const near = 1 << 24
	s, other := &c.ends[o.d].seq, &c.ends[o.d.back()].seq
	within := func(s *sequence, n uint32) bool {
		away := s.offset(n) - s.high
		return away > -near && away < near
	}
	if o.flags&flagACK != 0 && other.known && !within(other, o.ack) {
		return false
	}
	if s.known {
		return within(s, o.seq)
	}
	// Before the server has said its number it can only answer the SYN.
	return o.flags&flagACK != 0 && o.ack == c.isn+1
}

// opens is the connection that a SYN begins.
func (j *joiner) opens(p *path, o *observation, underWay bool) int32 {
	here := level(int(o.position))
	for _, i := range slices.Backward(p.history[here][o.tuple]) {
		if j.conns[i].isn == o.seq {
			return i
		}
	}
	if underWay {
		all := j.byISN[o.seq]
		for i := len(all) - 1; i >= 0; i-- {
			c := j.conns[all[i]]
			if c.path == p && c.tuples[here] == 0 {
				return c.index
			}
		}
	}
	c := &connection{
		index: int32(len(j.conns)), path: p, isn: o.seq, client: j.addrs.end(o.tuple),
		tuples: make([]tuple, len(p.nats)+1),
	}
	c.device = j.devices[c.client.Addr()]
	c.decoder = newDecoder(j.protocol)
	for d := range c.ends {
		d := direction(d)
		c.ends[d].leaving.read = func(b []byte) { j.decode(c, d, b) }
	}
	if _, unknown := c.decoder.(undecoded); unknown {
		looked := &raw{f: j.finder, c: c}
		c.ends[toClient].leaving.read = looked.add
	}
	j.conns = append(j.conns, c)
	j.byISN[o.seq] = append(j.byISN[o.seq], c.index)
	return c.index
}

func (j *joiner) decode(c *connection, d direction, b []byte) {
	if c.broken != nil {
		return
	}
	c.broken = c.decoder.decode(d, b, func(m message) {
		j.finder.message(c, m)
		m.body = nil
		c.messages = append(c.messages, m)
	})
}

// leaves takes in a packet at the interface of the end that sent it.
func (j *joiner) leaves(c *connection, i int32) {
	o := &j.seen[i]
	e := &c.ends[o.d]
	if o.flags&flagSYN != 0 && (!e.seq.known || o.d == toClient && c.opened == nil) {
		e.seq.start(o.seq)
	}
	o.off = e.seq.offset(o.seq)
	if o.flags&flagSYN != 0 {
		// Data in a SYN comes after it.
		o.off = 0
	}
	o.kind = e.classify(o)
	if o.kind == kindRST {
		return
	}
	e.leaving.put(j.piece(o), o.at, i)
	if o.d == toServer && c.synAcked && c.opened == nil && o.flags&(flagACK|flagSYN) == flagACK {
		at := o.at
		c.opened = &at
	}
}

// arrives takes in a packet at the interface of the end that it was sent to.
func (j *joiner) arrives(c *connection, i int32) {
	o := &j.seen[i]
	if o.sender >= senderNAT {
		// Only resets: their place in the stream is needed to know whether they are heeded.
		o.off = c.ends[o.d].seq.offset(o.seq)
		return
	}
	if o.kind == kindRST {
		return
	}
	if o.flags&flagSYN != 0 && o.d == toClient && o.flags&flagACK != 0 {
		c.synAcked = true
	}
	c.ends[o.d].arrived.put(j.piece(o), o.at, i)
	if other := &c.ends[o.d.back()]; o.flags&flagACK != 0 && other.seq.known {
		if acked := other.seq.offset(o.ack); acked > other.acked && acked <= other.sent {
			other.acked = acked
			other.acks = append(other.acks, step{acked, o.at, i})
		}
	}
}

func (j *joiner) piece(o *observation) piece {
	p := piece{off: o.off, length: int64(o.length), bytes: o.payload}
	if o.flags&flagFIN != 0 {
		p.length++
	}
	return p
}

func (j *joiner) describe(o *observation) string {
	return fmt.Sprintf("packet %d at %s", o.number, j.points[o.point])
}

// check looks for what the capture has not got of a connection.
func (j *joiner) check(c *connection) {
	for d := range c.ends {
		s := &c.ends[d].leaving
		if len(s.early) > 0 || s.overrun {
			j.problem("the capture has not got all that the %s sent on the connection from %s", direction(d).sender(), c.client)
		}
	}
	if c.broken != nil {
		j.problem("the connection from %s does not speak %s: %v", c.client, j.protocol, c.broken)
	}
	if at := j.seen[c.seen[0]].at; at < -together {
		j.problem("the connection from %s began %v before the scenario: the capture is of another run", c.client, round(-at))
	}
	if c.device == "" {
		j.problem("the connection from %s belongs to no device", c.client)
	}
}
