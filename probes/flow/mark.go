package flow

import (
	"fmt"
	"slices"
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
func (j *joiner) fate(i int32) string {
	for j.seen[i].next >= 0 {
		i = j.seen[i].next
	}
	o := &j.seen[i]
	p := j.paths[o.path]
	switch {
	case int(o.position) == p.target(o.d) && !o.foreign:
		return ""
	case int(o.position) == p.target(o.d):
		return fmt.Sprintf("reached the server from %s, which it does not know", j.addrs.end(o.tuple))
	}
	if k := j.droppedAt(o); k >= 0 {
		return "dropped at NAT " + p.nats[k].Name
	}
	return "lost after " + j.points[o.point]
}

// marks are the packets of a connection that a story may need: all but plain
// acknowledgements that arrived. A packet with messages has one for each, by the protocol's word.
func (j *joiner) marks(c *connection, words map[int32][]string) []Mark {
	var all []Mark
	for _, i := range c.seen {
		o := &j.seen[i]
		if o.prev >= 0 || o.at > j.end {
			continue
		}
		m := j.mark(i, words)
		m.Fate = j.fate(i)
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
