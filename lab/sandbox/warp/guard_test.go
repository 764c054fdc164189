package warp_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"outlive/lab/netns"
	"outlive/lab/sandbox"
	"outlive/lab/sandbox/qemu"
	"outlive/lab/sandbox/warp"
)

var spinner = job("spinner", func(ctx context.Context, how []byte, report io.Writer) error {
	say(report, "spinning")
	for string(how) != "heeding" || ctx.Err() == nil {
	}
	say(report, "asked to stop")
	return os.WriteFile("evidence", []byte("of the end"), 0o644)
})

var deadlocked = job("deadlocked", func(ctx context.Context, _ []byte, report io.Writer) error {
	say(report, "waiting")
	<-make(chan int)
	return nil
})

// hog is a program that takes memory until it is killed for it.
const hog = "hog"

func init() {
	sandbox.RegisterProgram(hog, func(context.Context, []string) error {
		for {
			// The kernel fills it at once, which is faster than to touch each page.
			_, err := unix.Mmap(-1, 0, 8<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANONYMOUS|unix.MAP_PRIVATE|unix.MAP_POPULATE)
			if err != nil {
				return err
			}
		}
	})
}

var poor = job("poor", func(_ context.Context, _ []byte, report io.Writer) error {
	ns, err := netns.Current()
	if err != nil {
		return err
	}
	defer ns.Close()
	cmd := sandbox.Program(hog)
	if err := ns.Start(cmd); err != nil {
		return err
	}
	err = cmd.Wait()
	say(report, "its end:", err)
	return os.WriteFile("evidence", []byte("of the end"), 0o644)
})

var traitor = job("traitor", func(_ context.Context, _ []byte, report io.Writer) error {
	say(report, "before")
	time.Sleep(time.Second) // of the guest's, in which the line goes out
	return os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0)
})

// failed runs a job in a guest that must not end well, and gives its failures.
func failed(t *testing.T, spec warp.Spec) (lines []string, failures []*warp.Failure) {
	t.Helper()
	lines, err := finished(t, spec)
	failures = failuresIn(err)
	if len(failures) == 0 {
		t.Fatalf("Wait returned %v", err)
	}
	console, err := os.ReadFile(filepath.Join(spec.Dir, warp.ConsoleFile))
	if err != nil {
		t.Errorf("no console: %v", err)
	}
	for _, line := range strings.Split(strings.TrimSpace(failures[0].Console), "\n") {
		if !strings.Contains(string(console), strings.TrimSpace(line)) {
			t.Errorf("the console's line %q is not in %s:\n%s", line, warp.ConsoleFile, console)
		}
	}
	return lines, failures
}

// failuresIn lists the failures of a guest, each of which is an error beside others.
func failuresIn(err error) (all []*warp.Failure) {
	errs := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		errs = joined.Unwrap()
	}
	for _, err := range errs {
		if f, ok := errors.AsType[*warp.Failure](err); ok {
			all = append(all, f)
		}
	}
	return all
}

func whats(failures []*warp.Failure) (all []string) {
	for _, f := range failures {
		all = append(all, f.What)
	}
	return all
}

// A program that spins keeps the clock from jumping: the limit of the host's time ends
// it. One that heeds hands over what it has.
func TestTooSlow(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		how      string
		stop     time.Duration
		evidence bool
		want     []string
	}{
		{"heeding", time.Minute, true, []string{"the guest was stopped because it was too slow"}},
		{"heedless", time.Second, false, []string{"the guest was stopped because it was too slow", "the guest ended without handing over its evidence"}},
	} {
		t.Run(test.how, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			lines, failures := failed(t, warp.Spec{Job: spinner, Data: []byte(test.how), Dir: dir, Length: 24 * time.Hour}.Limited(2*time.Second, test.stop))
			if len(lines) == 0 || lines[0] != "spinning" {
				t.Errorf("it reported %q", lines)
			}
			var got []string
			for _, what := range whats(failures) {
				what, _, _ = strings.Cut(what, ":")
				got = append(got, what)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("unexpected failures (-want +got):\n%s", diff)
			}
			if _, there := contents(t, dir)["evidence"]; there != test.evidence {
				t.Errorf("whether there is evidence: %v", there)
			}
		})
	}
}

