package nat

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
	"github.com/ti-mo/netfilter"
	"golang.org/x/sys/unix"

	"outlive/lab"
	"outlive/lab/feature"
	"outlive/lab/netns"
	"outlive/lab/units"
)

// Mappings gives the entries of the table that translate a scenario's TCP and UDP
// connections. Those of the self-check and of bystanders are left out, as are expired ones.
func (n *NAT) Mappings() ([]Mapping, error) {
	flows, err := n.table.dump()
	if err != nil {
		return nil, fmt.Errorf("listing the mappings of NAT %s: %w", n.host.Name, err)
	}
	var mappings []Mapping
	for _, f := range flows {
		m, ok := mappingOf(f)
		if !ok {
			continue
		}
		if n.gated() {
			left, kept, err := n.leftInGate(m)
			if err != nil {
				return nil, fmt.Errorf("listing the mappings of NAT %s: %w", n.host.Name, err)
			}
			if !kept {
				continue
			}
			m.Left = min(m.Left, units.Seconds(left.Truncate(time.Second)))
		}
		mappings = append(mappings, m)
	}
	return mappings, nil
}

// gated says that the rules let go of a mapping when they choose, whatever conntrack has.
func (n *NAT) gated() bool { return n.elements != nil && n.profile.Gated() }

// Flush deletes every entry of the table, those of the self-check too, as a
// restart of the NAT does.
func (n *NAT) Flush() error {
	n.touch()
	defer n.touch()
	if err := n.table.conn.Flush(); err != nil {
		return fmt.Errorf("flushing the mappings of NAT %s: %w", n.host.Name, err)
	}
	// Last, because a packet of an entry that is still there would bring back what the rules have of it.
	return n.shutAll()
}

// Expire deletes the mappings for which match holds and says how many it deleted.
// It sees the mappings that Mappings gives. To both sides the effect is that of an expiry.
func (n *NAT) Expire(match func(Mapping) bool) (int, error) {
	n.touch()
	defer n.touch()
	flows, err := n.table.dump()
	if err != nil {
		return 0, fmt.Errorf("listing the mappings of NAT %s: %w", n.host.Name, err)
	}
	deleted := 0
	for _, f := range flows {
		m, ok := mappingOf(f)
		if !ok || !match(m) {
			continue
		}
		gone, err := n.table.remove(f)
		if err != nil {
			return deleted, fmt.Errorf("deleting mapping %s of NAT %s: %w", m.WAN, n.host.Name, err)
		}
		if gone {
			deleted++
		}
		if err := n.shut(m); err != nil {
			return deleted, err
		}
	}
	return deleted, nil
}

// Strangers is how many mappings lead to lab.Nowhere: what bystanders have opened and
// this NAT has let them have.
func (n *NAT) Strangers() (int, error) {
	flows, err := n.table.dump()
	if err != nil {
		return 0, fmt.Errorf("counting the mappings of strangers at NAT %s: %w", n.host.Name, err)
	}
	count := 0
	for _, f := range flows {
		if f.TupleOrig.IP.DestinationAddress == lab.Nowhere {
			count++
		}
	}
	return count, nil
}

// evictions are the entries that were deleted to make room for others, by their
// numbers, until somebody asks. The zero value is ready.
type evictions struct {
	mu  sync.Mutex
	ids map[uint32]bool
}

func (e *evictions) add(id uint32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ids == nil {
		e.ids = map[uint32]bool{}
	}
	e.ids[id] = true
}

// take says whether an entry is among them, and forgets it.
func (e *evictions) take(id uint32) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	known := e.ids[id]
	delete(e.ids, id)
	return known
}

// evict deletes an entry to make room for another, of conntrack's table only. It is
// false if it had gone already.
func (n *NAT) evict(f conntrack.Flow) (bool, error) {
	if _, ours := mappingOf(f); ours {
		// First, because the news of its end may be faster than the answer.
		n.evictions.add(f.ID)
	}
	gone, err := n.table.remove(f)
	if err != nil || !gone {
		n.evictions.take(f.ID)
	}
	return gone, err
}

// touch notes that the lab is deleting mappings: before, so that no one takes a
// mapping that is about to go for a stable one, and after.
func (n *NAT) touch() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.touches++
	n.touched = time.Now()
}

// touchCount changes whenever the lab deletes mappings.
func (n *NAT) touchCount() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.touches
}

func (n *NAT) touchedAfter(t time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.touched.After(t)
}

