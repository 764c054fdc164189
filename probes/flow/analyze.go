package flow

import (
	"cmp"
	"errors"
	"io"
	"slices"

	"outlive/lab/units"
)

// Analyze finds out what happened: it reads a pcapng capture of all points of a
// lab (packets in order of time, interfaces named as the points) and holds it against
// the truth. It reads r to its end.
//
// A capture that is not complete gives an Analysis as far as it goes, with
// Problems. The error is for what cannot be analysed at all: no pcapng, or a truth
// without a server. About 1 KiB of memory is needed for each packet and point at most.
func Analyze(r io.Reader, truth Truth) (*Analysis, error) {
	if !truth.Server.IsValid() && !truth.Server6.IsValid() {
		return nil, errors.New("analysing a capture: the truth does not say where the server is")
	}
	paths, places := lay(&truth)
	in, err := read(r, &truth, places)
	if err != nil {
		return nil, err
	}
	finder := newPushFinder(truth.Pushes)
	j := join(in, &truth, paths, finder)
	lives, sockets := j.lives(&truth), j.sockets(&truth)
	a := &Analysis{Packets: in.packets, Captured: in.captured}
	open := map[*connection]units.Seconds{}
	order := j.order()
	for _, c := range order {
		w := j.judge(c, &truth, lives[c], sockets[c])
		a.Connections = append(a.Connections, w.connection())
		open[c] = w.ended(toServer)
		a.Heartbeats = append(a.Heartbeats, j.heartbeats(c, int(c.index))...)
		w.crossCheck()
		j.outlived(c, &truth)
	}
	slices.SortStableFunc(a.Heartbeats, func(x, y Heartbeat) int { return cmp.Compare(x.Sent, y.Sent) })
	a.Pushes = j.pushes(finder, func(c *connection) units.Seconds { return open[c] })
	a.Problems = j.problems
	return a, nil
}

// order are the connections that began before the end, numbered by their first packet.
func (j *joiner) order() []*connection {
	all := slices.DeleteFunc(slices.Clone(j.conns), func(c *connection) bool { return j.seen[c.seen[0]].at > j.end })
	slices.SortStableFunc(all, func(a, b *connection) int { return cmp.Compare(a.seen[0], b.seen[0]) })
	for i, c := range all {
		c.index = int32(i)
	}
	return all
}

// connection is the connection as others see it.
func (w *judge) connection() Connection {
	c, words := w.c, w.c.words()
	x := Connection{
		Device: c.device, Uplink: c.path.name, Client: c.client, ISN: c.isn,
		SYN: w.seen[c.seen[0]].at, Server: c.path.addr, Marks: w.marks(c, words),
		Refused: w.refused(),
	}
	for _, t := range c.tuples[1:] {
		if t == 0 || c.path.six {
			break
		}
		x.Mapped = append(x.Mapped, w.addrs.end(t))
	}
	for _, i := range c.seen {
		if w.seen[i].at <= w.end {
			x.Packets++
		}
	}
	if c.opened == nil || *c.opened > w.end {
		return x
	}
	x.Opened, x.Ready = c.opened, w.ready(c)
	over := never
	if d := w.death(); d != nil && d.from <= w.end {
		x.Died, x.Cause, x.CauseKind = &d.from, d.cause(), d.kind()
		x.ClientSide, x.ServerSide = w.learnt(toServer, d.from), w.learnt(toClient, d.from)
		over = max(w.left(toServer), w.left(toClient))
	} else if x.Closed = w.closing(); x.Closed != nil {
		over = x.Closed.At
	}
	for _, l := range w.lapses {
		if l.from >= over {
			continue
		}
		if l.from > w.lost(toClient) && len(l.doubts) > 0 {
			// Cables may be dead, and what a NAT takes in then refreshes its mapping without
			// coming out of it. The kernel's word is all there is, and nothing hangs on it.
			l.doubts, l.refresh, l.runs = nil, -1, timer{}
		}
		x.Lapses = append(x.Lapses, w.lapse(&l, words))
		w.problems = append(w.problems, l.doubts...)
	}
	return x
}

// left is when a side had left the connection, its program or its kernel, never if it did not.
func (w *judge) left(side direction) units.Seconds {
	return min(w.lost(side), w.ended(side))
}

func (w *judge) lapse(l *lapse, words map[int32][]string) Lapse {
	x := Lapse{From: l.from, NAT: w.c.path.nats[l.k].Name, Cause: l.cause, Timeout: l.runs.d, Timer: l.runs.name}
	if l.until <= w.end {
		x.Until = &l.until
	}
	if l.refresh >= 0 {
		x.Refresh = w.mark(l.refresh, words)
	}
	return x
}

// ready is when pushes could be sent on a connection, nil if never.
func (j *joiner) ready(c *connection) *units.Seconds {
	if _, unknown := c.decoder.(undecoded); unknown {
		return c.opened
	}
	for _, m := range c.messages {
		if m.role != roleReady {
			continue
		}
		if s, ok := c.ends[m.d].arrived.grown.reach(m.end - 1); ok && s.at <= j.end {
			return &s.at
		}
		return nil
	}
	return nil
}

// crossCheck holds what NATs did against what is known of their mappings: a packet
// that is dropped, or reset, while there is a mapping means that the evidence is not complete.
func (w *judge) crossCheck() {
	if w.c.opened == nil {
		return
	}
	// What is under way when the captures stop is seen at some points only.
	over := min(w.left(toServer), w.left(toClient), w.end-together)
	for _, i := range w.c.seen {
		o := &w.seen[i]
		if o.at >= over {
			return
		}
		k, what := w.droppedAt(o), "dropped"
		if o.prev < 0 && o.sender >= senderNAT {
			k, what = int(o.sender-senderNAT), "reset"
		}
		if k < 0 || o.foreign || o.at < *w.c.opened || w.excused(k, o.at) {
			continue
		}
		n := w.c.path.nats[k]
		w.problem("%s %s the connection from %s (%s) although nothing says that its %s was gone", n, what, w.c.client, w.describe(o), n.Memory())
		return
	}
}

// excused says that a NAT had no mapping at an instant, as far as news of it can be on time.
func (w *judge) excused(k int, at units.Seconds) bool {
	return slices.ContainsFunc(w.lapses, func(l lapse) bool {
		return l.k == k && at >= l.from-newsLag && (l.until == never || at <= l.until+jiffies)
	})
}
