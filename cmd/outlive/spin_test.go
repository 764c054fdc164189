package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"outlive/lab/labtest"
	"outlive/lab/sandbox/warp"
	"outlive/scenarios/verdict"
)

// spinning is a server that listens and then never rests, so that virtual time has
// nothing to jump over.
const spinning = `package main

import (
	"net"
	"os"
)

func main() {
	if _, err := net.Listen("tcp", ":"+os.Args[1]); err != nil {
		panic(err)
	}
	for {
	}
}
`

// A server that spins does not hang anybody: the guest is ended at its limit of processor
// time, and what it has told until then is kept and judged as what it is. The limits are
// those of a build for this test.
func TestSpinningServer(t *testing.T) {
	labtest.SkipUnsupported(t, warp.Available())
	dir := t.TempDir()
	quick := filepath.Join(dir, "outlive")
	if err := build(quick, "-tags", "quickguard"); err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(dir, "spin.go")
	for name, text := range map[string]string{source: spinning, filepath.Join(dir, "spin.yaml"): `name: spin
duration: 2m
network:
  cell: {nat: carrier}
server: {run: [./spin, "{port}"], port: 7000}
devices:
  phone: {}
expect: [count(death) == 0]
`} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	compile := exec.Command("go", "build", "-o", "spin", source)
	compile.Dir, compile.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("building the server: %v\n%s", err, out)
	}
	got := outlive(t, quick, dir, "run", "spin.yaml", "--engine", "warp", "--out", "out")
	if got.code != 4 || !strings.Contains(got.stdout, "too slow") {
		t.Errorf("exit code %d, want 4\n%s\n%s", got.code, got.stdout, got.stderr)
	}
	result := filepath.Join(dir, "out", "spin")
	r := resultIn(t, result)
	if r.Verdict != verdict.Inconclusive {
		t.Errorf("the verdict is %s because of %q", r.Verdict, r.Reasons)
	}
	if r.Lab.Scenario.D() >= 2*time.Minute {
		t.Errorf("the scenario has lasted %s: it was not ended early", r.Lab.Scenario.D())
	}
	for file, want := range map[string]string{"events.jsonl": "server listens on port", "console.log": ""} {
		text, err := os.ReadFile(filepath.Join(result, file))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s does not have %q: %v\n%s", file, want, err, text)
		}
	}
}
