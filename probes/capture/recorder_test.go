package capture

import (
	"errors"
	"io/fs"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/labtest"
)

// Every packet is at every point of its path, whole, in order, with its direction
// and a time that fits the sender's clock.
//
//	phone ── cell ── lan0 [NAT cell] wan0 ── cell [server]
func TestCaptureAlongAPath(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		topology, points := buildPath(t)
		dir := labtest.Dir(t)
		var mu sync.Mutex
		var tapped []Frame
		r := startCapture(t, dir, points, func(f Frame) {
			mu.Lock()
			defer mu.Unlock()
			f.Data = append([]byte(nil), f.Data...)
			tapped = append(tapped, f)
		})
		const frames, length = 200, 1514
		s := newSender(t, topology, length)
		before := time.Now()
		for range frames {
			s.send(t)
		}
		after := time.Now()
		stats := stopCapture(t, r)
		result := mergeCapture(t, dir)

		if problems := result.Problems(); problems != nil {
			t.Errorf("problems: %q", problems)
		}
		if stats.ClockSteps != 0 || stats.Ambiguous != 0 {
			t.Logf("the machine's clock was set during the test: %+v", stats)
		}
		for i, p := range stats.Points {
			if p.Name != points[i].Name || p.Received != frames || p.Dropped != 0 || p.MaxLag <= 0 {
				t.Errorf("point %s: %+v; want %d received", points[i].Name, p, frames)
			}
		}
		packets, _ := readBack(t, openCapture(t, dir))
		if len(packets) != frames*len(points) {
			t.Errorf("%d packets, want %d", len(packets), frames*len(points))
		}
		next := map[string]uint64{}
		for i, p := range packets {
			n, err := number(p.Data)
			if err != nil || len(p.Data) != length || p.Length != length {
				t.Fatalf("packet %d: %d bytes of %d: %v", i+1, len(p.Data), p.Length, err)
			}
			if n != next[p.Point] {
				t.Errorf("packet %d at %s is the sender's %d, want %d", i+1, p.Point, n, next[p.Point])
			}
			next[p.Point]++
			if p.At.Before(r.Realtime(before)) || i > 0 && p.At.Before(packets[i-1].At) {
				t.Errorf("packet %d at %s is stamped %s", i+1, p.Point, p.At)
			}
		}
		if last := packets[len(packets)-1].At.Sub(r.Realtime(after)); last > 100*time.Millisecond {
			t.Errorf("the last packet is stamped %s after it was sent", last)
		}
		checkTapped(t, r, points, packets, tapped)
	})
}

// checkTapped compares what tap was given with what is in the file.
func checkTapped(t *testing.T, r *Recorder, points []Point, packets []seen, tapped []Frame) {
	t.Helper()
	leaves := map[string]bool{"phone:cell": true, "cell:wan": true}
	inFile := map[string][]seen{}
	for _, p := range packets {
		inFile[p.Point] = append(inFile[p.Point], p)
	}
	fromTap := map[string][]seen{}
	for _, f := range tapped {
		name := points[f.Point].Name
		if f.Out != leaves[name] {
			t.Errorf("frame at %s: Out = %t", name, f.Out)
		}
		fromTap[name] = append(fromTap[name], seen{name, r.Realtime(f.At).UTC(), string(f.Data), f.Length})
	}
	if diff := cmp.Diff(inFile, fromTap); diff != "" {
		t.Errorf("tap (-file +tap):\n%s", diff)
	}
	for n := range inFile["phone:cell"] {
		for i := 1; i < len(points); i++ {
			here, before := inFile[points[i].Name], inFile[points[i-1].Name]
			if n < len(here) && n < len(before) && !here[n].At.After(before[n].At) {
				t.Errorf("packet %d is at %s no later than at %s", n, points[i].Name, points[i-1].Name)
			}
		}
	}
}

// What was sent just before Stop is in the file.
//
//	phone ── cell ── lan0 [NAT cell] wan0 ── cell [server]
func TestStopLosesNothing(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		topology, points := buildPath(t)
		s := newSender(t, topology, 100)
		var longest time.Duration
		for range 20 {
			dir := t.TempDir()
			r := startCapture(t, dir, points[:1], nil)
			const frames = 7
			for range frames {
				s.send(t)
			}
			began := time.Now()
			stats := stopCapture(t, r)
			longest = max(longest, time.Since(began))
			if again := stopCapture(t, r); !cmp.Equal(stats, again) {
				t.Errorf("the second Stop gives %+v, the first %+v", again, stats)
			}
			if got := mergeCapture(t, dir).Packets; got != frames {
				t.Errorf("%d packets in the file, want %d", got, frames)
			}
		}
		t.Logf("the longest Stop took %s", longest)
	})
}

