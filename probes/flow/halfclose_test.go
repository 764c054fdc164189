package flow

import (
	"testing"

	"outlive/probes/socket"
)

func TestHalfClose(t *testing.T) {
	held := func(c *testConn) { c.socket(0.02, toServer, socket.Opened, "") }
	run(t, []story{
		{"a client that has finished sending and goes on listening has not closed", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			held(c)
			l.push(5, "p1")
			c.fin(3, toServer)
			c.say(3.001, toClient, "")
			c.say(5, toClient, "PUSH p1\n")
			c.say(5.001, toServer, "")
			l.truth.End = seconds(12)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			push p1: left 5.000 arrived 5.000 acked - copies 1 on 0`},
		{"the server answers with its own end: nobody gave anything up", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			held(c)
			c.fin(3, toServer)
			c.say(3.001, toClient, "")
			c.fin(7, toClient)
			c.say(7.001, toServer, "")
			c.socket(7.002, toServer, socket.Closed, "")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			closed 7.000 by server (fin): the client had finished sending (FIN) 4s before`},
		{"the client closes after all", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			held(c)
			c.fin(3, toServer)
			c.say(3.001, toClient, "")
			c.socket(6, toServer, socket.Closed, "")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			FALSE ALARM 6.000 by client (close): nothing from the server for 5.979s`},
		{"on a dead connection its FIN is its notice", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			held(c)
			c.fin(12, toServer)
			c.socket(40, toServer, socket.Closed, "")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)
			client noticed 12.000 by fin`},
		{"without news of its socket a FIN is a close", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.fin(3, toServer)
			c.fin(9, toClient)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			FALSE ALARM 3.000 by client (fin): nothing from the server for 2.979s`},
	})
}

func TestTwoAtOnce(t *testing.T) {
	run(t, []story{
		{"a device with two connections: the older one is no less given up", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			keep(l.dial(1, "phone", 40001).hello(1.1), 1, 101)
			c.fin(6, toClient)
			c.fin(6.001, toServer)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			FALSE ALARM 6.000 by server (fin): nothing from the client for 5.98s
			phone 10.64.0.2:40001: opened 1.002 ready 1.101`},
		{"a slow server greets the new one as it closes the old", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			n := l.dial(1, "phone", 40001)
			n.say(1.1, toServer, "HELLO phone\n")
			c.fin(6, toClient)
			c.fin(6.001, toServer)
			n.say(6.1, toClient, "WELCOME phone\n")
			keep(n, 6, 101)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			closed 6.000 by server (fin): the device had opened another connection (packet 25)
			phone 10.64.0.2:40001: opened 1.002 ready 6.100`},
	})
}