// A job that waits for nothing is asked to end at the deadline of the guest's time,
// and killed a minute later. On the host that takes no time.
func TestDeadlock(t *testing.T) {
	t.Parallel()
	lines, failures := failed(t, warp.Spec{Job: deadlocked, Dir: t.TempDir(), Length: time.Hour})
	if diff := cmp.Diff([]string{"waiting"}, lines); diff != "" {
		t.Errorf("unexpected report (-want +got):\n%s", diff)
	}
	want := []string{"the lab did not end within 1h5m0s of the guest's time", "the lab did not end when it was asked to, and was killed"}
	if diff := cmp.Diff(want, whats(failures)); diff != "" {
		t.Errorf("unexpected failures (-want +got):\n%s", diff)
	}
}

// Programs are killed for want of memory, the lab's process 1 is not; but its result
// is not one of a lab.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lines, failures := failed(t, warp.Spec{Job: poor, Dir: dir})
	if diff := cmp.Diff([]string{"its end: signal: killed"}, lines); diff != "" {
		t.Errorf("unexpected report (-want +got):\n%s", diff)
	}
	if got := whats(failures); len(got) != 1 || !strings.HasPrefix(got[0], "the guest ran out of memory: Out of memory: Killed process ") || !strings.Contains(got[0], hog) {
		t.Errorf("unexpected failures %q", got)
	}
	if got := contents(t, dir)["evidence"]; got != "-rw-r--r-- of the end" {
		t.Errorf("the evidence is %q", got)
	}
}

// A job cannot bring the machine down: what could is read-only in a sandbox.
func TestJobCannotCrashTheMachine(t *testing.T) {
	t.Parallel()
	lines, err := finished(t, warp.Spec{Job: traitor})
	if diff := cmp.Diff([]string{"before"}, lines); diff != "" {
		t.Errorf("unexpected report (-want +got):\n%s", diff)
	}
	if err == nil || !strings.Contains(err.Error(), "sysrq") || len(failuresIn(err)) > 0 {
		t.Errorf("Wait returned %v", err)
	}
}

// A machine whose process is killed, or stopped, ends the guest with an error and never
// hangs.
func TestMachineThatIsTakenAway(t *testing.T) {
	for _, test := range []struct {
		name   string
		signal syscall.Signal
		want   qemu.Cause
	}{
		{"killed", syscall.SIGKILL, qemu.Failed},
		{"stopped", syscall.SIGSTOP, qemu.Killed},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			r := newReport()
			g := started(t, warp.Spec{Job: spinner, Dir: dir, Length: time.Hour, Report: r.line}.Limited(time.Second, 500*time.Millisecond))
			r.await(t, "spinning")
			machines := machinesOf(t, os.Getpid())
			if len(machines) != 1 {
				t.Fatalf("%d machines run", len(machines))
			}
			if err := syscall.Kill(machines[0], test.signal); err != nil {
				t.Fatal(err)
			}
			err := g.Wait()
			cause, ok := errors.AsType[*qemu.GuestError](err)
			if !ok || cause.Cause != test.want {
				t.Errorf("Wait returned %v", err)
			}
			if diff := cmp.Diff([]string{"spinning"}, r.rest()); diff != "" {
				t.Errorf("unexpected report (-want +got):\n%s", diff)
			}
			if _, there := contents(t, dir)[warp.ConsoleFile]; !there {
				t.Error("no console")
			}
			if left := machinesOf(t, os.Getpid()); len(left) > 0 {
				t.Errorf("machines are left: %v", left)
			}
		})
	}
}

// The limits leave room for what is slow without anything being wrong.
func TestLimits(t *testing.T) {
	for _, test := range []struct {
		spec      warp.Spec
		run, stop time.Duration
	}{
		{warp.Spec{Length: time.Minute}, 2*time.Minute + 3*time.Second, time.Minute},
		{warp.Spec{Length: 24 * time.Hour}, 74 * time.Minute, time.Minute},
		{warp.Spec{Length: time.Hour, Hosts: 10_000}, 35 * time.Minute, time.Minute},
	} {
		if run, stop := test.spec.Limits(); run != test.run || stop != test.stop {
			t.Errorf("%v with %d hosts: %v and %v", test.spec.Length, test.spec.Hosts, run, stop)
		}
	}
}