// A capture goes on when its interface goes down and comes up again.
//
//	phone ── cell ── lan0 [NAT cell] wan0 ── cell [server]
func TestCaptureSurvivesLinkDown(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		topology, points := buildPath(t)
		dir := labtest.Dir(t)
		server := topology.Interface("server:cell")
		nl := server.Host.NS.Netlink()
		link, err := nl.LinkByName(server.Name)
		if err != nil {
			t.Fatal(err)
		}
		if err := nl.LinkSetDown(link); err != nil {
			t.Fatal(err)
		}
		// One of the points is down from the start.
		arrived := make(chan uint64, 100)
		r := startCapture(t, dir, points, func(f Frame) {
			if n, err := number(string(f.Data)); err == nil && points[f.Point].Name == "server:cell" {
				arrived <- n
			}
		})
		s := newSender(t, topology, 200)
		for round := range 3 {
			if err := nl.LinkSetUp(link); err != nil {
				t.Fatal(err)
			}
			// The link carries packets some time after it is up.
			limit := time.After(10 * time.Second)
			again := time.NewTicker(5 * time.Millisecond)
			for through := false; !through; {
				select {
				case <-arrived:
					through = true
				case <-again.C:
					s.send(t)
				case <-limit:
					t.Fatalf("round %d: no packet came through the link that is up again", round)
				}
			}
			again.Stop()
			if err := nl.LinkSetDown(link); err != nil {
				t.Fatal(err)
			}
		}
		stats := stopCapture(t, r)
		result := mergeCapture(t, dir)
		if problems := result.Problems(); problems != nil {
			t.Errorf("problems: %q", problems)
		}
		if got := stats.Points[0].Received; got != s.sent {
			t.Errorf("phone:cell has %d packets of %d", got, s.sent)
		}
		if got, want := stats.Points[3].Received, passed(t, topology, "server:cell"); got != want || got < 3 {
			t.Errorf("server:cell has %d packets of %d", got, want)
		}
	})
}

// A packet that is longer than what a ring keeps of it is recorded with its whole
// length, so that nobody takes what is there for all of it.
//
//	phone ── cell ── lan0 [NAT cell] wan0 ── cell [server]
func TestLongPackets(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		topology, points := buildPath(t)
		for _, p := range points {
			i := topology.Interface(p.Name)
			nl := i.Host.NS.Netlink()
			link, err := nl.LinkByName(i.Name)
			if err != nil {
				t.Fatal(err)
			}
			if err := nl.LinkSetMTU(link, 9000); err != nil {
				t.Fatal(err)
			}
		}
		dir := labtest.Dir(t)
		var mu sync.Mutex
		var tapped []int
		r := startCapture(t, dir, points[:1], func(f Frame) {
			mu.Lock()
			defer mu.Unlock()
			tapped = append(tapped, len(f.Data), f.Length)
		})
		const whole, long, kept = slotSize - 66, 4000, slotSize - 66
		s := newSender(t, topology, long)
		s.send(t)
		s.buf = s.buf[:whole-headers]
		s.send(t)
		stopCapture(t, r)
		mergeCapture(t, dir)
		var recorded []int
		packets, _ := readBack(t, openCapture(t, dir))
		for _, p := range packets {
			recorded = append(recorded, len(p.Data), p.Length)
		}
		want := []int{kept, long, whole, whole}
		if diff := cmp.Diff(want, recorded); diff != "" {
			t.Errorf("bytes and lengths in the file (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, tapped); diff != "" {
			t.Errorf("bytes and lengths tapped (-want +got):\n%s", diff)
		}
	})
}

