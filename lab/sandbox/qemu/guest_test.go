package qemu_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/labtest"
	"outlive/lab/sandbox/parcel"
	"outlive/lab/sandbox/qemu"
)

func sandboxlessSelf(what string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), parentVariable+"="+what)
	return cmd
}

// One template serves runs with different contents, and none leaves a trace in it.
func TestRunsOfOneTemplate(t *testing.T) {
	for _, word := range []string{"first", "second", "third"} {
		if diff := cmp.Diff([]string{word}, started(t, "say "+word).ended(t)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// An hour passes while the test waits a moment.
func TestTimeJumps(t *testing.T) {
	if diff := cmp.Diff([]string{"slept 1h0m0s"}, started(t, "sleep 1h").ended(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What the guest writes is seen while it runs, and it can be asked to end.
func TestStop(t *testing.T) {
	g := started(t, "await stop")
	g.awaitSaid(t, "waiting")
	g.Stop()
	g.Stop()
	if diff := cmp.Diff([]string{"waiting", "asked by 0x0"}, g.ended(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	g.Stop()
	g.Kill()
	if err := g.Wait(); err != nil {
		t.Errorf("after the end: %v", err)
	}
}

func TestEndsThatAreNotGood(t *testing.T) {
	for _, test := range []struct {
		order string
		want  qemu.Cause
		text  string
	}{
		{"panic", qemu.Panic, "sysrq triggered crash"},
		{"reset", qemu.Reset, ""},
		{"spin", qemu.Killed, ""},
	} {
		t.Run(test.order, func(t *testing.T) {
			g := started(t, test.order)
			if test.want == qemu.Killed {
				g.awaitSaid(t, "spinning")
				g.Kill()
			}
			err := g.Wait()
			e, ok := errors.AsType[*qemu.GuestError](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			if e.Cause != test.want || !strings.Contains(e.Text, test.text) {
				t.Errorf("got %+v\nwant the cause %q with %q", err, test.want, test.text)
			}
		})
	}
}

// In a machine without a timer nothing would ever happen again. The machine that we
// make always has one, so that an emulator has to be played that says so.
func TestNoTimers(t *testing.T) {
	fake := filepath.Join(t.TempDir(), "emulator")
	script := "#!/bin/sh\necho 'warning: icount sleep disabled and no active timers' >&2\nexec sleep 1000\n"
	if err := os.WriteFile(fake, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	machine := qemu.Machine{QEMU: &qemu.Program{Path: fake}, Memory: memory}
	err := qemu.MakeTemplate(t.Context(), machine, t.TempDir())
	if e, ok := errors.AsType[*qemu.GuestError](err); !ok || e.Cause != qemu.NoTimers {
		t.Errorf("got %v", err)
	}
}

// The same orders give the same bytes, nanoseconds included; another seed gives others.
func TestExact(t *testing.T) {
	sums := make(map[string][]string)
	runs := 3
	if testing.Short() {
		runs = 2
	}
	for range runs {
		for _, seed := range []string{"1", "2"} {
			said := started(t, "seed "+seed, "reseed", "lab").ended(t)
			if len(said) != 1 {
				t.Fatalf("the guest said %q", said)
			}
			sums[seed] = append(sums[seed], said[0])
		}
	}
	for seed, got := range sums {
		for _, sum := range got {
			if sum != got[0] {
				t.Errorf("runs with seed %s differ: %q", seed, got)
				break
			}
		}
	}
	if sums["1"][0] == sums["2"][0] {
		t.Errorf("two seeds give the same: %q", sums["1"][0])
	}
}

func TestDiesWithItsParent(t *testing.T) {
	b, err := shared()
	labtest.SkipUnsupported(t, err)
	if err != nil {
		t.Fatal(err)
	}
	killParent(t, "run "+b.template, "running", b.template, func() bool { return true })
}

// What is left of a template that was being made is a folder, which its maker's
// successor removes, and no process.
func TestTemplateDiesWithItsMaker(t *testing.T) {
	_, err := shared()
	labtest.SkipUnsupported(t, err)
	dir := t.TempDir()
	killParent(t, "template "+dir, "making", dir, func() bool {
		_, err := os.Stat(filepath.Join(dir, "memory"))
		return err == nil && len(emulators(t, dir)) == 1
	})
}

func TestFailures(t *testing.T) {
	machine, err := newMachine()
	labtest.SkipUnsupported(t, err)
	if err != nil {
		t.Fatal(err)
	}
	noKernel := machine
	noKernel.Kernel = filepath.Join(t.TempDir(), "missing")
	odd := machine
	odd.Memory++
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	var files [3]*os.File
	for i, size := range []int64{parcel.InSize, parcel.OutSize, 0} {
		if files[i], err = qemu.Memory("test", size); err != nil {
			t.Fatal(err)
		}
		defer files[i].Close()
	}
	broken := t.TempDir()
	for _, name := range []string{"memory", "state", "c-states.aml"} {
		if err := os.WriteFile(filepath.Join(broken, name), []byte("no such thing"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	resume := func(ctx context.Context, dir string) error {
		_, err := qemu.Start(ctx, qemu.Run{Machine: machine, Template: dir, In: files[0], Out: files[1], Console: files[2]})
		return err
	}
	for _, test := range []struct {
		name string
		do   func() error
		want string
	}{
		{"no kernel", func() error { return qemu.MakeTemplate(t.Context(), noKernel, t.TempDir()) }, "could not open kernel file"},
		{"odd memory", func() error { return qemu.MakeTemplate(t.Context(), odd, t.TempDir()) }, "multiple of 1 MiB"},
		{"no emulator", func() error { return qemu.MakeTemplate(t.Context(), qemu.Machine{Memory: memory}, t.TempDir()) }, "what Find gives"},
		{"cancelled", func() error { return qemu.MakeTemplate(cancelled, machine, t.TempDir()) }, "context canceled"},
		{"no template", func() error { return resume(t.Context(), t.TempDir()) }, "no such file"},
		{"broken template", func() error { return resume(t.Context(), broken) }, "failure of QEMU"},
		{"cancelled start", func() error { return resume(cancelled, broken) }, "context canceled"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := test.do(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// A run that costs nothing but itself.
func BenchmarkResume(b *testing.B) {
	t, err := shared()
	labtest.SkipUnsupported(b, err)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		g, err := t.start(b.Context(), []string{"say hello"})
		if err != nil {
			b.Fatal(err)
		}
		if err := g.Wait(); err != nil {
			b.Fatal(err)
		}
		_ = g.out.Close()
	}
}