// table is a way to ask the conntrack of one namespace.
type table struct {
	*asker
	conn *conntrack.Conn
}

func openTable(ns *netns.NS) (*table, error) {
	t := &table{}
	err := ns.Do(func() (err error) {
		t.conn, err = conntrack.Dial(nil)
		return err
	})
	if err != nil {
		return nil, noConntrack(err)
	}
	if t.asker, err = openAsker(ns); err != nil {
		t.conn.Close()
		return nil, noConntrack(err)
	}
	// Any request makes the kernel load what it needs; this one finds nothing.
	nothing := conntrack.NewFlow(unix.IPPROTO_TCP, 0, netip.IPv4Unspecified(), netip.IPv4Unspecified(), 1, 1, 0, 0)
	if _, _, err := t.get(nothing.TupleOrig); err != nil {
		t.Close()
		return nil, noConntrack(err)
	}
	return t, nil
}

// Close closes both sockets.
func (t *table) Close() error { return errors.Join(t.conn.Close(), t.asker.Close()) }

func (t *table) dump() ([]conntrack.Flow, error) { return t.conn.Dump(nil) }

// openEvents opens a socket that receives every change of the namespace's table.
func openEvents(ns *netns.NS) (*netlink.Conn, error) {
	var conn *netlink.Conn
	err := ns.Do(func() (err error) {
		conn, err = netlink.Dial(unix.NETLINK_NETFILTER, nil)
		return err
	})
	if err != nil {
		return nil, noConntrack(err)
	}
	// As large as the machine allows: where it allows less, events may be lost
	// and are then made good by a dump.
	if err := conn.SetReadBuffer(8 << 20); err != nil {
		conn.Close()
		return nil, fmt.Errorf("enlarging the buffer for mapping events: %w", err)
	}
	for _, group := range []netfilter.NetlinkGroup{netfilter.GroupCTNew, netfilter.GroupCTUpdate, netfilter.GroupCTDestroy} {
		if err := conn.JoinGroup(uint32(group)); err != nil {
			conn.Close()
			return nil, fmt.Errorf("subscribing to mapping events: %w", err)
		}
	}
	return conn, nil
}

func noConntrack(err error) error {
	return &feature.Unsupported{
		Feature: "connection tracking in a network namespace",
		Needs:   "the kernel's nf_conntrack and nf_conntrack_netlink (CONFIG_NF_CONNTRACK, CONFIG_NF_CT_NETLINK) and CAP_NET_ADMIN in the sandbox",
		Remedy:  "load them: sudo modprobe -a nf_conntrack nf_conntrack_netlink",
		Err:     err,
	}
}

// tcpStates are the kernel's names of its TCP states (enum tcp_conntrack).
var tcpStates = [...]string{
	"NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2",
}

// mappingOf reads an entry as a mapping of the scenario; of IPv6, as the state record of a
// firewall. It is none if it
// translates nothing that it should, is neither TCP nor UDP, or belongs to the self-check or to a bystander.
func mappingOf(f conntrack.Flow) (Mapping, bool) {
	m := Mapping{
		ID:     f.ID,
		LAN:    netip.AddrPortFrom(f.TupleOrig.IP.SourceAddress, f.TupleOrig.Proto.SourcePort),
		Remote: netip.AddrPortFrom(f.TupleOrig.IP.DestinationAddress, f.TupleOrig.Proto.DestinationPort),
		WAN:    netip.AddrPortFrom(f.TupleReply.IP.DestinationAddress, f.TupleReply.Proto.DestinationPort),
		Left:   units.Seconds(time.Duration(f.Timeout) * time.Second),
	}
	switch f.TupleOrig.Proto.Protocol {
	case unix.IPPROTO_TCP:
		m.Protocol = "tcp"
		if f.ProtoInfo.TCP != nil && int(f.ProtoInfo.TCP.State) < len(tcpStates) {
			m.State = tcpStates[f.ProtoInfo.TCP.State]
		}
	case unix.IPPROTO_UDP:
		m.Protocol = "udp"
	default:
		return Mapping{}, false
	}
	if m.LAN.Addr().Is4() && m.LAN.Addr() == m.WAN.Addr() || m.Remote.Addr() == lab.Nowhere ||
		lab.ProbeNetwork.Contains(m.LAN.Addr()) || lab.ProbeNetwork6.Contains(m.LAN.Addr()) || lab.ProbeNetwork6.Contains(m.Remote.Addr()) {
		return Mapping{}, false
	}
	return m, true
}
