package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// mutants are labs that lie: each is the program with one line of its source
// changed. A lab that still passes its scenario then could not have failed it.
var mutants = []struct {
	name, file, old, new string
	// scenario is run with the mutant; the exit code must be code and the
	// output must contain every one of says.
	scenario string
	code     int
	says     []string
}{
	{
		name: "the NAT never forgets",
		file: "nat/sysctls.go",
		old:  `settings[conntrack+t.sysctl] = strconv.FormatInt(int64(t.of(&p.Timeouts).D()/time.Second), 10)`,
		new:  `settings[conntrack+t.sysctl] = strconv.FormatInt(int64(t.standard/time.Second), 10)`,

		scenario: "heartbeat-longer-silent", code: 4,
		says: []string{"INCONCLUSIVE", "NAT cell", "timeout"},
	},
	{
		name: "late packets leak with their private address",
		file: "nat/rules.go",
		old:  `line("-A FORWARD -m conntrack --ctstate INVALID -j DROP")`,
		new:  ``,

		scenario: "heartbeat-longer-silent", code: 4,
		says: []string{"INCONCLUSIVE", "NAT cell", "private"},
	},
	{
		name: "the NAT answers from outside by itself",
		file: "nat/rules.go",
		old:  `line("-A INPUT -i wan+ -j DROP")`,
		new:  ``,

		scenario: "heartbeat-longer-silent", code: 4,
		says: []string{"INCONCLUSIVE", "NAT cell", "reset"},
	},
	{
		name: "a late packet revives the mapping, as Linux does by default",
		file: "nat/sysctls.go",
		old:  `loose := "0"`,
		new:  `loose := "1"`,

		scenario: "heartbeat-longer-silent", code: 4,
		says: []string{"INCONCLUSIVE", "NAT cell", "revive"},
	},
	{
		name: "a reboot that forgets nothing",
		file: "nat/conntrack.go",
		old:  `err := n.table.conn.Flush()`,
		new:  `err := error(nil)`,

		scenario: "nat-reboot", code: 4,
		says: []string{"INCONCLUSIVE", "nat-reboot", "outlived"},
	},
	{
		name: "a power cut with the cable left in",
		file: "faults/server_power_off.go",
		old:  `err := l.Topology.Unplug(i.Point)`,
		new:  `err := error(nil)`,

		// The kernel says FIN for the killed program, and the client that has no
		// heartbeat learns what it must not learn.
		scenario: "server-power-off", code: 1,
		says: []string{"FAIL", "count(detect.client) == 0"},
	},
	{
		name: "a mapping made anew keeps its port",
		file: "nat/rules.go",
		old:  `-j MASQUERADE --random-fully`,
		new:  `-j MASQUERADE`,

		scenario: "heartbeat-longer-remap", code: 4,
		says: []string{"INCONCLUSIVE", "NAT cell", "remap"},
	},
	{
		name: "a late packet is not answered with a reset",
		file: "nat/rules.go",
		old:  `line("-A FORWARD -i lan+ -p tcp -m conntrack --ctstate INVALID -j REJECT --reject-with tcp-reset")`,
		new:  ``,

		scenario: "heartbeat-longer-reset", code: 4,
		says: []string{"INCONCLUSIVE", "NAT cell", "reset"},
	},
}

func TestMutants(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			root, err := filepath.Abs("../..")
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(root, m.file)
			source, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(source), m.old); n != 1 {
				t.Fatalf("%s has %d places to change, want 1: the mutant is out of date", m.file, n)
			}
			dir := t.TempDir()
			mutated := filepath.Join(dir, "mutated.go")
			if err := os.WriteFile(mutated, []byte(strings.Replace(string(source), m.old, m.new, 1)), 0o644); err != nil {
				t.Fatal(err)
			}
			overlay, err := json.Marshal(map[string]map[string]string{"Replace": {path: mutated}})
			if err != nil {
				t.Fatal(err)
			}
			overlayFile := filepath.Join(dir, "overlay.json")
			if err := os.WriteFile(overlayFile, overlay, 0o644); err != nil {
				t.Fatal(err)
			}
			program := filepath.Join(dir, "outlive")
			if err := build(program, "-overlay", overlayFile); err != nil {
				t.Fatal(err)
			}
			got := steady(t, func(attempt string) outcome {
				return outlive(t, program, dir, "run", m.scenario, "--out", attempt)
			})
			if got.code != m.code {
				t.Errorf("exit code %d, want %d", got.code, m.code)
			}
			for _, want := range m.says {
				if !strings.Contains(got.stdout, want) {
					t.Errorf("the output does not say %q", want)
				}
			}
			if t.Failed() {
				t.Logf("stdout:\n%s\nstderr:\n%s", got.stdout, got.stderr)
			}
		})
	}
}
