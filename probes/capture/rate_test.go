package capture

import (
	"fmt"
	"testing"
	"time"

	"outlive/lab/labtest"
)

// rate is one measurement: how fast packets went along the path, and what became
// of them in the capture.
type rate struct {
	perSecond         float64
	passed            uint64 // at all points, by the counters of their interfaces
	received, dropped uint64 // at all points, by the recorder
	merged            uint64
	lag               time.Duration
}

// lost is how many packets went past a point and are neither in the capture nor
// counted as dropped.
func (r rate) lost() int64 { return int64(r.passed) - int64(r.received) - int64(r.dropped) }

func (r rate) String() string {
	return fmt.Sprintf("%.1f kpps along the path: %d packets at the points, %d received, %d dropped, %d lost, longest lag %s",
		r.perSecond/1000, r.passed, r.received, r.dropped, r.lost(), r.lag.Round(10*time.Microsecond))
}

// measureRate sends 200-byte frames along the path and captures at its first points.
func measureRate(t testing.TB, points, perSecond int, d time.Duration) rate {
	t.Helper()
	topology, all := buildPath(t)
	dir := t.TempDir()
	s := newSender(t, topology, 200)
	var result rate
	for _, p := range all[:points] {
		result.passed -= passed(t, topology, p.Name)
	}
	r := startCapture(t, dir, all[:points], nil)
	result.perSecond = s.sendAt(t, perSecond, d)
	stats := stopCapture(t, r)
	for i, p := range all[:points] {
		result.passed += passed(t, topology, p.Name)
		result.received += stats.Points[i].Received
		result.dropped += stats.Points[i].Dropped
		result.lag = max(result.lag, time.Duration(stats.Points[i].MaxLag))
	}
	result.merged = mergeCapture(t, dir).Packets
	return result
}

// Nothing is lost at 100,000 packets a second and more, whether one point is captured
// or all four, with the sender, the network and the readers on the same
// processors. A machine that cannot send so many sends as many as it can.
//
//	phone ── cell ── lan0 [NAT cell] wan0 ── cell [server]
func TestNothingIsLost(t *testing.T) {
	for _, points := range []int{1, 4} {
		t.Run(fmt.Sprintf("points=%d", points), func(t *testing.T) {
			labtest.Run(t, func(t *testing.T) {
				r := measureRate(t, points, 120_000, 1500*time.Millisecond)
				t.Log(r)
				if r.dropped != 0 || r.lost() != 0 || r.merged != r.received {
					t.Errorf("%d dropped, %d lost, %d in the merged file; want 0, 0, %d", r.dropped, r.lost(), r.merged, r.received)
				}
			})
		})
	}
}

// BenchmarkCapture reports what a capture keeps while packets go along a path as
// fast as the machine can send them, up to 200,000 a second. The time of an
// iteration means nothing: it is 2 s of sending.
//
//	phone ── cell ── lan0 [NAT cell] wan0 ── cell [server]
func BenchmarkCapture(b *testing.B) {
	for _, points := range []int{1, 4} {
		b.Run(fmt.Sprintf("points=%d", points), func(b *testing.B) {
			labtest.Benchmark(b, func(b *testing.B) {
				var sum rate
				n := 0
				for b.Loop() {
					r := measureRate(b, points, 200_000, 2*time.Second)
					sum.perSecond += r.perSecond
					sum.received += r.received
					sum.dropped += r.dropped
					sum.passed += r.passed
					sum.lag = max(sum.lag, r.lag)
					n++
				}
				b.ReportMetric(sum.perSecond/float64(n)/1000, "kpps")
				b.ReportMetric(float64(sum.received)/float64(n), "received/op")
				b.ReportMetric(float64(sum.dropped)/float64(n), "dropped/op")
				b.ReportMetric(float64(sum.lost())/float64(n), "lost/op")
				b.ReportMetric(float64(sum.lag.Microseconds()), "max-lag-µs")
			})
		})
	}
}
