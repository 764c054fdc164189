package flow

import (
	"bytes"
	"cmp"
	"slices"

	"outlive/lab/units"
)

// delivery is one push as it was sent on one connection.
type delivery struct {
	push       int // index in Truth.Pushes
	c          *connection
	start, end int64 // where it lies in the server's stream
	key        string
	left       step
}

// pushFinder finds the pushes in what the server sends.
type pushFinder struct {
	orders []PushOrder
	// byLength has their indices, the longest identity first: "p12" is not a "p1".
	byLength []int
	found    []delivery
}

func newPushFinder(orders []PushOrder) *pushFinder {
	f := &pushFinder{orders: orders}
	for i, p := range orders {
		if p.ID != "" {
			f.byLength = append(f.byLength, i)
		}
	}
	slices.SortStableFunc(f.byLength, func(a, b int) int { return cmp.Compare(len(orders[b].ID), len(orders[a].ID)) })
	return f
}

// message looks into a decoded push.
func (f *pushFinder) message(c *connection, m message) {
	if m.role != rolePush {
		return
	}
	for _, x := range f.in(c.device, m.body) {
		f.found = append(f.found, delivery{push: x.push, c: c, start: m.start, end: m.end, key: m.key})
	}
}

type hit struct{ push, at int }

// in finds the device's pushes in bytes. Where one identity lies within another, it is the longer one.
func (f *pushFinder) in(device string, b []byte) []hit {
	var hits []hit
	taken := make([][2]int, 0, 4)
	for _, i := range f.byLength {
		if f.orders[i].Device != device {
			continue
		}
		id := []byte(f.orders[i].ID)
		for from := 0; ; {
			n := bytes.Index(b[from:], id)
			if n < 0 {
				break
			}
			start := from + n
			from = start + 1
			free := !slices.ContainsFunc(taken, func(t [2]int) bool { return start < t[1] && start+len(id) > t[0] })
			if free {
				taken = append(taken, [2]int{start, start + len(id)})
				hits = append(hits, hit{i, start})
			}
		}
	}
	slices.SortFunc(hits, func(a, b hit) int { return cmp.Compare(a.at, b.at) })
	return hits
}

// raw looks for pushes in the bytes of a protocol that is not decoded. It is fed
// the server's bytes in order and looks at each once, with enough of those before
// that an identity over two packets is found.
type raw struct {
	f    *pushFinder
	c    *connection
	tail []byte
	at   int64 // offset of tail in the stream
	from int64 // up to where all has been found
	last int   // index of the latest find
}

func (r *raw) add(b []byte) {
	longest := 0
	if len(r.f.byLength) > 0 {
		longest = len(r.f.orders[r.f.byLength[0]].ID)
	}
	r.tail = append(r.tail, b...)
	for _, x := range r.f.in(r.c.device, r.tail) {
		start := r.at + int64(x.at)
		end := start + int64(len(r.f.orders[x.push].ID))
		d := delivery{push: x.push, c: r.c, start: start, end: end}
		switch {
		case start >= r.from:
			r.last = len(r.f.found)
			r.f.found = append(r.f.found, d)
		case r.from > 0 && start == r.f.found[r.last].start && end > r.from:
			// What came last was only the beginning of this one.
			r.f.found[r.last] = d
		default:
			continue
		}
		r.from = end
	}
	if cut := len(r.tail) - longest; cut > 0 {
		r.tail = slices.Clone(r.tail[cut:])
		r.at += int64(cut)
	}
}

// pushes tells the fate of each push. open says until when a connection was open at the device.
func (j *joiner) pushes(f *pushFinder, open func(*connection) units.Seconds) []Push {
	all := make([]Push, len(f.orders))
	for i, o := range f.orders {
		all[i] = Push{PushOrder: o, Connection: -1}
	}
	for i := range f.found {
		d := &f.found[i]
		d.left, _ = d.c.ends[toClient].leaving.grown.reach(d.start)
	}
	slices.SortStableFunc(f.found, func(a, b delivery) int { return cmp.Compare(a.left.at, b.left.at) })
	for _, d := range f.found {
		p := &all[d.push]
		if d.left.at > j.end {
			continue
		}
		p.Connection = int(d.c.index)
		if p.Left == nil {
			p.Left, p.Packet = &d.left.at, j.number(d.left.packet)
		}
		s, ok := d.c.ends[toClient].arrived.grown.reach(d.end - 1)
		if !ok || s.at > j.end || s.at >= open(d.c) {
			continue
		}
		p.Copies++
		if p.Arrived == nil || s.at < *p.Arrived {
			p.Arrived, p.ArrivedPacket = &s.at, j.number(s.packet)
		}
		if at, ok := j.acked(d); ok && at <= j.end && (p.Acked == nil || at < *p.Acked) {
			p.Acked = &at
		}
	}
	return all
}

// acked is when the acknowledgement of a push reached the server.
func (j *joiner) acked(d delivery) (units.Seconds, bool) {
	for _, m := range d.c.messages {
		if m.role != roleAck || m.key != d.key {
			continue
		}
		// A key may have been used before: the acknowledgement of this one left after it did.
		sent, ok := d.c.ends[toServer].leaving.grown.reach(m.start)
		if !ok || sent.at < d.left.at {
			continue
		}
		if s, ok := d.c.ends[toServer].arrived.grown.reach(m.end - 1); ok {
			return s.at, true
		}
		return 0, false
	}
	return 0, false
}
