package capture

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"outlive/lab"
	"outlive/lab/labtest"
	"outlive/lab/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.Main()
	os.Exit(m.Run())
}

// The network of these tests, without any translation:
//
//	phone ── cell ── lan0 [NAT cell] wan0 ── cell [server]
//
// buildPath makes it and gives its points along the path.
func buildPath(t testing.TB) (*lab.Topology, []Point) {
	t.Helper()
	topology, err := lab.Build(t.Context(), lab.TopologySpec{
		Uplinks: []lab.UplinkSpec{{Name: "cell", NATs: []string{"cell"}}},
		Devices: []lab.DeviceSpec{{Name: "phone", Uplinks: []string{"cell"}}},
	})
	labtest.SkipUnsupported(t, err)
	t.Cleanup(func() {
		if err := topology.Close(); err != nil {
			t.Error(err)
		}
	})
	var points []Point
	for _, i := range topology.Points() {
		points = append(points, Point{Name: i.Point, NS: i.Host.NS, Interface: i.Name, MAC: i.MAC})
	}
	return topology, points
}

// headers is what Ethernet, IPv4 and UDP add to a datagram.
const headers = 14 + 20 + 8

// sender sends numbered datagrams from the phone to the server, where nobody
// reads them.
type sender struct {
	conn net.Conn
	buf  []byte
	sent uint64
}

// newSender makes frames of the given length.
func newSender(t testing.TB, topology *lab.Topology, frameLength int) *sender {
	t.Helper()
	at := netip.AddrPortFrom(topology.ServerAddr(), 9)
	sink, err := topology.Server().NS.ListenPacket(t.Context(), "udp4", at.String())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := topology.Host("phone").NS.Dial(t.Context(), "udp4", at.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); sink.Close() })
	s := &sender{conn: conn, buf: make([]byte, frameLength-headers)}
	for i := range s.buf {
		s.buf[i] = byte(i)
	}
	return s
}

func (s *sender) send(t testing.TB) {
	t.Helper()
	binary.BigEndian.PutUint64(s.buf, s.sent)
	if _, err := s.conn.Write(s.buf); err != nil {
		t.Fatal(err)
	}
	s.sent++
}

// sendAt sends at a rate, a burst every millisecond, and gives the rate that it reached.
func (s *sender) sendAt(t testing.TB, perSecond int, d time.Duration) float64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	began, first := time.Now(), s.sent
	for ctx.Err() == nil {
		for due := first + uint64(time.Since(began).Seconds()*float64(perSecond)); s.sent < due && ctx.Err() == nil; {
			s.send(t)
		}
		<-tick.C
	}
	return float64(s.sent-first) / time.Since(began).Seconds()
}

// passed is how many packets the interface's own counters say went through it.
func passed(t testing.TB, topology *lab.Topology, point string) uint64 {
	t.Helper()
	i := topology.Interface(point)
	link, err := i.Host.NS.Netlink().LinkByName(i.Name)
	if err != nil {
		t.Fatal(err)
	}
	s := link.Attrs().Statistics
	if i.Side == lab.SideDevice || i.Side == lab.SideWAN {
		return s.TxPackets
	}
	return s.RxPackets
}

// number reads the number of a datagram of sender in a frame.
func number(frame string) (uint64, error) {
	if len(frame) < headers+8 {
		return 0, fmt.Errorf("a frame of %d bytes is not the sender's", len(frame))
	}
	return binary.BigEndian.Uint64([]byte(frame[headers:])), nil
}

func startCapture(t testing.TB, dir string, points []Point, tap func(Frame)) *Recorder {
	t.Helper()
	r, err := Start(t.Context(), dir, points, tap)
	labtest.SkipUnsupported(t, err)
	return r
}

func stopCapture(t testing.TB, r *Recorder) Stats {
	t.Helper()
	stats, err := r.Stop()
	if err != nil {
		t.Error(err)
	}
	return stats
}

func mergeCapture(t testing.TB, dir string) MergeResult {
	t.Helper()
	result, err := Merge(dir)
	if err != nil {
		t.Fatal(err)
	}
	return result
}
