package flow

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/units"
	"outlive/nat"
)

func TestJoin(t *testing.T) {
	run(t, []story{
		{"a SYN that is sent again is the same connection", func(t *testing.T) *testLab {
			l := newLab(t, 1, silent)
			c := l.syn(0.01, "phone", 40000, 77)
			c.again(1.01, toServer)
			c.synAck(1.02)
			c.say(1.03, toServer, "")
			c.hello(1.04)
			keep(c, 1, 101)
			return l
		}, `phone 10.64.0.2:40000: opened 1.030 ready 1.041`},
		{"a refused connection never opened", func(t *testing.T) *testLab {
			l := newLab(t, 1, silent)
			c := l.syn(0.01, "phone", 40000, 77)
			p := packet{at: seconds(0.02), d: toClient, device: "phone", client: c.server, ack: 78, flags: flagRST | flagACK}
			l.move(p, 3)
			return l
		}, `phone 10.64.0.2:40000: opened - ready -`},
		{"a port used again after an orderly end", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.fin(5, toServer)
			c.fin(5.001, toClient)
			c.say(5.002, toServer, "")
			l.nats[0].forget(l.nats[0].byLAN[c.client], seconds(7.9), nat.CauseClosed)
			keep(l.dialISN(8, "phone", 40000, 0xfffffff0).hello(8.1), 8, 101)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			FALSE ALARM 5.000 by client (fin): nothing from the server for 4.979s
			phone 10.64.0.2:40000: opened 8.002 ready 8.101`},
		{"a port used again, and a mapping that is gone again", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.fin(5, toServer)
			c.fin(5.001, toClient)
			c.say(5.002, toServer, "")
			l.nats[0].forget(l.nats[0].byLAN[c.client], seconds(7.9), nat.CauseClosed)
			l.dialISN(8, "phone", 40000, 0xfffffff0).hello(8.1)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			FALSE ALARM 5.000 by client (fin): nothing from the server for 4.979s
			phone 10.64.0.2:40000: opened 8.002 ready 8.101
			lapse 18.102–- expired at cell, refreshed 8.102 by client's ack, timeout 10s
			died 18.102: mapping expired at NAT cell (mapping-expired)`},
		{"a port used again while the server still holds the dead connection", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.say(15, toServer, "PING 1\n") // dropped
			old := *c
			n := l.syn(20, "phone", 40000, 0xabcdef01)
			// The server answers for the old connection, the client resets that, and tries again.
			old.say(20.001, toClient, "")
			old.client = c.client
			old.unknown(20.002, toServer)
			n.again(21, toServer)
			n.synAck(21.001)
			n.say(21.002, toServer, "")
			keep(n.hello(21.01), 21, 101)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)
			client noticed 20.000 by syn
			server gave up 20.002 by reset
			phone 10.64.0.2:40000: opened 21.002 ready 21.011`},
		{"two devices with the same port behind one NAT", func(t *testing.T) *testLab {
			l := newLab(t, 2, silent)
			a := l.dial(0.01, "phone", 40000).hello(0.02)
			b := l.dial(0.5, "phone-2", 40000).hello(0.6)
			keep(b, 0, 101)
			a.fin(3, toClient)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			FALSE ALARM 3.000 by server (fin): nothing from the client for 2.98s
			phone-2 10.64.0.3:40000: opened 0.502 ready 0.601`},
		{"two devices with the same port and the same numbers", func(t *testing.T) *testLab {
			l := newLab(t, 2, silent)
			a := l.dialISN(0.01, "phone", 40000, 5)
			b := l.dialISN(0.5, "phone-2", 40000, 5)
			keep(a.hello(0.6), 0, 101)
			b.hello(0.61)
			b.fin(3, toClient)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.601
			phone-2 10.64.0.3:40000: opened 0.502 ready 0.611
			FALSE ALARM 3.000 by server (fin): nothing from the client for 2.39s`},
		{"and their packets in the NAT at the same moment", func(t *testing.T) *testLab {
			l := newLab(t, 2, silent)
			a := l.dialISN(0.01, "phone", 40000, 5)
			b := l.dialISN(0.5, "phone-2", 40000, 5)
			for i, c := range []*testConn{a, b} {
				p := packet{at: seconds(1) + units.Seconds(i)*hopTime/2, d: toServer, device: c.device, client: c.client, seq: 6, ack: c.got[toClient], flags: flagACK, payload: "HELLO you\n", window: 1, id: 9}
				c.deliver(p, 10)
			}
			b.say(1.5, toClient, "WELCOME you\n")
			l.truth.End = seconds(8)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready -
			phone-2 10.64.0.3:40000: opened 0.502 ready 1.500`},
		{"several connections over time, sequence numbers that wrap", func(t *testing.T) *testLab {
			l := newLab(t, 1, silent)
			for i := range 3 {
				at := 10 * float64(i)
				c := l.dialISN(at+0.01, "phone", 40000+uint16(i), 0xffffffff-uint32(i)*7).hello(at + 0.02)
				keep(c, at, at+9)
				c.fin(at+9, toServer)
				c.fin(at+9.001, toClient)
			}
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			FALSE ALARM 9.000 by client (fin): nothing from the server for 999ms
			phone 10.64.0.2:40001: opened 10.012 ready 10.021
			FALSE ALARM 19.000 by client (fin): nothing from the server for 999ms
			phone 10.64.0.2:40002: opened 20.012 ready 20.021
			FALSE ALARM 29.000 by client (fin): nothing from the server for 999ms`},
		{"packets that are the same in everything: the one that passed is the latest", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			p := packet{d: toServer, device: "phone", client: c.client, seq: c.next[toServer], ack: c.got[toClient], flags: flagACK, window: 1, id: 1}
			for i, at := range []float64{12, 12.1, 12.2} {
				p.at = seconds(at)
				if i == 2 {
					// Here the NAT would let it pass.
					l.nats[0].silent = true
					l.nats[0].make(&p, 40000).expires = seconds(90)
				}
				l.move(p, 0)
			}
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–12.200 expired at cell, refreshed 0.022 by client's ack, timeout 10s
			problem: packet 30 at cell:lan passed NAT cell although its mapping was gone`},
		{"no NAT at all", func(t *testing.T) *testLab {
			l := newLab(t, 1)
			c := l.dial(0.01, "phone", 40000).hello(0.02)
			c.fin(50, toClient)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			FALSE ALARM 50.000 by server (fin): nothing from the client for 49.98s`},
	})
}

func TestConnectionOverTwoNATs(t *testing.T) {
	l := newLab(t, 2, silent, silent)
	l.dial(0, "phone", 40000)
	l.dialISN(1, "phone-2", 40000, 4711)
	l.truth.End = seconds(2)
	a := l.analyze()
	if len(a.Connections) != 2 || len(a.Problems) != 0 {
		t.Fatalf("got %d connections, problems %q", len(a.Connections), a.Problems)
	}
	c := a.Connections[1]
	got := fmt.Sprint(c.Device, c.Uplink, c.Client, c.Server, c.Mapped, c.ISN, c.Packets)
	want := fmt.Sprint("phone-2", "cell", netip.MustParseAddrPort("10.64.0.3:40000"), testServer,
		[]string{"203.0.113.2:50001", "203.0.113.3:50001"}, 4711, 18)
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if a.Packets != 36 {
		t.Errorf("the capture has %d packets, want 36", a.Packets)
	}
}

// marksOf are the marks of a connection, one a line: time, kind, sender and fate.
func marksOf(c Connection) []string {
	var all []string
	for _, m := range c.Marks {
		all = append(all, strings.TrimSpace(fmt.Sprintf("%.3f %s %s %s %s", m.At.D().Seconds(), m.Point, m.From, m.Kind, m.Fate)))
	}
	return all
}

func TestMarks(t *testing.T) {
	l, c := one(t, silent)
	c.ping(3, 1)
	c.probe(5, toClient)
	c.say(6, toClient, "PUSH a x\nPUSH b y\n")
	c.say(6.01, toServer, "ACK a\nACK b\n")
	c.again(6.3, toServer)
	c.say(6.4, toClient, "")
	c.say(6.5, toServer, "\n") // of one byte, as a keepalive probe may be
	c.again(6.7, toServer)
	c.say(6.8, toClient, "")
	c.say(20, toServer, "PING 2\n")
	c.again(20.2, toServer)
	c.say(21, toClient, "PING 1\n")
	c.fin(22, toServer)
	c.again(22.5, toServer)
	a := l.analyze()
	want := []string{
		"0.010 phone:cell client syn",
		"0.011 server:cell server syn",
		"0.020 phone:cell client hello",
		"0.021 server:cell server welcome",
		"3.000 phone:cell client ping",
		"3.001 server:cell server pong",
		"5.000 server:cell server keepalive-probe",
		"6.000 server:cell server push",
		"6.010 phone:cell client ack",
		"6.300 phone:cell client retransmission",
		"6.500 phone:cell client data",
		"6.700 phone:cell client retransmission",
		"20.000 phone:cell client ping dropped at NAT cell",
		"20.200 phone:cell client retransmission dropped at NAT cell",
		"21.000 server:cell server ping dropped at NAT cell",
		"22.000 phone:cell client fin dropped at NAT cell",
		"22.500 phone:cell client retransmission dropped at NAT cell",
	}
	if diff := cmp.Diff(want, marksOf(a.Connections[0])); diff != "" {
		t.Error(diff)
	}
	for i, m := range a.Connections[0].Marks {
		if m.Packet == 0 {
			t.Errorf("mark %d has no packet number", i)
		}
	}
}

func TestMarksOfResets(t *testing.T) {
	t.Run("a NAT's towards the client", func(t *testing.T) {
		l, c := one(t, resets)
		c.say(12, toServer, "PING 1\n")
		want := []string{"12.000 phone:cell client ping dropped at NAT cell", "12.000 cell:lan nat:cell rst"}
		if diff := cmp.Diff(want, marksOf(l.analyze().Connections[0])[4:]); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("a NAT's towards the server, over another NAT", func(t *testing.T) {
		l := newLab(t, 1, resets, profile(nat.LANDrop, nat.WANDrop))
		l.nats[1].Profile.Timeouts.TCPEstablished *= 3
		l.truth.NATs[1].Profile.Timeouts.TCPEstablished *= 3
		c := l.dial(0, "phone", 40000).hello(0.1)
		c.say(15, toClient, "PING 1\n")
		want := []string{"15.000 server:cell server ping dropped at NAT cell.1", "15.000 cell.1:wan nat:cell.1 rst"}
		if diff := cmp.Diff(want, marksOf(l.analyze().Connections[0])[4:]); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("the server's, of a packet from another port", func(t *testing.T) {
		l, c := one(t, profile(nat.LANRemap, nat.WANDrop))
		c.say(12, toServer, "PING 1\n")
		c.refuse(12.001)
		want := []string{"12.000 phone:cell client ping reached the server from 203.0.113.2:50001, which it does not know", "12.001 server:cell server rst"}
		if diff := cmp.Diff(want, marksOf(l.analyze().Connections[0])[4:]); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("a cable that was pulled", func(t *testing.T) {
		l, c := one(t, silent)
		l.brk(5, "server", "server-power-off")
		l.hideServerFrom(5)
		c.say(6, toServer, "PING 1\n")
		want := []string{"6.000 phone:cell client ping lost behind NAT cell, whose cable to the server was dead"}
		if diff := cmp.Diff(want, marksOf(l.analyze().Connections[0])[4:]); diff != "" {
			t.Error(diff)
		}
	})
}
