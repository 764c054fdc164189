package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"outlive/lab/feature"
)

const (
	// blockSize is the size of a ring's block, and with it the limit to a
	// packet's length. Packets of the largest size that IP allows must fit.
	blockSize = 128 << 10
	// maxBlocks is the size of a ring in a small lab: 8 MiB, or 0.3 s of 200-byte
	// packets at 100,000 a second. It is also how often the kernel may hand over
	// a block before the reader must have come: 0.5 s at retireAfter.
	maxBlocks = 64
	// minBlocks is the size of a ring where there are many.
	minBlocks = 4
	// allBlocks limits what all rings of a recorder take together: 256 MiB.
	allBlocks = 2048
	// retireAfter is how long the kernel waits for a block to fill before it hands
	// it over. It delays a packet's delivery, never its stamp.
	retireAfter = 8 * time.Millisecond
)

// blocksFor shares the memory for rings among n points.
func blocksFor(n int) int { return min(max(allBlocks/max(n, 1), minBlocks), maxBlocks) }

// ring is a TPACKET_V3 receive ring: memory into which the kernel writes the
// packets of one interface, in blocks that it and the reader hand to each other.
// It is used by one goroutine.
type ring struct {
	file   *os.File // the socket, in the runtime's poller
	raw    syscall.RawConn
	memory []byte
	blocks int
	next   int // the block that the kernel hands over next

	// counted and dropped are what the kernel has told so far.
	counted, dropped uint64
}

// openRing opens a ring in the namespace of the calling thread and begins to
// receive. It works while the interface is down.
func openRing(name string, blocks int) (*ring, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, explain("opening a packet socket", err)
	}
	g := &ring{file: os.NewFile(uintptr(fd), "packet socket"), blocks: blocks}
	if err := g.setUp(fd, name); err != nil {
		_ = g.close()
		return nil, err
	}
	return g, nil
}

func (g *ring) setUp(fd int, name string) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return explain("asking for packet ring version 3", err)
	}
	request := unix.TpacketReq3{
		Block_size: blockSize, Block_nr: uint32(g.blocks),
		// Version 3 packs packets of any length; these two must only multiply.
		Frame_size: blockSize, Frame_nr: uint32(g.blocks),
		Retire_blk_tov: uint32(retireAfter.Milliseconds()),
	}
	if err := unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &request); err != nil {
		return explain(fmt.Sprintf("asking for a packet ring of %d KiB", g.blocks*blockSize>>10), err)
	}
	var err error
	g.memory, err = unix.Mmap(fd, 0, g.blocks*blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mapping the packet ring: %w", err)
	}
	if g.raw, err = g.file.SyscallConn(); err != nil {
		return err
	}
	if err := g.waitUntil(time.Time{}); err != nil {
		return fmt.Errorf("waiting on the packet socket: %w", err)
	}
	index, err := interfaceIndex(fd, name)
	if err != nil {
		return fmt.Errorf("looking for interface %s: %w", name, err)
	}
	// The socket was opened for no protocol, so that nothing is in the ring
	// that did not pass this interface.
	if err := bindTo(fd, index, unix.ETH_P_ALL); err != nil {
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

// read gives the next block that the kernel has handed over, and false if there is
// none yet. The block is the reader's until release.
func (g *ring) read() (block, bool) {
	b := block(g.memory[g.next*blockSize:][:blockSize:blockSize])
	return b, atomic.LoadUint32(b.status())&unix.TP_STATUS_USER != 0
}

// release gives the block that was read last back to the kernel.
func (g *ring) release(b block) {
	atomic.StoreUint32(b.status(), unix.TP_STATUS_KERNEL)
	g.next = (g.next + 1) % g.blocks
}

// wait returns when the next block may have been handed over, or with
// os.ErrDeadlineExceeded.
func (g *ring) wait() error {
	var failed error
	err := g.raw.Read(func(fd uintptr) bool {
		if _, ready := g.read(); ready {
			return true
		}
		// An interface that goes down leaves ENETDOWN on the socket. It must be
		// taken off, or the poller would report it for ever; packets come again when
		// the interface comes up.
		code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 && code != int(unix.ENETDOWN) {
			err = syscall.Errno(code)
		}
		failed = err
		return err != nil
	})
	return errors.Join(err, failed)
}

// interrupt makes wait return with os.ErrDeadlineExceeded, from whichever
// goroutine, until waitUntil.
func (g *ring) interrupt() {
	// It fails only for a closed ring, on which nobody waits.
	_ = g.file.SetReadDeadline(time.Now())
}

// waitUntil limits how long wait may take.
func (g *ring) waitUntil(t time.Time) error { return g.file.SetReadDeadline(t) }

// detach stops receiving. When it returns, every packet that was stamped is in
// the ring or counted as dropped, and kept says how many the ring held in all.
func (g *ring) detach() (kept uint64, err error) {
	// The kernel takes the protocol 0 for "as before". Rebinding to one that no
	// frame has waits until no processor is still writing to the ring.
	const noProtocol = 0xffff
	err = g.control(func(fd int) error {
		name, err := unix.Getsockname(fd)
		if err != nil {
			return err
		}
		return bindTo(fd, name.(*unix.SockaddrLinklayer).Ifindex, noProtocol)
	})
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
	err := g.control(func(fd int) error {
		stats, err := unix.GetsockoptTpacketStatsV3(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		if err == nil {
			g.counted += uint64(stats.Packets)
			g.dropped += uint64(stats.Drops)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("reading the packet socket's counters: %w", err)
	}
	return nil
}

func (g *ring) control(f func(fd int) error) error {
	var err error
	if rawErr := g.raw.Control(func(fd uintptr) { err = f(int(fd)) }); rawErr != nil {
		return rawErr
	}
	return err
}

func (g *ring) close() error {
	var err error
	if g.memory != nil {
		err = unix.Munmap(g.memory)
		g.memory = nil
	}
	return errors.Join(err, g.file.Close())
}

// block is one block of a ring, as in linux/if_packet.h: struct tpacket_block_desc,
// then packets, each with a struct tpacket3_hdr and a struct sockaddr_ll before it.
type block []byte

// packet is one packet in a block. Its data is only valid until release.
type packet struct {
	stamp  int64 // CLOCK_REALTIME in nanoseconds since 1970
	out    bool
	data   []byte
	length uint32
}

// Offsets in struct tpacket_block_desc.
const (
	blockStatus      = 8
	blockPackets     = 12
	blockFirstPacket = 16
)

func (b block) status() *uint32 { return (*uint32)(unsafe.Pointer(&b[blockStatus])) }

// packets calls f with every packet in the block, in order.
func (b block) packets(f func(packet)) {
	at := binary.NativeEndian.Uint32(b[blockFirstPacket:])
	for range binary.NativeEndian.Uint32(b[blockPackets:]) {
		header := (*unix.Tpacket3Hdr)(unsafe.Pointer(&b[at]))
		link := (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&b[at+unix.SizeofTpacket3Hdr]))
		data := b[at+uint32(header.Mac):]
		f(packet{
			stamp:  int64(header.Sec)*int64(time.Second) + int64(header.Nsec),
			out:    link.Pkttype == unix.PACKET_OUTGOING,
			data:   data[:header.Snaplen:header.Snaplen],
			length: header.Len,
		})
		at += header.Next_offset
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
		u.Needs = "a kernel built with CONFIG_PACKET (TPACKET_V3: Linux 3.2)"
		u.Remedy = "use the kernel of a general-purpose distribution, or load the module: sudo modprobe af_packet"
	default:
		return u.Err
	}
	return u
}
