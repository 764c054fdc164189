package verdict

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"outlive/lab/labtest"
	"outlive/lab/units"
	"outlive/nat"
	"outlive/probes/flow"
)

func written(s Story) string {
	var b strings.Builder
	fmt.Fprintln(&b, s.Title)
	for _, l := range s.Lines {
		fmt.Fprintf(&b, "%12s  %s", Instant(l.At), l.Text)
		if l.Packet > 0 {
			fmt.Fprintf(&b, " (packet %d)", l.Packet)
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}

func TestStories(t *testing.T) {
	for _, tt := range []struct {
		name  string
		truth func(*flow.Truth)
		edit  func(*flow.Analysis)
	}{
		{name: "forgotten"},
		{
			name: "forgotten-and-reconnected",
			edit: func(a *flow.Analysis) {
				a.Connections[0].ClientSide = flow.Side{NoticedAt: ptr(21), NoticedBy: "syn", NoticedPacket: 44}
				second := connected()
				second.SYN, second.Opened, second.Ready = at(21), ptr(21.001), ptr(21.1)
				a.Connections = append(a.Connections, second)
				a.Pushes = append(a.Pushes, flow.Push{PushOrder: flow.PushOrder{ID: "3", Device: "phone", At: at(19)}, Connection: -1})
			},
		},
		{
			name: "kernel-gave-up",
			edit: func(a *flow.Analysis) {
				a.Connections[0].ClientSide = flow.Side{GaveUpAt: ptr(27.2), GaveUpBy: "retransmission"}
				a.Connections[0].ServerSide = flow.Side{GaveUpAt: ptr(16), GaveUpBy: "keepalive", NoticedAt: ptr(18), NoticedBy: "close"}
			},
		},
		{
			name: "revived",
			edit: func(a *flow.Analysis) {
				c := &a.Connections[0]
				c.Died, c.ServerSide = nil, flow.Side{}
				c.Lapses[0].Until = ptr(20)
				c.Marks = c.Marks[:4]
			},
		},
		{
			name: "lapsed-to-the-end",
			edit: func(a *flow.Analysis) {
				c := &a.Connections[0]
				c.Died, c.ServerSide = nil, flow.Side{}
				c.Lapses = append(c.Lapses, c.Lapses[0])
				c.Lapses[0].Until, c.Lapses[0].Timeout = ptr(20), 0
				c.Lapses[1].From, c.Lapses[1].Cause = at(27), nat.CauseClosed
				c.Marks = c.Marks[:4]
			},
		},
		{
			name: "shorter-timer",
			truth: func(t *flow.Truth) {
				t.NATs[0].Profile.Timeouts.TCPEstablished = units.Duration(2*time.Hour + 4*time.Minute)
			},
			edit: func(a *flow.Analysis) { a.Connections[0].Lapses[0].Timer = flow.TimerUnacknowledged },
		},
		{
			name: "evicted",
			edit: func(a *flow.Analysis) {
				c := &a.Connections[0]
				c.Cause, c.CauseKind = "mapping evicted at NAT cell", "mapping-evicted"
				c.Lapses[0].Cause = nat.CauseEvicted
			},
		},
		{
			name: "refused",
			edit: func(a *flow.Analysis) {
				*a = *undisturbed()
				c := &a.Connections[0]
				c.Opened, c.Ready, c.Mapped, c.Refused = nil, nil, nil, "cell"
				c.Marks = []flow.Mark{
					{At: at(0.01), Packet: 3, Kind: "syn", From: "client", Fate: "dropped at NAT cell"},
					{At: at(1.03), Packet: 5, Kind: "retransmission", From: "client", Fate: "dropped at NAT cell"},
				}
				a.Pushes, a.Heartbeats = nil, nil
			},
		},
		{
			name: "refused-at-first",
			edit: func(a *flow.Analysis) {
				*a = *undisturbed()
				a.Connections[0].Refused = "cell"
				a.Connections[0].Marks = []flow.Mark{{At: at(0.01), Packet: 3, Kind: "syn", From: "client", Fate: "dropped at NAT cell"}}
			},
		},
		{
			name: "server-killed",
			edit: func(a *flow.Analysis) {
				c := connected()
				c.Died, c.Cause = ptr(15), "the server's program was killed"
				c.ServerSide = flow.Side{GoneAt: ptr(15)}
				c.ClientSide = flow.Side{NoticedAt: ptr(15.002), NoticedBy: "fin", NoticedPacket: 52}
				c.Marks = []flow.Mark{{At: at(15), Packet: 50, Kind: "fin", From: "server"}}
				a.Connections[0] = c
				a.Pushes = a.Pushes[:1]
			},
		},
		{
			name: "reset-by-nat",
			edit: func(a *flow.Analysis) {
				c := &a.Connections[0]
				c.ServerSide = flow.Side{GaveUpAt: ptr(12.0011), GaveUpBy: "reset", NoticedAt: ptr(12.002), NoticedBy: "close"}
				c.Marks = []flow.Mark{
					{At: at(12.001), Packet: 33, Kind: "publish", From: "server", Fate: "answered by NAT cell with a reset"},
					{At: at(12.0011), Packet: 34, Kind: "rst", From: "nat:cell"},
				}
			},
		},
		{
			name: "deleted-in-a-chain",
			truth: func(t *flow.Truth) {
				t.NATs = []flow.NAT{{Name: "cell.2", Uplink: "cell", Order: 1}, {Name: "cell.1", Uplink: "cell", Order: 0}}
			},
			edit: func(a *flow.Analysis) {
				c := &a.Connections[0]
				c.Mapped = []netip.AddrPort{netip.MustParseAddrPort("100.64.0.2:40112"), netip.MustParseAddrPort("203.0.113.2:50001")}
				c.Cause = "mapping deleted at NAT cell.2"
				c.Lapses = []flow.Lapse{{From: at(9.1), NAT: "cell.2", Cause: nat.CauseDeleted, Timeout: 5 * time.Second}}
			},
		},
		{
			name: "false-alarm",
			edit: func(a *flow.Analysis) {
				c := connected()
				c.Closed = &flow.Closing{At: at(22), By: "client", How: "fin", Packet: 41, FalseAlarm: true, Why: "heartbeat unanswered for 2s"}
				a.Connections[0] = c
				a.Pushes = a.Pushes[:1]
			},
		},
		{
			name: "lived",
			edit: func(a *flow.Analysis) { *a = *undisturbed() },
		},
		{
			name: "left-in-order",
			edit: func(a *flow.Analysis) {
				*a = *undisturbed()
				a.Connections[0].Closed = &flow.Closing{At: at(25), By: "client", How: "fin", Packet: 41, Why: "sent DISCONNECT"}
			},
		},
		{
			name: "never-opened",
			edit: func(a *flow.Analysis) {
				*a = *undisturbed()
				a.Connections[0].Opened, a.Connections[0].Ready = nil, nil
				a.Pushes, a.Heartbeats = nil, nil
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			truth, a := theTruth(), forgotten()
			if tt.truth != nil {
				tt.truth(&truth)
			}
			if tt.edit != nil {
				tt.edit(a)
			}
			out := Judge(Input{Analysis: a, Truth: truth})
			labtest.Golden(t, filepath.Join("testdata", "story-"+tt.name+".golden"), out.Sentence+"\n\n"+written(tell(newScene(a, truth), 0)))
		})
	}
}

func TestTellOfNothing(t *testing.T) {
}

func TestInstant(t *testing.T) {
	for seconds, want := range map[float64]string{
		0: "0.000s", 9.1: "9.100s", 0.0004: "0.000s", 59.9996: "1m00.000s", 724.1: "12m04.100s", 3723.5: "1h02m03.500s", -1.5: "-1.500s",
	} {
		if got := Instant(at(seconds)); got != want {
			t.Errorf("%v s: %q, want %q", seconds, got, want)
		}
	}
}
