package report

import (
	"encoding/json"
	"math"
	"net/netip"
	"testing"
	"time"

	"outlive/lab"
	"outlive/lab/units"
	"outlive/nat"
	"outlive/probes/flow"
	"outlive/scenarios/verdict"
)

func at(seconds float64) units.Seconds   { return units.Seconds(math.Round(seconds * 1e9)) }
func ptr(seconds float64) *units.Seconds { return new(at(seconds)) }

// truth is a lab with one phone behind one NAT that forgets after 5 s:
//
//	phone (10.64.0.2) ── NAT cell (203.0.113.2) ── server (198.51.100.1)
func truth() flow.Truth {
	return flow.Truth{
		End:     at(30),
		Server:  netip.MustParseAddrPort("198.51.100.1:1883"),
		Devices: []flow.Device{{Name: "phone", Addrs: map[string]netip.Addr{"cell": netip.MustParseAddr("10.64.0.2")}}},
		NATs: []flow.NAT{{
			Name: "cell", Uplink: "cell",
			Profile: nat.Profile{
				Timeouts: nat.Timeouts{TCPEstablished: units.Duration(5 * time.Second)},
				Late:     nat.Late{LAN: nat.LANDrop, WAN: nat.WANDrop},
			},
		}},
	}
}

// died is the analysis of a run in which the NAT forgot the phone's connection:
// the server noticed, the client never did.
func died() *flow.Analysis {
	c := lived().Connections[0]
	c.Died, c.Cause, c.CauseKind = ptr(9.1), "mapping expired at NAT cell", "mapping-expired"
	c.Lapses = []flow.Lapse{{
		From: at(9.1), NAT: "cell", Cause: nat.CauseExpired,
		Refresh: flow.Mark{At: at(4.1), Packet: 31, Kind: "pingresp", From: "server"}, Timeout: 5 * time.Second,
	}}
	c.ServerSide = flow.Side{NoticedAt: ptr(18), NoticedBy: "fin", NoticedPacket: 35}
	c.ClientSide = flow.Side{GaveUpAt: ptr(27.2), GaveUpBy: "retransmission"}
	c.Marks = []flow.Mark{
		{At: at(12.001), Packet: 33, Kind: "publish", From: "server", Fate: "dropped at NAT cell"},
		{At: at(18), Packet: 35, Kind: "fin", From: "server", Fate: "dropped at NAT cell"},
		{At: at(20), Packet: 37, Kind: "pingreq", From: "client", Fate: "dropped at NAT cell"},
	}
	a := lived()
	a.Connections[0] = c
	a.Pushes[1] = flow.Push{PushOrder: a.Pushes[1].PushOrder, Left: ptr(12.001), Packet: 33}
	return a
}

// lived is the analysis of a run in which nothing went wrong.
func lived() *flow.Analysis {
	return &flow.Analysis{
		Connections: []flow.Connection{{
			Device: "phone", Uplink: "cell",
			Client: netip.MustParseAddrPort("10.64.0.2:40112"),
			Server: netip.MustParseAddrPort("198.51.100.1:1883"),
			Mapped: []netip.AddrPort{netip.MustParseAddrPort("203.0.113.2:40112")},
			SYN:    at(0.01), Opened: ptr(0.011), Ready: ptr(0.015), Packets: 60,
		}},
		Pushes: []flow.Push{
			{
				PushOrder: flow.PushOrder{ID: "1", Device: "phone", At: at(2)},
				Left:      ptr(2.001), Arrived: ptr(2.003), Acked: ptr(2.005), Copies: 1, Packet: 21, ArrivedPacket: 24,
			},
			{
				PushOrder: flow.PushOrder{ID: "2", Device: "phone", At: at(12)},
				Left:      ptr(12.001), Arrived: ptr(12.004), Acked: ptr(12.006), Copies: 1, Packet: 33, ArrivedPacket: 36,
			},
		},
		Heartbeats: []flow.Heartbeat{{From: "client", Sent: at(4), Answered: ptr(4.01), Bytes: 208, Packet: 27}},
		Packets:    60,
	}
}

var theExpectations = []string{"push.delivered == 100%", "max(zombie.client) < 5s", "max(push.latency) < 2s", "max(detect.client) < 4m30s", "count(false_alarm) == 0"}

