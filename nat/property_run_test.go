package nat_test

import (
	"container/heap"
	"net/netip"
	"time"

	"outlive/nat/model"
)

// event is a step as it happened.
type event struct {
	step   step
	packet model.Packet
	// within is when the NAT had the packet.
	within model.Window
	// seen is what left the NAT until the next step.
	seen []sighting
}

// sighting is a packet that arrived at one side.
type sighting struct {
	side   model.Side
	packet model.Packet
}

// trace is a sequence as it happened.
type trace []event

// run is a sequence that is being played.
type run struct {
	group group
	steps []step
	trace trace
	due   time.Time
	ends  map[endKey]*end
	// outside is the outside endpoint that a remote host last saw of an inside one,
	// and anywhere the one that any of them did.
	outside  map[flowKey]netip.AddrPort
	anywhere map[endpointKey]netip.AddrPort
	pool     []netip.Addr
	// keeps says that the NAT keeps inside ports.
	keeps bool
	// disturbed says that another sequence's packets came in between, by a port that
	// the NAT drew.
	disturbed bool
	// took are the groups whose own port the NAT drew for this one.
	took []group
}

type endpointKey struct {
	protocol model.Protocol
	inside   netip.AddrPort
}

type flowKey struct {
	endpointKey
	remote netip.AddrPort
}

type endKey struct {
	flowKey
	side model.Side
}

// end is what one end of a TCP connection knows: its next number, what it has
// received, and the last packet that it sent.
type end struct {
	next, received uint32
	last           model.Packet
	sent           bool
}

func newRun(g group, s sequence, pool []netip.Addr, keeps bool) *run {
	return &run{
		group: g, steps: s.steps, pool: pool, keeps: keeps,
		ends: map[endKey]*end{}, outside: map[flowKey]netip.AddrPort{}, anywhere: map[endpointKey]netip.AddrPort{},
	}
}

// key is the flow of a step. A hairpinned one is to the other inside host.
func (r *run) key(s step) flowKey {
	k := flowKey{endpointKey{s.protocol, r.group.inside(s)}, r.group.remote(s)}
	if s.hairpin {
		other := s
		other.host = 1 - s.host
		k.remote = r.group.inside(other)
	}
	return k
}

func (r *run) end(k flowKey, side model.Side) *end {
	e := r.ends[endKey{k, side}]
	if e == nil {
		e = &end{next: 1_000_000 + 100_000*uint32(len(r.ends))}
		r.ends[endKey{k, side}] = e
	}
	return e
}

// packet makes the packet of a step, with what its sender can know.
func (r *run) packet(s step) model.Packet {
	k := r.key(s)
	p := model.Packet{Protocol: s.protocol, From: k.inside, To: k.remote}
	if s.hairpin {
		var ok bool
		if p.To, ok = r.anywhere[endpointKey{s.protocol, k.remote}]; !ok {
			p.To = netip.AddrPortFrom(r.pool[0], nobodys)
		}
	}
	if s.side == model.WAN {
		to, ok := r.outside[k]
		if !ok {
			to = r.mapped(k.endpointKey)
		}
		p.From, p.To = k.remote, to
	}
	if s.protocol == model.UDP {
		p.Length = 10
		return p
	}
	e, other := r.end(k, s.side), r.end(k, 1-s.side)
	if s.act == doRepeat && e.sent {
		p.Flags, p.Seq, p.Ack, p.Window, p.Length = e.last.Flags, e.last.Seq, e.last.Ack, e.last.Window, e.last.Length
		return p
	}
	p.Seq, p.Flags, p.Window = e.next, model.ACK, 64000
	switch s.act {
	case doSYN:
		p.Flags = model.SYN
	case doSYNACK:
		p.Flags = model.SYN | model.ACK
	case doData:
		p.Flags, p.Length = model.ACK|model.PSH, 10
	case doFIN:
		p.Flags = model.FIN | model.ACK
	case doRST:
		p.Flags = model.RST
	case doProbe:
		p.Seq--
	case doProbeByte:
		p.Seq--
		p.Length = 1
	case doZero:
		p.Window = 0
	case doOdd:
		p.Flags = model.SYN | model.FIN
	}
	if p.Flags&model.ACK != 0 {
		if p.Ack = e.received; p.Ack == 0 {
			p.Ack = other.next
		}
	}
	e.last, e.sent = p, true
	if s.act != doOdd {
		e.next = after(e.next, p)
	}
	return p
}

