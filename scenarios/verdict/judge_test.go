package verdict

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"outlive/nat"
	"outlive/probes/flow"
)

func judgeOne(a *flow.Analysis, truth flow.Truth, text string) Judged {
	return Judge(Input{Analysis: a, Truth: truth, Checks: theChecks(), Expectations: []Expectation{mustParse(text)}}).Expectations[0]
}

// Each case is one scenario and what its expectations come to: verdict, observed
// value, and why.
func TestJudge(t *testing.T) {
	reconnected := forgotten()
	second := connected()
	second.SYN, second.Opened, second.Ready = at(21), ptr(21.001), ptr(21.1)
	reconnected.Connections = append(reconnected.Connections, second)
	reconnected.Connections[0].ClientSide = flow.Side{NoticedAt: ptr(20.9), NoticedBy: "close"}

	killed := undisturbed()
	killed.Connections[0].Died, killed.Connections[0].Cause = ptr(15), "server-kill"
	killed.Connections[0].ClientSide = flow.Side{NoticedAt: ptr(15.0008), NoticedBy: "fin", NoticedPacket: 50}
	killed.Connections[0].ServerSide = flow.Side{GoneAt: ptr(15)}

	lateKill := forgotten()
	lateKill.Connections[0].ServerSide = flow.Side{GoneAt: ptr(25)}

	lateDeath := undisturbed()
	lateDeath.Connections[0].Died, lateDeath.Connections[0].Cause = ptr(28), "mapping deleted at NAT cell"

	revived := undisturbed()
	revived.Connections[0].Lapses = []flow.Lapse{{From: at(9), Until: ptr(20), NAT: "cell", Cause: nat.CauseExpired}}

	alarmed := undisturbed()
	alarmed.Connections[0].Closed = &flow.Closing{At: at(22), By: "client", How: "fin", Packet: 41, FalseAlarm: true, Why: "heartbeat unanswered for 2s"}

	twice := undisturbed()
	twice.Pushes[0].Copies = 3

	for _, tt := range []struct {
		name     string
		analysis *flow.Analysis
		truth    flow.Truth
		text     string
		verdict  Verdict
		observed string
		why      string
	}{
		{"undisturbed", undisturbed(), theTruth(), "push.delivered == 100%", Pass, "100% (2 of 2)", ""},
		{"undisturbed", undisturbed(), theTruth(), "max(push.latency) < 2s", Pass, "4ms", ""},
		{"undisturbed", undisturbed(), theTruth(), "max(push.latency) < 4ms", Fail, "4ms", "push 2 to phone at 12.000s took 4ms to arrive"},
		{"undisturbed", undisturbed(), theTruth(), "min(push.latency) > 3ms", Fail, "3ms", "push 1 to phone at 2.000s took 3ms to arrive"},
		{"undisturbed", undisturbed(), theTruth(), "count(false_alarm) == 0", Pass, "0", ""},
		{"undisturbed", undisturbed(), theTruth(), "count(death) == 1", Fail, "0", "no connection died"},
		{"undisturbed", undisturbed(), theTruth(), "count(detect.client) == 0", Inconclusive, "", "no sample: no connection died"},
		{"undisturbed", undisturbed(), theTruth(), "max(zombie.client) < 10s", Inconclusive, "", "no sample: no connection died"},
		{"undisturbed", undisturbed(), theTruth(), "alive == 100%", Pass, "100%", ""},
		{"undisturbed", undisturbed(), theTruth(), "deaf == 0s", Pass, "0s", ""},
		{"undisturbed", undisturbed(), theTruth(), "count(heartbeat.sent) == 2", Pass, "2", ""},
		{"undisturbed", undisturbed(), theTruth(), "max(heartbeat.interval) <= 16s", Pass, "16s", ""},
		{"undisturbed", undisturbed(), theTruth(), "mean(heartbeat.bytes) < 208", Fail, "208", "the one that the client of phone's connection sent at 4.000s took 208 bytes"},
		{"undisturbed", undisturbed(), theTruth(), "count(reconnect) == 0", Pass, "0", ""},
		{"undisturbed", undisturbed(), theTruth(), "count(push.duplicates) == 0", Pass, "0", ""},
		{"a push twice too often", twice, theTruth(), "count(push.duplicates) == 0", Fail, "2", "push 1 to phone at 2.000s was delivered 3 times"},

		{"forgotten", forgotten(), theTruth(), "push.delivered == 100%", Fail, "50% (1 of 2)", "push 2 to phone at 12.000s never arrived"},
		{"forgotten", forgotten(), theTruth(), "max(push.latency) < 2s", Pass, "3ms", ""},
		{"forgotten", forgotten(), theTruth(), "max(zombie.client) < 5s", Fail, "at least 20.9s", "the client held phone's connection dead for 20.9s, and had not noticed when the scenario ended"},
		{"forgotten", forgotten(), theTruth(), "max(zombie.client) > 20s", Pass, "at least 20.9s", ""},
		{"forgotten", forgotten(), theTruth(), "max(zombie.client) < 1m", Inconclusive, "at least 20.9s", "the scenario ended too soon to tell: the client held phone's connection dead for 20.9s, and had not noticed when the scenario ended"},
		{"forgotten", forgotten(), theTruth(), "max(detect.client) < 5s", Inconclusive, "", "no sample: the client noticed nothing"},
		{"forgotten", forgotten(), theTruth(), "count(detect.client) == 0", Pass, "0", ""},
		{"forgotten", forgotten(), theTruth(), "count(detect.client) >= 1", Fail, "0", "the client noticed nothing"},
		{"forgotten", forgotten(), theTruth(), "max(detect.server) == 8.9s", Pass, "8.9s", ""},
		{"forgotten", forgotten(), theTruth(), "max(zombie.server) < 8.9s", Fail, "8.9s", "the server held phone's connection dead for 8.9s, until it noticed"},
		{"forgotten", forgotten(), theTruth(), "max(recover) < 20s", Fail, "at least 20.9s", "phone's connection died at 9.100s, and no other came in the 20.9s that were left"},
		{"forgotten", forgotten(), theTruth(), "alive > 50%", Fail, "30.3%", "phone could be reached for 9.085s of 29.985s"},
		{"forgotten", forgotten(), theTruth(), "deaf < 10s", Fail, "at least 20.9s", "phone could not be reached for 20.9s, from 9.100s"},
		{"forgotten", forgotten(), theTruth(), "count(lapse) == 1", Pass, "1", ""},
		{"forgotten", forgotten(), theTruth(), "min(lapse) > 20s", Pass, "at least 20.9s", ""},

		{"reconnected", reconnected, theTruth(), "max(recover) <= 12s", Pass, "12s", ""},
		{"reconnected", reconnected, theTruth(), "max(recover) <= 11s", Fail, "12s", "phone's connection 1 died at 9.100s, and 12s later another could take pushes"},
		{"reconnected", reconnected, theTruth(), "max(zombie.client) < 12s", Pass, "11.8s", ""},
		{"reconnected", reconnected, theTruth(), "deaf <= 12s", Pass, "12s", ""},
		{"reconnected", reconnected, theTruth(), "count(reconnect) == 1", Pass, "1", ""},
		{"reconnected", reconnected, theTruth(), "count(reconnect) > 1", Fail, "1", "there was only one"},
		{"reconnected", reconnected, theTruth(), "max(lapse) < 12s", Pass, "11.8s", ""},

		{"server killed", killed, theTruth(), "max(detect.client) < 1ms", Pass, "800us", ""},
		{"server killed", killed, theTruth(), "max(zombie.server) < 1s", Inconclusive, "", "no sample: the server itself was gone"},
		{"server killed", killed, theTruth(), "count(detect.server) == 0", Inconclusive, "", "no sample: the server itself was gone"},
		{"server killed after the death", lateKill, theTruth(), "max(zombie.server) == 15.9s", Pass, "15.9s", ""},

		{"death just before the end", lateDeath, theTruth(), "max(zombie.client) < 5s", Inconclusive, "at least 2s", "the scenario ended too soon to tell: the client held phone's connection dead for 2s, and had not noticed when the scenario ended"},

		{"revived", revived, theTruth(), "max(lapse) == 11s", Pass, "11s", ""},
		{"revived", revived, theTruth(), "deaf <= 10s", Fail, "11s", "phone could not be reached for 11s, from 9.000s"},
		{"revived", revived, theTruth(), "count(death) == 0", Pass, "0", ""},

		{"false alarm", alarmed, theTruth(), "count(false_alarm) == 0", Fail, "1", "the client gave up phone's connection at 22.000s although its path was fine: heartbeat unanswered for 2s"},
	} {
		t.Run(tt.name+"/"+tt.text, func(t *testing.T) {
			got := judgeOne(tt.analysis, tt.truth, tt.text)
			want := Judged{Expectation: mustParse(tt.text), Verdict: tt.verdict, Observed: tt.observed, Why: tt.why}
			if (got.Story != nil) == (got.Verdict == Pass) {
				t.Errorf("verdict %s, story %v: there must be one if and only if it did not pass", got.Verdict, got.Story)
			}
			got.Story, got.Samples = nil, 0
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// What spoils the evidence spoils every verdict, however good or bad it looks.
func TestSpoilt(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   Input
		want []string
	}{
		{"by the lab", Input{Analysis: forgotten(), Checks: theChecks(), Spoilt: []string{"interrupted at 12.000s", "interrupted at 12.000s"}}, []string{"interrupted at 12.000s"}},
		{"by the capture", Input{Analysis: &flow.Analysis{Problems: []string{"the capture ends in the middle of a packet"}}, Checks: theChecks()}, []string{"the capture ends in the middle of a packet"}},
		{"no capture", Input{Checks: theChecks()}, []string{"there is no capture to judge from"}},
		{
			"another NAT", Input{Analysis: forgotten(), Checks: []nat.CheckResult{{NAT: "cell", Why: "a late packet came through"}}},
			[]string{"NAT cell was not shown to be the one that was asked for: a late packet came through"},
		},
		{"NAT not checked", Input{Analysis: forgotten(), Checks: []nat.CheckResult{{NAT: "wifi", OK: true}}}, []string{"NAT cell was not checked: it may not be the one that was asked for"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := tt.in
			in.Truth = theTruth()
			for _, text := range everyExpectation() {
				in.Expectations = append(in.Expectations, mustParse(text))
			}
			out := Judge(in)
			if d := cmp.Diff(tt.want, out.Reasons); d != "" {
				t.Errorf("reasons (-want +got):\n%s", d)
			}
			if out.Verdict != Inconclusive {
				t.Errorf("the verdict is %s", out.Verdict)
			}
			for _, j := range out.Expectations {
				if j.Verdict != Inconclusive || !strings.Contains(j.Why, tt.want[0]) {
					t.Errorf("%s: %s, because %q", j.Text, j.Verdict, j.Why)
				}
			}
			if tt.in.Analysis != nil && len(tt.in.Analysis.Pushes) > 0 && out.Expectations[0].Observed != "50% (1 of 2)" {
				t.Errorf("observed %q: what was seen must be shown all the same", out.Expectations[0].Observed)
			}
		})
	}
}

func TestVerdictOfAll(t *testing.T) {
	for _, tt := range []struct {
		texts []string
		want  Verdict
	}{
		{nil, Inconclusive},
		{[]string{"count(death) == 1"}, Pass},
		{[]string{"count(death) == 1", "push.delivered == 100%"}, Fail},
		{[]string{"count(death) == 1", "max(detect.client) < 5s"}, Inconclusive},
		{[]string{"max(detect.client) < 5s", "push.delivered == 100%", "count(death) == 1"}, Fail},
	} {
		in := Input{Analysis: forgotten(), Truth: theTruth(), Checks: theChecks()}
		for _, text := range tt.texts {
			in.Expectations = append(in.Expectations, mustParse(text))
		}
		out := Judge(in)
		if out.Verdict != tt.want {
			t.Errorf("%q: %s, want %s", tt.texts, out.Verdict, tt.want)
		}
		if none := len(tt.texts) == 0; none != (len(out.Reasons) > 0) {
			t.Errorf("%q: reasons %q", tt.texts, out.Reasons)
		}
	}
}

// One device that never got ready spoils what is said of all, and what is said of
// it, but not what is said of another.
func TestDeviceThatNeverGotReady(t *testing.T) {
	truth := theTruth()
	truth.Devices = append(truth.Devices, flow.Device{Name: "tablet"}, flow.Device{Name: "watch"})
	a := undisturbed()
	tried := connected()
	tried.Device, tried.Opened, tried.Ready = "tablet", nil, nil
	a.Connections = append(a.Connections, tried)
	for _, tt := range []struct {
		device string
		want   Verdict
		why    string
	}{
		{"", Inconclusive, "2 of 3 devices never got ready, the first of them tablet"},
		{"phone", Pass, ""},
		{"tablet", Inconclusive, "tablet never got ready: it tried 1 time, and the last attempt, at 0.010s, was not answered"},
		{"watch", Inconclusive, "watch never got ready: it did not even try to connect"},
	} {
		e := mustParse("count(death) == 0")
		e.Device = tt.device
		got := Judge(Input{Analysis: a, Truth: truth, Checks: theChecks(), Expectations: []Expectation{e}}).Expectations[0]
		if got.Verdict != tt.want || tt.device != "" && got.Why != tt.why {
			t.Errorf("%q: %s, because %q", tt.device, got.Verdict, got.Why)
		}
	}
}

func TestScope(t *testing.T) {
	truth := theTruth()
	truth.Devices = append(truth.Devices, flow.Device{Name: "tablet"})
	a := forgotten()
	other := connected()
	other.Device = "tablet"
	a.Connections = append(a.Connections, other)
	for device, want := range map[string]Verdict{"": Fail, "phone": Fail, "tablet": Pass} {
		e := mustParse("count(death) == 0")
		e.Device = device
		got := Judge(Input{Analysis: a, Truth: truth, Checks: theChecks(), Expectations: []Expectation{e}})
		if got.Verdict != want {
			t.Errorf("of %q: %s, want %s", device, got.Verdict, want)
		}
	}
}

func TestCompare(t *testing.T) {
	inf := math.Inf(1)
	for _, tt := range []struct {
		low, high float64
		op        Op
		wanted    float64
		want      Verdict
	}{
		{3, 3, Less, 4, Pass}, {3, 3, Less, 3, Fail}, {3, inf, Less, 4, Inconclusive}, {3, inf, Less, 3, Fail}, {3, 5, Less, 6, Pass},
		{3, 3, LessOrEqual, 3, Pass}, {3, inf, LessOrEqual, 3, Inconclusive}, {3, inf, LessOrEqual, 2, Fail},
		{3, 3, Greater, 3, Fail}, {3, inf, Greater, 2, Pass}, {3, inf, Greater, 3, Inconclusive}, {3, 5, Greater, 5, Fail},
		{3, inf, GreaterOrEqual, 3, Pass}, {3, inf, GreaterOrEqual, 4, Inconclusive},
		{3, 3, Equal, 3, Pass}, {3, 3, Equal, 4, Fail}, {3, inf, Equal, 3, Inconclusive}, {3, inf, Equal, 2, Fail}, {3, 5, Equal, 6, Fail},
		{3, 3, NotEqual, 3, Fail}, {3, 3, NotEqual, 4, Pass}, {3, inf, NotEqual, 3, Inconclusive}, {3, inf, NotEqual, 2, Pass},
	} {
		if got := compare(tt.low, tt.high, tt.op, tt.wanted); got != tt.want {
			t.Errorf("a value from %v to %v %s %v: %s, want %s", tt.low, tt.high, tt.op, tt.wanted, got, tt.want)
		}
	}
}

func TestAggregate(t *testing.T) {
	ten := make([]sample, 0, 10)
	for _, n := range []float64{7, 3, 10, 1, 9, 5, 2, 8, 4, 6} {
		ten = append(ten, sample{n: n})
	}
	open := []sample{{n: 1}, {n: 2, open: true}, {n: 3}}
	inf := math.Inf(1)
	for _, tt := range []struct {
		name      string
		a         Aggregate
		samples   []sample
		low, high float64
	}{
		{"ten", Count, ten, 10, 10},
		{"ten", Min, ten, 1, 1},
		{"ten", Max, ten, 10, 10},
		{"ten", Mean, ten, 5.5, 5.5},
		{"ten", P50, ten, 5, 5},
		{"ten", P95, ten, 10, 10},
		{"ten", P99, ten, 10, 10},
		{"one", P50, ten[:1], 7, 7},
		{"open", Count, open, 3, 3},
		{"open", Min, open, 1, 1},
		{"open", P50, open, 2, 3},
		{"open", Max, open, 3, inf},
		{"open", Mean, open, 2, inf},
	} {
		low, high := aggregate(tt.a, tt.samples)
		if low != tt.low || high != tt.high {
			t.Errorf("%s of %s: from %v to %v, want %v to %v", tt.a, tt.name, low, high, tt.low, tt.high)
		}
	}
}

// A value is never shown so rounded that it contradicts its verdict.
func TestRounded(t *testing.T) {
	for _, tt := range []struct {
		text string
		n    float64
		want string
	}{
		{"max(push.latency) < 2s", 1.23456789e9, "1.235s"},
		{"max(push.latency) < 2s", 2.000_000_4e9, "2s"},
		{"max(push.latency) <= 2s", 2.000_000_4e9, "2.0000004s"},
		{"max(push.latency) <= 2s", 12.3456e6, "12.3ms"},
		{"max(push.latency) <= 2s", 123_456, "123us"},
		{"push.delivered == 100%", 2.0 / 3, "66.7%"},
		{"push.delivered == 100%", 0.99999, "99.999%"},
		{"mean(heartbeat.bytes) < 200", 123.456, "123.5"},
	} {
		e := mustParse(tt.text)
		if got := rounded(e.Value.Unit, tt.n, e); got != tt.want {
			t.Errorf("%v for %q: %q, want %q", tt.n, tt.text, got, tt.want)
		}
	}
}