// result judges an analysis and makes its result, as a run does.
func result(t *testing.T, name string, tr flow.Truth, a *flow.Analysis, spoilt []string, expectations ...string) Result {
	t.Helper()
	in := verdict.Input{Analysis: a, Truth: tr, Spoilt: spoilt}
	nature := nat.Nature{
		Mapping: nat.EndpointIndependent, Filtering: nat.AddressAndPortDependent, Ports: nat.PortPreserve,
		Addresses: 1, Hairpin: new(false), Refresh: nat.RefreshOutbound,
	}
	for _, n := range tr.NATs {
		in.Checks = append(in.Checks, nat.CheckResult{
			NAT: n.Name, OK: true, Want: n.Profile.Late, Seen: n.Profile.Late,
			Timeout: at(5), Proven: at(5), LastAlive: at(4.6), FirstDead: at(5.4), Rounds: 1,
			TCP: nature, UDP: nature, Words: nature.String(),
		})
	}
	for i, text := range expectations {
		e, err := verdict.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		e.Line = 12 + i
		in.Expectations = append(in.Expectations, e)
	}
	run := Run{
		Scenario: name,
		Summary:  "A 16-second heartbeat behind a NAT that forgets after 5 seconds.",
		File:     "scenarios/" + name + ".yaml",
		Engine:   "live",
		Seed:     1,
		Command:  "outlive run scenarios/" + name + ".yaml --seed 1",
		Started:  time.Date(2026, 11, 23, 10, 15, 0, 0, time.UTC),
		Folder:   "outlive-results/20261123-101500/" + name,
		Files:    []File{{"capture.pcapng", "packets at every point"}, {"events.jsonl", "what the lab did and saw"}},
		Lab: Lab{
			Wall: at(31.5), Scenario: at(30), MaxLateness: at(0.0004),
			Versions: map[string]string{"outlive": "0.1", "kernel": "6.12.1"},
		},
		NATChecks: in.Checks,
		Events: []lab.Event{
			{At: at(-0.1), Kind: "setup", Text: "set up in 5ms"},
			{At: at(2), Kind: "push", Host: "phone", Text: "push 1 to phone", Data: json.RawMessage(`{"id":"1","device":"phone","late_s":0}`)},
		},
	}
	return New(run, tr, a, verdict.Judge(in))
}

// results are one of each kind.
func results(t *testing.T) []Result {
	fleetTruth, fleet := truth(), died()
	fleetTruth.Devices = nil
	base := fleet.Connections[0]
	fleet.Connections, fleet.Pushes, fleet.Heartbeats = nil, nil, nil
	for _, name := range []string{"phone-1", "phone-2", "phone-3", "phone-4", "phone-5"} {
		fleetTruth.Devices = append(fleetTruth.Devices, flow.Device{Name: name, Addrs: map[string]netip.Addr{"cell": {}}})
		c := base
		c.Device = name
		fleet.Connections = append(fleet.Connections, c)
	}
	wifi := fleetTruth.NATs[0]
	wifi.Name, wifi.Uplink, wifi.Profile.Name, wifi.Profile.Late = "wifi", "wifi", "linux", nat.Late{LAN: nat.LANRevive, WAN: nat.WANReset}
	fleetTruth.NATs = append(fleetTruth.NATs, wifi)
	fleetTruth.Devices[0].Addrs["wifi"] = netip.Addr{}
	return []Result{
		result(t, "lived", truth(), lived(), nil, "push.delivered == 100%", "count(death) == 0"),
		result(t, "forgotten", truth(), died(), nil, theExpectations...),
		result(t, "expected-death", truth(), died(), nil, "count(death) == 1", "max(zombie.client) > 20s"),
		result(t, "interrupted", truth(), died(), []string{"the scenario was interrupted at 21.500s", "the lab was late by 812ms"}, theExpectations...),
		result(t, "nothing-expected", truth(), lived(), nil),
		result(t, "fleet", fleetTruth, fleet, nil, "count(death) == 0", "max(zombie.client) < 1m"),
		warped(result(t, "exact", truth(), lived(), nil, "count(death) == 0"), Repeats{Exact: new(true), ExactBy: BySelfTest, SHA256: hashes}),
		warped(result(t, "twice", truth(), lived(), nil, "count(death) == 0"), Repeats{Exact: new(true), ExactBy: ByTwice, SHA256: hashes}),
		warped(result(t, "inexact", truth(), lived(), nil, "count(death) == 0"), Repeats{Exact: new(false), ExactBy: BySelfTest, Difference: difference, SHA256: hashes}),
		warped(result(t, "twice-inexact", truth(), lived(), []string{"a second run with the same seed was another one: " + difference}, "count(death) == 0"),
			Repeats{Exact: new(false), ExactBy: ByTwice, Difference: difference, SHA256: hashes}),
	}
}

const difference = "packet 31 of capture.pcapng: at 4.100000008s on phone:cell in the one, at 4.1s on phone:cell in the other"

var hashes = map[string]string{
	"capture.pcapng": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
	"events.jsonl":   "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
}

// warped is a result as it comes from a guest whose date is not the machine's.
func warped(r Result, repeats Repeats) Result {
	r.Engine, r.EngineWhy, r.Repeats = "warp", "it lasts 30s, and a person would not wait", repeats
	r.Ran, r.Started = r.Started, time.Date(2026, 1, 1, 0, 0, 3, 0, time.UTC)
	return r
}

// nasty is a result with everything in it that a format could choke on.
func nasty(t *testing.T) Result {
	r := result(t, "forgotten", truth(), died(), nil, theExpectations...)
	bad := "]]>\x00\x1b[31m<&\"'%\r\n::error::x,y\xff\u202e\ufffe"
	r.Scenario, r.Sentence, r.Folder, r.File = bad, bad, bad, bad
	r.Lab.Versions = map[string]string{bad: bad}
	r.Expectations[0].Expr, r.Expectations[0].Why, r.Expectations[0].Observed = bad, bad, bad
	r.Expectations[0].Story.Title, r.Expectations[0].Story.Lines[0].Text = bad, bad
	return r
}
