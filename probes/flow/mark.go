package flow

import (
	"fmt"
	"slices"

	"outlive/lab/units"
)

// mark is an observation as others see it. It has the protocol's word if the packet is the first with a message.
func (j *joiner) mark(i int32, words map[int32][]string) Mark {
	o := &j.seen[i]
	m := Mark{At: o.at, Packet: int(o.number), Point: j.points[o.point], Kind: o.kind.String(), From: j.senderName(o)}
	if names := words[j.origin(i)]; len(names) > 0 && o.kind == kindData {
		m.Kind = names[0]
	}
	return m
}

// origin is the observation of the same packet where it was first seen.
func (j *joiner) origin(i int32) int32 {
	for j.seen[i].prev >= 0 {
		i = j.seen[i].prev
	}
	return i
}

func (j *joiner) senderName(o *observation) string {
	if o.sender >= senderNAT {
		return "nat:" + j.paths[o.path].nats[o.sender-senderNAT].Name
	}
	return direction(o.sender).sender()
}

// fate is where a packet was seen last if it did not arrive, or that it arrived
// in a form that its receiver has no use for. It is empty if it arrived.
func (w *judge) fate(i int32) string {
	for w.seen[i].next >= 0 {
		i = w.seen[i].next
	}
	o := &w.seen[i]
	p := w.paths[o.path]
	switch {
	case int(o.position) == p.target(o.d) && !o.foreign:
		return ""
	case int(o.position) == p.target(o.d):
		return fmt.Sprintf("reached the server from %s, which it does not know", w.addrs.end(o.tuple))
	}
	k := w.droppedAt(o)
	switch {
	case k >= 0 && k == len(p.nats)-1 && o.d == toServer && o.at >= w.deadEnd(p) && !w.lapsed(k, o.at):
		return "lost behind " + p.nats[k].String() + ", whose cable to the server was dead"
	case k >= 0:
		return "dropped at " + p.nats[k].String()
	}
	return "lost after " + w.points[o.point]
}

// lapsed says that NAT k had no mapping for the connection at an instant.
func (w *judge) lapsed(k int, at units.Seconds) bool {
	return slices.ContainsFunc(w.lapses, func(l lapse) bool { return l.k == k && at >= l.from && at < l.until })
}

// marks are the packets of a connection that a story may need: all but plain
// acknowledgements that arrived. A packet with messages has one for each, by the protocol's word.
func (w *judge) marks(c *connection, words map[int32][]string) []Mark {
	var all []Mark
	for _, i := range c.seen {
		o := &w.seen[i]
		if o.prev >= 0 || o.at > w.end {
			continue
		}
		m := w.mark(i, words)
		m.Fate = w.fate(i)
		if o.kind == kindACK && m.Fate == "" {
			continue
		}
		all = append(all, m)
		for _, name := range words[i] {
			if name != m.Kind {
				m.Kind = name
				all = append(all, m)
			}
		}
	}
	return all
}

// words are the names of the messages that begin in a packet, by its observation
// at its sender's interface.
func (c *connection) words() map[int32][]string {
	all := map[int32][]string{}
	for _, m := range c.messages {
		if s, ok := c.ends[m.d].leaving.grown.reach(m.start); ok && !slices.Contains(all[s.packet], m.name) {
			all[s.packet] = append(all[s.packet], m.name)
		}
	}
	return all
}
