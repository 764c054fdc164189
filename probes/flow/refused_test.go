package flow

import (
	"testing"

	"outlive/nat"
)

func TestRefused(t *testing.T) {
	full := silent
	full.Limits = nat.Limits{Mappings: 1, WhenFull: nat.RefuseNew}
	run(t, []story{
		{"a NAT without room for another mapping", func(t *testing.T) *testLab {
			l := newLab(t, 1, full)
			l.nats[0].deaf = true
			c := l.syn(1, "phone", 40000, 7)
			c.again(2, toServer)
			return l
		}, `phone 10.64.0.2:40000: opened - ready -
			refused by cell`},
		{"which has room when the SYN is repeated", func(t *testing.T) *testLab {
			l := newLab(t, 1, full)
			l.nats[0].deaf = true
			c := l.syn(1, "phone", 40000, 7)
			l.nats[0].deaf = false
			c.again(2, toServer)
			c.server = l.nats[0].byLAN[c.client].WAN
			c.synAck(2.001)
			c.say(2.002, toServer, "")
			c.hello(2.01)
			l.truth.End = seconds(9)
			return l
		}, `phone 10.64.0.2:40000: opened 2.002 ready 2.011
			refused by cell`},
		{"the second of two", func(t *testing.T) *testLab {
			l := newLab(t, 1, silent, full)
			l.nats[1].deaf = true
			l.syn(1, "phone", 40000, 7)
			return l
		}, `phone 10.64.0.2:40000: opened - ready -
			refused by cell.2`},
		{"a NAT that cannot be full", func(t *testing.T) *testLab {
			l := newLab(t, 1, silent)
			l.nats[0].deaf = true
			l.syn(1, "phone", 40000, 7)
			return l
		}, `phone 10.64.0.2:40000: opened - ready -`},
		{"a server without power", func(t *testing.T) *testLab {
			l := newLab(t, 1, full)
			l.brk(1, "server", "server-power-off")
			l.hideServerFrom(1)
			l.syn(2, "phone", 40000, 7)
			return l
		}, `phone 10.64.0.2:40000: opened - ready -`},
		{"a SYN that got through, and one that was lost later", func(t *testing.T) *testLab {
			l := newLab(t, 1, full)
			c := l.syn(1, "phone", 40000, 7)
			l.nats[0].deaf = true
			c.again(2, toServer)
			return l
		}, `phone 10.64.0.2:40000: opened - ready -`},
		{"a SYN that is under way when the captures end", func(t *testing.T) *testLab {
			l := newLab(t, 1, full)
			l.nats[0].deaf = true
			l.syn(99.99, "phone", 40000, 7)
			return l
		}, `phone 10.64.0.2:40000: opened - ready -`},
	})
}

func TestEvicted(t *testing.T) {
	full := silent
	full.Limits = nat.Limits{Mappings: 1, WhenFull: nat.EvictOldest}
	run(t, []story{{"a mapping that made room for another", func(t *testing.T) *testLab {
		l, c := one(t, full)
		l.nats[0].forget(l.nats[0].byLAN[c.client], seconds(5), nat.CauseEvicted)
		c.say(8, toServer, "PING 1\n")
		return l
	}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
		lapse 5.000–- evicted at cell, refreshed 0.022 by client's ack, timeout 10s
		died 5.000: mapping evicted at NAT cell (mapping-evicted)`}})
}
