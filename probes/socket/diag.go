package socket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"outlive/lab/feature"
	"outlive/lab/netns"
)

// This file speaks NETLINK_SOCK_DIAG (linux/sock_diag.h, linux/inet_diag.h): the
// kernel's own view of its TCP sockets, by look-up, by list, and by events when a
// socket is freed.

const (
	sockDiagByFamily = 20 // SOCK_DIAG_BY_FAMILY

	// The multicast groups 1 and 3, SKNLGRP_INET_TCP_DESTROY and
	// SKNLGRP_INET6_TCP_DESTROY, as bits. A dual-stack listener's IPv4 connections
	// are in the second.
	groupDestroyed = 0b001 | 0b100

	attrInfo     = 2  // INET_DIAG_INFO: struct tcp_info
	attrOnlyIPv6 = 11 // INET_DIAG_SKV6ONLY

	requestLength = 56 // struct inet_diag_req_v2
	messageLength = 72 // struct inet_diag_msg
)

// The kernel's states of a TCP socket, from net/tcp_states.h.
const (
	stateEstablished = 1
	stateSynSent     = 2
	stateSynReceived = 3
	stateFinWait1    = 4
	stateFinWait2    = 5
	stateTimeWait    = 6
	stateClose       = 7
	stateCloseWait   = 8
	stateLastAck     = 9
	stateListen      = 10
	stateClosing     = 11
)

// What a socket waits for, as in struct inet_diag_msg.
const (
	timerNone       = 0
	timerRetransmit = 1
	timerKeepalive  = 2 // or, before and after the connection, others
	timerZeroWindow = 4
)

// tuple is the two ends of a socket as its host sees them.
type tuple struct {
	local, remote netip.AddrPort
}

// info is what the kernel tells of one socket.
type info struct {
	tuple
	state  uint8
	timer  uint8
	cookie uint64
	// expires is how long it is to the timer, to the kernel's tick. Zero can also
	// mean that it is overdue: long timers are imprecise by an eighth.
	expires time.Duration
	// repeats is how often what the timer is for was repeated without an answer.
	// In a destroy event it is the larger of retransmissions and probes, if the
	// event is detailed.
	repeats  uint8
	detailed bool
	// inode is the number of the program's file; zero if no program holds the
	// socket (not accepted yet, or closed).
	inode uint32
	// onlyIPv6 says that a listener takes no IPv4.
	onlyIPv6 bool
}

// diag is a connection to the kernel's socket diagnostics in one namespace.
type diag struct {
	conn *netlink.Conn
}

// openDiag opens one, for look-ups, or for events if groups are given.
func openDiag(ns *netns.NS, groups uint32) (*diag, error) {
	conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, &netlink.Config{NetNS: ns.FD(), Groups: groups})
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil, unsupported("CONFIG_INET_DIAG", err)
	}
	if err != nil {
		return nil, fmt.Errorf("opening socket diagnostics: %w", err)
	}
	return &diag{conn}, nil
}

func unsupported(option string, err error) error {
	return &feature.Unsupported{
		Feature: "socket diagnostics",
		Needs:   "a kernel built with " + option,
		Remedy:  "load its modules (sudo modprobe tcp_diag), or use the kernel of a general-purpose distribution",
		Err:     err,
	}
}

func (d *diag) close() error { return d.conn.Close() }

// get looks a tuple up as an arriving packet would. It is false if no connection
// has it.
func (d *diag) get(t tuple) (info, bool, error) {
	family := byte(unix.AF_INET6)
	if t.local.Addr().Is4() {
		family = unix.AF_INET
	}
	found, err := d.request(netlink.Request, family, ^uint32(0), t)
	switch {
	case errors.Is(err, unix.ENOENT), err == nil && len(found) == 0:
		return info{}, false, nil
	case err != nil:
		return info{}, false, fmt.Errorf("looking up the socket %s to %s: %w", t.local, t.remote, err)
	}
	// A listener answers for every tuple that no connection has.
	if found[0].state == stateListen {
		return info{}, false, nil
	}
	return found[0], true, nil
}

