package verdict

import (
	"math"
	"net/netip"
	"time"

	"outlive/lab/units"
	"outlive/nat"
	"outlive/probes/flow"
)

// at makes an instant of scenario time.
func at(seconds float64) units.Seconds { return units.Seconds(math.Round(seconds * 1e9)) }

func ptr(seconds float64) *units.Seconds { return new(at(seconds)) }

// theTruth is a lab with one phone behind one NAT that forgets after 5 s:
//
//	phone (10.64.0.2) ── NAT cell (203.0.113.2) ── server (198.51.100.1)
func theTruth() flow.Truth {
	return flow.Truth{
		End:    at(30),
		Server: netip.MustParseAddrPort("198.51.100.1:1883"),
		Devices: []flow.Device{
			{Name: "phone", Addrs: map[string]netip.Addr{"cell": netip.MustParseAddr("10.64.0.2")}},
		},
		NATs: []flow.NAT{{
			Name: "cell", Uplink: "cell",
			WAN: netip.MustParseAddr("203.0.113.2"),
			Profile: nat.Profile{
				Timeouts: nat.Timeouts{TCPEstablished: units.Duration(5 * time.Second)},
				Late:     nat.Late{LAN: nat.LANDrop, WAN: nat.WANDrop},
			},
		}},
	}
}

func theChecks() []nat.CheckResult { return []nat.CheckResult{{NAT: "cell", OK: true}} }

// connected is the phone's connection from 0.010s on, without trouble.
func connected() flow.Connection {
	return flow.Connection{
		Device: "phone", Uplink: "cell",
		Client: netip.MustParseAddrPort("10.64.0.2:40112"),
		Server: netip.MustParseAddrPort("198.51.100.1:1883"),
		Mapped: []netip.AddrPort{netip.MustParseAddrPort("203.0.113.2:40112")},
		SYN:    at(0.01), Opened: ptr(0.011), Ready: ptr(0.015),
		Packets: 20,
	}
}

// expired is the same connection when the NAT has forgotten it at 9.1s: the
// client's heartbeat at 20s is dropped, the server notices at 18s, the client never.
func expired() flow.Connection {
	c := connected()
	c.Died, c.Cause, c.CauseKind = ptr(9.1), "mapping expired at NAT cell", "mapping-expired"
	c.Lapses = []flow.Lapse{{
		From: at(9.1), NAT: "cell", Cause: nat.CauseExpired,
		Refresh: flow.Mark{At: at(4.1), Packet: 31, Kind: "pingresp", From: "server"},
		Timeout: 5 * time.Second,
	}}
	c.ServerSide = flow.Side{NoticedAt: ptr(18), NoticedBy: "fin", NoticedPacket: 35}
	c.Marks = []flow.Mark{
		{At: at(0.01), Packet: 1, Kind: "syn", From: "client"},
		{At: at(4), Packet: 27, Kind: "pingreq", From: "client"},
		{At: at(12.001), Packet: 33, Kind: "publish", From: "server", Fate: "dropped at NAT cell"},
		{At: at(12.2), Packet: 34, Kind: "retransmission", From: "server", Fate: "dropped at NAT cell"},
		{At: at(18), Packet: 35, Kind: "fin", From: "server", Fate: "dropped at NAT cell"},
		{At: at(20), Packet: 37, Kind: "pingreq", From: "client", Fate: "dropped at NAT cell"},
		{At: at(20.2), Packet: 38, Kind: "retransmission", From: "client", Fate: "dropped at NAT cell"},
		{At: at(20.6), Packet: 39, Kind: "retransmission", From: "client", Fate: "dropped at NAT cell"},
	}
	return c
}

// forgotten is the analysis of a run in which that happened, with a push before
// the death and one after it.
func forgotten() *flow.Analysis {
	return &flow.Analysis{
		Connections: []flow.Connection{expired()},
		Pushes: []flow.Push{
			{
				PushOrder: flow.PushOrder{ID: "1", Device: "phone", At: at(2)},
				Left:      ptr(2.001), Arrived: ptr(2.003), Acked: ptr(2.005), Copies: 1, Packet: 21, ArrivedPacket: 24,
			},
			{
				PushOrder: flow.PushOrder{ID: "2", Device: "phone", At: at(12)},
				Left:      ptr(12.001), Packet: 33,
			},
		},
		Heartbeats: []flow.Heartbeat{
			{From: "client", Sent: at(4), Answered: ptr(4.01), Bytes: 208, Packet: 27},
			{From: "client", Sent: at(20), Bytes: 208, Packet: 37},
		},
		Packets: 60,
	}
}

// undisturbed is the analysis of a run in which nothing went wrong.
func undisturbed() *flow.Analysis {
	a := forgotten()
	a.Connections = []flow.Connection{connected()}
	a.Pushes[1].Arrived, a.Pushes[1].Copies, a.Pushes[1].ArrivedPacket = ptr(12.004), 1, 34
	a.Heartbeats[1].Answered = ptr(20.01)
	return a
}

func mustParse(text string) Expectation {
	e, err := Parse(text)
	if err != nil {
		panic(err)
	}
	return e
}
