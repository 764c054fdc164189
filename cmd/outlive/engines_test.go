package main_test

import (
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/labtest"
	"outlive/lab/sandbox/warp"
	"outlive/lab/units"
	"outlive/scenarios/report"
	"outlive/scenarios/verdict"
)

// How far apart the engines may find times of detection. They are seconds; what differs
// is how long a program takes that runs on a slower processor. The programs of mosquitto
// count in whole seconds of the machine's clock, by which two runs on one engine differ as well.
const (
	sameOnBoth      = 50 * time.Millisecond
	withinOneSecond = time.Second + sameOnBoth
)

// TestBothEngines runs scenarios in real time and in virtual time and holds the
// results against each other: verdicts, which connections died and of what, and how
// long each side took to notice.
func TestBothEngines(t *testing.T) {
	labtest.SkipUnsupported(t, warp.Available())
	for scenario, within := range map[string]time.Duration{
		"quickstart": sameOnBoth, "double-nat": sameOnBoth, "mapping-expire": sameOnBoth,
		"heartbeat-longer-silent": sameOnBoth, "heartbeat-longer-reset": sameOnBoth, "heartbeat-longer-remap": sameOnBoth, "heartbeat-longer-revive": sameOnBoth,
		"nat-reboot": sameOnBoth, "nat-reboot-after-suback": sameOnBoth,
		"server-kill": sameOnBoth, "server-pings-only": sameOnBoth, "server-power-off": sameOnBoth, "mosquitto-sub-server-kill": sameOnBoth,
		"mosquitto-sub-longer": withinOneSecond, "mosquitto-sub-power-off": withinOneSecond,
	} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var live, virtual report.Result
			var both sync.WaitGroup
			both.Go(func() { live = resultOn(t, "live", scenario, dir) })
			both.Go(func() { virtual = resultOn(t, "warp", scenario, dir) })
			both.Wait()
			if t.Failed() {
				return
			}
			if diff := cmp.Diff(verdicts(live), verdicts(virtual)); diff != "" {
				t.Errorf("verdicts (-live +warp):\n%s", diff)
			}
			// In real time the machine may be late with a fault, and says by how much.
			within += live.Lab.MaxLateness.D()
			if diff := cmp.Diff(deaths(live), deaths(virtual), cmp.Comparer(func(a, b units.Seconds) bool { return (a - b).D().Abs() <= within })); diff != "" {
				t.Errorf("deaths (-live +warp):\n%s", diff)
			}
			t.Logf("in real time %+v, in virtual time %+v", deaths(live), deaths(virtual))
		})
	}
}

// resultOn runs a scenario on one of the engines.
func resultOn(t *testing.T, engine, scenario, dir string) report.Result {
	var out string
	got := steady(t, func(attempt string) outcome {
		out = engine + attempt
		return runAs(t, nil, dir, "run", scenario, "--engine", engine, "--out", out)
	})
	if got.code != 0 {
		t.Errorf("on the engine %s: exit code %d\n%s\n%s", engine, got.code, got.stdout, got.stderr)
		return report.Result{}
	}
	return resultIn(t, filepath.Join(dir, out, scenario))
}

func verdicts(r report.Result) map[string]verdict.Verdict {
	all := map[string]verdict.Verdict{"": r.Verdict}
	for _, e := range r.Expectations {
		all[strings.TrimSpace(e.Device+" "+e.Expr)] = e.Verdict
	}
	return all
}

// death is the death of a connection, and how long after it each side noticed; zero
// where it never did. By what they showed it is not held against each other: a newer
// kernel keeps the FIN of a connection back behind what is not acknowledged, where an
// older one sends it, so that the same close shows in another way.
type death struct {
	Device, Cause  string
	Client, Server units.Seconds
}

func deaths(r report.Result) []death {
	var all []death
	for _, c := range r.Connections {
		if c.Died == nil {
			continue
		}
		d := death{Device: c.Device, Cause: c.CauseKind}
		if c.ClientNoticed != nil {
			d.Client = *c.ClientNoticed - *c.Died
		}
		if c.ServerNoticed != nil {
			d.Server = *c.ServerNoticed - *c.Died
		}
		all = append(all, d)
	}
	// Which of two phones connects first is nobody's business.
	slices.SortStableFunc(all, func(a, b death) int { return strings.Compare(a.Device, b.Device) })
	return all
}

// TestExact runs a scenario twice in virtual time with random ports, pauses and real
// programs in it, and again with another seed.
func TestExact(t *testing.T) {
	labtest.SkipUnsupported(t, warp.Available())
	dir := t.TempDir()
	got := outlive(t, binary, dir, "run", "quickstart", "--engine", "warp", "--twice", "--out", "one")
	if got.code != 0 || !strings.Contains(got.stdout, "Exact: a second run gave the same") {
		t.Fatalf("exit code %d\n%s\n%s", got.code, got.stdout, got.stderr)
	}
	one := resultIn(t, filepath.Join(dir, "one", "quickstart"))
	if one.Exact == nil || !*one.Exact || one.ExactBy != report.ByTwice || one.Engine != "warp" || len(one.SHA256) != 2 {
		t.Errorf("result.json says engine %s, %+v", one.Engine, one.Repeats)
	}
	for _, what := range []string{"kernel", "qemu"} {
		if one.Lab.Versions[what] == "" {
			t.Errorf("result.json does not say the version of %s: %v", what, one.Lab.Versions)
		}
	}
	for name, sum := range one.SHA256 {
		if !strings.Contains(got.stdout, sum+"  "+name) {
			t.Errorf("the hash of %s is not printed", name)
		}
	}
	if got := outlive(t, binary, dir, "run", "quickstart", "--engine", "warp", "--seed", "2", "--out", "two"); got.code != 0 {
		t.Fatalf("with another seed: exit code %d\n%s\n%s", got.code, got.stdout, got.stderr)
	}
	two := resultIn(t, filepath.Join(dir, "two", "quickstart"))
	for name, sum := range one.SHA256 {
		if two.SHA256[name] == sum {
			t.Errorf("%s is the same with another seed", name)
		}
	}
}