// list gives all sockets in the given states, one bit each. A local port that is
// not zero restricts it to that port.
func (d *diag) list(states uint32, port uint16) ([]info, error) {
	var all []info
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		found, err := d.request(netlink.Request|netlink.Dump, family, states, tuple{local: netip.AddrPortFrom(netip.Addr{}, port)})
		if errors.Is(err, unix.ENOENT) {
			// No handler for the family (IPv6), or none for TCP at all.
			if family == unix.AF_INET {
				return nil, unsupported("CONFIG_INET_TCP_DIAG", err)
			}
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("listing sockets: %w", err)
		}
		all = append(all, found...)
	}
	return all, nil
}

func (d *diag) request(flags netlink.HeaderFlags, family byte, states uint32, t tuple) ([]info, error) {
	messages, err := d.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: sockDiagByFamily, Flags: flags},
		Data:   encodeRequest(family, states, t),
	})
	if err != nil {
		return nil, err
	}
	return decodeAll(messages), nil
}

// destroyed waits for events and gives what the kernel says of the sockets that it
// has freed. unix.ENOBUFS means that some were lost; the next call goes on.
func (d *diag) destroyed() ([]info, error) {
	messages, err := d.conn.Receive()
	if err != nil {
		return nil, err
	}
	return decodeAll(messages), nil
}

func encodeRequest(family byte, states uint32, t tuple) []byte {
	b := make([]byte, requestLength)
	b[0], b[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(b[4:], states)
	binary.BigEndian.PutUint16(b[8:], t.local.Port())
	binary.BigEndian.PutUint16(b[10:], t.remote.Port())
	copy(b[12:], t.local.Addr().AsSlice())
	copy(b[28:], t.remote.Addr().AsSlice())
	// INET_DIAG_NOCOOKIE: any socket will do.
	copy(b[48:], []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	return b
}

func decodeAll(messages []netlink.Message) []info {
	var all []info
	for _, m := range messages {
		if i, ok := decode(m.Data); ok && m.Header.Type == sockDiagByFamily {
			all = append(all, i)
		}
	}
	return all
}

// decode reads a struct inet_diag_msg and its attributes. It is false for what is
// too short or not of TCP over IP.
func decode(b []byte) (info, bool) {
	if len(b) < messageLength {
		return info{}, false
	}
	var addr func(b []byte) netip.Addr
	switch b[0] {
	case unix.AF_INET:
		addr = func(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b)) }
	case unix.AF_INET6:
		addr = func(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b)).Unmap() }
	default:
		return info{}, false
	}
	i := info{
		tuple: tuple{
			local:  netip.AddrPortFrom(addr(b[8:24]), binary.BigEndian.Uint16(b[4:])),
			remote: netip.AddrPortFrom(addr(b[24:40]), binary.BigEndian.Uint16(b[6:])),
		},
		state:   b[1],
		timer:   b[2],
		repeats: b[3],
		cookie:  uint64(binary.NativeEndian.Uint32(b[44:])) | uint64(binary.NativeEndian.Uint32(b[48:]))<<32,
		expires: time.Duration(binary.NativeEndian.Uint32(b[52:])) * time.Millisecond,
		inode:   binary.NativeEndian.Uint32(b[68:]),
	}
	attributes, err := netlink.NewAttributeDecoder(b[messageLength:])
	if err != nil {
		return i, true
	}
	for attributes.Next() {
		switch value := attributes.Bytes(); attributes.Type() {
		case attrInfo:
			// struct tcp_info begins with state, congestion state, retransmits, probes.
			if len(value) >= 4 {
				i.repeats, i.detailed = max(value[2], value[3]), true
			}
		case attrOnlyIPv6:
			i.onlyIPv6 = len(value) > 0 && value[0] != 0
		}
	}
	return i, true
}
