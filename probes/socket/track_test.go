package socket

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"outlive/lab/units"
)

var (
	zero = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	key  = tuple{netip.MustParseAddrPort("10.64.0.2:40112"), netip.MustParseAddrPort("198.51.100.1:1883")}
)

func at(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }

// alive is a socket that a program holds, in a state, with a timer that expires
// after so many milliseconds, after so many repetitions.
func alive(cookie uint64, state, timer uint8, expires int, repeats uint8) info {
	return info{tuple: key, state: state, timer: timer, cookie: cookie, expires: time.Duration(expires) * time.Millisecond, repeats: repeats, inode: 77}
}

func orphan(i info) info {
	i.inode = 0
	return i
}

// destroyed is a destroy event, with the repetitions that struct tcp_info told of.
func destroyed(cookie uint64, repeats uint8) info {
	return info{tuple: key, state: stateClose, cookie: cookie, repeats: repeats, detailed: true}
}

func thrownAway(i info) info {
	i.remote = netip.AddrPortFrom(i.remote.Addr(), 0)
	return i
}

// TestTracker tells the tracker of looks and events, one a line, and compares what
// it makes of them. Times are milliseconds; a look takes one.
func TestTracker(t *testing.T) {
	type act func(tr *tracker)
	packet := func(ms int, reset bool) act { return func(tr *tracker) { tr.packet(at(ms), key, reset) } }
	found := func(ms int, i info) act { return func(tr *tracker) { tr.found(at(ms), at(ms+1), key, i) } }
	absent := func(ms int) act { return func(tr *tracker) { tr.absent(at(ms+1), key) } }
	freed := func(ms int, i info) act { return func(tr *tracker) { tr.freed(at(ms), i) } }
	sign := func(ms int, what sign) act { return func(tr *tracker) { tr.sign(at(ms), 1, what) } }
	settle := func(ms int) act { return func(tr *tracker) { tr.settle(at(ms)) } }
	reconcile := func(ms int, held bool, all ...info) act {
		return func(tr *tracker) { tr.reconcile(at(ms), at(ms+1), all, func(uint32) bool { return held }) }
	}
	established := alive(1, stateEstablished, timerNone, 0, 0)
	event := func(kind string, ms int, cause string, window int) Event {
		return Event{Kind: kind, At: at(ms), Cookie: 1, Cause: cause, Window: units.Seconds(time.Duration(window) * time.Millisecond)}
	}
	lost := func(e Event) Event { e.Lost = true; return e }
	opened := event(Opened, 1, "", 0)

	tests := []struct {
		name string
		acts []act
		want []Event
	}{{
		name: "an ordinary close: the destroy event first",
		acts: []act{packet(0, false), found(0, established), packet(999, false), freed(1000, destroyed(1, 0)), settle(1249), settle(1250)},
		want: []Event{opened, event(Closed, 1000, "", 0)},
	}, {
		name: "an ordinary close: the look-up first",
		acts: []act{found(0, established), absent(1000), settle(1100), freed(1100, destroyed(1, 0)), settle(1400)},
		want: []Event{opened, event(Closed, 1100, "", 0)},
	}, {
		name: "a close with data under way, before any repetition",
		acts: []act{found(0, alive(1, stateEstablished, timerRetransmit, 200, 0)), freed(300, destroyed(1, 0)), settle(600)},
		want: []Event{opened, event(Closed, 300, "", 0)},
	}, {
		name: "given up after repetitions, held",
		acts: []act{found(0, established), found(1000, alive(1, stateEstablished, timerRetransmit, 4, 3)), absent(1009), settle(1059), settle(1060), freed(9000, destroyed(1, 4))},
		want: []Event{opened, event(GaveUp, 1010, "retransmission", 10), event(Closed, 9000, "", 0)},
	}, {
		name: "given up after repetitions, closed before anybody looked",
		acts: []act{found(0, alive(1, stateEstablished, timerRetransmit, 200, 2)), freed(196, destroyed(1, 3))},
		want: []Event{opened, event(GaveUp, 196, "retransmission", 196), event(Closed, 196, "", 0)},
	}, {
		name: "answered at the last moment and closed: the look-up first",
		acts: []act{found(0, alive(1, stateEstablished, timerRetransmit, 4, 3)), absent(9), freed(12, destroyed(1, 0)), settle(500)},
		want: []Event{opened, event(Closed, 12, "", 0)},
	}, {
		name: "given up by keepalive, the program told",
		acts: []act{found(0, alive(1, stateEstablished, timerKeepalive, 4, 1)), freed(5, destroyed(1, 1))},
		want: []Event{opened, event(GaveUp, 5, "keepalive", 5), event(Closed, 5, "", 0)},
	}, {
		name: "closed long after a keepalive timer that found everything well",
		acts: []act{found(0, alive(1, stateEstablished, timerKeepalive, 100, 0)), freed(5000, destroyed(1, 0)), settle(5300)},
		want: []Event{opened, event(Closed, 5000, "", 0)},
	}, {
		name: "thrown away while it repeats itself",
		acts: []act{found(0, alive(1, stateEstablished, timerRetransmit, 4, 3)), freed(10, thrownAway(destroyed(1, 3))), settle(300)},
		want: []Event{opened, event(Closed, 10, "", 0)},
	}, {
		name: "aborted with a timer far away",
		acts: []act{found(0, alive(1, stateEstablished, timerRetransmit, 3000, 3)), freed(10, destroyed(1, 3)), settle(300)},
		want: []Event{opened, event(Closed, 10, "", 0)},
	}, {
		name: "a RST, held",
		acts: []act{found(0, established), packet(1000, true), absent(1000), settle(1051), freed(5000, destroyed(1, 0))},
		want: []Event{opened, event(GaveUp, 1001, "reset", 1001), event(Closed, 5000, "", 0)},
	}, {
		name: "a RST that the capture shows after the program has reacted",
		acts: []act{found(0, established), freed(1000, destroyed(1, 0)), packet(1012, true), settle(2000)},
		want: []Event{opened, event(GaveUp, 1000, "reset", 1000), event(Closed, 1000, "", 0)},
	}, {
		name: "a RST that the capture shows after a look-up",
		acts: []act{found(0, established), packet(1000, false), absent(1005), packet(1012, true), settle(2000), freed(3000, destroyed(1, 0))},
		want: []Event{opened, event(GaveUp, 1006, "reset", 1006), event(Closed, 3000, "", 0)},
	}, {
		name: "a RST that the kernel did not believe",
		acts: []act{found(0, established), packet(1000, true), found(1000, established), found(1251, established), freed(2000, destroyed(1, 0)), settle(3000)},
		want: []Event{opened, event(Closed, 2000, "", 0)},
	}, {
		name: "orphaned, then ended by the kernel",
		acts: []act{
			found(0, alive(1, stateEstablished, timerRetransmit, 100, 2)),
			found(50, orphan(alive(1, stateFinWait1, timerRetransmit, 50, 2))),
			found(98, orphan(alive(1, stateFinWait1, timerRetransmit, 2, 2))),
			freed(103, destroyed(1, 3)),
		},
		want: []Event{opened, event(Orphaned, 51, "", 51), event(Closed, 103, "", 0)},
	}, {
		name: "given up, and a sign of it",
		acts: []act{
			found(0, alive(1, stateEstablished, timerRetransmit, 100_000, 3)), sign(1, signGuarded),
			sign(100_500, signFailed), found(100_500, alive(1, stateEstablished, timerRetransmit, 0, 3)), absent(100_501), settle(101_000),
		},
		want: []Event{opened, event(GaveUp, 100_502, "retransmission", 2)},
	}, {
		name: "given up long after it was last looked at, and a sign of it",
		acts: []act{
			found(0, alive(1, stateEstablished, timerRetransmit, 100_000, 3)), sign(1, signGuarded),
			sign(105_000, signFailed), absent(105_000), settle(106_000),
		},
		want: []Event{opened, event(GaveUp, 105_001, "retransmission", 251)},
	}, {
		name: "given up in time, and a sign of it",
		acts: []act{
			found(0, alive(1, stateEstablished, timerRetransmit, 100_000, 3)), sign(1, signGuarded),
			sign(100_100, signFailed), absent(100_100), settle(101_000),
		},
		want: []Event{opened, event(GaveUp, 100_101, "retransmission", 113)},
	}, {
		name: "orphaned, and a sign of it",
		acts: []act{
			found(0, alive(1, stateEstablished, timerRetransmit, 100_000, 3)), sign(1, signGuarded),
			sign(50_000, signClosed), found(50_000, orphan(alive(1, stateFinWait1, timerRetransmit, 50_000, 3))),
			sign(50_001, signFailed), freed(60_000, destroyed(1, 3)),
		},
		want: []Event{opened, event(Orphaned, 50_001, "", 251), event(Closed, 60_000, "", 0)},
	}, {
		name: "a sign of a socket that is gone",
		acts: []act{found(0, established), freed(10, destroyed(1, 0)), sign(11, signClosed), settle(300)},
		want: []Event{opened, event(Closed, 10, "", 0)},
	}, {
		name: "not accepted yet is not orphaned",
		acts: []act{found(0, orphan(established)), found(10, orphan(alive(1, stateCloseWait, timerNone, 0, 0)))},
		want: []Event{opened},
	}, {
		name: "both directions closed, the file held",
		acts: []act{found(0, established), found(1000, info{tuple: key, state: stateTimeWait, cookie: 9}), settle(2000), freed(3000, destroyed(1, 0)), settle(4000)},
		want: []Event{opened, event(Closed, 3000, "", 0)},
	}, {
		name: "destroyed by an administrator, held",
		acts: []act{found(0, established), absent(1000), settle(2000), settle(2001), freed(3000, destroyed(1, 0))},
		want: []Event{opened, event(GaveUp, 1001, "", 1001), event(Closed, 3000, "", 0)},
	}, {
		name: "the tuple is used again at once",
		acts: []act{found(0, established), found(1000, alive(2, stateEstablished, timerNone, 0, 0)), freed(1001, destroyed(1, 0)), settle(2000)},
		want: []Event{opened, {Kind: Opened, At: at(1001), Cookie: 2}, event(Closed, 1001, "", 0)},
	}, {
		name: "an attempt to connect that fails",
		acts: []act{packet(0, false), found(0, alive(1, stateSynSent, timerRetransmit, 1000, 0)), packet(5, true), absent(6), freed(7, destroyed(1, 0)), settle(1000)},
	}, {
		name: "a socket that nobody knows",
		acts: []act{freed(7, destroyed(5, 0)), settle(1000)},
	}, {
		name: "events lost: alive",
		acts: []act{found(0, established), reconcile(500, true, established)},
		want: []Event{opened},
	}, {
		name: "events lost: closed",
		acts: []act{found(0, established), reconcile(500, false)},
		want: []Event{opened, lost(event(Closed, 501, "", 0))},
	}, {
		name: "events lost: given up, held",
		acts: []act{found(0, established), reconcile(500, true), freed(900, destroyed(1, 0))},
		want: []Event{opened, lost(event(GaveUp, 501, "", 501)), event(Closed, 900, "", 0)},
	}, {
		name: "events lost: given up before, closed since",
		acts: []act{found(0, established), packet(100, true), absent(100), settle(151), reconcile(500, false)},
		want: []Event{opened, event(GaveUp, 101, "reset", 101), lost(event(Closed, 501, "", 0))},
	}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []Event
			tr := newTracker("phone", func(e Event) { got = append(got, e) })
			for _, do := range tt.acts {
				do(tr)
			}
			for i := range tt.want {
				tt.want[i].Host, tt.want[i].Local, tt.want[i].Remote = "phone", key.local, key.remote
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

// TestNextLook: a socket is looked at when something may have happened to it, and
// otherwise left alone.
func TestNextLook(t *testing.T) {
	const never = -1
	tests := []struct {
		name string
		s    tracked
		last info
		want int // milliseconds
	}{
		{"idle", tracked{cookie: 1}, alive(1, stateEstablished, timerNone, 0, 0), never},
		{"idle, with a keepalive in 16 s", tracked{cookie: 1}, alive(1, stateEstablished, timerKeepalive, 16_000, 0), 20_000},
		{"keepalive unanswered, just before its timer", tracked{cookie: 1}, alive(1, stateEstablished, timerKeepalive, 3, 1), 5},
		{"keepalive unanswered, the timer overdue for a second", tracked{cookie: 1, overdue: at(-960)}, alive(1, stateEstablished, timerKeepalive, 0, 1), 30},
		{"keepalive unanswered, guarded", tracked{cookie: 1, guarded: true}, alive(1, stateEstablished, timerKeepalive, 16_000, 1), 20_000},
		{"data under way", tracked{cookie: 1}, alive(1, stateEstablished, timerRetransmit, 204, 0), 255},
		{"data under way that cannot leave", tracked{cookie: 1, overdue: at(-1000)}, alive(1, stateEstablished, timerRetransmit, 0, 0), 500},
		{"data repeated", tracked{cookie: 1}, alive(1, stateEstablished, timerRetransmit, 400, 1), 5},
		{"data repeated for 30 s", tracked{cookie: 1, repeating: at(-30_000)}, alive(1, stateEstablished, timerRetransmit, 13_000, 7), 15},
		{"data repeated for an hour", tracked{cookie: 1, repeating: at(-3_600_000)}, alive(1, stateEstablished, timerRetransmit, 60_000, 15), 20},
		{"data repeated, guarded", tracked{cookie: 1, guarded: true}, alive(1, stateEstablished, timerRetransmit, 400, 1), 500},
		{"data repeated, guarded, the timer overdue", tracked{cookie: 1, guarded: true, overdue: at(-10)}, alive(1, stateEstablished, timerRetransmit, 0, 1), 50},
		{"no window", tracked{cookie: 1}, alive(1, stateEstablished, timerZeroWindow, 400, 0), 5},
		{"no window, guarded", tracked{cookie: 1, guarded: true}, alive(1, stateEstablished, timerZeroWindow, 400, 0), 500},
		{"connecting", tracked{}, alive(0, stateSynSent, timerRetransmit, 2000, 1), 2500},
		{"orphaned", tracked{cookie: 1, orphaned: true}, alive(1, stateFinWait1, timerRetransmit, 400, 1), never},
		{"alive right after a RST", tracked{cookie: 1, stirred: zero}, alive(1, stateEstablished, timerNone, 0, 0), 1},
		{"alive a while after a RST", tracked{cookie: 1, stirred: at(-40)}, alive(1, stateEstablished, timerNone, 0, 0), 40},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.s.last = tt.last
			want := time.Time{}
			if tt.want != never {
				want = at(tt.want)
			}
			if got := nextLook(&tt.s, zero); !got.Equal(want) {
				t.Errorf("got %s, want %s", got.Sub(zero), want.Sub(zero))
			}
		})
	}
}

// However many packets there are, a tuple is looked up at most every 5 ms.
func TestLooksAreCoalesced(t *testing.T) {
	tr := newTracker("phone", func(Event) {})
	var looks []time.Duration
	for us := 0; us < 100_000; us += 100 {
		now := zero.Add(time.Duration(us) * time.Microsecond)
		tr.packet(now, key, false)
		for range tr.dueAt(now) {
			looks = append(looks, now.Sub(zero))
			tr.found(now, now, key, alive(1, stateEstablished, timerNone, 0, 0))
		}
	}
	for i := 1; i < len(looks); i++ {
		if d := looks[i] - looks[i-1]; d < lookPause {
			t.Errorf("look-ups %d and %d are %s apart", i-1, i, d)
		}
	}
	if len(looks) < 15 || looks[0] != lookPause {
		t.Errorf("look-ups at %v", looks)
	}
}

// TestLooksAtADeadConnection: while a kernel repeats itself for a quarter of an hour,
// a guarded socket is looked at about once for each repetition. The timers of this
// kernel are as late as any can be, and every repetition is seen as a packet.
func TestLooksAtADeadConnection(t *testing.T) {
	tests := []struct {
		name    string
		guarded bool
		most    int // for each repetition
	}{
		{"guarded", true, 2},
		{"out of reach", false, 4000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTracker("phone", func(Event) {})
			if tt.guarded {
				tr.ask = func(cookie uint64, inode uint32) { tr.sign(zero, cookie, signGuarded) }
			}
			now, looks, repeats := zero, 0, uint8(0)
			look := func(fires time.Time) {
				for range tr.dueAt(now) {
					looks++
					left := max(fires.Sub(now), 0).Milliseconds()
					tr.found(now, now, key, alive(1, stateEstablished, timerRetransmit, int(left), repeats))
				}
			}
			rto := 200 * time.Millisecond
			tr.packet(now, key, false)
			for ; repeats < 15; repeats++ {
				fires := now.Add(rto)
				late := fires.Add(rto / 8)
				for wake := tr.wakeAt(); !wake.IsZero() && wake.Before(late); wake = tr.wakeAt() {
					now = wake
					look(fires)
				}
				now = late
				tr.packet(now, key, false)
				rto = min(2*rto, 2*time.Minute)
			}
			t.Logf("%d look-ups for %d repetitions in %s", looks, repeats, now.Sub(zero))
			if looks > tt.most*int(repeats) || looks < int(repeats) {
				t.Errorf("%d look-ups for %d repetitions", looks, repeats)
			}
		})
	}
}
