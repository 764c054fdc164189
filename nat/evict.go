package nat

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"outlive/lab"
	"outlive/lab/units"
)

// evictor keeps a NAT within its limits by ending the connection that has been idle for
// the longest time (EvictOldest). The kernel makes a new entry first and the evictor
// then makes room, some milliseconds later on a quiet machine. Idle times are known to
// a second, and not always for certain (see idleOf); of those that are equal, the one
// that was made first goes.
type evictor struct {
	nat  *NAT
	conn *netlink.Conn
	// look is a way of its own to the table, because listing takes a while.
	look *table
	// changed wakes it: there may be too many.
	changed chan struct{}
	running sync.WaitGroup

	mu sync.Mutex
	// made counts up the entries as they are made.
	made  map[uint32]int
	count int
	// err is why it ended before it was told to.
	err error
}

// startEvictor makes the NAT's evictor, if its profile has one.
func (n *NAT) startEvictor() error {
	limits := n.profile.Limits
	if n.Firewall() || limits.WhenFull != EvictOldest || limits.Mappings == 0 && limits.Subscriber == 0 {
		return nil
	}
	conn, err := openEvents(n.host.NS)
	if err != nil {
		return err
	}
	look, err := openTable(n.host.NS)
	if err != nil {
		conn.Close()
		return err
	}
	e := &evictor{nat: n, conn: conn, look: look, changed: make(chan struct{}, 1), made: map[uint32]int{}}
	n.evictor = e
	e.running.Go(e.listen)
	e.running.Go(e.run)
	return nil
}

// close ends it and says why it had ended already, if it had.
func (e *evictor) close() error {
	closing := e.conn.Close()
	e.running.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	return errors.Join(closing, e.look.Close(), e.err)
}

func (e *evictor) failed(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.err = errors.Join(e.err, err)
}

// listen wakes it whenever something new is in the table, until the socket is closed.
func (e *evictor) listen() {
	defer close(e.changed)
	for {
		messages, err := e.conn.Receive()
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return
		}
		// Where events were lost, something may be new.
		if e.note(messages) || err != nil {
			select {
			case e.changed <- struct{}{}:
			default:
			}
		}
	}
}

// note takes in events and says whether any tells of a new entry.
func (e *evictor) note(messages []netlink.Message) (made bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, m := range messages {
		var event conntrack.Event
		if event.Unmarshal(m) != nil || event.Flow == nil {
			continue
		}
		switch event.Type {
		case conntrack.EventNew:
			e.count++
			e.made[event.Flow.ID] = e.count
			made = true
		case conntrack.EventDestroy:
			delete(e.made, event.Flow.ID)
		}
	}
	return made
}

// age is the order in which entries were made.
func (e *evictor) age(f conntrack.Flow) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.made[f.ID]
}

func (e *evictor) run() {
	for range e.changed {
		flows, err := e.look.dump()
		if err == nil {
			err = e.evict(flows)
		}
		if err != nil {
			e.failed(err)
			return
		}
	}
}

// evict ends what is too much.
func (e *evictor) evict(flows []conntrack.Flow) error {
	for _, f := range surplus(flows, e.nat.profile, e.age) {
		if _, err := e.nat.evict(f); err != nil {
			return err
		}
		shared := slices.ContainsFunc(flows, func(other conntrack.Flow) bool {
			return other.ID != f.ID && other.TupleOrig.Proto.Protocol == f.TupleOrig.Proto.Protocol && insideOf(other) == insideOf(f)
		})
		if shared && e.nat.profile.Mapping != AddressAndPortDependent {
			continue
		}
		if err := e.nat.forget(endpointsOf(f)); err != nil {
			return err
		}
	}
	return nil
}

func insideOf(f conntrack.Flow) netip.AddrPort {
	return netip.AddrPortFrom(f.TupleOrig.IP.SourceAddress, f.TupleOrig.Proto.SourcePort)
}

// endpointsOf reads the endpoints of any entry, also of the self-check's.
func endpointsOf(f conntrack.Flow) Mapping {
	m := Mapping{
		LAN:      insideOf(f),
		Remote:   netip.AddrPortFrom(f.TupleOrig.IP.DestinationAddress, f.TupleOrig.Proto.DestinationPort),
		WAN:      netip.AddrPortFrom(f.TupleReply.IP.DestinationAddress, f.TupleReply.Proto.DestinationPort),
		Protocol: "tcp",
	}
	if f.TupleOrig.Proto.Protocol == unix.IPPROTO_UDP {
		m.Protocol = "udp"
	}
	return m
}

// counted is an entry with how long it has been idle.
type counted struct {
	flow conntrack.Flow
	idle time.Duration
}

// surplus gives the entries that must go, so that no limit is exceeded. Those of the
// self-check have limits of their own. Connections that are closed do not count. age
// gives the order in which entries were made.
func surplus(flows []conntrack.Flow, p Profile, age func(conntrack.Flow) int) []conntrack.Flow {
	sides := map[bool][]counted{}
	for _, f := range flows {
		if idle, ok := idleOf(f, p.Timeouts); ok {
			probe := lab.ProbeNetwork.Contains(f.TupleOrig.IP.SourceAddress)
			sides[probe] = append(sides[probe], counted{f, idle})
		}
	}
	var gone []conntrack.Flow
	for _, all := range sides {
		slices.SortFunc(all, func(a, b counted) int {
			return cmp.Or(cmp.Compare(b.idle, a.idle), cmp.Compare(age(a.flow), age(b.flow)))
		})
		subscribers := map[netip.Addr]int{}
		for _, c := range all {
			subscribers[c.flow.TupleOrig.IP.SourceAddress]++
		}
		total := len(all)
		for _, c := range all {
			inside := c.flow.TupleOrig.IP.SourceAddress
			full := p.Limits.Mappings > 0 && total > p.Limits.Mappings
			if full || p.Limits.Subscriber > 0 && subscribers[inside] > p.Limits.Subscriber {
				gone = append(gone, c.flow)
				subscribers[inside]--
				total--
			}
		}
	}
	return gone
}

// idleOf gives how long nothing has refreshed an entry. It is not ok for one that does
// not count. The kernel tells what is left of a timeout and not of which one: it is
// taken to be the shortest that it can be, as for data that waits to be acknowledged.
func idleOf(f conntrack.Flow, t Timeouts) (idle time.Duration, ok bool) {
	left := time.Duration(f.Timeout) * time.Second
	var begun []units.Duration
	switch f.TupleOrig.Proto.Protocol {
	case unix.IPPROTO_UDP:
		begun = []units.Duration{t.UDP}
		if f.Status.Assured() {
			begun = []units.Duration{t.UDPStream}
		}
	case unix.IPPROTO_TCP:
		if f.ProtoInfo.TCP == nil || int(f.ProtoInfo.TCP.State) >= len(tcpStates) {
			return 0, false
		}
		state := tcpStates[f.ProtoInfo.TCP.State]
		if state == "TIME_WAIT" || state == "CLOSE" {
			return 0, false
		}
		begun = []units.Duration{t.ofState(state), t.TCPUnacknowledged, t.TCPMaxRetrans}
	default:
		return 0, false
	}
	idle = max(begun[0].D()-left, 0)
	for _, timeout := range begun {
		if since := timeout.D() - left; since >= 0 {
			idle = min(idle, since)
		}
	}
	return idle, true
}
