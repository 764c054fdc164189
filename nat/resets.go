package nat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"outlive/lab/netns"
)

// resets hears of every TCP reset that comes to a NAT. A reset that conntrack does
// not trust changes no state, and so there is no event of it, but it leaves the mapping
// with the timeout of a closed connection.
type resets struct {
	file *os.File // a packet socket
	raw  syscall.RawConn
}

// reset is one of them: its ends, as it came in, or that some were lost.
type reset struct {
	from, to netip.AddrPort
	lost     bool
}

// onlyResets keeps the first bytes of unfragmented TCP segments with RST, from the
// IP header on, in the language of linux/filter.h.
var onlyResets = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 9}, // protocol
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_TCP, Jf: 6},
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 6}, // fragment offset
	{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 0x1fff, Jt: 4},
	{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_IND, K: 13}, // flags
	{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 4, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: resetLength},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
}

// onlyResets6 is the same for IPv6, where TCP comes right behind the header.
var onlyResets6 = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 6}, // next header
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_TCP, Jf: 3},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: ipv6Header + 13}, // flags
	{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 4, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: resetLength},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
}

const (
	// resetLength is the longest IP header and the ports.
	resetLength = 64
	ipv6Header  = 40
)

// openResets hears of those over IPv4, or over IPv6.
func openResets(ns *netns.NS, six bool) (*resets, error) {
	filter, family := onlyResets, uint16(unix.ETH_P_IP)
	if six {
		filter, family = onlyResets6, unix.ETH_P_IPV6
	}
	fd := -1
	err := ns.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("opening a packet socket for resets: %w", err)
	}
	r := &resets{file: os.NewFile(uintptr(fd), "packet socket for resets")}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program)
	if err == nil {
		// Of all interfaces what comes in. It was opened for no protocol, so that
		// nothing comes before the filter.
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, family))})
	}
	if err == nil {
		r.raw, err = r.file.SyscallConn()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("setting up a packet socket for resets: %w", err), r.file.Close())
	}
	return r, nil
}

// next waits for a reset. It ends with os.ErrClosed when the socket is closed.
func (r *resets) next() (reset, error) {
	var b [resetLength]byte
	var n int
	var lost bool
	var failed error
	err := r.raw.Read(func(fd uintptr) bool {
		n, _, failed = unix.Recvfrom(int(fd), b[:], 0)
		if errors.Is(failed, unix.EAGAIN) || errors.Is(failed, unix.EINTR) {
			return false
		}
		if failed == nil {
			var stats *unix.TpacketStats
			stats, failed = unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
			lost = failed == nil && stats.Drops > 0
		}
		return true
	})
	if err = errors.Join(err, failed); err != nil {
		return reset{}, err
	}
	from, to, ok := endsOf(b[:n])
	if !ok {
		return reset{lost: lost}, nil
	}
	return reset{from: from, to: to, lost: lost}, nil
}

// endsOf reads the ends of a TCP segment, from its IP header on.
func endsOf(b []byte) (from, to netip.AddrPort, ok bool) {
	if len(b) == 0 {
		return from, to, false
	}
	header, addrs, size := int(b[0]&0x0f)*4, 12, 4
	if b[0]>>4 == 6 {
		header, addrs, size = ipv6Header, 8, 16
	}
	if len(b) < header+4 || header < 20 {
		return from, to, false
	}
	end := func(n int) netip.AddrPort {
		addr, _ := netip.AddrFromSlice(b[addrs+n*size:][:size])
		return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b[header+2*n:]))
	}
	return end(0), end(1), true
}

func (r *resets) close() error { return r.file.Close() }

// concerns says whether the reset may have come to a mapping.
func (r reset) concerns(m Mapping) bool {
	return m.Protocol == "tcp" &&
		(r.lost || r.from == m.LAN && r.to == m.Remote || r.from == m.Remote && r.to == m.WAN)
}
