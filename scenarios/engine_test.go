package scenarios

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outlive/lab"
	"outlive/lab/feature"
	"outlive/lab/sandbox/warp"
	"outlive/scenarios/verdict"
)

var noQEMU = &feature.Unsupported{Feature: "virtual time", Needs: "the package qemu-system-x86", Remedy: "apt-get install qemu-system-x86"}

// lasting is a scenario of that length.
func lasting(t *testing.T, length string, set ...string) *Scenario {
	t.Helper()
	return load(t, least, nil, append(set, "duration="+length)...)
}

func TestChoices(t *testing.T) {
	const absent = "virtual time is not available here (needs the package qemu-system-x86); apt-get install qemu-system-x86"
	for _, tt := range []struct {
		name     string
		scenario *Scenario
		options  Options
		missing  error
		want     []choice
	}{
		{"a short one", lasting(t, "59s"), Options{}, nil, []choice{{"live", "it lasts 59s, less than 1m"}, {engine: "warp"}}},
		{"a long one", lasting(t, "1m"), Options{Engine: EngineAuto}, nil, []choice{{"warp", "it lasts 1m, which is longer than a person waits"}, {engine: "live"}}},
		{"a long one without QEMU", lasting(t, "2h"), Options{}, noQEMU, []choice{{"live", "it lasts 2h, and the engine warp cannot be had: " + absent}}},
		{"live asked for", lasting(t, "2h"), Options{Engine: EngineLive}, nil, []choice{{"live", "it was asked for"}}},
		{"warp asked for", lasting(t, "1s"), Options{Engine: EngineWarp}, noQEMU, []choice{{"warp", "it was asked for"}}},
		{"twice", lasting(t, "1s"), Options{Twice: true}, nil, []choice{{"warp", "only its runs can be had twice"}}},
		{"a root of its own", lasting(t, "1s", "guest={root: /srv/rootfs}"), Options{}, nil, []choice{{"warp", "the scenario has a root file system of its own"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.options.warp = &guests{available: func() error { return tt.missing }}
			if err := tt.options.Check(tt.scenario); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, tt.options.choices(tt.scenario), cmp.AllowUnexported(choice{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOptionsCheck(t *testing.T) {
	for _, tt := range []struct {
		name     string
		scenario *Scenario
		options  Options
		want     string
	}{
		{"an engine that there is not", lasting(t, "1s"), Options{Engine: "wrap"}, `there is no engine "wrap": give auto, live or warp`},
		{"live twice", lasting(t, "1s"), Options{Engine: EngineLive, Twice: true},
			"no two runs of the live engine are the same, so that there is nothing to compare: run it twice with the engine warp"},
		{"live with a root", lasting(t, "1s", "guest={root: /srv/rootfs}"), Options{Engine: EngineLive},
			"good: the scenario has a root file system of its own (guest.root), which only the engine warp can give it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Run(t.Context(), tt.scenario, Options{Engine: tt.options.Engine, Twice: tt.options.Twice, Dir: filepath.Join(t.TempDir(), "new")})
			if e := (*EngineError)(nil); !errors.As(err, &e) || e.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// fakeGuest is a machine that has done what it did when it was started.
type fakeGuest struct{ err error }

func (g fakeGuest) Wait() error                 { return g.err }
func (g fakeGuest) Versions() map[string]string { return map[string]string{"qemu": "7.2.22"} }

// A guest that cannot run the programs is replaced by a sandbox of this machine, and
// what it was replaced for is told. The run is interrupted as soon as it has shown that.
func TestLiveInsteadOfWarp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var told []string
	result, err := Run(ctx, lasting(t, "1m"), Options{
		Dir: filepath.Join(t.TempDir(), "run"),
		Progress: func(e lab.Event) {
			switch e.Kind {
			case EventEngine:
				told = append(told, e.Text)
			case EventStart:
				cancel()
			}
		},
		warp: &guests{
			available: func() error { return nil },
			start:     func(context.Context, warp.Spec) (guest, error) { return nil, noQEMU },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	why := "the engine warp cannot run it: starting the guest: " + noQEMU.Error()
	want := []string{"engine warp: it lasts 1m, which is longer than a person waits", "engine live: " + why, ""}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Error(diff)
	}
	if result.Engine != "live" || result.EngineWhy != why || result.Exact != nil {
		t.Errorf("the result is of the engine %s, because %s, exact %v", result.Engine, result.EngineWhy, result.Exact)
	}
}

// What cannot be had is not replaced where it was asked for, nor is an engine that failed
// for another reason.
func TestNothingInsteadOfWarp(t *testing.T) {
	broken := errors.New("the image does not boot")
	for _, tt := range []struct {
		engine Engine
		err    error
	}{{EngineWarp, noQEMU}, {EngineAuto, broken}} {
		_, err := Run(t.Context(), lasting(t, "1m"), Options{
			Dir: filepath.Join(t.TempDir(), "run"), Engine: tt.engine,
			warp: &guests{
				available: func() error { return nil },
				start:     func(context.Context, warp.Spec) (guest, error) { return nil, tt.err },
			},
		})
		if !errors.Is(err, tt.err) {
			t.Errorf("the engine %s gives %v, want %v", tt.engine, err, tt.err)
		}
	}
}

// A guest that dies leaves what it told, which proves nothing.
func TestGuestDies(t *testing.T) {
	s := lasting(t, "1m")
	panicked := errors.New("the guest's kernel panicked")
	lines := journalled(t, s)
	for _, tt := range []struct {
		name  string
		lines []string
		want  []string // reasons; nil: no result
	}{
		{"before the lab started", nil, nil},
		{"before the scenario started", lines[:1], nil},
		{"in the middle", lines[:3], []string{
			panicked.Error(),
			"the lab ended before the scenario did: its evidence is not whole",
			"there is no capture to judge from",
			"NAT cell was not checked: it may not be the one that was asked for",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			var ticks []time.Duration
			result, err := Run(t.Context(), s, Options{
				Dir: dir, Engine: EngineWarp, Tick: func(at time.Duration) { ticks = append(ticks, at) },
				warp: &guests{start: func(_ context.Context, spec warp.Spec) (guest, error) {
					spec.Tick(2 * time.Second)
					for _, line := range tt.lines {
						spec.Report([]byte(strings.TrimSuffix(line, "\n")))
					}
					spec.Tick(5 * time.Second)
					return fakeGuest{panicked}, nil
				}},
			})
			if tt.want == nil {
				if !errors.Is(err, panicked) || result != nil || len(ticks) > 0 {
					t.Errorf("got %v, %v, ticks %v", result, err, ticks)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, result.Reasons); diff != "" || result.Verdict != verdict.Inconclusive {
				t.Errorf("%s: %s", result.Verdict, diff)
			}
			if result.Engine != "warp" || result.Lab.Versions["qemu"] != "7.2.22" {
				t.Errorf("the result is of the engine %s with %v", result.Engine, result.Lab.Versions)
			}
			left, err := os.ReadFile(filepath.Join(dir, eventsFile))
			if err != nil || string(left) != strings.Join(tt.lines, "") {
				t.Errorf("%s holds %q (%v)", eventsFile, left, err)
			}
			if diff := cmp.Diff([]time.Duration{3 * time.Second}, ticks); diff != "" {
				t.Errorf("ticks: %s", diff)
			}
		})
	}
}

// What goes into a guest is what the scenario names, each program once.
func TestGuestSpec(t *testing.T) {
	s := load(t, whole, wholeFiles())
	var got warp.Spec
	_, err := Run(t.Context(), s, Options{
		Dir: filepath.Join(t.TempDir(), "run"), Engine: EngineWarp,
		warp: &guests{start: func(_ context.Context, spec warp.Spec) (guest, error) {
			got = spec
			return nil, errors.New("no")
		}},
	})
	if err == nil {
		t.Fatal("a guest that does not start gives no error")
	}
	for i := range got.Commands {
		got.Commands[i].Dir = strings.TrimPrefix(got.Commands[i].Dir, got.Dir)
	}
	want := []warp.Command{
		{Argv: []string{"./serve", "-c", "broker.conf", "--port", "{port}", "7"}, Dir: "/work/server"},
		{Argv: []string{"mosquitto_sub", "-h", "{server}", "-t", "{topic}"}, Dir: "/work/client-watch"},
	}
	if diff := cmp.Diff(want, got.Commands); diff != "" {
		t.Error(diff)
	}
	// The server, four devices, and three NATs with their twins.
	rest := fmt.Sprintf("%d hosts, %s, seed %d, files %v, root %s, %s", got.Hosts, got.Length, got.Seed, got.Files, got.Root, got.Data)
	if want := `11 hosts, 1h0m20s, seed 7, files [/etc/ssl/certs], root /srv/rootfs, {"dir":"/lab","engine":"warp"}`; rest != want {
		t.Errorf("got %s\nwant %s", rest, want)
	}
}
