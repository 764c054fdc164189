package main_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"outlive/lab/labtest"
	"outlive/lab/sandbox/warp"
	"outlive/scenarios/verdict"
)

// A virtual machine that is killed in the middle of a scenario leaves what it had told,
// which is no verdict, and no process.
func TestMachineKilled(t *testing.T) {
	labtest.SkipUnsupported(t, warp.Available())
	dir := t.TempDir()
	cmd := exec.Command(binary, "run", "soak-24h-mosquitto", "--engine", "warp", "--out", dir)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	for lines.Scan() && !strings.Contains(lines.Text(), "is the one asked for") {
	}
	family := descendants(cmd.Process.Pid)
	machine := slices.IndexFunc(family, func(p identity) bool { return strings.HasPrefix(comm(p.pid), "qemu-system") })
	if machine < 0 {
		t.Errorf("there is no virtual machine among %v", family)
		_ = cmd.Process.Signal(os.Interrupt)
	} else if err := syscall.Kill(family[machine].pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	rest, err := io.ReadAll(stderr)
	if err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 4 {
		t.Errorf("exit code %d, want 4\n%s", code, rest)
	}
	for _, p := range family {
		if p.alive() {
			t.Errorf("process %d (%s) is left", p.pid, comm(p.pid))
		}
	}
	result := filepath.Join(dir, "soak-24h-mosquitto")
	r := resultIn(t, result)
	if r.Verdict != verdict.Inconclusive || len(r.Reasons) == 0 || !strings.Contains(r.Reasons[0], "virtual machine") && !strings.Contains(r.Reasons[0], "guest") {
		t.Errorf("the verdict is %s because of %q", r.Verdict, r.Reasons)
	}
	events, err := os.ReadFile(filepath.Join(result, "events.jsonl"))
	if err != nil || !strings.Contains(string(events), "is the one asked for") {
		t.Errorf("what the lab told is lost: %v\n%s", err, events)
	}
	if _, err := os.Stat(filepath.Join(result, "console.log")); err != nil {
		t.Error(err)
	}
}

// A program that cannot run in a virtual machine is an error before the run where that was
// asked for, and otherwise a reason to do without one.
func TestUnrunnable(t *testing.T) {
	labtest.SkipUnsupported(t, warp.Available())
	dir := t.TempDir()
	// The name of another machine in the head of an ELF file: 64-bit ARM.
	program := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 57)...)
	program[16], program[18], program[20], program[52] = 2, 183, 1, 64
	scenario := `name: arm
duration: 1m
network:
  cell: {nat: carrier}
server: {run: [./serve]}
devices:
  phone: {}
expect: [count(death) == 0]
`
	for name, data := range map[string][]byte{"serve": program, "arm.yaml": []byte(scenario)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	got := outlive(t, binary, dir, "run", "arm.yaml", "--engine", "warp", "--out", "asked")
	if got.code != 3 || !strings.Contains(got.stderr, "./serve") || !strings.Contains(got.stderr, "virtual time") {
		t.Errorf("asked for: exit code %d\n%s", got.code, got.stderr)
	}
	got = outlive(t, binary, dir, "run", "arm.yaml", "--out", "chosen")
	// This machine cannot execute it either.
	if got.code != 3 || !strings.Contains(got.stderr, "engine live: the engine warp cannot run it: ") {
		t.Errorf("chosen: exit code %d\n%s", got.code, got.stderr)
	}
}
