package flow

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"outlive/nat"
)

// live feeds what the devices' points saw to a Live and gives its events in words.
func live(l *testLab) (*Live, []string) {
	var got []string
	x := NewLive(l.truth.Protocol, testServer, netip.AddrPort{}, func(e LiveEvent) {
		got = append(got, fmt.Sprintf("%.3f %s.%s", e.At.Sub(testStart).Seconds(), e.Device, e.Name))
	})
	slices.SortStableFunc(l.frames, func(a, b testFrame) int { return int(a.at - b.at) })
	for _, f := range l.frames {
		p := l.truth.Points[f.point]
		if p.Side != "device" {
			continue
		}
		buf := slices.Clone(f.data)
		src := [4]byte(buf[26:30])
		x.Frame(p.Host, testStart.Add(f.at.D()), src == p.Addr.As4(), buf)
		clear(buf) // it is the caller's again
	}
	return x, got
}

func TestLive(t *testing.T) {
	t.Run("line", func(t *testing.T) {
		l, c := one(t, silent)
		c.ping(3, 1)
		c.say(4, toClient, "PUSH p1\n")
		c.again(4.2, toClient)
		c.say(4.3, toServer, "ACK p1\n")
		c.fin(5, toServer)
		c.fin(5.1, toClient)
		c.say(5.2, toServer, "")
		x, got := live(l)
		want := []string{
			"0.010 phone.syn", "0.012 phone.established", "0.020 phone.hello", "0.021 phone.welcome", "3.000 phone.ping",
			"3.001 phone.pong", "4.000 phone.push", "4.300 phone.ack", "5.000 phone.fin", "5.100 phone.fin",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if len(x.conns) != 0 {
			t.Errorf("%d connections are kept after their end", len(x.conns))
		}
	})
	t.Run("mqtt, a reset, and a second device", func(t *testing.T) {
		l := newLab(t, 2, silent)
		l.truth.Protocol = "mqtt"
		c, d := l.dial(0.01, "phone", 40000), l.dial(0.01, "phone-2", 40000)
		for _, c := range []*testConn{c, d} {
			c.ask(0.02, toServer, "\x10\x11\x00\x04MQTT\x04\x02\x00\x00\x00\x05phone", "\x20\x02\x00\x00")
		}
		c.say(0.03, toClient, "\xd0")
		c.say(0.04, toClient, "\x00")
		c.rst(1, toClient)
		_, got := live(l)
		want := []string{
			"0.010 phone.syn", "0.010 phone-2.syn", "0.012 phone.established", "0.012 phone-2.established", "0.020 phone.connect", "0.020 phone-2.connect",
			"0.021 phone.connack", "0.021 phone-2.connack", "0.040 phone.pingresp", "1.000 phone.rst",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("out of order, an unknown protocol, a port used again", func(t *testing.T) {
		l := newLab(t, 1, profile(nat.LANDrop, nat.WANDrop))
		c := l.dial(0.01, "phone", 40000)
		l.nats[0].deaf = true
		c.say(1, toClient, "WELC")
		first := c.last[toClient]
		l.nats[0].deaf = false
		c.say(1.1, toClient, "OME x\n")
		first.at = seconds(1.2)
		c.deliver(first, 4)
		l.dialISN(2, "phone", 40000, 7)
		_, got := live(l)
		want := []string{"0.010 phone.syn", "0.012 phone.established", "1.200 phone.welcome", "2.000 phone.syn", "2.002 phone.established"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		l.truth.Protocol = "smoke-signals"
		if _, got = live(l); len(got) != 4 {
			t.Errorf("of an unknown protocol: %q", got)
		}
	})
}
