package warp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"outlive/lab/feature"
	"outlive/lab/sandbox"
	"outlive/lab/sandbox/warp"
)

var chatty = job("chatty", func(_ context.Context, data []byte, report io.Writer) error {
	n, err := strconv.Atoi(string(data))
	if err != nil {
		return err
	}
	for i := range n {
		_, _ = fmt.Fprintf(report, "line %d %s\n", i, strings.Repeat("x", i%1000))
	}
	_, err = io.WriteString(report, strings.Repeat("long", 1<<20))
	return err
})

// Every line arrives, in order and in one piece, before Wait returns.
func TestReport(t *testing.T) {
	t.Parallel()
	const n = 2000
	lines := reported(t, warp.Spec{Job: chatty, Data: []byte(strconv.Itoa(n))})
	if len(lines) != n+1 {
		t.Fatalf("%d lines instead of %d", len(lines), n+1)
	}
	for i, line := range lines[:n] {
		if want := fmt.Sprintf("line %d %s", i, strings.Repeat("x", i%1000)); line != want {
			t.Fatalf("line %d is %q", i, line)
		}
	}
	if lines[n] != strings.Repeat("long", 1<<20) {
		t.Errorf("the last line, of %d bytes, is not what was reported", len(lines[n]))
	}
}

// A line arrives while the guest runs, which would be for years. Asked to end, it hands
// over what it has.
func TestStop(t *testing.T) {
	t.Parallel()
	const year = 365 * 24 * time.Hour
	for _, test := range []struct {
		name string
		stop func(g *warp.Guest, cancel func())
	}{
		{"Stop", func(g *warp.Guest, _ func()) { g.Stop(); g.Stop() }},
		{"context", func(_ *warp.Guest, cancel func()) { cancel() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r := newReport()
			dir := t.TempDir()
			g := startedIn(ctx, t, warp.Spec{Job: spinner, Data: []byte("heeding"), Dir: dir, Length: year, Report: r.line})
			r.await(t, "spinning")
			test.stop(g, cancel)
			for range 2 {
				if err := g.Wait(); err != nil {
					t.Errorf("Wait returned %v", err)
				}
			}
			if diff := cmp.Diff([]string{"spinning", "asked to stop"}, r.rest()); diff != "" {
				t.Errorf("unexpected report (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(map[string]string{"evidence": "-rw-r--r-- of the end"}, contents(t, dir)); diff != "" {
				t.Errorf("unexpected files (-want +got):\n%s", diff)
			}
			g.Stop()
			g.Kill()
		})
	}
}

func TestKill(t *testing.T) {
	t.Parallel()
	r := newReport()
	g := started(t, warp.Spec{Job: spinner, Length: time.Hour, Report: r.line})
	r.await(t, "spinning")
	g.Kill()
	err := g.Wait()
	if failure, ok := errors.AsType[*warp.Failure](err); !ok || failure.What != "the guest ended without handing over its evidence" {
		t.Errorf("Wait returned %v", err)
	}
}

var curious = job("curious", func(_ context.Context, data []byte, report io.Writer) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	say(report, "working folder", dir)
	say(report, len(data), "bytes of data")
	say(report, "process", os.Getpid())
	say(report, runtime.GOMAXPROCS(0), "processor")
	slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		return err
	}
	say(report, "timers", time.Duration(slack), "late at most")
	name, err := os.Hostname()
	say(report, "on", name)
	return err
})

func TestWhatAJobSees(t *testing.T) {
	t.Parallel()
	got := reported(t, warp.Spec{Job: curious, Data: make([]byte, 100_000)})
	want := []string{"working folder /lab", "100000 bytes of data", "process 1", "1 processor", "timers 1ms late at most", "on localhost"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("unexpected report (-want +got):\n%s", diff)
	}
}

var sleeper = job("sleeper", func(_ context.Context, data []byte, report io.Writer) error {
	length, err := time.ParseDuration(string(data))
	if err != nil {
		return err
	}
	begin := time.Now()
	time.Sleep(length)
	say(report, time.Since(begin).Round(time.Millisecond))
	return nil
})

// Somebody who looks is told the guest's time, which goes on and gets near the end.
func TestTick(t *testing.T) {
	t.Parallel()
	var last time.Duration
	count := 0
	err := started(t, warp.Spec{
		Job: sleeper, Data: []byte("5h"), Length: 5 * time.Hour,
		Tick: func(now time.Duration) {
			if now <= last {
				t.Errorf("it was %v, and then %v", last, now)
			}
			last = now
			count++
		},
	}).Wait()
	if err != nil {
		t.Fatal(err)
	}
	if last < 4*time.Hour || last > 5*time.Hour+time.Minute {
		t.Errorf("the last time was %v", last)
	}
	t.Logf("told %d times", count)
}

var ending = job("ending", func(ctx context.Context, how []byte, report io.Writer) error {
	say(report, "before the end")
	switch string(how) {
	case "error":
		return errors.New("building the lab: no room")
	case "unsupported":
		return fmt.Errorf("building the lab: %w", &feature.Unsupported{
			Feature: "conntrack", Needs: "CONFIG_NF_CONNTRACK", Remedy: "build it", Err: syscall.EPROTONOSUPPORT,
		})
	case "cancelled":
		<-ctx.Done()
		return fmt.Errorf("building the lab: %w", ctx.Err())
	case "panic":
		panic("out of cheese")
	case "panic elsewhere":
		go panic("out of cheese")
		select {}
	case "exit":
		os.Exit(7)
	}
	return nil
})

