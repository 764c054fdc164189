package nat

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"outlive/lab/labtest"
)

// The rules write candidates for the outside endpoint into the packet: its checksums
// are right in the end, and a datagram without one stays so.
//
//	10.255.128.1:5000 ──▶ [NAT] ──▶ 198.19.0.1:80, as bytes
func TestChecksums(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		l := buildWire(t, Profile{Filtering: EndpointIndependent, Ports: Ports{Allocation: PortRandom}, Pool: Pool{Addresses: 4}})
		const header = 14 + 20 // Ethernet and IP, without options
		for _, c := range []struct {
			name string
			udp  bool
			at   int // of the checksum in the transport's header
			none bool
		}{{"tcp", false, 16, false}, {"udp", true, 6, false}, {"udp without", true, 6, true}} {
			t.Run(c.name, func(t *testing.T) {
				s := l.packet(c.udp, in(1, 5000+c.at), out(1, 80))
				s.payload = c.name + " to be found"
				frame, err := s.frame(l.lan.iface.MAC, l.lan.iface.Peer.MAC)
				if err != nil {
					t.Fatal(err)
				}
				at := header + c.at
				if c.none {
					s = l.packet(c.udp, in(1, 6000), out(1, 80))
					if frame, err = s.frame(l.lan.iface.MAC, l.lan.iface.Peer.MAC); err != nil {
						t.Fatal(err)
					}
					copy(frame[at:], []byte{0, 0})
				}
				if _, err := unix.Write(l.lan.fd, frame); err != nil {
					t.Fatal(err)
				}
				got := l.frameAtWAN(t, []byte(s.payload))
				seen, ok := parse(append([]byte(nil), got...))
				if !ok || !seen.same(s) || seen.from == s.from {
					t.Fatalf("%s left as %s", s, seen)
				}
				right, err := seen.frame(l.lan.iface.MAC, l.lan.iface.MAC)
				if err != nil {
					t.Fatal(err)
				}
				want := binary.BigEndian.Uint16(right[at:])
				if c.none {
					want = 0
				}
				if sum := binary.BigEndian.Uint16(got[at:]); sum != want {
					t.Errorf("the checksum is %#04x, want %#04x", sum, want)
				}
				var ip uint32
				for i := 14; i < header; i += 2 {
					ip += uint32(binary.BigEndian.Uint16(got[i:]))
				}
				if ip = ip>>16 + ip&0xffff; ip>>16+ip&0xffff != 0xffff {
					t.Errorf("the checksum of the IP header is wrong: %x", got[14:header])
				}
			})
		}
	})
}

// frameAtWAN waits for a frame with the given bytes in it.
func (l *wireLab) frameAtWAN(t *testing.T, payload []byte) []byte {
	t.Helper()
	buffer := make([]byte, 2048)
	for limit := time.Now().Add(answerLimit); time.Now().Before(limit); {
		n, _, err := unix.Recvfrom(l.wan.fd, buffer, 0)
		if err == nil && bytes.Contains(buffer[:n], payload) {
			return buffer[:n]
		}
		fds := []unix.PollFd{{Fd: int32(l.wan.fd), Events: unix.POLLIN}}
		_, _ = unix.Poll(fds, 100)
	}
	t.Fatal("the packet did not leave")
	return nil
}