// A reader that is held up loses nothing as long as the ring has room, and what it
// loses then is counted.
//
//	phone ── cell ── lan0 [NAT cell] wan0 ── cell [server]
func TestReaderHeldUp(t *testing.T) {
	tests := []struct {
		name    string
		frames  int
		dropped bool
	}{
		{"as many packets as the ring holds", maxSlots, false},
		{"twice as many", 2 * maxSlots, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			labtest.Run(t, func(t *testing.T) {
				topology, points := buildPath(t)
				dir := t.TempDir()
				held, release := make(chan struct{}), make(chan struct{})
				var once sync.Once
				r := startCapture(t, dir, points[:1], func(Frame) {
					once.Do(func() {
						close(held)
						<-release
					})
				})
				s := newSender(t, topology, 200)
				s.send(t)
				<-held
				// The one that the reader holds has its slot still.
				for range tt.frames - 1 {
					s.send(t)
				}
				close(release)
				stats := stopCapture(t, r).Points[0]
				if stats.Received+stats.Dropped != uint64(tt.frames) || (stats.Dropped > 0) != tt.dropped {
					t.Errorf("%d received and %d dropped of %d", stats.Received, stats.Dropped, tt.frames)
				}
				if got := mergeCapture(t, dir).Packets; got != stats.Received {
					t.Errorf("%d packets in the file, want %d", got, stats.Received)
				}
			})
		})
	}
}

// However many points there are, a ring has room for what comes at once, and all
// of them take no more memory than a machine has.
func TestSizesOfRings(t *testing.T) {
	const slotsOfMiB = 1 << 20 / slotSize
	const large, small = 24 << 30, 512 << 20
	tests := []struct {
		points, want int
		memory       uint64
	}{
		{1, 16 * slotsOfMiB, large}, {8, 16 * slotsOfMiB, large}, {9, 14 * slotsOfMiB, large},
		{100, 1 * slotsOfMiB, large}, {1000, slotsOfMiB / 2, large}, {10_000, slotsOfMiB / 2, large},
		{1, 4 * slotsOfMiB, small}, {3, 5 * slotsOfMiB / 4, small}, {100, slotsOfMiB / 2, small},
	}
	for _, tt := range tests {
		// The kernel takes whole blocks, so that the figures are rounded down to them.
		if got := slotsFor(tt.points, tt.memory); got > tt.want*5/4 || got < tt.want || got*slotSize%blockSize != 0 {
			t.Errorf("%d points, %d bytes of memory: %d slots each, want %d", tt.points, tt.memory, got, tt.want)
		}
	}
}

// Start says what is wrong and leaves nothing behind.
func TestStartRefuses(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		_, points := buildPath(t)
		missing := points[1]
		missing.Interface = "lan8"
		clash := points[1]
		clash.Name = "phone_cell"
		tests := []struct {
			name   string
			points []Point
			files  map[string][]byte
			want   string
			is     error
		}{
			{"an interface that does not exist", []Point{points[0], missing}, nil, "starting a capture: capturing at cell:lan: looking for interface lan8: no such device", nil},
			{"two points with one file", []Point{points[0], clash}, nil, "", fs.ErrExist},
			{"an earlier capture in the folder", points, map[string][]byte{FileName: nil}, "", fs.ErrExist},
			{"parts of an earlier capture in the folder", points, map[string][]byte{partName("cell:lan"): nil}, "", fs.ErrExist},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				dir := writeParts(t, tt.files)
				before := names(t, dir)
				_, err := Start(t.Context(), dir, tt.points, nil)
				if err == nil {
					t.Fatal("Start succeeded")
				}
				if tt.want != "" && err.Error() != tt.want {
					t.Errorf("error:\n got %s\nwant %s", err, tt.want)
				}
				if tt.is != nil && !errors.Is(err, tt.is) {
					t.Errorf("error %v is not %v", err, tt.is)
				}
				if diff := cmp.Diff(before, names(t, dir)); diff != "" {
					t.Errorf("files (-before +after):\n%s", diff)
				}
			})
		}
	})
}

func TestChecks(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		labtest.Checks(t, Checks())
	})
}

// Starting and stopping a capture of a whole path is not what makes a lab slow.
//
//	phone ── cell ── lan0 [NAT cell] wan0 ── cell [server]
func BenchmarkStartStop(b *testing.B) {
	labtest.Benchmark(b, func(b *testing.B) {
		_, points := buildPath(b)
		var stopping time.Duration
		n := 0
		for b.Loop() {
			r := startCapture(b, b.TempDir(), points, nil)
			began := time.Now()
			stopCapture(b, r)
			stopping += time.Since(began)
			n++
		}
		b.ReportMetric(float64(stopping.Microseconds())/float64(n), "stop-µs/op")
	})
}
