package flow

import (
	"bytes"
	"net/netip"
	"reflect"
	"testing"

	"outlive/nat"
	"outlive/probes/socket"
)

// busy is a lab in which most things happen once.
func busy(t testing.TB, protocol string) *testLab {
	l := newLab(t, 2, profile(nat.LANRevive, nat.WANReset), resets)
	l.truth.Protocol = protocol
	l.push(3, "p1")
	a := l.dial(0.01, "phone", 40000)
	b := l.dial(0.02, "phone-2", 40000)
	a.ask(0.1, toServer, "HELLO phone\n", "WELCOME phone\n")
	a.ask(3, toClient, "PUSH p1 x\n", "ACK p1\n")
	b.ask(0.1, toServer, "\x10\x11\x00\x04MQTT\x04\x02\x00\x00\x00\x05phone", "\x20\x02\x00\x00")
	b.ask(3, toClient, "\x32\x0a\x00\x03a/b\x00\x07xp1", "\x40\x02\x00\x07")
	a.ping(4, 1)
	a.probe(5, toServer)
	l.flush(6, "cell.1")
	a.say(7, toServer, "PING 2\n")
	a.again(7.2, toServer)
	a.fin(8, toClient)
	b.rst(9, toServer)
	b.socket(9.1, toServer, socket.Closed, "")
	l.brk(20, "server", "server-kill")
	l.dial(12, "phone", 40001)
	return l
}

// FuzzAnalyze reads any bytes as a capture. Whatever they are, there is no panic,
// and the same bytes give the same analysis.
func FuzzAnalyze(f *testing.F) {
	var truths [2]Truth
	for i, protocol := range []string{"line", "mqtt"} {
		l := busy(f, protocol)
		f.Add(l.write(), i == 0)
		truths[i] = l.truth
	}
	// Small ones are mutated in more interesting places.
	small := newLab(f, 1, resets)
	c := small.dial(0.01, "phone", 40000)
	c.say(12, toServer, "PING 1\n")
	f.Add(small.write(), true)
	small.frames = small.frames[:2]
	f.Add(small.write(), true)
	f.Fuzz(func(t *testing.T, capture []byte, line bool) {
		truth := truths[1]
		if line {
			truth = truths[0]
		}
		one, err := Analyze(bytes.NewReader(capture), truth)
		if err != nil {
			return
		}
		two, err := Analyze(bytes.NewReader(capture), truth)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(one, two) {
			t.Errorf("the same capture gives two analyses:\n%s\n%s", told(one), told(two))
		}
		for _, c := range one.Connections {
			if c.Died != nil && c.Closed != nil {
				t.Errorf("a connection died and was closed alive: %+v", c)
			}
			for _, s := range []Side{c.ClientSide, c.ServerSide} {
				if s.NoticedAt != nil && *s.NoticedAt < *c.Died {
					t.Errorf("noticed before the death: %+v", c)
				}
			}
			for _, l := range c.Lapses {
				if l.Until != nil && *l.Until < l.From {
					t.Errorf("a lapse ends before it begins: %+v", l)
				}
			}
		}
	})
}

func BenchmarkAnalyze(b *testing.B) {
	for _, size := range []struct {
		name           string
		devices, beats int
	}{{"one device", 1, 2500}, {"100 devices", 100, 25}} {
		b.Run(size.name, func(b *testing.B) {
			l := newLab(b, size.devices, silent)
			l.truth.End = seconds(100000)
			for i, d := range l.truth.Devices {
				c := l.dial(float64(i)*0.01, d.Name, 40000).hello(2 + float64(i)*0.01)
				for n := range size.beats {
					c.ping(4+float64(i)*0.01+5*float64(n), n)
				}
			}
			capture := l.write()
			packets := len(l.frames)
			b.ReportAllocs()
			b.SetBytes(int64(len(capture)))
			for b.Loop() {
				a, err := Analyze(bytes.NewReader(capture), l.truth)
				if err != nil || len(a.Problems) > 0 || len(a.Connections) != size.devices {
					b.Fatal(err, a.Problems)
				}
			}
			b.ReportMetric(float64(packets)*float64(b.N)/b.Elapsed().Seconds(), "packets/s")
		})
	}
}

func BenchmarkLive(b *testing.B) {
	l := newLab(b, 1, silent)
	c := l.dial(0, "phone", 40000).hello(1)
	for n := range 1000 {
		c.ping(4+5*float64(n), n)
	}
	x := NewLive("line", testServer, netip.AddrPort{}, func(LiveEvent) {})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		f := l.frames[i%len(l.frames)]
		x.Frame("phone", testStart, [4]byte(f.data[26:30]) == [4]byte{10, 64, 0, 2}, f.data)
	}
}
