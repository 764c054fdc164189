package scenarios

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"outlive/lab/sandbox/warp"
	"outlive/lab/units"
	"outlive/probes/capture"
	"outlive/scenarios/report"
	"outlive/scenarios/verdict"
)

// packet is one of a capture made up, at a time of the scenario.
type packet struct {
	at   time.Duration
	data string
}

var guestZero = time.Date(2026, 1, 1, 0, 0, 3, 0, time.UTC)

// leave writes into a result folder what a lab leaves there.
func leave(t *testing.T, dir string, s *Scenario, fault time.Duration, packets ...packet) {
	t.Helper()
	j, err := openJournal(dir, &strings.Builder{})
	if err != nil {
		t.Fatal(err)
	}
	truth := truthOf(s)
	truth.Start = guestZero
	j.add(guestZero, kindStart, "", "", truth)
	j.start(guestZero)
	j.add(guestZero.Add(fault), kindStep, "phone", "something happened", nil)
	j.add(guestZero.Add(s.Duration.D()), kindCapture, "", "", capture.Stats{Points: []capture.PointStats{{Name: "phone:cell", Received: uint64(len(packets))}}})
	j.end(guestZero.Add(s.Duration.D()), endRecord{Scenario: units.Seconds(s.Duration)})
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, captureFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := pcapgo.NewNgWriterInterface(f, pcapgo.NgInterface{Name: "phone:cell", LinkType: layers.LinkTypeEthernet, SnapLength: 1 << 16}, pcapgo.NgWriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packets {
		ci := gopacket.CaptureInfo{Timestamp: guestZero.Add(p.at), CaptureLength: len(p.data), Length: len(p.data)}
		if err := w.WritePacket(ci, []byte(p.data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
}

func TestDifference(t *testing.T) {
	s := lasting(t, "1m")
	one := []packet{{time.Second, "a frame of phone"}, {2 * time.Second, "another frame"}}
	for _, tt := range []struct {
		name    string
		fault   time.Duration
		packets []packet
		want    string
	}{
		{"none", 5 * time.Second, one, ""},
		{"a packet later", 5 * time.Second, []packet{one[0], {2*time.Second + 8, "another frame"}},
			"packet 2 of capture.pcapng: 13 bytes at 2s on phone:cell in the one, 13 bytes at 2.000000008s on phone:cell in the other"},
		{"a packet with other bytes", 5 * time.Second, []packet{one[0], {2 * time.Second, "ANOTHER frame"}},
			"packet 2 of capture.pcapng, 13 bytes at 2s on phone:cell, has other bytes"},
		{"a packet more", 5 * time.Second, append(one[:2:2], packet{3 * time.Second, "a third"}),
			"packet 3 of capture.pcapng: nothing more in the one, 7 bytes at 3s on phone:cell in the other"},
		{"an event later", 6 * time.Second, one,
			"line 2 of events.jsonl: setup of phone (something happened) at 5s in the one, setup of phone (something happened) at 6s in the other"},
		{"an event before a packet", time.Second, []packet{one[0], {2*time.Second + 8, "another frame"}},
			"line 2 of events.jsonl: setup of phone (something happened) at 5s in the one, setup of phone (something happened) at 1s in the other"},
		{"a packet before an event", 6 * time.Second, one[:1],
			"packet 2 of capture.pcapng: 13 bytes at 2s on phone:cell in the one, nothing more in the other"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := t.TempDir(), t.TempDir()
			leave(t, a, s, 5*time.Second, one...)
			leave(t, b, s, tt.fault, tt.packets...)
			got, err := difference(a, b)
			if err != nil || got != tt.want {
				t.Errorf("got %q (%v)\nwant %q", got, err, tt.want)
			}
		})
	}
}

// A run that cannot be had again is not green, and both runs are there to look at;
// judging it again later finds the same.
func TestTwice(t *testing.T) {
	s := lasting(t, "1m")
	for _, tt := range []struct {
		name   string
		second time.Duration
		exact  bool
	}{{"the same", 5 * time.Second, true}, {"another", 6 * time.Second, false}} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			runs := 0
			result, err := Run(t.Context(), s, Options{
				Dir: dir, Twice: true,
				warp: &guests{
					selfTested: func(context.Context, Options) (report.Repeats, error) {
						return report.Repeats{Exact: new(true), ExactBy: report.BySelfTest}, nil
					},
					start: func(_ context.Context, spec warp.Spec) (guest, error) {
						at := 5 * time.Second
						if runs++; runs == 2 {
							at = tt.second
						}
						leave(t, spec.Dir, s, at, packet{time.Second, "a frame of phone"})
						return fakeGuest{}, nil
					},
				},
			})
			if err != nil || runs != 2 {
				t.Fatalf("%d runs, %v", runs, err)
			}
			again, err := Report(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range []*report.Result{result, again} {
				if r.Exact == nil || *r.Exact != tt.exact || r.ExactBy != report.ByTwice || len(r.SHA256) != 2 {
					t.Errorf("the run is said to be exact: %v, by %s, %v", r.Exact, r.ExactBy, r.SHA256)
				}
				differs := strings.Contains(strings.Join(r.Reasons, "\n"), "another one: line 2 of events.jsonl: ")
				if differs == tt.exact || !tt.exact && r.Verdict != verdict.Inconclusive {
					t.Errorf("it is %s because of %q", r.Verdict, r.Reasons)
				}
			}
			_, err = os.Stat(filepath.Join(dir, againFolder, resultFile))
			if diff := cmp.Diff(tt.exact, os.IsNotExist(err)); diff != "" {
				t.Errorf("the second run's folder: %v", err)
			}
		})
	}
}
