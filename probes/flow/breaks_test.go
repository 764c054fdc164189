package flow

import (
	"testing"
	"time"

	"outlive/lab/units"
	"outlive/nat"
	"outlive/probes/socket"
)

func TestBreaks(t *testing.T) {
	run(t, []story{
		{"the server is killed and its kernel says so", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.ping(5, 1)
			l.brk(7, "server", "server-kill")
			c.fin(7.0008, toClient)
			c.socket(7.002, toClient, socket.Closed, "")
			c.fin(7.0012, toServer)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			died 7.000: server-kill (server-kill)
			client noticed 7.001 by fin
			server gone 7.000`},
		{"the server is killed with bytes unread: its kernel resets", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.ping(5, 1)
			l.brk(7, "server", "server-kill")
			c.rst(7.0008, toClient)
			c.socket(7.01, toServer, socket.Closed, "")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			died 7.000: server-kill (server-kill)
			client noticed 7.010 by close gave up 7.001 by reset
			server gone 7.000`},
		{"the server loses its power and says nothing", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.ping(5, 1)
			l.brk(7, "server", "server-power-off")
			l.hideServerFrom(7)
			c.say(10, toServer, "PING 2\n")
			c.socket(13, toServer, socket.Orphaned, "")
			l.syn(14, "phone", 40001, 99)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			died 7.000: server-power-off (server-power-off)
			client noticed 13.000 by close
			server gone 7.000
			phone 10.64.0.2:40001: opened - ready -`},
		{"what a NAT takes in refreshes its mapping, though the cable behind it is dead", func(t *testing.T) *testLab {
			p := silent
			p.Timeouts.TCPUnacknowledged = units.Duration(4 * time.Second)
			l, c := one(t, p)
			c.ping(5, 1)
			l.brk(7, "server", "server-power-off")
			l.hideServerFrom(7)
			c.say(8, toServer, "PING 2\n")
			c.again(10, toServer)
			c.nats[0].byLAN[c.client].expires = seconds(14)
			c.again(20, toServer)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 14.000–- expired at cell, refreshed 10.000 by client's retransmission, timeout 4s unacknowledged
			died 7.000: server-power-off (server-power-off)
			server gone 7.000`},
		{"not what comes when the mapping has gone", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.ping(5, 1)
			l.brk(7, "server", "server-power-off")
			l.hideServerFrom(7)
			c.say(20, toServer, "PING 2\n")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 15.002–- expired at cell, refreshed 5.002 by client's ack, timeout 10s
			died 7.000: server-power-off (server-power-off)
			server gone 7.000`},
		{"of two NATs the one before hears no more than it ever does", func(t *testing.T) *testLab {
			long := silent
			long.Timeouts.TCPUnacknowledged = units.Duration(6 * time.Second)
			l := newLab(t, 1, silent, long)
			c := l.dial(0.01, "phone", 40000).hello(0.02)
			l.brk(7, "server", "server-power-off")
			l.hideServerFrom(7)
			c.say(8, toServer, "PING 2\n")
			for _, n := range c.nats {
				for _, m := range n.byLAN {
					m.expires = seconds(8) + units.Seconds(n.Profile.Timeouts.TCPUnacknowledged)
				}
			}
			c.nats[0].byLAN[c.client].expires = seconds(18)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 14.000–- expired at cell.2, refreshed 8.000 by client's ping, timeout 6s unacknowledged
			lapse 18.000–- expired at cell.1, refreshed 8.000 by client's ping, timeout 10s
			died 7.000: server-power-off (server-power-off)
			server gone 7.000`},
		{"the connection was dead before the server was", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			l.brk(30, "server", "server-kill")
			c.fin(30.001, toClient)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)
			server gone 30.000`},
		{"the server knew of the death before it died itself", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.fin(20, toClient)
			l.brk(30, "server", "server-kill")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)
			server noticed 20.000 by fin`},
		{"a connection that was closed before the server was killed", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.fin(5, toServer)
			c.fin(5.001, toClient)
			l.brk(7, "server", "server-kill")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			FALSE ALARM 5.000 by client (fin): nothing from the server for 4.979s`},
		{"a connection that never opened does not die", func(t *testing.T) *testLab {
			l := newLab(t, 1, silent)
			l.brk(1, "server", "server-kill")
			c := l.syn(2, "phone", 40000, 1)
			p := packet{at: seconds(2.001), d: toClient, device: "phone", client: c.server, ack: 2, flags: flagRST | flagACK}
			l.move(p, 3)
			return l
		}, `phone 10.64.0.2:40000: opened - ready -`},
		{"a server that ends by itself is seen to a moment later", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.fin(5, toClient)
			c.fin(5.001, toServer)
			l.brk(5.2, "server", CauseServerExit)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			died 5.000: server-exit (server-exit)
			client noticed 5.001 by fin
			server gone 5.000`},
		{"a path that could be mended does not bring back a server", func(t *testing.T) *testLab {
			l, c := one(t, profile(nat.LANRevive, nat.WANDrop))
			l.brk(15, "server", "server-kill")
			c.fin(15.001, toClient)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell, then server-kill (server-kill)
			server gone 15.000`},
	})
}

func TestOtherBreaks(t *testing.T) {
	run(t, []story{
		{"the device is lost", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			l.brk(5, "phone", "power-off")
			c.fin(9, toClient)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			died 5.000: power-off (power-off)
			client gone 5.000
			server noticed 9.000 by fin`},
		{"the client's program is killed by a signal: its kernel's FIN is no opinion", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.fin(5, toServer)
			c.fin(5.001, toClient)
			l.brk(5.004, "phone", CauseClientExit)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			died 5.000: client-exit (client-exit)
			client gone 5.000
			server noticed 5.001 by fin`},
		{"nor does it notice what it was dead for", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.fin(15, toServer)
			l.brk(15.004, "phone", CauseClientExit)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)
			client gone 15.000`},
		{"a client that speaks after its program was killed was another", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			l.brk(3, "phone", CauseClientExit)
			keep(c, 0, 101)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			died 3.000: client-exit (client-exit)
			client gone 3.000
			problem: the client sent packet 37 at phone:cell although it should be gone since 3s (client-exit)`},
		{"a NAT is lost: both ends hold on", func(t *testing.T) *testLab {
			l, _ := one(t, silent)
			l.brk(5, "cell", "power-off")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 5.000: power-off (power-off)`},
		{"a host that is not on its way is lost", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			l.brk(5, "elsewhere", "power-off")
			keep(c, 0, 101)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021`},
		{"a break after the end", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			l.brk(101, "server", "server-kill")
			keep(c, 0, 101)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021`},
		{"a server that takes connections after its end had not ended", func(t *testing.T) *testLab {
			l := newLab(t, 1, silent)
			l.brk(1, "server", "server-kill")
			keep(l.dial(4, "phone", 40000).hello(4.1), 4, 101)
			return l
		}, `phone 10.64.0.2:40000: opened 4.002 ready 4.101
			problem: the server sent packet 5 at server:cell although it should be gone since 1s (server-kill)`},
		{"a server that says new things after it ended by itself had not ended", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			l.brk(5, "server", CauseServerExit)
			keep(c, 0, 101)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			died 5.000: server-exit (server-exit)
			server gone 5.000
			problem: the server sent packet 41 at server:cell although it should be gone since 5s (server-exit)`},
	})
}

// Where cables are dead a NAT takes packets in that never come out, and they refresh its mapping.
func TestMappingOfAServerWithoutPower(t *testing.T) {
	run(t, []story{
		{"the kernel's word is all there is", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			l.brk(5, "server", "server-power-off")
			l.hideServerFrom(5)
			l.nats[0].byLAN[c.client].expires = seconds(17)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 17.002–- expired at cell
			died 5.000: server-power-off (server-power-off)
			server gone 5.000`},
	})
}

