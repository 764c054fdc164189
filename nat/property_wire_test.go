package nat_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"outlive/lab"
	"outlive/nat/model"
)

// wire is both ends of a NAT under test: packet sockets that stand for any number of
// inside hosts and of remote ones, so that nothing is sent but what a sequence says.
//
//	phone ──── cell:lan [NAT] cell:wan ──── server
//	every inside host        every remote host
type wire struct {
	ends [2]*wireEnd // by model.Side
	// answers counts the answers to barriers.
	answers int
}

type wireEnd struct {
	fd             int
	local, gateway net.HardwareAddr
	buffer         []byte
}

// openWire opens both ends. The NAT sends everything for its LAN to the phone.
func openWire(topology *lab.Topology) (*wire, error) {
	lan, wan := topology.Interface("phone:cell"), topology.Interface("server:cell")
	w := &wire{}
	for side, i := range []*lab.Interface{model.LAN: lan, model.WAN: wan} {
		e, err := openEnd(i)
		if err != nil {
			w.close()
			return nil, fmt.Errorf("opening the %s side: %w", model.Side(side), err)
		}
		w.ends[side] = e
	}
	router := lan.Peer
	for _, half := range []string{"10.64.0.0/17", "10.64.128.0/17"} {
		_, network, err := net.ParseCIDR(half)
		if err != nil {
			return nil, err
		}
		route := &netlink.Route{LinkIndex: router.Index, Dst: network, Gw: lan.Addr.Addr().AsSlice(), Flags: int(netlink.FLAG_ONLINK)}
		if err := router.Host.NS.Netlink().RouteAdd(route); err != nil {
			w.close()
			return nil, fmt.Errorf("adding a route to %s: %w", half, err)
		}
	}
	return w, nil
}

func openEnd(i *lab.Interface) (*wireEnd, error) {
	e := &wireEnd{local: i.MAC, gateway: i.Peer.MAC, buffer: make([]byte, 2048)}
	err := i.Host.NS.Do(func() (err error) {
		e.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	const all = unix.ETH_P_ALL << 8
	err = errors.Join(
		unix.SetsockoptInt(e.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptInt(e.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20),
		unix.Bind(e.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: i.Index}),
	)
	if err != nil {
		_ = unix.Close(e.fd)
		return nil, err
	}
	return e, nil
}

func (w *wire) close() {
	for _, e := range w.ends {
		if e != nil {
			_ = unix.Close(e.fd)
		}
	}
}

// clock is the kernel's time in steps of its timer interrupt, by which it measures
// every idle timeout. A machine that is late for an interrupt is late for both.
func clock() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &t); err != nil {
		panic(err)
	}
	return time.Duration(t.Nano())
}

// jiffy is the step of that clock.
func jiffy() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &t); err != nil {
		panic(err)
	}
	return time.Duration(t.Nano())
}

// send puts a packet on the wire.
func (w *wire) send(side model.Side, p model.Packet) error {
	e := w.ends[side]
	if _, err := unix.Write(e.fd, e.frame(p)); err != nil {
		return fmt.Errorf("sending %s from the %s side: %w", p, side, err)
	}
	return nil
}

