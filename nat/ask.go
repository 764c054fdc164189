package nat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
	"github.com/ti-mo/netfilter"
	"golang.org/x/sys/unix"

	"outlive/lab/netns"
)

// asker sends requests about one entry each and takes the one answer to each. It
// is a socket of our own because the answer to a look-up is marked as the first
// of several, and mdlayher/netlink 1.11 then waits for a last one that the kernel
// never sends; and because a deletion must name the entry's number, which
// ti-mo/conntrack 0.6 leaves out.
type asker struct {
	mu  sync.Mutex
	fd  int
	seq uint32
	// buffer is for answers, which are some 300 bytes.
	buffer [4096]byte
}

// The messages and attributes of linux/netfilter/nfnetlink_conntrack.h that are used.
const (
	ctGet    = 1
	ctDelete = 2

	ctaTupleOrig = 1
	ctaID        = 12

	ctaTupleIP    = 1
	ctaTupleProto = 2

	ctaIPv4Src = 1
	ctaIPv4Dst = 2
	ctaIPv6Src = 3
	ctaIPv6Dst = 4

	ctaProtoNum     = 1
	ctaProtoSrcPort = 2
	ctaProtoDstPort = 3
)

func openAsker(ns *netns.NS) (*asker, error) {
	a := &asker{fd: -1}
	err := ns.Do(func() (err error) {
		a.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		return err
	})
	if err != nil {
		return nil, err
	}
	// The kernel answers before the request returns; the limit is for a kernel
	// that does not answer at all.
	limit := unix.NsecToTimeval(time.Second.Nanoseconds())
	if err := unix.SetsockoptTimeval(a.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// Close closes the socket; closing twice is no error.
func (a *asker) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fd < 0 {
		return nil
	}
	err := unix.Close(a.fd)
	a.fd = -1
	return err
}

// get asks for one entry by its original tuple. It evicts the entry if it has
// expired, and does not refresh it.
func (a *asker) get(t conntrack.Tuple) (conntrack.Flow, bool, error) {
	answer, err := a.ask(ctGet, 0, t, nil)
	switch {
	case errors.Is(err, unix.ENOENT):
		return conntrack.Flow{}, false, nil
	case err != nil:
		return conntrack.Flow{}, false, fmt.Errorf("looking up a mapping: %w", err)
	}
	// An answer looks like an event that tells of a change.
	var e conntrack.Event
	if err := e.Unmarshal(answer); err != nil {
		return conntrack.Flow{}, false, fmt.Errorf("looking up a mapping: %w", err)
	}
	return *e.Flow, true, nil
}

// remove deletes exactly this entry, not a later one of the same tuple. It is no
// error if it has gone meanwhile.
func (a *asker) remove(f conntrack.Flow) (bool, error) {
	id := netfilter.Attribute{Type: ctaID}
	id.PutUint32(f.ID)
	_, err := a.ask(ctDelete, netlink.Acknowledge, f.TupleOrig, &id)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("deleting a mapping: %w", err)
	}
	return true, nil
}

// ask sends a request and gives the answer; an error of the kernel is a unix.Errno.
func (a *asker) ask(kind netfilter.MessageType, flags netlink.HeaderFlags, t conntrack.Tuple, more *netfilter.Attribute) (netlink.Message, error) {
	family := netfilter.ProtoIPv4
	if t.IP.IsIPv6() {
		family = netfilter.ProtoIPv6
	}
	attributes := []netfilter.Attribute{tupleAttribute(t)}
	if more != nil {
		attributes = append(attributes, *more)
	}
	request, err := netfilter.MarshalNetlink(netfilter.Header{
		SubsystemID: netfilter.NFSubsysCTNetlink, MessageType: kind,
		Family: family, Flags: netlink.Request | flags,
	}, attributes)
	if err != nil {
		return netlink.Message{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seq++
	request.Header.Sequence = a.seq
	request.Header.Length = uint32(unix.NLMSG_HDRLEN + len(request.Data))
	bytes, err := request.MarshalBinary()
	if err != nil {
		return netlink.Message{}, err
	}
	if err := unix.Sendto(a.fd, bytes, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return netlink.Message{}, err
	}
	for {
		n, _, err := unix.Recvfrom(a.fd, a.buffer[:], 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return netlink.Message{}, err
		}
		var answer netlink.Message
		if err := answer.UnmarshalBinary(append([]byte(nil), a.buffer[:n]...)); err != nil {
			return netlink.Message{}, err
		}
		if answer.Header.Sequence != a.seq {
			// The answer to a request that was given up.
			continue
		}
		if answer.Header.Type == netlink.Error {
			if len(answer.Data) < 4 {
				return netlink.Message{}, unix.EBADMSG
			}
			if code := int32(binary.NativeEndian.Uint32(answer.Data)); code != 0 {
				return netlink.Message{}, unix.Errno(-code)
			}
		}
		return answer, nil
	}
}

func tupleAttribute(t conntrack.Tuple) netfilter.Attribute {
	src, dst := uint16(ctaIPv4Src), uint16(ctaIPv4Dst)
	if t.IP.IsIPv6() {
		src, dst = ctaIPv6Src, ctaIPv6Dst
	}
	address := func(kind uint16, a netip.Addr) netfilter.Attribute {
		return netfilter.Attribute{Type: kind, Data: a.AsSlice()}
	}
	port := func(kind, n uint16) netfilter.Attribute {
		a := netfilter.Attribute{Type: kind}
		a.PutUint16(n)
		return a
	}
	return netfilter.Attribute{Type: ctaTupleOrig, Nested: true, Children: []netfilter.Attribute{
		{Type: ctaTupleIP, Nested: true, Children: []netfilter.Attribute{
			address(src, t.IP.SourceAddress), address(dst, t.IP.DestinationAddress),
		}},
		{Type: ctaTupleProto, Nested: true, Children: []netfilter.Attribute{
			{Type: ctaProtoNum, Data: []byte{t.Proto.Protocol}},
			port(ctaProtoSrcPort, t.Proto.SourcePort), port(ctaProtoDstPort, t.Proto.DestinationPort),
		}},
	}}
}