// nobodys is a port that belongs to no mapping.
const nobodys = 9

// mapped is where a remote host would send to for an inside endpoint that another
// has heard of, or nobody.
func (r *run) mapped(k endpointKey) netip.AddrPort {
	if e, ok := r.anywhere[k]; ok {
		return e
	}
	if !r.keeps {
		return netip.AddrPortFrom(r.pool[0], nobodys)
	}
	return netip.AddrPortFrom(r.pool[0], k.inside.Port())
}

// after is the number that follows a packet, where that is further on.
func after(next uint32, p model.Packet) uint32 {
	end := p.Seq + uint32(p.Length)
	if p.Flags&(model.SYN|model.FIN) != 0 {
		end++
	}
	if int32(end-next) > 0 {
		return end
	}
	return next
}

// saw takes in what arrived after the last event.
func (r *run) saw(side model.Side, p model.Packet) {
	last := &r.trace[len(r.trace)-1]
	last.seen = append(last.seen, sighting{side, p})
	s := last.step
	k := r.key(s)
	if side == model.WAN && r.keeps {
		if g := groupOfPort(p.From.Port()); g != r.group {
			r.took = append(r.took, g)
		}
	}
	if p.Protocol != s.protocol || p.Seq != last.packet.Seq || p.Flags != last.packet.Flags {
		return
	}
	// It is the packet itself, not an answer of the NAT.
	if s.side == model.LAN {
		r.anywhere[k.endpointKey] = p.From
		if side == model.WAN {
			r.outside[k] = p.From
		}
	}
	if p.Protocol == model.TCP {
		to := r.end(k, 1-s.side)
		if p.Flags&model.SYN != 0 || to.received == 0 {
			to.received = p.Seq
		}
		to.received = after(to.received, p)
	}
}

// queue is a heap of runs, the one that is due first on top.
type queue []*run

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(r any)        { *q = append(*q, r.(*run)) }
func (q *queue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}

// batch is how many packets are sent before a barrier: few, so that each is at the
// NAT in a short time that is known.
const batch = 8

// play plays runs through a NAT, all at once, each beginning at some time in the
// first stretch. Their traces are complete when it returns.
func (w *wire) play(runs []*run, spread time.Duration) error {
	byGroup := make(map[group]*run, len(runs))
	q := make(queue, 0, len(runs))
	begin := time.Now()
	for i, r := range runs {
		byGroup[r.group] = r
		r.due = begin.Add(spread * time.Duration(i) / time.Duration(len(runs)))
		if len(r.steps) > 0 {
			q = append(q, r)
		}
	}
	heap.Init(&q)
	got := func(side model.Side, p model.Packet) {
		to := byGroup[groupOf(p.To.Addr())]
		if from := byGroup[groupOf(p.From.Addr())]; from != nil && to != nil && from != to {
			from.disturbed, to.disturbed = true, true
			return
		}
		if to != nil && len(to.trace) > 0 {
			to.saw(side, p)
		}
	}
	tick := jiffy()
	for len(q) > 0 {
		time.Sleep(time.Until(q[0].due))
		var sent []*run
		for len(q) > 0 && len(sent) < batch && !q[0].due.After(time.Now()) {
			r := heap.Pop(&q).(*run)
			s := r.steps[len(r.trace)]
			e := event{step: s, packet: r.packet(s)}
			e.within.From = clock() - tick
			r.trace = append(r.trace, e)
			if err := w.send(s.side, e.packet); err != nil {
				return err
			}
			sent = append(sent, r)
		}
		if err := w.barrier(got); err != nil {
			return err
		}
		over := clock() + tick
		for _, r := range sent {
			for _, g := range r.took {
				if other := byGroup[g]; other != nil {
					other.disturbed = true
				}
			}
			r.trace[len(r.trace)-1].within.To = over
			if n := len(r.trace); n < len(r.steps) {
				r.due = time.Now().Add(r.steps[n].gap)
				heap.Push(&q, r)
			}
		}
	}
	return nil
}
