package flow

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/units"
	"outlive/nat"
	"outlive/probes/socket"
)

const died = `phone 10.64.0.2:40000: opened 0.012 ready 0.021
	lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
	died 10.022: mapping expired at NAT cell (mapping-expired)`

func TestProblems(t *testing.T) {
	run(t, []story{
		{"the capture is cut off", func(t *testing.T) *testLab {
			l, _ := one(t, silent)
			l.cut = 10
			return l
		}, died + `
			problem: the capture is damaged at byte 2432: it ends within a block; what follows is not known`},
		{"a point is missing", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.fin(20, toClient)
			l.hidden["cell:lan"] = true
			return l
		}, died + `
			server noticed 20.000 by fin
			problem: the capture has nothing of cell:lan`},
		{"the server's point is missing", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			l.push(3, "p1")
			c.ask(3, toClient, "PUSH p1\n", "ACK p1\n")
			l.hidden["server:cell"] = true
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 13.002–- expired at cell, refreshed 3.002 by server's ack, timeout 10s
			died 13.002: mapping expired at NAT cell (mapping-expired)
			push p1: left 3.000 arrived 3.000 acked 3.001 copies 1 on 0
			problem: the capture has nothing of server:cell`},
		{"the device's point is missing", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.fin(20, toServer)
			l.hidden["phone:cell"] = true
			return l
		}, died + `
			client noticed 20.000 by fin
			problem: the capture has nothing of phone:cell`},
		{"only the device's point is there", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.fin(20, toServer)
			l.hidden["cell:lan"], l.hidden["cell:wan"], l.hidden["server:cell"] = true, true, true
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.024–- expired at cell
			died 10.024: mapping expired at NAT cell (mapping-expired)
			client noticed 20.000 by fin
			problem: the capture has nothing of cell:lan
			problem: the capture has nothing of cell:wan
			problem: the capture has nothing of server:cell`},
		{"a packet is missing at one point", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.ping(5, 1)
			l.frames = append(l.frames[:24], l.frames[25:]...)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 15.002–- expired at cell, refreshed 5.002 by client's ack, timeout 10s
			died 15.002: mapping expired at NAT cell (mapping-expired)
			problem: the capture has lost packets: 1 were not seen at a point that they passed, first packet 25 at cell:lan`},
		{"a connection that was there before", func(t *testing.T) *testLab {
			l := newLab(t, 1, silent)
			l.dial(0.01, "phone", 40000)
			c := l.dial(0.02, "phone", 40001)
			l.frames = l.frames[24:]
			c.say(1, toServer, "x")
			l.truth.End = seconds(2)
			return l
		}, `problem: 4 packets belong to no connection whose beginning was captured, first packet 1 at phone:cell`},
		{"the kernel's account of the expiry is far from the packets'", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			l.nats[0].byLAN[c.client].expires += seconds(3)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 13.024–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 13.024: mapping expired at NAT cell (mapping-expired)
			problem: the mapping of the connection from 10.64.0.2:40000 at NAT cell should have expired at 10.022s by its packets, and did between 13.019s and 13.024s by the kernel`},
		{"it is a little off", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			l.nats[0].byLAN[c.client].expires += seconds(0.3)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.324–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.324: mapping expired at NAT cell (mapping-expired)`},
		{"a NAT that dropped its mapping without telling", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			l.nats[0].silent = true
			c.say(15, toServer, "PING 1\n")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			problem: NAT cell dropped the connection from 10.64.0.2:40000 (packet 26 at cell:lan) although nothing says that its mapping was gone`},
		{"a NAT that resets without having told", func(t *testing.T) *testLab {
			l, c := one(t, resets)
			l.nats[0].silent = true
			c.say(15, toServer, "PING 1\n")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			closed 15.000 by client (rst): reset by NAT cell
			problem: NAT cell dropped the connection from 10.64.0.2:40000 (packet 26 at cell:lan) although nothing says that its mapping was gone`},
		{"a NAT lets pass what it should not", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			lie := *l.nats[0].byLAN[c.client]
			l.nats[0].tell(seconds(9), nat.MappingGone, &lie, nat.CauseExpired, seconds(0.005))
			c.ping(9.5, 1)
			l.truth.End = seconds(12)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 9.000–9.500 expired at cell, refreshed 0.022 by client's ack, timeout 10s
			problem: the mapping of the connection from 10.64.0.2:40000 at NAT cell should have expired at 10.022s by its packets, and did between 8.995s and 9s by the kernel
			problem: packet 26 at cell:lan passed NAT cell although its mapping was gone`},
		{"a NAT revives what it should not", func(t *testing.T) *testLab {
			l, c := one(t, profile(nat.LANRevive, nat.WANDrop))
			l.truth.NATs[0].Profile.Late.LAN = nat.LANDrop
			c.ping(15, 1)
			l.truth.End = seconds(20)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–15.000 expired at cell, refreshed 0.022 by client's ack, timeout 10s
			problem: NAT cell made a mapping anew for the connection from 10.64.0.2:40000, which its profile rules out`},
		{"a NAT lets pass from outside what it should not", func(t *testing.T) *testLab {
			l, c := one(t, profile(nat.LANRevive, nat.WANDrop))
			lie := *l.nats[0].byLAN[c.client]
			l.nats[0].tell(seconds(10.02), nat.MappingGone, &lie, nat.CauseExpired, seconds(0.005))
			l.nats[0].byLAN[c.client].expires += seconds(60)
			c.say(12, toClient, "PUSH x\n")
			l.nats[0].silent = true
			l.truth.End = seconds(15)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			problem: packet 26 at cell:wan passed NAT cell although its mapping was gone`},
		{"of a NAT whose news was lost", func(t *testing.T) *testLab {
			// The kernel had it to the end of its time, but it was learnt late.
			l, c := one(t, silent)
			l.nats[0].forget(l.nats[0].byLAN[c.client], seconds(14), nat.CauseExpired)
			l.truth.Mappings[1].Lost = true
			return l
		}, died + `
			problem: the kernel lost events about the mappings of NAT cell`},
		{"the kernel lost events", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.socket(20, toClient, socket.Closed, "")
			l.truth.Sockets[0].Lost = true
			l.write() // for the mapping's end
			l.truth.Mappings[1].Lost = true
			return l
		}, died + `
			server noticed 20.000 by close
			problem: the kernel lost events about the mappings of NAT cell
			problem: the kernel lost events about the sockets of server`},
		{"not the protocol that was said", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			l.truth.Protocol = "mqtt"
			keep(c, 0, 101)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready -
			problem: the connection from 10.64.0.2:40000 does not speak mqtt: the client sent a packet that begins with 0x48: malformed packet: flags`},
		{"a device that nobody knows", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			l.truth.Devices = nil
			keep(c, 0, 101)
			return l
		}, `10.64.0.2:40000: opened 0.012 ready 0.021
			problem: the connection from 10.64.0.2:40000 belongs to no device`},
	})
}

func TestCaptureOfAnEarlierRun(t *testing.T) {
	l, _ := one(t, silent)
	l.truth.Start = l.truth.Start.Add(30 * time.Second)
	want := "the connection from 10.64.0.2:40000 began 29.99s before the scenario: the capture is of another run"
	if got := l.analyze().Problems; !slices.Contains(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestClockBackwards(t *testing.T) {
	l, _ := one(t, silent)
	capture := l.write()
	// The last packet of the file gets an earlier stamp, as after a step of the clock.
	i := bytes.LastIndex(capture, []byte{6, 0, 0, 0})
	old := uint64(binary.LittleEndian.Uint32(capture[i+12:]))<<32 | uint64(binary.LittleEndian.Uint32(capture[i+16:]))
	back := old - uint64(10*time.Second)
	binary.LittleEndian.PutUint32(capture[i+12:], uint32(back>>32))
	binary.LittleEndian.PutUint32(capture[i+16:], uint32(back))
	a, err := Analyze(bytes.NewReader(capture), l.truth)
	if err != nil {
		t.Fatal(err)
	}
	if want := "the clock of the capture ran backwards: packet 24 is 9.99998s older than the one before"; len(a.Problems) == 0 || a.Problems[0] != want {
		t.Errorf("got %q, want first %q", a.Problems, want)
	}
}

// Neighbours in the file may have swapped their places, or have equal stamps.
func TestUnsortedCapture(t *testing.T) {
	l, c := one(t, silent)
	c.ping(5, 1)
	c.fin(12, toClient)
	want := told(l.analyze())
	for i := range l.frames {
		// All of a packet's way in the same instant.
		l.frames[i].at = units.Seconds(l.frames[i].at.D().Truncate(time.Millisecond))
	}
	for i := 0; i+4 <= len(l.frames); i += 4 {
		l.frames[i], l.frames[i+3] = l.frames[i+3], l.frames[i]
	}
	if diff := cmp.Diff(lines(want), lines(told(l.analyze()))); diff != "" {
		t.Error(diff)
	}
}

func TestNoCapture(t *testing.T) {
	l, _ := one(t, silent)
	capture := l.write()
	for _, test := range []struct {
		name    string
		capture []byte
		truth   Truth
		want    string
	}{
		{"empty", nil, l.truth, "reading the capture: the capture is empty"},
		{"something else", []byte("not a capture at all"), l.truth, "reading the capture: the capture is damaged at byte 0: it is not a pcapng file"},
		{"cut in its header", capture[:20], l.truth, "reading the capture: the capture is damaged at byte 0: it ends within a block"},
		{"no server", capture, Truth{}, "analysing a capture: the truth does not say where the server is"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Analyze(bytes.NewReader(test.capture), test.truth)
			if err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// A capture that is cut off within a block says so, wherever that is.
func TestCutAnywhere(t *testing.T) {
	l, c := one(t, silent)
	c.ping(5, 1)
	capture := l.write()
	whole := map[int]bool{}
	for at := 0; at < len(capture); at += int(binary.LittleEndian.Uint32(capture[at+4:])) {
		whole[at] = true
	}
	for n := 1; n < len(capture); n++ {
		a, err := Analyze(bytes.NewReader(capture[:n]), l.truth)
		said := err != nil && strings.Contains(err.Error(), "damaged")
		if err == nil {
			said = strings.Contains(strings.Join(a.Problems, "\n"), "damaged")
		}
		if said == whole[n] {
			t.Fatalf("cut at %d of %d: error %v, analysis %+v", n, len(capture), err, a)
		}
	}
}
