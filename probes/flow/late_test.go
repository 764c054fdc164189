package flow

import (
	"testing"

	"outlive/nat"
	"outlive/probes/socket"
)

func TestLatePackets(t *testing.T) {
	run(t, []story{
		{"the NAT resets the client", func(t *testing.T) *testLab {
			l, c := one(t, resets)
			c.say(12, toServer, "PING 1\n")
			c.socket(12.01, toServer, socket.Closed, "")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)
			client noticed 12.010 by close gave up 12.000 by reset`},
		{"the NAT resets the client, whose program does not look", func(t *testing.T) *testLab {
			l, c := one(t, resets)
			c.say(12, toServer, "PING 1\n")
			c.socket(12.001, toServer, socket.GaveUp, "reset")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)
			client gave up 12.000 by reset`},
		{"the NAT resets the server", func(t *testing.T) *testLab {
			l, c := one(t, resets)
			c.say(12, toClient, "PING 1\n")
			c.socket(12.01, toClient, socket.Closed, "")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)
			server noticed 12.010 by close gave up 12.000 by reset`},
		{"the client's packet revives the mapping and nothing is lost", func(t *testing.T) *testLab {
			l, c := one(t, profile(nat.LANRevive, nat.WANDrop))
			c.ping(20, 1)
			for at := 25.0; at < 100; at += 5 {
				c.ping(at, 1)
			}
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–20.000 expired at cell, refreshed 0.022 by client's ack, timeout 10s`},
		{"a lapse that is open at the end is no death where it could be mended", func(t *testing.T) *testLab {
			l, c := one(t, profile(nat.LANRevive, nat.WANDrop))
			c.say(30, toClient, "PUSH x\n")
			c.again(31, toClient)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s`},
		{"it is one if a side gives up before it is mended", func(t *testing.T) *testLab {
			l, c := one(t, profile(nat.LANRevive, nat.WANDrop))
			c.say(30, toClient, "PING 1\n")
			c.fin(33, toClient)
			c.say(40, toServer, "PING 2\n")
			c.unknown(40.001, toClient)
			c.socket(40.01, toServer, socket.Closed, "")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–40.000 expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)
			client noticed 40.010 by close gave up 40.001 by reset
			server noticed 33.000 by fin`},
		{"it is one if a kernel gives up before it is mended", func(t *testing.T) *testLab {
			l, c := one(t, profile(nat.LANRevive, nat.WANDrop))
			c.say(30, toClient, "PING 1\n")
			c.socket(45, toClient, socket.GaveUp, "retransmission")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)
			server gave up 45.000 by retransmission`},
		{"a FIN cannot revive", func(t *testing.T) *testLab {
			l, c := one(t, profile(nat.LANRevive, nat.WANDrop))
			c.fin(20, toServer)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)
			client noticed 20.000 by fin`},
		{"revived, it lapses again", func(t *testing.T) *testLab {
			l, c := one(t, profile(nat.LANRevive, nat.WANDrop))
			c.ping(20, 1)
			c.ping(45, 2)
			l.truth.End = seconds(50)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–20.000 expired at cell, refreshed 0.022 by client's ack, timeout 10s
			lapse 30.002–45.000 expired at cell, refreshed 20.002 by client's ack, timeout 10s`},
		{"giving up over an answer that a lapse cost is no false alarm, and no death", func(t *testing.T) *testLab {
			l, c := one(t, profile(nat.LANRevive, nat.WANDrop))
			c.say(15, toClient, "PING 1\n") // dropped
			c.say(16, toServer, "PING 7\n") // revives
			c.fin(18, toClient)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–16.000 expired at cell, refreshed 0.022 by client's ack, timeout 10s
			closed 18.000 by server (fin): an answer was lost while the path was broken (mapping expired at NAT cell) from 10.022s to 16s`},
		{"so with data that TCP has not delivered yet, the server's", func(t *testing.T) *testLab {
			l, c := one(t, profile(nat.LANRevive, nat.WANDrop))
			c.say(15, toClient, "PUSH x\n") // dropped
			c.ping(16, 7)                   // revives
			c.fin(16.1, toClient)           // before TCP repeats it
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–16.000 expired at cell, refreshed 0.022 by client's ack, timeout 10s
			closed 16.100 by server (fin): an answer was lost while the path was broken (mapping expired at NAT cell) from 10.022s to 16s`},
		{"and where it is the client that closes", func(t *testing.T) *testLab {
			l, c := one(t, profile(nat.LANRevive, nat.WANDrop))
			c.say(15, toClient, "PUSH x\n")  // dropped
			c.say(16, toServer, "HELLO x\n") // revives
			c.say(16.01, toClient, "")       // of its bytes
			c.fin(16.1, toServer)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–16.000 expired at cell, refreshed 0.022 by client's ack, timeout 10s
			closed 16.100 by client (fin): an answer was lost while the path was broken (mapping expired at NAT cell) from 10.022s to 16s`},
		{"a new port is of no use, and the server's reset of it no notice of the server's", func(t *testing.T) *testLab {
			l, c := one(t, profile(nat.LANRemap, nat.WANDrop))
			c.say(12, toServer, "PING 1\n")
			c.refuse(12.001)
			c.socket(12.01, toServer, socket.Closed, "")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)
			client noticed 12.010 by close gave up 12.001 by reset`},
		{"a reset from the new port does not reach the server's socket", func(t *testing.T) *testLab {
			l, c := one(t, profile(nat.LANRemap, nat.WANDrop))
			c.say(12, toServer, "")
			c.rst(13, toServer)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)
			client noticed 13.000 by rst`},
		{"nor does an acknowledgement in the protocol", func(t *testing.T) *testLab {
			l, c := one(t, profile(nat.LANRemap, nat.WANDrop))
			l.push(3, "p1")
			c.say(3, toClient, "PUSH p1\n")
			c.say(3.001, toServer, "")
			c.say(14, toServer, "ACK p1\n")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 13.001–- expired at cell, refreshed 3.001 by client's ack, timeout 10s
			died 13.001: mapping expired at NAT cell (mapping-expired)
			push p1: left 3.000 arrived 3.000 acked - copies 1 on 0`},
		{"nor does the end of the mapping to the new port matter", func(t *testing.T) *testLab {
			l, c := one(t, profile(nat.LANRemap, nat.WANDrop))
			c.say(12, toServer, "PING 1\n")
			c.again(40, toServer)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)`},
	})
}
