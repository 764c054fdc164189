package nat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/netfilter"
	"golang.org/x/sys/unix"

	"outlive/lab/netns"
)

// The messages and attributes of linux/netfilter/nf_tables.h that are used.
const (
	nftNewSetElem = 12
	nftGetSetElem = 13
	nftDelSetElem = 14

	nftaElemListTable    = 1
	nftaElemListSet      = 2
	nftaElemListElements = 3

	nftaListElem = 1

	nftaElemKey        = 1
	nftaElemExpiration = 5

	nftaDataValue = 1
)

// elements is a way to ask the kernel for single elements of the ruleset's maps,
// and to delete them. It is safe for concurrent use.
type elements struct {
	mu  sync.Mutex
	fd  int
	seq uint32
	// buffer is for answers, which are some 200 bytes.
	buffer [8192]byte
}

func openElements(ns *netns.NS) (*elements, error) {
	e := &elements{fd: -1}
	err := ns.Do(func() (err error) {
		e.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("opening a socket to nf_tables: %w", err)
	}
	// The kernel answers before the request returns.
	limit := unix.NsecToTimeval(time.Second.Nanoseconds())
	if err := unix.SetsockoptTimeval(e.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return nil, errors.Join(fmt.Errorf("setting up a socket to nf_tables: %w", err), e.Close())
	}
	return e, nil
}

// Close closes the socket; closing twice is no error.
func (e *elements) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fd < 0 {
		return nil
	}
	err := unix.Close(e.fd)
	e.fd = -1
	return err
}

// left gives the time until an element expires. It is not ok if there is none.
func (e *elements) left(set string, key []byte) (left time.Duration, ok bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	answer, err := e.ask(nftGetSetElem, netlink.Request, set, key)
	if errors.Is(err, unix.ENOENT) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("asking for an element of %s: %w", set, err)
	}
	left, err = expirationOf(answer)
	return left, err == nil, err
}

// remove deletes an element; that there is none is no error. Without a key it deletes all.
func (e *elements) remove(set string, key []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, err := e.ask(nftDelSetElem, netlink.Request|netlink.Acknowledge, set, key)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("deleting from %s: %w", set, err)
	}
	return nil
}

// ask sends a request and gives the answer; an error of the kernel is a unix.Errno.
// The caller holds mu. What changes something must be in a batch.
func (e *elements) ask(kind netfilter.MessageType, flags netlink.HeaderFlags, set string, key []byte) (netlink.Message, error) {
	attributes := []netfilter.Attribute{
		{Type: nftaElemListTable, Data: []byte(nftTable + "\x00")},
		{Type: nftaElemListSet, Data: []byte(set + "\x00")},
	}
	if key != nil {
		attributes = append(attributes, netfilter.Attribute{Type: nftaElemListElements, Nested: true, Children: []netfilter.Attribute{
			{Type: nftaListElem, Nested: true, Children: []netfilter.Attribute{
				{Type: nftaElemKey, Nested: true, Children: []netfilter.Attribute{{Type: nftaDataValue, Data: key}}},
			}},
		}})
	}
	request, err := netfilter.MarshalNetlink(netfilter.Header{
		SubsystemID: netfilter.NFSubsysNFTables, MessageType: kind, Family: netfilter.ProtoIPv4, Flags: flags,
	}, attributes)
	if err != nil {
		return netlink.Message{}, err
	}
	e.seq++
	request.Header.Sequence = e.seq
	messages := []netlink.Message{request}
	if kind == nftDelSetElem {
		messages = []netlink.Message{batchEdge(unix.NFNL_MSG_BATCH_BEGIN, e.seq), request, batchEdge(unix.NFNL_MSG_BATCH_END, e.seq)}
	}
	var out []byte
	for _, m := range messages {
		m.Header.Length = uint32(unix.NLMSG_HDRLEN + len(m.Data))
		bytes, err := m.MarshalBinary()
		if err != nil {
			return netlink.Message{}, err
		}
		out = append(out, bytes...)
	}
	if err := unix.Sendto(e.fd, out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return netlink.Message{}, err
	}
	return e.answer(kind)
}

// answer reads until the answer to the last request comes.
func (e *elements) answer(kind netfilter.MessageType) (netlink.Message, error) {
	for {
		n, _, err := unix.Recvfrom(e.fd, e.buffer[:], 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return netlink.Message{}, err
		}
		var m netlink.Message
		if n < unix.NLMSG_HDRLEN {
			return netlink.Message{}, unix.EBADMSG
		}
		length := min(int(binary.NativeEndian.Uint32(e.buffer[:])), n)
		if err := m.UnmarshalBinary(append([]byte(nil), e.buffer[:length]...)); err != nil {
			return netlink.Message{}, err
		}
		if m.Header.Sequence != e.seq {
			// The answer to a request that was given up.
			continue
		}
		if m.Header.Type == netlink.Error {
			if len(m.Data) < 4 {
				return netlink.Message{}, unix.EBADMSG
			}
			if code := int32(binary.NativeEndian.Uint32(m.Data)); code != 0 {
				return netlink.Message{}, unix.Errno(-code)
			}
			if kind == nftGetSetElem {
				// Only asked for where something went wrong.
				continue
			}
		}
		return m, nil
	}
}

