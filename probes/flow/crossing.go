package flow

import (
	"cmp"
	"slices"

	"outlive/lab/units"
)

// crossing is a packet that a NAT let through, or took in and lost on a dead cable.
type crossing struct {
	at units.Seconds // in at the one side
	in int32         // the observation there
	d  direction
}

// crossings are the packets of the connection that NAT k let through by the
// mapping that the server knows, in order of time.
func (j *joiner) crossings(c *connection, k int) []crossing {
	var all []crossing
	until := j.succeeded(c, k)
	for _, i := range c.seen {
		o := &j.seen[i]
		if o.prev < 0 || o.at >= until {
			continue
		}
		in := &j.seen[o.prev]
		low, high := in.position, o.position
		if o.d == toClient {
			low, high = high, low
		}
		if int(low) <= 2*k+1 && int(high) >= 2*k+2 && !o.foreign && !in.foreign {
			all = append(all, crossing{in.at, o.prev, o.d})
		}
	}
	slices.SortStableFunc(all, func(a, b crossing) int { return cmp.Compare(a.at, b.at) })
	return all
}

// swallowed are the packets of the connection that the last NAT took in from the
// device's side when the cable behind it was dead, in order of time: they came out nowhere, and
// refreshed its mapping all the same if it had one.
func (j *joiner) swallowed(c *connection, k int) []crossing {
	if k < len(c.path.nats)-1 {
		return nil
	}
	dead, until := j.deadEnd(c.path), j.succeeded(c, k)
	var all []crossing
	for _, i := range c.seen {
		o := &j.seen[i]
		if o.at >= dead && o.at < until && o.d == toServer && int(o.position) == 2*k+1 && o.next < 0 && o.sender == senderClient && !o.foreign {
			all = append(all, crossing{o.at, i, toServer})
		}
	}
	return all
}

// deadEnd is from when on nothing left the last NAT of a path towards the server,
// because its cable was dead; never if there was no such time.
func (j *joiner) deadEnd(p *path) units.Seconds {
	from := never
	for _, b := range j.serverBreaks {
		from = min(from, b.At)
	}
	// A break is dated to the moment before it, and takes one itself.
	if from == never || p.left > from+newsLag {
		return never
	}
	return max(from, p.left)
}

// succeeded is when another connection took over the tuple by which NAT k knew
// this one, never if none did: what passes from then on does so by its mapping.
func (j *joiner) succeeded(c *connection, k int) units.Seconds {
	owners := c.path.history[k][c.tuples[k]]
	for i, owner := range owners {
		if j.conns[owner] == c && i+1 < len(owners) {
			return j.seen[j.conns[owners[i+1]].seen[0]].at
		}
	}
	return never
}
