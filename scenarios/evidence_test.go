package scenarios

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/units"
	"outlive/probes/capture"
	"outlive/probes/flow"
)

// journalled is an events.jsonl as the lab writes it, a line each.
func journalled(t *testing.T, s *Scenario) []string {
	t.Helper()
	dir := t.TempDir()
	j, err := openJournal(dir, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	zero := time.Now()
	j.add(zero.Add(-time.Millisecond), kindStep, "", "set up", nil)
	j.add(zero, kindStart, "", "", truthOf(s))
	j.start(zero)
	j.add(zero.Add(time.Second), kindFault, serverHost, "killed", faultRecord{Name: "server-kill"})
	j.add(zero.Add(4*time.Second), kindCapture, "", "", capture.Stats{Points: []capture.PointStats{{Name: "phone:cell", Received: 3}}})
	j.end(zero.Add(3*time.Second), endRecord{Scenario: units.Seconds(3 * time.Second)})
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, eventsFile))
	if err != nil {
		t.Fatal(err)
	}
	return slices.Collect(strings.Lines(string(text)))
}

func truthOf(s *Scenario) flow.Truth {
	truth := flow.Truth{
		End: units.Seconds(s.Duration), Protocol: s.Server.Protocol,
		Server: netip.AddrPortFrom(netip.MustParseAddr("198.51.100.1"), s.Server.Port),
	}
	for _, d := range s.Devices {
		truth.Devices = append(truth.Devices, flow.Device{Name: d.Name})
	}
	for _, u := range s.Uplinks {
		for _, n := range u.NATs {
			truth.NATs = append(truth.NATs, flow.NAT{Name: n.Name, Uplink: u.Name, Profile: n.Profile.Complete()})
		}
	}
	return truth
}

// What was taken out of the evidence, or put in, must not make a verdict that nothing deserves.
func TestChangedEvidence(t *testing.T) {
	s, err := Load(Source{Name: "least.yaml", Data: []byte("name: least\nduration: 3s\nnetwork:\n  cell: {nat: {timeouts: {tcp_established: 5s}}}\ndevices:\n  phone: {heartbeat: {policy: none}}\nexpect: [count(death) == 0]\n")}, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	lines := journalled(t, s)
	without := func(kind string) []string {
		return slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return strings.Contains(line, `"kind":"`+kind+`"`) })
	}
	late := slices.Clone(lines)
	for i := range late {
		late[i] = strings.Replace(late[i], `{"at_s":1,"kind":"fault"`, `{"at_s":3.015,"kind":"fault"`, 1)
	}
	longer, other := *s, *s
	longer.Duration = units.Duration(time.Minute)
	other.Uplinks = slices.Clone(s.Uplinks)
	other.Uplinks[0].NATs = slices.Clone(s.Uplinks[0].NATs)
	other.Uplinks[0].NATs[0].Profile.Timeouts.TCPEstablished = units.Duration(time.Hour)
	tests := []struct {
		name     string
		lines    []string
		scenario *Scenario
		captured int
		want     []string
	}{
		{"as it was", lines, s, 3, nil},
		{"a fault taken out", without(kindFault), s, 3, []string{"events.jsonl has 3 lines before the scenario's end, and the lab wrote 4: it was changed"}},
		{"the captures' count taken out", without(kindCapture), s, 3, []string{
			"events.jsonl has 3 lines before the scenario's end, and the lab wrote 4: it was changed",
			"the lab did not say how many packets it captured",
		}},
		{"a line added", slices.Insert(slices.Clone(lines), 2, lines[0]), s, 3, []string{"events.jsonl has 5 lines before the scenario's end, and the lab wrote 4: it was changed"}},
		{"a line after the end", append(slices.Clone(lines), lines[0]), s, 3, []string{"events.jsonl goes on after the scenario's end, from line 6: it was changed, or is of two runs"}},
		{"the end taken out", without(kindEnd), s, 3, []string{"the lab ended before the scenario did: its evidence is not whole"}},
		{"a packet taken out", lines, s, 2, []string{"capture.pcapng has 2 packets of phone:cell, and the lab captured 3: it was changed, or is of another run"}},
		{"a fault after the end", late, s, 3, []string{
			"events.jsonl is not as the lab wrote it: it was changed",
			"an event came only at 3.015s, after the end of the scenario: killed",
		}},
		{"a longer scenario", lines, &longer, 3, []string{"events.jsonl is of another scenario than scenario.yaml"}},
		{"another NAT", lines, &other, 3, []string{"events.jsonl is of another scenario than scenario.yaml"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, eventsFile), []byte(strings.Join(tt.lines, "")), 0o644); err != nil {
				t.Fatal(err)
			}
			ev, err := readEvidence(dir)
			if err != nil {
				t.Fatal(err)
			}
			a := &flow.Analysis{Captured: map[string]int{"phone:cell": tt.captured}}
			got := append(ev.reasons(tt.scenario), ev.mismatches(tt.scenario, a)...)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