// barrier waits until everything that was sent has been dealt with, and gives what
// arrived to got. It asks the NAT for its hardware address: the question takes its
// turn behind the packets before it, and the answer behind what they led to. No rule
// sees it and no mapping comes of it.
func (w *wire) barrier(got func(model.Side, model.Packet)) error {
	e := w.ends[model.LAN]
	before := w.answers
	if _, err := unix.Write(e.fd, e.question()); err != nil {
		return fmt.Errorf("asking for the NAT's hardware address: %w", err)
	}
	for limit := time.Now().Add(5 * time.Second); ; {
		if err := w.receive(model.LAN, got); err != nil {
			return err
		}
		if w.answers > before {
			return w.receive(model.WAN, got)
		}
		if time.Now().After(limit) {
			return errors.New("the NAT did not say its hardware address")
		}
		fds := []unix.PollFd{{Fd: int32(e.fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, 1000); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (w *wire) receive(side model.Side, got func(model.Side, model.Packet)) error {
	e := w.ends[side]
	for {
		n, _, err := unix.Recvfrom(e.fd, e.buffer, 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("receiving at the %s side: %w", side, err)
		}
		frame := e.buffer[:n]
		if n >= 42 && binary.BigEndian.Uint16(frame[12:]) == unix.ETH_P_ARP && binary.BigEndian.Uint16(frame[20:]) == 2 {
			w.answers++
			continue
		}
		if p, ok := parse(frame); ok {
			got(side, p)
		}
	}
}

// question asks for the hardware address of the NAT's LAN side (RFC 826).
func (e *wireEnd) question() []byte {
	f := append(make([]byte, 0, 42), e.gateway...)
	f = append(f, e.local...)
	f = append(f, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1)
	f = append(f, e.local...)
	f = append(f, 10, 64, 0, 2)
	f = append(f, 0, 0, 0, 0, 0, 0)
	return append(f, 10, 64, 0, 1)
}

// frame builds a packet: Ethernet, IPv4 without options, and TCP without options or UDP.
func (e *wireEnd) frame(p model.Packet) []byte {
	head := 20
	protocol := byte(unix.IPPROTO_TCP)
	if p.Protocol == model.UDP {
		head, protocol = 8, unix.IPPROTO_UDP
	}
	f := make([]byte, 14+20+head+p.Length)
	copy(f, e.gateway)
	copy(f[6:], e.local)
	binary.BigEndian.PutUint16(f[12:], unix.ETH_P_IP)
	ip, from, to := f[14:34], p.From.Addr().As4(), p.To.Addr().As4()
	ip[0], ip[6], ip[8], ip[9] = 0x45, 0x40, 64, protocol
	binary.BigEndian.PutUint16(ip[2:], uint16(20+head+p.Length))
	copy(ip[12:], from[:])
	copy(ip[16:], to[:])
	binary.BigEndian.PutUint16(ip[10:], checksum(ip, 0))

	t := f[34:]
	binary.BigEndian.PutUint16(t, p.From.Port())
	binary.BigEndian.PutUint16(t[2:], p.To.Port())
	sum := 6
	if p.Protocol == model.UDP {
		binary.BigEndian.PutUint16(t[4:], uint16(len(t)))
	} else {
		binary.BigEndian.PutUint32(t[4:], p.Seq)
		binary.BigEndian.PutUint32(t[8:], p.Ack)
		t[12], t[13] = 5<<4, byte(p.Flags)
		binary.BigEndian.PutUint16(t[14:], p.Window)
		sum = 16
	}
	binary.BigEndian.PutUint16(t[sum:], checksum(t, pseudo(ip, len(t))))
	return f
}

// pseudo is the sum of the addresses, the protocol and the length (RFC 9293 §3.1).
func pseudo(ip []byte, length int) uint32 {
	sum := uint32(ip[9]) + uint32(length)
	for i := 12; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	return sum
}

// checksum is that of the Internet (RFC 1071).
func checksum(b []byte, sum uint32) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// parse reads a frame; it is not ok if that is neither TCP nor UDP over IPv4.
func parse(f []byte) (p model.Packet, ok bool) {
	if len(f) < 14+20+8 || binary.BigEndian.Uint16(f[12:]) != unix.ETH_P_IP || f[14] != 0x45 {
		return p, false
	}
	ip, t := f[14:34], f[34:14+int(binary.BigEndian.Uint16(f[16:]))]
	p.From = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[12:16])), binary.BigEndian.Uint16(t))
	p.To = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[16:20])), binary.BigEndian.Uint16(t[2:]))
	switch ip[9] {
	case unix.IPPROTO_UDP:
		p.Protocol, p.Length = model.UDP, len(t)-8
	case unix.IPPROTO_TCP:
		p.Seq, p.Ack = binary.BigEndian.Uint32(t[4:]), binary.BigEndian.Uint32(t[8:])
		p.Flags, p.Window, p.Length = model.Flags(t[13]), binary.BigEndian.Uint16(t[14:]), len(t)-int(t[12]>>4)*4
	default:
		return p, false
	}
	return p, true
}

// nextCPU spreads those that stay on one processor over all of them.
var nextCPU atomic.Uint32

// onOneCPU runs f on a thread that stays on one processor. A packet is carried
// through the NAT by the processor that sent it, in the order of sending, so that a
// barrier holds for what was sent before it.
func onOneCPU(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	skip := int(nextCPU.Add(1)) % before.Count()
	for cpu := range len(before) * 64 {
		if !before.IsSet(cpu) {
			continue
		}
		if skip--; skip < 0 {
			one.Set(cpu)
			break
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return err
	}
	err := f()
	return errors.Join(err, unix.SchedSetaffinity(0, &before))
}