// batchEdge begins or ends what nf_tables is to do as one.
func batchEdge(kind uint16, seq uint32) netlink.Message {
	header := []byte{unix.AF_UNSPEC, 0, 0, unix.NFNL_SUBSYS_NFTABLES}
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: netlink.Request, Sequence: seq},
		Data:   header,
	}
}

// expirationOf reads how long the one element of an answer has left.
func expirationOf(m netlink.Message) (left time.Duration, err error) {
	const header = 4 // struct nfgenmsg
	if len(m.Data) < header {
		return 0, fmt.Errorf("reading an element: %w", unix.EBADMSG)
	}
	// nf_tables does not mark what is nested, so the way to it is given here.
	found := false
	var descend func(b []byte, path ...uint16) error
	descend = func(b []byte, path ...uint16) error {
		d, err := netlink.NewAttributeDecoder(b)
		if err != nil {
			return err
		}
		for d.Next() {
			switch value := d.Bytes(); {
			case d.Type() != path[0]:
			case len(path) > 1:
				if err := descend(value, path[1:]...); err != nil {
					return err
				}
			case len(value) == 8:
				left, found = time.Duration(binary.BigEndian.Uint64(value))*time.Millisecond, true
			}
		}
		return d.Err()
	}
	err = descend(m.Data[header:], nftaElemListElements, nftaListElem, nftaElemExpiration)
	switch {
	case err != nil:
		return 0, fmt.Errorf("reading an element: %w", err)
	case !found:
		return 0, errors.New("reading an element: the kernel does not say when it expires")
	}
	return left, nil
}

// keyOf writes endpoints, and addresses where a port is zero, as the key of an element:
// each part takes up four bytes.
func keyOf(protocol string, parts ...netip.AddrPort) []byte {
	var key []byte
	switch protocol {
	case "tcp":
		key = append(key, unix.IPPROTO_TCP, 0, 0, 0)
	case "udp":
		key = append(key, unix.IPPROTO_UDP, 0, 0, 0)
	}
	for _, p := range parts {
		key = append(key, p.Addr().AsSlice()...)
		if p.Port() != 0 {
			key = append(binary.BigEndian.AppendUint16(key, p.Port()), 0, 0)
		}
	}
	return key
}

// farPart is the far end as far as it matters.
func farPart(b Behaviour, remote netip.AddrPort) []netip.AddrPort {
	switch b {
	case AddressDependent:
		return []netip.AddrPort{netip.AddrPortFrom(remote.Addr(), 0)}
	case AddressAndPortDependent:
		return []netip.AddrPort{remote}
	}
	return nil
}

// mappedKey is the key of a mapping in the map of its protocol.
func (n *NAT) mappedKey(m Mapping) []byte {
	return keyOf("", append([]netip.AddrPort{m.LAN}, farPart(n.profile.Mapping, m.Remote)...)...)
}

// leftInGate gives the time until the rules let go of a mapping if no packet refreshes
// it. It is not ok if they have none: then it is late, whatever conntrack has. It
// refreshes nothing. Only for profiles that are Gated.
func (n *NAT) leftInGate(m Mapping) (left time.Duration, ok bool, err error) {
	return n.elements.left(nftMapped+m.Protocol, n.mappedKey(m))
}

// forget deletes a mapping from the rules' maps.
func (n *NAT) forget(m Mapping) error {
	if n.elements == nil {
		return nil
	}
	allowed := append([]netip.AddrPort{m.WAN}, farPart(n.profile.Filtering, m.Remote)...)
	problems := []error{
		n.elements.remove(nftMapped+m.Protocol, n.mappedKey(m)),
		n.elements.remove(nftOwner, keyOf(m.Protocol, m.WAN)),
		n.elements.remove(nftTaken, keyOf(m.Protocol, m.WAN)),
	}
	if n.profile.Gated() && m.Protocol == "tcp" {
		problems = append(problems, n.elements.remove(nftAlive, n.mappedKey(m)))
	}
	if n.profile.Filtering != EndpointIndependent {
		problems = append(problems, n.elements.remove(nftAllowed, keyOf(m.Protocol, allowed...)))
	}
	return errors.Join(problems...)
}

// forgetAll empties the rules' maps.
func (n *NAT) forgetAll() error {
	if n.elements == nil {
		return nil
	}
	sets := []string{nftMapped + "tcp", nftMapped + "udp", nftOwner, nftTaken}
	if n.profile.Gated() {
		sets = append(sets, nftAlive)
	}
	if n.profile.Filtering != EndpointIndependent {
		sets = append(sets, nftAllowed)
	}
	var problems []error
	for _, set := range sets {
		problems = append(problems, n.elements.remove(set, nil))
	}
	return errors.Join(problems...)
}