// A program that is being killed closes its connections before its listening socket, or
// after, and a quick client is back in between.
func TestWhileTheServerGoes(t *testing.T) {
	run(t, []story{
		{"the kernel opens a connection for a program that is being killed", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			l.brk(5, "server", "server-kill")
			c.fin(5.001, toClient)
			c.fin(5.0015, toServer)
			c = l.dial(5.002, "phone", 40001)
			c.rst(5.006, toClient)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			died 5.000: server-kill (server-kill)
			client noticed 5.002 by fin
			server gone 5.000
			phone 10.64.0.2:40001: opened 5.004 ready -
			closed 5.006 by server (rst): the server was ending when it came (server-kill)`},
		{"and does not know it any more when the client speaks", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			l.brk(5, "server", "server-kill")
			c.fin(5.001, toClient)
			c.fin(5.0015, toServer)
			c = l.dial(5.002, "phone", 40001)
			c.say(5.006, toServer, "HELLO phone\n")
			c.unknown(5.0061, toClient)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			died 5.000: server-kill (server-kill)
			client noticed 5.002 by fin
			server gone 5.000
			phone 10.64.0.2:40001: opened 5.004 ready -
			closed 5.006 by server (rst): the server was ending when it came (server-kill)`},
		{"one that was greeted while the fault was about to happen dies of it", func(t *testing.T) *testLab {
			l := newLab(t, 1, silent)
			l.brk(5, "server", "server-kill")
			c := l.dial(5.001, "phone", 40000).hello(5.004)
			c.fin(5.02, toClient)
			c.fin(5.021, toServer)
			return l
		}, `phone 10.64.0.2:40000: opened 5.003 ready 5.005
			died 5.005: server-kill (server-kill)
			client noticed 5.021 by fin
			server gone 5.005`},
		{"the same where the server ends by itself", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.fin(5.001, toClient)
			c.fin(5.0015, toServer)
			c = l.dial(5.002, "phone", 40001)
			c.rst(5.006, toClient)
			l.brk(5.3, "server", CauseServerExit)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			died 5.001: server-exit (server-exit)
			client noticed 5.002 by fin
			server gone 5.001
			phone 10.64.0.2:40001: opened 5.004 ready -
			closed 5.006 by server (rst): the server was ending when it came (server-exit)`},
	})
}
