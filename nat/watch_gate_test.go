package nat

import (
	"testing"
	"time"

	"outlive/lab/labtest"
	"outlive/lab/units"
)

// Where the rules decide what refreshes a mapping, it is reported as gone when they let
// go of it, although conntrack has it for longer, and nothing comes in from then on. The
// server speaks a while after the client has, whose kernel acknowledges.
//
//	phone ── lan0 [NAT] wan0 ── server
func TestWatchGate(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		const timeout = 3 * time.Second
		anything := func(sniffed) bool { return true }
		speaks := func(p sniffed) bool { return p.payload != "" || p.flags&(syn|fin|rst) != 0 }
		for _, tt := range []struct {
			name    string
			refresh Refresh
			// points are the sides from which packets refresh, and counts says which of them do.
			points []string
			counts func(sniffed) bool
			// spoken says that the server's word is the last that does so, or the answer to it.
			spoken bool
		}{
			{"outbound", Refresh{Direction: RefreshOutbound}, []string{"cell:lan"}, anything, true},
			{"outbound, not by a bare ACK", Refresh{Direction: RefreshOutbound, IgnoreACK: true}, []string{"cell:lan"}, speaks, false},
			{"both, not by a bare ACK", Refresh{IgnoreACK: true}, []string{"cell:lan", "cell:wan"}, speaks, true},
		} {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				p := profile(timeout, LANDrop, WANDrop)
				p.Refresh = tt.refresh
				l := build(t, p)
				e := watch(t, l.NAT)
				s := sniff(t, l.Topology)
				c := l.connect(t, 1)[0]
				fresh := e.await(t, MappingNew, c.lan, 1, 5*time.Second)
				<-time.After(time.Second)
				began := time.Now()
				if _, err := c.server.Write([]byte("news")); err != nil {
					t.Fatal(err)
				}
				readBack(t, c.client, "news")
				gone := e.await(t, MappingGone, c.lan, 1, timeout+5*time.Second)
				var last sniffed
				for _, point := range tt.points {
					for _, x := range s.find(0, func(x sniffed) bool {
						return x.point == point && !x.out && !x.udp && tt.counts(x) && x.at.Before(gone.At)
					}) {
						if x.at.After(last.at) {
							last = x
						}
					}
				}
				late := gone.At.Sub(last.at.Add(timeout))
				t.Logf("refreshed last by %s, %s after the server spoke; reported %s after it was due, window %s", last, last.at.Sub(began), late, gone.Window.D())
				if spoken := last.at.After(began); spoken != tt.spoken {
					t.Errorf("after the server spoke something refreshed: %t, want %t", spoken, tt.spoken)
				}
				if gone.Cause != CauseExpired || gone.Lost || gone.Mapping.ID != fresh.Mapping.ID {
					t.Errorf("the end of mapping %d: %+v", fresh.Mapping.ID, gone)
				}
				if late < -50*time.Millisecond || late > exact || gone.Window.D() > exact || gone.At.Add(-gone.Window.D()).After(last.at.Add(timeout+tick)) {
					t.Errorf("reported %s after it was due, window %s", late, gone.Window.D())
				}
				if mappings, err := l.Mappings(); err != nil || len(mappings) != 0 {
					t.Errorf("afterwards there are %v, %v", mappings, err)
				}
				after := s.mark()
				if _, err := c.server.Write([]byte("late")); err != nil {
					t.Fatal(err)
				}
				s.await(t, "the server's data at the NAT", after, func(x sniffed) bool { return x.point == "cell:wan" && !x.out && x.payload == "late" })
				s.await(t, "its repetition", s.mark(), func(x sniffed) bool { return x.point == "cell:wan" && !x.out && x.payload == "late" })
				none(t, s, after, "on the LAN side", func(x sniffed) bool { return x.point == "cell:lan" && !x.udp })
			})
		}
	})
}

// The timeout for unacknowledged data is conntrack's to measure, also where the rules
// keep the mapping for longer.
func TestWatchGateShortened(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		p := profile(time.Hour, LANDrop, WANDrop)
		p.Timeouts.TCPUnacknowledged = units.Duration(time.Second)
		p.Timeouts.TCPMaxRetrans = units.Duration(time.Second)
		p.Refresh = Refresh{Direction: RefreshOutbound}
		l := build(t, p)
		e := watch(t, l.NAT)
		s := sniff(t, l.Topology)
		c := l.connect(t, 1)[0]
		if err := l.Unplug("phone:cell"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.server.Write([]byte("unheard")); err != nil {
			t.Fatal(err)
		}
		gone := e.await(t, MappingGone, c.lan, 1, 20*time.Second)
		passed := s.find(0, func(p sniffed) bool {
			return p.point == "cell:wan" && between(c.wan, c.remote)(p) && p.at.Before(gone.At)
		})
		silence := gone.At.Sub(passed[len(passed)-1].at)
		t.Logf("gone %s after the last packet, window %s", silence, gone.Window.D())
		if gone.Cause != CauseExpired || silence < time.Second-50*time.Millisecond || silence > time.Second+exact {
			t.Errorf("%s after %s of silence, want expired after 1s", gone.Cause, silence)
		}
	})
}

// What the lab deletes is reported as deleted, and at once.
func TestWatchGateDeleted(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		p := profile(time.Hour, LANDrop, WANDrop)
		p.Refresh = Refresh{Direction: RefreshOutbound}
		l := build(t, p)
		e := watch(t, l.NAT)
		all := l.connect(t, 2)
		for i, remove := range []func() error{
			func() error {
				_, err := l.Expire(func(m Mapping) bool { return m.LAN == all[0].lan })
				return err
			},
			l.Flush,
		} {
			before := time.Now()
			if err := remove(); err != nil {
				t.Fatal(err)
			}
			after := time.Now()
			gone := e.await(t, MappingGone, all[i].lan, 1, 5*time.Second)
			if gone.Cause != CauseDeleted || gone.Lost || gone.At.Before(before) || gone.At.After(after.Add(exact)) {
				t.Errorf("%s after the deletion began, which took %s: %+v", gone.At.Sub(before), after.Sub(before), gone)
			}
			if mappings, err := l.Mappings(); err != nil || len(mappings) != 1-i {
				t.Errorf("afterwards there are %v, %v", mappings, err)
			}
		}
	})
}
