package flow

import (
	"testing"
	"time"

	"outlive/lab/units"
	"outlive/nat"
)

func TestRefreshRules(t *testing.T) {
	outbound, mute, spoken := silent, silent, silent
	outbound.Refresh.Direction = nat.RefreshOutbound
	mute.Refresh = nat.Refresh{Direction: nat.RefreshOutbound, IgnoreACK: true}
	spoken.Refresh.IgnoreACK = true
	// listens is a client that takes two pushes and says nothing but what TCP says for it.
	listens := func(t *testing.T, p nat.Profile) *testLab {
		l, c := one(t, p)
		for _, at := range []float64{3, 6} {
			c.say(at, toClient, "PUSH x\n")
			c.say(at+0.001, toServer, "")
		}
		l.truth.End = seconds(30)
		return l
	}
	run(t, []story{
		{"of packets from inside the acknowledgement counts", func(t *testing.T) *testLab { return listens(t, outbound) },
			`phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 16.001–- expired at cell, refreshed 6.001 by client's ack, timeout 10s
			died 16.001: mapping expired at NAT cell (mapping-expired)`},
		{"unless bare ones do not", func(t *testing.T) *testLab { return listens(t, mute) },
			`phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.020–- expired at cell, refreshed 0.020 by client's hello, timeout 10s
			died 10.020: mapping expired at NAT cell (mapping-expired)`},
		{"of both sides what the server says", func(t *testing.T) *testLab { return listens(t, spoken) },
			`phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 16.000–- expired at cell, refreshed 6.000 by server's push, timeout 10s
			died 16.000: mapping expired at NAT cell (mapping-expired)`},
		{"a keepalive probe is no more than an acknowledgement", func(t *testing.T) *testLab {
			l, c := one(t, spoken)
			c.probe(8, toServer)
			l.truth.End = seconds(30)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.021–- expired at cell, refreshed 0.021 by server's welcome, timeout 10s
			died 10.021: mapping expired at NAT cell (mapping-expired)`},
		{"a server that goes on speaking to a client that does not hear", func(t *testing.T) *testLab {
			l, c := one(t, outbound)
			for at := 3.0; at < 10; at += 3 {
				c.ask(at, toClient, "PING 1\n", "PONG 1\n")
			}
			l.truth.End = seconds(15)
			c.say(12, toClient, "PING 4\n")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021`},
		{"conntrack's timer for unacknowledged data runs beside the rule's", func(t *testing.T) *testLab {
			p := outbound
			p.Timeouts.TCPUnacknowledged = units.Duration(4 * time.Second)
			l, c := one(t, p)
			c.say(2, toClient, "PUSH x\n")
			c.nats[0].byLAN[c.client].expires = seconds(6)
			l.truth.End = seconds(30)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 6.000–- expired at cell, refreshed 2.000 by server's push, timeout 4s unacknowledged
			died 6.000: mapping expired at NAT cell (mapping-expired)`},
		{"which is no help where the rule's is shorter", func(t *testing.T) *testLab {
			p := outbound
			p.Timeouts.TCPUnacknowledged = units.Duration(20 * time.Second)
			l, c := one(t, p)
			c.say(2, toClient, "PUSH x\n")
			l.truth.End = seconds(30)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)`},
	})
}
