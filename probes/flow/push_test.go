package flow

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"outlive/nat"
)

func TestPushes(t *testing.T) {
	run(t, []story{
		{"one that is delivered and acknowledged", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			l.push(3, "p1")
			c.ask(3.01, toClient, "PUSH p1 hello\n", "ACK p1\n")
			keep(c, 0, 101)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			push p1: left 3.010 arrived 3.010 acked 3.011 copies 1 on 0`},
		{"one whose first packet is lost", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			l.push(3, "p1")
			l.nats[0].deaf = true
			c.say(3.01, toClient, "PUSH p1 hello\n")
			l.nats[0].deaf = false
			c.again(3.25, toClient)
			c.again(3.26, toClient)
			c.say(3.27, toServer, "ACK p1\n")
			keep(c, 0, 101)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			push p1: left 3.010 arrived 3.250 acked 3.270 copies 1 on 0
			problem: NAT cell dropped the connection from 10.64.0.2:40000 (packet 26 at cell:wan) although nothing says that its mapping was gone`},
		{"one that never left, one that never arrived", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			l.push(12, "p1")
			l.push(13, "p2")
			c.say(12, toClient, "PUSH p2\n")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)
			push p1: left - arrived - acked - copies 0 on -1
			push p2: left 12.000 arrived - acked - copies 0 on 0`},
		{"one that is delivered on the next connection", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			l.push(12, "p1")
			c.say(12, toClient, "PUSH p1\n")
			n := l.dial(20, "phone", 40001).hello(20.1)
			n.ask(20.2, toClient, "PUSH p1\n", "ACK p1\n")
			l.truth.End = seconds(25)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)
			client noticed 20.000 by syn
			phone 10.64.0.2:40001: opened 20.002 ready 20.101
			push p1: left 12.000 arrived 20.200 acked 20.201 copies 1 on 1`},
		{"one that arrives after the client has closed has not", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			l.push(3, "p1")
			c.fin(3.01, toServer)
			c.say(3.02, toClient, "PUSH p1\n")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			FALSE ALARM 3.010 by client (fin): nothing from the server for 2.989s
			push p1: left 3.020 arrived - acked - copies 0 on 0`},
		{"one that is given twice, one whose name is the beginning of another's, one over two packets", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			for _, id := range []string{"p1", "p12", "p3"} {
				l.push(3, id)
			}
			c.ask(3.1, toClient, "PUSH p12 x\n", "ACK p12\n")
			c.ask(3.2, toClient, "PUSH p12 x\n", "ACK p12\n")
			c.say(3.3, toClient, "PUSH p")
			c.say(3.4, toClient, "3 x\n")
			keep(c, 0, 101)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			push p1: left - arrived - acked - copies 0 on -1
			push p12: left 3.100 arrived 3.100 acked 3.101 copies 2 on 0
			push p3: left 3.300 arrived 3.400 acked - copies 1 on 0`},
		{"out of order, it has arrived when the gap is filled", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			l.push(3, "p1")
			l.push(3, "p2")
			l.nats[0].deaf = true
			c.say(3, toClient, "PUSH p1\n")
			first := c.last[toClient]
			l.nats[0].deaf = false
			c.say(3.1, toClient, "PUSH p2\n")
			first.at, first.id = seconds(3.3), 0
			c.deliver(first, 8)
			l.truth.End = seconds(3.5)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			push p1: left 3.000 arrived 3.300 acked - copies 1 on 0
			push p2: left 3.100 arrived 3.300 acked - copies 1 on 0
			problem: NAT cell dropped the connection from 10.64.0.2:40000 (packet 26 at cell:wan) although nothing says that its mapping was gone`},
		{"MQTT: a message again with DUP is a second copy", func(t *testing.T) *testLab {
			l, c := oneMQTT(t, 4)
			l.push(3, "id-7")
			c.say(3, toClient, "\x32\x0e\x00\x06a/push\x00\x09id-7")
			c.say(3.5, toClient, "\x3a\x0e\x00\x06a/push\x00\x09id-7")
			c.say(3.6, toServer, "\x40\x02\x00\x09")
			l.truth.End = seconds(5)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.031
			push id-7: left 3.000 arrived 3.000 acked 3.600 copies 2 on 0`},
		{"MQTT: an identifier that is used again", func(t *testing.T) *testLab {
			l, c := oneMQTT(t, 5)
			l.push(3, "id-7")
			l.push(4, "id-8")
			c.ask(3, toClient, "\x32\x0f\x00\x06a/push\x00\x09\x00id-7", "\x40\x02\x00\x09")
			c.ask(4, toClient, "\x32\x0f\x00\x06a/push\x00\x09\x00id-8", "\x40\x02\x00\x09")
			l.truth.End = seconds(5)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.031
			push id-7: left 3.000 arrived 3.000 acked 3.001 copies 1 on 0
			push id-8: left 4.000 arrived 4.000 acked 4.001 copies 1 on 0`},
		{"a protocol that is not decoded: the identity is found in the bytes", func(t *testing.T) *testLab {
			l := newLab(t, 1, silent)
			l.truth.Protocol = "our-own"
			for _, id := range []string{"p1", "p12", "p3"} {
				l.push(3, id)
			}
			c := l.dial(0.01, "phone", 40000)
			c.say(3, toClient, "\x00\x31p12\x00p1")
			c.say(3.1, toClient, "..p")
			c.say(3.2, toClient, "3..p12")
			l.truth.End = seconds(5)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.012
			push p1: left 3.000 arrived 3.000 acked - copies 1 on 0
			push p12: left 3.000 arrived 3.000 acked - copies 2 on 0
			push p3: left 3.100 arrived 3.200 acked - copies 1 on 0`},
		{"and so where it goes on in the next packet", func(t *testing.T) *testLab {
			l := newLab(t, 1, silent)
			l.truth.Protocol = ""
			l.push(3, "p1")
			l.push(3, "p12")
			c := l.dial(0.01, "phone", 40000)
			c.say(3, toClient, "..p1")
			c.say(3.1, toClient, "2..")
			c.say(3.2, toClient, "..p1")
			l.truth.End = seconds(5)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.012
			push p1: left 3.200 arrived 3.200 acked - copies 1 on 0
			push p12: left 3.000 arrived 3.100 acked - copies 1 on 0`},
	})
}

func TestHeartbeats(t *testing.T) {
	l, c := one(t, profile(nat.LANRevive, nat.WANDrop))
	c.ping(3, 1)                    // 20+20+7 out and in, and one acknowledgement of 40
	c.say(5, toClient, "PING 77\n") // the server's, answered
	c.say(5.01, toServer, "PONG 77\n")
	c.say(8, toServer, "PING 2\n") // repeated, and never answered
	c.again(8.3, toServer)
	c.say(8.4, toClient, "")
	c.say(9, toServer, "PING 3\n") // overtakes
	c.say(9.1, toClient, "PONG 3\n")
	c.say(30, toClient, "PING 78\n") // dropped
	a := l.analyze()
	var got []string
	for _, h := range a.Heartbeats {
		answered := "-"
		if h.Answered != nil {
			answered = fmt.Sprintf("%.3f", h.Answered.D().Seconds())
		}
		got = append(got, fmt.Sprintf("%s %.3f %s %d bytes", h.From, h.Sent.D().Seconds(), answered, h.Bytes))
	}
	want := []string{
		"client 3.000 3.001 134 bytes",
		"server 5.000 5.010 96 bytes",
		"client 8.000 - 134 bytes",
		"client 9.000 9.100 94 bytes",
		"server 30.000 - 0 bytes",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(a.Problems) > 0 {
		t.Errorf("problems: %q", a.Problems)
	}
}
