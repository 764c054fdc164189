package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"outlive/lab/feature"
)

const (
	// slotSize is the memory for one packet with what the kernel says of it, which
	// takes 66 bytes. A packet of the lab's links, whose MTU is 1500, always fits;
	// of a longer one the rest is cut off.
	slotSize = 2 << 10
	// blockSize is how much the kernel must find in one piece.
	blockSize = 128 << 10
	// maxSlots is the size of a ring in a small lab: 16 MiB, or packets of 80 ms at
	// 100,000 a second, of 0.8 s at 10,000.
	maxSlots = 8192
	// minSlots is the size of a ring where there are many: 512 KiB.
	minSlots = 256
	// kindSlots is what the rings of one kind of point, shared or not, have
	// together: 128 MiB, as long as they can have minSlots each.
	kindSlots = 64 << 10
	// memoryShare is the part of the machine's memory that the rings of one kind may
	// take beyond minSlots each. A virtual machine of 512 MiB has 4 MiB for them: to make
	// 64 MiB of rings and to take them down took it a third of a second. Its processor
	// cannot send more than some 10,000 packets a second.
	memoryShare = 128
)

// slotsFor gives the size of the rings of one kind of point where there are n of
// them and so much memory, in whole blocks.
func slotsFor(n int, memory uint64) int {
	const perBlock = blockSize / slotSize
	all := int(min(kindSlots, memory/memoryShare/slotSize))
	return min(max(all/max(n, 1)/perBlock*perBlock, minSlots), maxSlots)
}

// machineMemory is the memory of the machine in bytes; where it cannot be told, as
// much as any ring wants.
func machineMemory() uint64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return math.MaxUint64
	}
	return info.Totalram * uint64(info.Unit)
}

// ring is a TPACKET_V2 receive ring: memory into which the kernel writes the
// packets of one interface, in slots that it and the reader hand to each other. It
// is used by one goroutine.
//
// Version 3 packs packets more tightly, but hands them over by a timer, for ever
// and every few milliseconds, also where no packet comes.
type ring struct {
	socket int
	bell   *bell
	memory []byte
	slots  int
	next   int // the slot that the kernel hands over next

	// counted and dropped are what the kernel has told so far.
	counted, dropped uint64
}

// openRing opens a ring in the namespace of the calling thread and begins to
// receive. It works while the interface is down.
func openRing(name string, slots int) (*ring, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, explain("opening a packet socket", err)
	}
	g := &ring{socket: fd, slots: slots}
	if err := g.setUp(name); err != nil {
		_ = g.close()
		return nil, err
	}
	return g, nil
}

func (g *ring) setUp(name string) error {
	if err := unix.SetsockoptInt(g.socket, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V2); err != nil {
		return explain("asking for packet ring version 2", err)
	}
	size := g.slots * slotSize
	request := unix.TpacketReq{
		Block_size: blockSize, Block_nr: uint32(size / blockSize),
		Frame_size: slotSize, Frame_nr: uint32(g.slots),
	}
	if err := unix.SetsockoptTpacketReq(g.socket, unix.SOL_PACKET, unix.PACKET_RX_RING, &request); err != nil {
		return explain(fmt.Sprintf("asking for a packet ring of %d KiB", size>>10), err)
	}
	var err error
	g.memory, err = unix.Mmap(g.socket, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mapping the packet ring: %w", err)
	}
	if g.bell, err = newBell(g.socket); err != nil {
		return fmt.Errorf("waiting on the packet socket: %w", err)
	}
	index, err := interfaceIndex(g.socket, name)
	if err != nil {
		return fmt.Errorf("looking for interface %s: %w", name, err)
	}
	// The socket was opened for no protocol, so that nothing is in the ring
	// that did not pass this interface.
	if err := bindTo(g.socket, index, unix.ETH_P_ALL); err != nil {
		return fmt.Errorf("binding to interface %s: %w", name, err)
	}
	return nil
}

func interfaceIndex(fd int, name string) (int, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request); err != nil {
		return 0, err
	}
	return int(request.Uint32()), nil
}

func bindTo(fd, index int, protocol uint16) error {
	return unix.Bind(fd, &unix.SockaddrLinklayer{
		Protocol: binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, protocol)),
		Ifindex:  index,
	})
}

// ready is how many packets the kernel has handed over, as far as limit.
func (g *ring) ready(limit int) int {
	n := 0
	for n < min(limit, g.slots) && g.slot(g.next+n).ready() {
		n++
	}
	return n
}

