package flow

import (
	"testing"

	"outlive/nat"
	"outlive/probes/socket"
)

// keep pings every 4 s from one time to another, both left out of it.
func keep(c *testConn, from, to float64) {
	for at := from + 4; at < to-0.01; at += 4 {
		c.ping(at, int(at))
	}
}

func TestClosing(t *testing.T) {
	run(t, []story{
		{"the client gives up a living connection for want of an answer", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.ping(5, 1)
			c.say(9, toServer, "PING 2\n")
			c.say(9.04, toClient, "") // the server's kernel is there, its program is not
			c.fin(12, toServer)
			c.fin(12.001, toClient)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			FALSE ALARM 12.000 by client (fin): ping unanswered for 3s`},
		{"the answer comes too late", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.say(5, toServer, "PING 1\n")
			c.rst(8, toServer)
			c.say(8.5, toClient, "PONG 1\n")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			FALSE ALARM 8.000 by client (rst): ping unanswered for 3s`},
		{"the server closes a quiet client's connection by its idle rule", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.fin(6.02, toClient)
			c.fin(6.03, toServer)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			FALSE ALARM 6.020 by server (fin): nothing from the client for 6s`},
		{"after an end in order the mapping may go", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.ping(5, 1)
			c.fin(7, toClient)
			c.say(7.1, toServer, "")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			FALSE ALARM 7.000 by server (fin): nothing from the client for 2s`},
		{"both close at the same time: the first one is it", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.fin(5, toServer)
			c.fin(5.00001, toClient)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			FALSE ALARM 5.000 by client (fin): nothing from the server for 4.979s`},
		{"a connection replaced by a newer one of the same device", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			keep(l.dial(4, "phone", 40001).hello(4.1), 4, 101)
			c.fin(4.2, toClient)
			c.fin(4.3, toServer)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			closed 4.200 by server (fin): the device had opened another connection (packet 25)
			phone 10.64.0.2:40001: opened 4.002 ready 4.101`},
		{"a kernel gives up a connection whose path was fine, by its probes", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.socket(8.05, toServer, socket.GaveUp, "keepalive")
			c.rst(8.049, toServer) // the kernel's, not the program's
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			FALSE ALARM 8.049 by client (gave-up): its kernel gave up (keepalive)`},
		{"nothing on the wire", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.socket(8, toServer, socket.Closed, "")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			FALSE ALARM 8.000 by client (close): nothing from the server for 7.979s`},
		{"a close that is learnt a moment before its FIN is stamped is the FIN", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.socket(5, toServer, socket.Orphaned, "")
			c.fin(5.0002, toServer)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			FALSE ALARM 5.000 by client (fin): nothing from the server for 4.979s`},
		{"a server whose kernel does not know the connection", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.say(5, toServer, "PING 1\n")
			c.unknown(5.001, toClient)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			FALSE ALARM 5.001 by server (rst): its kernel did not know the connection any more`},
		{"a reset that is not what comes next is not heeded", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			p := packet{at: seconds(5), d: toClient, device: c.device, client: c.server, seq: c.next[toClient] + 100, flags: flagRST}
			l.move(p, 3)
			keep(c, 5, 101)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021`},
	})
}

func TestGoodbye(t *testing.T) {
	run(t, []story{
		{"DISCONNECT is taking leave", func(t *testing.T) *testLab {
			l, c := oneMQTT(t, 4)
			c.say(5, toServer, "\xe0\x00")
			c.fin(5.0001, toServer)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.031
			closed 5.000 by client (fin): sent DISCONNECT`},
		{"a server that believes its client dead does not take leave", func(t *testing.T) *testLab {
			l, c := oneMQTT(t, 5)
			c.say(6, toClient, "\xe0\x01\x8d")
			c.fin(6.0001, toClient)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.031
			FALSE ALARM 6.000 by server (fin): nothing from the client for 5.97s`},
		{"one that says that the session went elsewhere does", func(t *testing.T) *testLab {
			l, c := oneMQTT(t, 5)
			c.say(6, toClient, "\xe0\x02\x8e\x00")
			c.fin(6.0001, toClient)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.031
			closed 6.000 by server (fin): sent DISCONNECT: session taken over`},
		{"the other side's leave is not its own", func(t *testing.T) *testLab {
			l, c := oneMQTT(t, 5)
			c.say(6, toServer, "\xe0\x00")
			c.fin(6.001, toClient)
			c.fin(6.002, toServer)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.031
			closed 6.001 by server (fin): the client had taken its leave (sent DISCONNECT)`},
		{"a PINGREQ unanswered", func(t *testing.T) *testLab {
			l, c := oneMQTT(t, 4)
			c.ask(3, toServer, "\xc0\x00", "\xd0\x00")
			c.say(6, toServer, "\xc0\x00")
			c.fin(8.5, toServer)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.031
			FALSE ALARM 8.500 by client (fin): pingreq unanswered for 2.5s`},
	})
}

func TestKernelAndProgram(t *testing.T) {
	run(t, []story{
		{"probes give up, and their reset is not the program's notice", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.probe(12, toServer)
			c.rst(15.004, toServer)
			c.socket(15.006, toServer, socket.GaveUp, "keepalive")
			c.socket(40, toServer, socket.Closed, "")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)
			client noticed 40.000 by close gave up 15.004 by keepalive`},
		{"a kernel that gave up answers a late packet with a reset: no notice", func(t *testing.T) *testLab {
			l, c := one(t, profile(nat.LANRevive, nat.WANDrop))
			c.say(12, toClient, "PUSH x\n")
			c.socket(20, toClient, socket.GaveUp, "retransmission")
			c.say(30, toServer, "PING 1\n") // revives
			c.unknown(30.001, toClient)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–30.000 expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)
			client gave up 30.001 by reset
			server gave up 20.000 by retransmission`},
		{"a kernel that knows after its program is not told", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.fin(12, toServer)
			c.socket(30, toServer, socket.GaveUp, "retransmission")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)
			client noticed 12.000 by fin`},
		{"the program resets", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.say(12, toServer, "PING 1\n")
			c.rst(15, toServer)
			c.socket(15.001, toServer, socket.Closed, "")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)
			client noticed 15.000 by rst`},
		{"a socket is told of by its number where its far end is forgotten", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.socket(1, toClient, socket.Opened, "")
			c.socket(25, toClient, socket.Closed, "")
			l.truth.Sockets[len(l.truth.Sockets)-1].Remote = testServer // nonsense, as after a reset
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)
			server noticed 25.000 by close`},
	})
}
