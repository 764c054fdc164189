package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"outlive/scenarios/report"
)

// binary is the program under test, built once as a user builds it.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "outlive-e2e-")
		if err != nil {
			panic(err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		// Others may run it too: one test is an ordinary user.
		if err := os.Chmod(dir, 0o755); err != nil {
			panic(err)
		}
		binary = filepath.Join(dir, "outlive")
		if err := build(binary); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// build builds the program, with further arguments to go build.
func build(to string, args ...string) error {
	cmd := exec.Command("go", append(append([]string{"build", "-o", to}, args...), ".")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building outlive: %w\n%s", err, out)
	}
	return nil
}

// outcome is what a finished command left.
type outcome struct {
	stdout, stderr string
	code           int
}

// outlive runs the program in dir and waits for its end.
func outlive(t *testing.T, program, dir string, args ...string) outcome {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	exit := (*exec.ExitError)(nil)
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// steady repeats a run that the machine was too busy for: the lab says so itself,
// and such a run shows nothing, neither way. The run gets a number for its folder.
func steady(t *testing.T, run func(attempt string) outcome) outcome {
	t.Helper()
	var got outcome
	for attempt := range 4 {
		got = run(strconv.Itoa(attempt))
		if !strings.Contains(got.stdout, "the lab was late") {
			break
		}
		t.Logf("the machine was too busy; once more")
	}
	return got
}

// resultIn reads a result.json.
func resultIn(t *testing.T, dir string) report.Result {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r report.Result
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatalf("reading %s/result.json: %v", dir, err)
	}
	return r
}
