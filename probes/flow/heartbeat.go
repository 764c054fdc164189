package flow

import (
	"cmp"
	"slices"
	"sort"

	"outlive/lab/units"
)

// beat is one heartbeat of a connection.
type beat struct {
	from       direction
	name       string
	sent       units.Seconds
	packet     int32
	answered   bool
	answer     units.Seconds
	ping, pong message
	hasPong    bool
}

// beats are the heartbeats of a connection in order of their sending. Answers
// belong to the oldest heartbeat with their key that has none.
func (j *joiner) beats(c *connection) []beat {
	type unanswered struct {
		from direction
		key  string
	}
	var all []beat
	waiting := map[unanswered][]int{}
	for _, m := range c.messages {
		switch m.role {
		case rolePing:
			if s, ok := c.ends[m.d].leaving.grown.reach(m.start); ok {
				k := unanswered{m.d, m.key}
				waiting[k] = append(waiting[k], len(all))
				all = append(all, beat{from: m.d, name: m.name, sent: s.at, packet: s.packet, ping: m})
			}
		case rolePong:
			k := unanswered{m.d.back(), m.key}
			if len(waiting[k]) == 0 {
				continue
			}
			b := &all[waiting[k][0]]
			waiting[k] = waiting[k][1:]
			b.pong, b.hasPong = m, true
			if s, ok := c.ends[m.d].arrived.grown.reach(m.end - 1); ok {
				b.answered, b.answer = true, s.at
			}
		}
	}
	slices.SortStableFunc(all, func(a, b beat) int { return cmp.Compare(a.sent, b.sent) })
	return all
}

// heartbeats are those of a connection up to the end, as others see them.
func (j *joiner) heartbeats(c *connection, index int) []Heartbeat {
	beats := j.beats(c)
	bytes := j.weigh(c, beats)
	var all []Heartbeat
	for i, b := range beats {
		if b.sent > j.end {
			continue
		}
		h := Heartbeat{Connection: index, From: b.from.sender(), Sent: b.sent, Bytes: bytes[i], Packet: j.number(b.packet)}
		if b.answered && b.answer <= j.end {
			h.Answered = &b.answer
		}
		all = append(all, h)
	}
	return all
}

// weigh adds up the IP bytes of each heartbeat at the device's interface.
func (j *joiner) weigh(c *connection, beats []beat) []int {
	type part struct {
		start, end int64
		beat       int
	}
	var parts [2][]part
	for i, b := range beats {
		parts[b.from] = append(parts[b.from], part{b.ping.start, b.ping.end, i})
		if b.hasPong {
			parts[b.pong.d] = append(parts[b.pong.d], part{b.pong.start, b.pong.end, i})
		}
	}
	for d := range parts {
		slices.SortFunc(parts[d], func(a, b part) int { return cmp.Compare(a.start, b.start) })
	}
	bytes := make([]int, len(beats))
	if len(beats) == 0 {
		return bytes
	}
	for _, i := range c.seen {
		o := &j.seen[i]
		if int(o.position) != c.path.first || o.at > j.end || o.sender >= senderNAT {
			continue
		}
		if o.length == 0 {
			// An acknowledgement by itself: of whose bytes?
			if s := &c.ends[o.d.back()].seq; o.kind == kindACK && s.known {
				acked, all := s.offset(o.ack), parts[o.d.back()]
				if n := sort.Search(len(all), func(n int) bool { return all[n].end >= acked }); n < len(all) && all[n].end == acked {
					bytes[all[n].beat] += int(o.ipLength)
				}
			}
			continue
		}
		all := parts[o.d]
		n := sort.Search(len(all), func(n int) bool { return all[n].end > o.off })
		if n < len(all) && all[n].start < o.off+int64(o.length) {
			bytes[all[n].beat] += int(o.ipLength)
		}
	}
	return bytes
}