// What became of a job reads as if it had run in a sandbox without a machine.
func TestWait(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		how  string
		want sandbox.ExitError // Stack is compared by what it must contain
		text string
	}{
		{"error", sandbox.ExitError{Code: 1, Text: "building the lab: no room"}, "building the lab: no room"},
		{"panic", sandbox.ExitError{Code: 1, Panicked: true, Text: "out of cheese", Stack: "job_test.go"},
			`running job "ending" in a sandbox: panic: out of cheese`},
		{"panic elsewhere", sandbox.ExitError{Code: 2, Panicked: true, Text: "out of cheese", Stack: "job_test.go"},
			`running job "ending" in a sandbox: panic: out of cheese`},
		{"exit", sandbox.ExitError{Code: 7},
			`running job "ending" in a sandbox: process 1 ended with exit status 7 and no word`},
	} {
		t.Run(test.how, func(t *testing.T) {
			t.Parallel()
			lines, err := finished(t, warp.Spec{Job: ending, Data: []byte(test.how)})
			if diff := cmp.Diff([]string{"before the end"}, lines); diff != "" {
				t.Errorf("unexpected report (-want +got):\n%s", diff)
			}
			got, ok := errors.AsType[*sandbox.ExitError](err)
			if !ok {
				t.Fatalf("Wait returned %v", err)
			}
			if !strings.Contains(got.Stack, test.want.Stack) || (got.Stack == "") != (test.want.Stack == "") {
				t.Errorf("unexpected stack %q", got.Stack)
			}
			if got.Stack != "" && !strings.Contains(fmt.Sprintf("%+v", err), test.want.Stack) {
				t.Error("no stack with +v")
			}
			stackless := *got
			stackless.Stack, test.want.Stack, test.want.Job = "", "", ending
			ignoreUnexported := cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "setUp" }, cmp.Ignore())
			if diff := cmp.Diff(test.want, stackless, ignoreUnexported); diff != "" {
				t.Errorf("unexpected error (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.text, err.Error()); diff != "" {
				t.Errorf("unexpected text (-want +got):\n%s", diff)
			}
			if failure, ok := errors.AsType[*warp.Failure](err); ok {
				t.Errorf("it is a failure of the guest: %v", failure)
			}
		})
	}
}

// A missing feature keeps its type on the way out, and so does a cancelled context.
func TestErrorsThatKeepTheirType(t *testing.T) {
	t.Parallel()
	_, err := finished(t, warp.Spec{Job: ending, Data: []byte("unsupported")})
	missing, ok := errors.AsType[*feature.Unsupported](err)
	if !ok || missing.Feature != "conntrack" || missing.Needs != "CONFIG_NF_CONNTRACK" || missing.Remedy != "build it" ||
		missing.Err == nil || missing.Err.Error() != syscall.EPROTONOSUPPORT.Error() {
		t.Errorf("Wait returned %#v", err)
	}
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v is not ErrUnsupported", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	r := newReport()
	g := startedIn(ctx, t, warp.Spec{Job: ending, Data: []byte("cancelled"), Length: time.Hour, Report: r.line})
	r.await(t, "before the end")
	cancel()
	if err := g.Wait(); !errors.Is(err, context.Canceled) || err.Error() != "building the lab: context canceled" {
		t.Errorf("Wait returned %v", err)
	}
}

var talkative = job("talkative", func(context.Context, []byte, io.Writer) error {
	_, err := fmt.Fprint(os.Stderr, "something odd\n[so it seems]\n")
	return err
})

func TestStderr(t *testing.T) {
	t.Parallel()
	var said strings.Builder
	if _, err := finished(t, warp.Spec{Job: talkative, Stderr: &said}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("something odd\n[so it seems]\n", said.String()); diff != "" {
		t.Errorf("unexpected output (-want +got):\n%s", diff)
	}
}

func TestStartErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, test := range []struct {
		name string
		spec warp.Spec
		want string // $DIR stands for the folder
	}{
		{"no job", warp.Spec{Job: "no-such", Dir: dir}, `starting a sandbox: no job "no-such" is registered`},
		{"no folder", warp.Spec{Job: curious, Dir: dir + "/no"}, "packing the result folder: lstat $DIR/no: no such file or directory"},
		{"no file", warp.Spec{Job: curious, Dir: dir, Files: []string{"/no/such"}}, "packing /no/such: lstat /no: no such file or directory"},
		{"hidden file", warp.Spec{Job: curious, Dir: dir, Files: []string{"/tmp"}},
			"packing /tmp: it lies in a folder that the lab replaces by an empty one of its own (/run, /tmp, /dev/shm)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			g, err := warp.Start(t.Context(), test.spec)
			if err == nil {
				err = g.Wait()
			}
			if err == nil {
				t.Fatal("it ran")
			}
			if diff := cmp.Diff(test.want, strings.ReplaceAll(err.Error(), dir, "$DIR")); diff != "" {
				t.Errorf("unexpected error (-want +got):\n%s", diff)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := warp.Start(ctx, warp.Spec{Job: curious, Dir: dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context Start returned %v", err)
	}
}

// Starting and ending leaves nothing open and nothing running in the parent.
func TestNothingStaysOpen(t *testing.T) {
	open := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	round := func() {
		if _, err := finished(t, warp.Spec{Job: ending, Data: []byte("error")}); err == nil {
			t.Fatal("no error")
		}
	}
	round()
	files, routines := open(), runtime.NumGoroutine()
	for range 3 {
		round()
	}
	if now := open(); now > files {
		t.Errorf("%d descriptors are open, before there were %d", now, files)
	}
	// The last of a guest end in their own time.
	limit := time.Now().Add(patience)
	for runtime.NumGoroutine() > routines && time.Now().Before(limit) {
		time.Sleep(time.Millisecond)
	}
	if now := runtime.NumGoroutine(); now > routines {
		t.Errorf("%d goroutines run, before there were %d", now, routines)
	}
}
