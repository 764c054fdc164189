package main_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"outlive/lab/units"
	"outlive/probes/flow"
	"outlive/scenarios/verdict"
)

// poweredOff is a phone whose heartbeat nobody answers any more, behind a NAT that
// keeps idle connections for hours and those with unacknowledged data for seconds.
const poweredOff = `name: powered-off
duration: 20s
network:
  cell: {nat: {timeouts: {tcp_established: 2h4m, tcp_unacknowledged: 2s, tcp_max_retrans: RETRANS}, late: {lan: drop, wan: drop}}}
devices:
  phone: {heartbeat: {policy: fixed, interval: 14s, deadline: 13s}}
events:
  - {at: 1s, fault: server-power-off}
expect:
  - count(death) == 1
`

// TestShorterTimer lets a mapping die of a timer that is not the one by which people
// know the NAT, on the real kernel, and reads in the story which one it was. What the
// NAT takes in then comes out nowhere, because the cable behind it is dead.
func TestShorterTimer(t *testing.T) {
	for _, tt := range []struct {
		name, retrans, timer, says string
	}{
		{"unacknowledged", "3h", flow.TimerUnacknowledged, "2s (unacknowledged data; its established timeout is 2h4m)"},
		{"repeated", "1s", flow.TimerMaxRetrans, "1s (data sent again and again without an answer, or no room for it; its established timeout is 2h4m)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file := filepath.Join(dir, "powered-off.yaml")
			if err := os.WriteFile(file, []byte(strings.Replace(poweredOff, "RETRANS", tt.retrans, 1)), 0o644); err != nil {
				t.Fatal(err)
			}
			out := ""
			got := steady(t, func(attempt string) outcome {
				out = filepath.Join(dir, attempt)
				return outlive(t, binary, dir, "run", file, "--engine", "live", "--out", out)
			})
			if got.code != 0 {
				t.Fatalf("exit code %d\n%s\n%s", got.code, got.stdout, got.stderr)
			}
			r := resultIn(t, filepath.Join(out, "powered-off"))
			c := r.Connections[0]
			if len(c.Lapses) != 1 || c.CauseKind != "server-power-off" {
				t.Fatalf("the connection died of %s and had the lapses %+v", c.CauseKind, c.Lapses)
			}
			l := c.Lapses[0]
			if l.Timer != tt.timer || l.From != l.Refresh+l.Timeout || l.RefreshPacket == 0 {
				t.Errorf("it lapsed at %v by the timer %q of %v, last refreshed at %v (packet %d)", l.From, l.Timer, l.Timeout, l.Refresh, l.RefreshPacket)
			}
			if since := l.Refresh - units.Seconds(14e9); since < 0 {
				t.Errorf("last refreshed at %v, before the heartbeat that nobody answered", l.Refresh)
			}
			story := r.Stories[slices.IndexFunc(r.Stories, func(s verdict.Story) bool { return s.Connection == 0 })]
			if !slices.ContainsFunc(story.Lines, func(l verdict.Line) bool { return strings.Contains(l.Text, tt.says) }) {
				t.Errorf("the story does not say %q:\n%s", tt.says, got.stdout)
			}
			if strings.Contains(got.stdout, "sent a heartbeat (PING): dropped at NAT") {
				t.Errorf("the story says that the NAT dropped what a dead cable did:\n%s", got.stdout)
			}
		})
	}
}
