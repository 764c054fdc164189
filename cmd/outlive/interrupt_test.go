package main_test

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"outlive/lab/labtest"
	"outlive/lab/sandbox/warp"
	"outlive/scenarios/verdict"
)

// Ctrl-C ends the lab and writes what there is; nothing of it is a verdict.
func TestInterrupted(t *testing.T) {
	for engine, scenario := range map[string]string{"live": "no-heartbeat-no-timeout", "warp": "soak-24h-mosquitto"} {
		t.Run(engine, func(t *testing.T) {
			if engine == "warp" {
				labtest.SkipUnsupported(t, warp.Available())
			}
			interrupt(t, engine, scenario)
		})
	}
}

// interrupt runs a scenario until its NAT has been proven, and then no longer.
func interrupt(t *testing.T, engine, scenario string) {
	dir := t.TempDir()
	cmd := exec.Command(binary, "run", scenario, "--engine", engine, "--out", dir)
	cmd.Dir = dir
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
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(stderr)
	if err != nil {
		t.Fatal(err)
	}
	exit := (*exec.ExitError)(nil)
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 130 {
		t.Errorf("it ended with %v, want exit status 130\n%s", err, rest)
	}
	r := resultIn(t, filepath.Join(dir, scenario))
	if r.Verdict != verdict.Inconclusive || !strings.Contains(strings.Join(r.Reasons, "\n"), "interrupted") {
		t.Errorf("the verdict is %s because of %q, want inconclusive because of the interruption", r.Verdict, r.Reasons)
	}
	if r.Lab.Packets == 0 {
		t.Error("the packets that had been captured are lost")
	}
}
