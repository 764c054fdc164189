package nat

import (
	"testing"
	"time"

	"outlive/lab/labtest"
	"outlive/lab/units"
)

// Which packets restart the idle timer (RFC 4787 REQ-6). A flow is left idle for half
// of the timeout, then one packet passes, and when the timeout since the opening is
// over, a packet from outside shows whether that one counted.
//
//	lan9 ── [NAT: 2 s] ── wan9
//	 open … 1 s … nudge … 2.3 s … ◀── data
func TestRefresh(t *testing.T) {
	const idle = 2 * time.Second
	nudges := []struct {
		name           string
		inbound, empty bool
		udp            bool
	}{
		{name: "data out"},
		{name: "data in", inbound: true},
		{name: "ACK out", empty: true},
		{name: "ACK in", inbound: true, empty: true},
		{name: "datagram out", udp: true},
		{name: "datagram in", udp: true, inbound: true},
	}
	labtest.Run(t, func(t *testing.T) {
		for name, p := range map[string]Profile{
			"both":                {Filtering: EndpointIndependent},
			"outbound":            {Refresh: Refresh{Direction: RefreshOutbound}},
			"outbound, symmetric": {Mapping: AddressAndPortDependent, Filtering: EndpointIndependent, Refresh: Refresh{Direction: RefreshOutbound}},
			"data":                {Mapping: AddressDependent, Filtering: AddressDependent, Refresh: Refresh{IgnoreACK: true}},
			"outbound data":       {Ports: Ports{Allocation: PortRandom}, Refresh: Refresh{Direction: RefreshOutbound, IgnoreACK: true}},
		} {
			p.Timeouts = Timeouts{TCPEstablished: units.Duration(idle), UDP: units.Duration(idle), UDPStream: units.Duration(idle)}
			for _, n := range nudges {
				t.Run(name+"/"+n.name, func(t *testing.T) {
					t.Parallel()
					l := buildWire(t, p)
					want := (!n.inbound || p.Refresh.Direction != RefreshOutbound) && (!n.empty || !p.Refresh.IgnoreACK)
					for range 5 {
						f, err := l.openEither(n.udp)
						if err != nil {
							t.Fatal(err)
						}
						time.Sleep(time.Until(f.refreshed.from.Add(idle / 2)))
						nudged := l.nudge(t, f, n.inbound, n.empty)
						time.Sleep(time.Until(f.refreshed.to.Add(idle + 300*time.Millisecond)))
						saw, err := l.fromWAN(f.inward(psh|ack, "after"))
						if err != nil {
							t.Fatal(err)
						}
						_, entered := seen(t, saw.lan, f.inward(psh|ack, "after"))
						switch {
						case nudged.to.After(f.refreshed.from.Add(idle)), want && saw.within.to.After(nudged.from.Add(idle)):
							continue // Too late to prove anything.
						case entered != want:
							t.Errorf("%s: the flow was alive after that: %v, want %v", n.name, entered, want)
						}
						// From inside it is late too, though conntrack may still know the connection.
						if !want && !n.udp {
							if got, ok := l.leaves(t, f.outward(psh|ack, "after")); ok {
								t.Errorf("%s: a late packet from inside left as %s", n.name, got)
							}
						}
						return
					}
					t.Fatal("the machine was too late five times")
				})
			}
		}
	})
}

// openEither opens a flow of the protocol.
func (l *wireLab) openEither(udp bool) (*flow, error) {
	if udp {
		return l.openUDP()
	}
	return l.open()
}

// nudge sends one packet of a flow, which must pass, and gives when.
func (l *wireLab) nudge(t *testing.T, f *flow, inbound, empty bool) interval {
	t.Helper()
	data := "nudge"
	if empty {
		data = ""
	}
	send, s := l.fromLAN, f.outward(ack, data)
	if inbound {
		send, s = l.fromWAN, f.inward(ack, data)
	}
	saw, err := send(s)
	if err != nil {
		t.Fatal(err)
	}
	all := saw.wan
	if inbound {
		all = saw.lan
		f.wanNext += uint32(len(data))
	} else {
		f.lanNext += uint32(len(data))
	}
	if _, ok := seen(t, all, s); !ok {
		t.Errorf("a packet in the middle did not pass: %s", s)
	}
	return saw.within
}

// Rules keep a mapping for the timeouts that conntrack runs: those of the state, and the
// longest that there are.
//
//	lan9 ── [NAT: 5 days, 2 min, 30 s] ── wan9
func TestElementsFollowConntrack(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		l := buildWire(t, Profile{Filtering: EndpointIndependent, Mapping: AddressAndPortDependent})
		check := func(what string, m Mapping, want time.Duration) {
			t.Helper()
			left, ok, err := l.elements.left(nftMapped+m.Protocol, l.mappedKey(m))
			// Half a second would be another of the timeouts.
			if err != nil || !ok || left > want || left < want-30*time.Second {
				t.Errorf("%s: the mapping has %s left (%v, %v), want %s", what, left, ok, err, want)
			}
		}
		s := l.packet(false, in(1, 5000), out(1, 80))
		l.leaves(t, s)
		check("after a SYN", Mapping{Protocol: "tcp", LAN: s.from, Remote: s.to}, 120*time.Second)
		s = l.packet(true, in(1, 5000), out(1, 80))
		l.leaves(t, s)
		check("after a datagram", Mapping{Protocol: "udp", LAN: s.from, Remote: s.to}, 30*time.Second)
		f, err := l.open()
		if err != nil {
			t.Fatal(err)
		}
		m := Mapping{Protocol: "tcp", LAN: f.inside, Remote: f.outside}
		check("established", m, 5*24*time.Hour)
		l.nudge(t, f, false, false)
		check("with data unacknowledged", m, 300*time.Second)
		if _, err := l.fromLAN(f.outward(fin|ack, "")); err != nil {
			t.Fatal(err)
		}
		check("after a FIN", m, 120*time.Second)
	})
}