// read gives the next packet, of which ready must have told. It is the reader's
// until release.
func (g *ring) read() packet { return g.slot(g.next).packet() }

// release gives the slot of the packet that was read last back to the kernel.
func (g *ring) release() {
	atomic.StoreUint32(g.slot(g.next).status(), unix.TP_STATUS_KERNEL)
	g.next = (g.next + 1) % g.slots
}

func (g *ring) slot(n int) slot {
	return slot(g.memory[n%g.slots*slotSize:][:slotSize:slotSize])
}

// wait returns when a packet has been handed over, or after interrupt with
// os.ErrDeadlineExceeded.
func (g *ring) wait() error {
	for g.ready(1) == 0 {
		events, err := g.bell.wait()
		if err != nil {
			return err
		}
		if events&unix.EPOLLERR == 0 {
			continue
		}
		// An interface that goes down leaves ENETDOWN on the socket. It must be
		// taken off, or the bell would ring for ever; packets come again when the
		// interface comes up.
		code, err := unix.GetsockoptInt(g.socket, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 && code != int(unix.ENETDOWN) {
			err = syscall.Errno(code)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// detach stops receiving. When it returns, every packet that was stamped is in
// the ring or counted as dropped, and kept says how many the ring held in all.
func (g *ring) detach() (kept uint64, err error) {
	// The kernel takes the protocol 0 for "as before". Rebinding to one that no
	// frame has waits until no processor is still writing to the ring.
	const noProtocol = 0xffff
	name, err := unix.Getsockname(g.socket)
	if err == nil {
		err = bindTo(g.socket, name.(*unix.SockaddrLinklayer).Ifindex, noProtocol)
	}
	if err != nil {
		return 0, fmt.Errorf("taking the packet socket off its interface: %w", err)
	}
	if err := g.count(); err != nil {
		return 0, err
	}
	return g.counted - g.dropped, nil
}

// count adds up what the kernel counted since it was asked last. The kernel's
// number of packets includes the dropped ones.
func (g *ring) count() error {
	stats, err := unix.GetsockoptTpacketStats(g.socket, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return fmt.Errorf("reading the packet socket's counters: %w", err)
	}
	g.counted += uint64(stats.Packets)
	g.dropped += uint64(stats.Drops)
	return nil
}

func (g *ring) close() error {
	var err error
	if g.memory != nil {
		err = unix.Munmap(g.memory)
		g.memory = nil
	}
	if g.bell != nil {
		err = errors.Join(err, g.bell.close())
	}
	return errors.Join(err, unix.Close(g.socket))
}

// slot is the memory of one packet in a ring, as in linux/if_packet.h: a struct
// tpacket2_hdr, a struct sockaddr_ll, and the packet.
type slot []byte

// packet is one packet in a ring. Its data is only valid until release.
type packet struct {
	stamp  int64 // CLOCK_REALTIME in nanoseconds since 1970
	out    bool
	data   []byte
	length uint32
}

func (s slot) header() *unix.Tpacket2Hdr { return (*unix.Tpacket2Hdr)(unsafe.Pointer(&s[0])) }

func (s slot) status() *uint32 { return &s.header().Status }

func (s slot) ready() bool { return atomic.LoadUint32(s.status())&unix.TP_STATUS_USER != 0 }

func (s slot) packet() packet {
	header := s.header()
	link := (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&s[unix.SizeofTpacket2Hdr]))
	return packet{
		stamp:  int64(header.Sec)*int64(time.Second) + int64(header.Nsec),
		out:    link.Pkttype == unix.PACKET_OUTGOING,
		data:   s[header.Mac:][:header.Snaplen:header.Snaplen],
		length: header.Len,
	}
}

// explain says what is missing where the kernel refuses a packet socket or ring.
func explain(doing string, err error) error {
	u := &feature.Unsupported{Feature: "packet capture", Err: fmt.Errorf("%s: %w", doing, err)}
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		u.Needs = "CAP_NET_RAW in the namespace"
		u.Remedy = "run it inside the sandbox, or as root"
	case errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.ENOPROTOOPT), errors.Is(err, unix.EINVAL):
		u.Needs = "a kernel built with CONFIG_PACKET (TPACKET_V2)"
		u.Remedy = "use the kernel of a general-purpose distribution, or load the module: sudo modprobe af_packet"
	default:
		return u.Err
	}
	return u
}
