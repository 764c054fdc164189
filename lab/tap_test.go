package lab

import (
	"context"
	"encoding/hex"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// frame is one packet seen at an interface.
type frame struct {
	at         string // the point
	length     int
	head       string // its first bytes in hex
	to         uint8  // PACKET_HOST, PACKET_OUTGOING, PACKET_OTHERHOST …
	unfinished bool   // its checksum was left to the hardware
}

// tap records what passes interfaces.
type tap struct {
	mu     sync.Mutex
	frames []frame
	seen   chan struct{} // gets a value for a frame, if there is room
}

// listen opens a packet socket on each interface; it sees every packet from then on.
func listen(tb testing.TB, interfaces ...*Interface) *tap {
	tb.Helper()
	t := &tap{seen: make(chan struct{}, 1)}
	for _, i := range interfaces {
		var fd int
		err := i.Host.NS.Do(func() (err error) {
			// Bound at once: a socket for all protocols would first see all interfaces.
			fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
				return err
			}
			return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300 /* ETH_P_ALL, big endian */, Ifindex: i.Index})
		})
		if err != nil {
			tb.Fatal(err)
		}
		file := os.NewFile(uintptr(fd), i.Point)
		tb.Cleanup(func() { file.Close() })
		go t.read(file)
	}
	return t
}

func (t *tap) read(file *os.File) {
	conn, err := file.SyscallConn()
	if err != nil {
		return
	}
	data, control := make([]byte, 1<<16), make([]byte, 256)
	for {
		var n, cn int
		var from unix.Sockaddr
		var err error
		closed := conn.Read(func(fd uintptr) bool {
			n, cn, _, from, err = unix.Recvmsg(int(fd), data, control, unix.MSG_TRUNC)
			return !errors.Is(err, unix.EAGAIN)
		})
		if closed != nil {
			return
		}
		if err != nil {
			continue // such as ENETDOWN: the interface comes back
		}
		f := frame{at: file.Name(), length: n, head: hex.EncodeToString(data[:min(n, 54)])}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok {
			f.to = ll.Pkttype
		}
		messages, _ := unix.ParseSocketControlMessage(control[:cn])
		for _, m := range messages {
			// The first word of struct tpacket_auxdata is its status.
			f.unfinished = f.unfinished || m.Header.Type == unix.PACKET_AUXDATA && m.Data[0]&unix.TP_STATUS_CSUMNOTREADY != 0
		}
		t.mu.Lock()
		t.frames = append(t.frames, f)
		t.mu.Unlock()
		select {
		case t.seen <- struct{}{}:
		default:
		}
	}
}

// all gives the frames so far for which keep is true.
func (t *tap) all(keep func(frame) bool) []frame {
	t.mu.Lock()
	defer t.mu.Unlock()
	var kept []frame
	for _, f := range t.frames {
		if keep(f) {
			kept = append(kept, f)
		}
	}
	return kept
}

// await waits until there are n such frames.
func (t *tap) await(tb testing.TB, n int, keep func(frame) bool) []frame {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 10*time.Second)
	defer cancel()
	for {
		if got := t.all(keep); len(got) >= n {
			return got
		}
		select {
		case <-t.seen:
		case <-ctx.Done():
			tb.Fatalf("waited in vain for %d packets; all that were seen: %+v", n, t.all(func(frame) bool { return true }))
		}
	}
}
