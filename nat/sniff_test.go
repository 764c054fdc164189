package nat

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"outlive/lab"
)

// sniffed is one packet as it was seen at a point.
type sniffed struct {
	point string
	// out says that the host of the point sent it.
	out bool
	// at is when it was read, some time after it passed.
	at time.Time
	segment
}

func (s sniffed) String() string {
	direction := "in"
	if s.out {
		direction = "out"
	}
	return fmt.Sprintf("%s %s: %s", s.point, direction, s.segment)
}

// sniffer records what passes at every point of a lab.
type sniffer struct {
	mu      sync.Mutex
	packets []sniffed
	grown   chan struct{}
}

// sniff starts recording; it ends with the test.
func sniff(t *testing.T, topology *lab.Topology) *sniffer {
	t.Helper()
	s := &sniffer{grown: make(chan struct{})}
	done := make(chan struct{})
	var reading sync.WaitGroup
	t.Cleanup(func() {
		close(done)
		reading.Wait()
	})
	for _, i := range topology.Points() {
		fd := -1
		err := i.Host.NS.Do(func() (err error) {
			fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		limit := unix.NsecToTimeval((50 * time.Millisecond).Nanoseconds())
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
			t.Fatal(err)
		}
		const all = unix.ETH_P_ALL << 8
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: i.Index}); err != nil {
			t.Fatal(err)
		}
		reading.Go(func() {
			defer func() { _ = unix.Close(fd) }()
			buffer := make([]byte, 4096)
			for {
				select {
				case <-done:
					return
				default:
				}
				n, from, err := unix.Recvfrom(fd, buffer, 0)
				if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENETDOWN) {
					continue
				}
				if err != nil {
					t.Errorf("sniffing at %s: %v", i.Point, err)
					return
				}
				seg, ok := parse(append([]byte(nil), buffer[:n]...))
				if !ok {
					continue
				}
				out := from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING
				s.mu.Lock()
				s.packets = append(s.packets, sniffed{i.Point, out, time.Now(), seg})
				close(s.grown)
				s.grown = make(chan struct{})
				s.mu.Unlock()
			}
		})
	}
	return s
}

// mark is a place in the record.
func (s *sniffer) mark() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.packets)
}

// find gives the packets after a mark for which the condition holds.
func (s *sniffer) find(after int, match func(sniffed) bool) []sniffed {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []sniffed
	for _, p := range s.packets[after:] {
		if match(p) {
			found = append(found, p)
		}
	}
	return found
}

// await waits for the first packet after a mark for which the condition holds.
func (s *sniffer) await(t *testing.T, what string, after int, match func(sniffed) bool) sniffed {
	t.Helper()
	limit := time.After(5 * time.Second)
	for {
		s.mu.Lock()
		grown := s.grown
		s.mu.Unlock()
		if found := s.find(after, match); len(found) > 0 {
			return found[0]
		}
		select {
		case <-grown:
		case <-limit:
			t.Fatalf("%s was not seen; seen was:\n%s", what, s.text(after))
		}
	}
}

func (s *sniffer) text(after int) string {
	var lines []string
	for _, p := range s.find(after, func(sniffed) bool { return true }) {
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

// between says whether a packet is of a connection, as seen at that point.
func between(a, b netip.AddrPort) func(sniffed) bool {
	return func(p sniffed) bool { return p.from == a && p.to == b || p.from == b && p.to == a }
}

// sendDatagrams sends one datagram from each of n ports. It runs in the namespace
// of the sender.
func sendDatagrams(from netip.Addr, to netip.AddrPort, n int) error {
	for port := range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = unix.Bind(fd, &unix.SockaddrInet4{Port: 10000 + port, Addr: from.As4()})
		if err == nil {
			err = unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
		}
		_ = unix.Close(fd)
		if err != nil {
			return err
		}
	}
	return nil
}
