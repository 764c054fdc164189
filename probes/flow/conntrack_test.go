package flow

import (
	"testing"
	"time"

	"outlive/lab/units"
	"outlive/nat"
)

// TestTracked holds the model against what Linux does (nf_conntrack_proto_tcp.c),
// packet by packet. Every timeout has its own length, so that it can be told.
func TestTracked(t *testing.T) {
	s := func(n int) units.Duration { return units.Duration(time.Duration(n) * time.Second) }
	timeouts := nat.Timeouts{
		TCPSynSent: s(11), TCPSynRecv: s(12), TCPEstablished: s(1000), TCPFinWait: s(14), TCPCloseWait: s(15),
		TCPLastAck: s(16), TCPTimeWait: s(17), TCPClose: s(18), TCPMaxRetrans: s(300), TCPUnacknowledged: s(200),
	}
	names := map[int]string{
		11: TimerSynSent, 12: TimerSynRecv, 1000: TimerEstablished, 14: TimerFinWait, 15: TimerCloseWait,
		16: TimerLastAck, 17: TimerTimeWait, 18: TimerClose, 300: TimerMaxRetrans, 200: TimerUnacknowledged,
	}
	const c, w = toServer, toClient
	type step struct {
		d        direction
		flags    uint8
		seq, ack uint32
		length   uint16
		window   uint16
		want     int // seconds, 0 if it does not refresh
	}
	open := []step{
		{c, flagSYN, 100, 0, 0, 9, 11},
		{w, flagSYN | flagACK, 500, 101, 0, 9, 12},
		{c, flagACK, 101, 501, 0, 9, 1000},
	}
	for _, test := range []struct {
		name  string
		first []step
		steps []step
		// longRepeats is for a timer for repetitions as long as that of the state.
		longRepeats bool
	}{
		{name: "handshake", first: open},
		{name: "a repeated SYN does not renew", steps: []step{{c, flagSYN, 100, 0, 0, 9, 11}, {c, flagSYN, 100, 0, 0, 9, 0}}},
		{name: "a SYN in the middle does not count", first: open, steps: []step{{c, flagSYN, 900, 0, 0, 9, 0}}},
		{name: "data is unacknowledged until it is acknowledged whole", first: open, steps: []step{
			{c, flagACK, 101, 501, 10, 9, 200},
			{w, flagACK, 501, 105, 0, 9, 200},
			{w, flagACK, 501, 111, 0, 9, 1000},
			{w, flagACK, 501, 111, 5, 9, 200},
			{c, flagACK, 111, 506, 0, 9, 1000},
		}},
		{name: "three repetitions", first: open, steps: []step{
			{c, flagACK, 101, 501, 10, 9, 200}, {c, flagACK, 101, 501, 10, 9, 200}, {c, flagACK, 101, 501, 10, 9, 200},
			{c, flagACK, 101, 501, 10, 9, 300},
			{w, flagACK, 501, 111, 0, 9, 1000},
		}},
		{name: "a closed window", first: open, steps: []step{{w, flagACK, 501, 101, 0, 0, 300}}},
		{name: "orderly end", first: open, steps: []step{
			{c, flagFIN | flagACK, 101, 501, 0, 9, 14},
			{w, flagACK, 501, 102, 0, 9, 15},
			{w, flagFIN | flagACK, 501, 102, 0, 9, 16},
			{c, flagACK, 102, 502, 0, 9, 17},
			{c, flagSYN, 900, 0, 0, 9, 11},
		}},
		{name: "simultaneous end", first: open, steps: []step{
			{c, flagFIN | flagACK, 101, 501, 0, 9, 14},
			{w, flagFIN | flagACK, 501, 101, 0, 9, 16},
			{c, flagACK, 102, 502, 0, 9, 17},
		}},
		{name: "reset", first: open, steps: []step{{w, flagRST, 501, 0, 0, 0, 18}}},
		{name: "picked up in the middle: short until the far end is heard", steps: []step{
			{c, flagACK, 101, 501, 10, 9, 200},
			{w, flagACK, 501, 111, 0, 9, 1000},
		}},
		// A timer for repetitions that is no shorter than the state's leaves it to that for
		// unacknowledged data.
		{name: "three repetitions with a timer of their own that is no shorter", first: open, longRepeats: true, steps: []step{
			{c, flagACK, 101, 501, 10, 9, 200}, {c, flagACK, 101, 501, 10, 9, 200}, {c, flagACK, 101, 501, 10, 9, 200},
			{c, flagACK, 101, 501, 10, 9, 200},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			track := tracked{timeouts: timeouts}
			if test.longRepeats {
				track.timeouts.TCPMaxRetrans = timeouts.TCPEstablished
			}
			for i, x := range append(test.first[:len(test.first):len(test.first)], test.steps...) {
				o := observation{d: x.d, flags: x.flags, seq: x.seq, ack: x.ack, length: x.length, window: x.window}
				got, ok := track.packet(&o)
				want := timer{names[x.want], time.Duration(x.want) * time.Second}
				if ok != (x.want > 0) || got != want {
					t.Errorf("packet %d: got %v %v, want %v", i+1, got, ok, want)
				}
			}
		})
	}
}
