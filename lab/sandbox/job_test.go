package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/feature"
	"outlive/lab/sandbox"
)

var chatty = job("chatty", func(_ context.Context, data []byte, report io.Writer) error {
	n, err := strconv.Atoi(string(data))
	if err != nil {
		return err
	}
	for i := range n {
		_, _ = fmt.Fprintf(report, "line %d %s\n", i, strings.Repeat("x", i%1000))
	}
	_, err = io.WriteString(report, "an end without a newline")
	return err
})

// Every line arrives, in order and in one piece, before Wait returns.
func TestReport(t *testing.T) {
	everyone(t, func(t *testing.T) {
		const n = 20_000
		lines := reported(t, sandbox.Spec{Job: chatty, Data: []byte(strconv.Itoa(n))})
		if len(lines) != n+1 {
			t.Fatalf("%d lines instead of %d", len(lines), n+1)
		}
		for i, line := range lines[:n] {
			if want := fmt.Sprintf("line %d %s", i, strings.Repeat("x", i%1000)); line != want {
				t.Fatalf("line %d is %q", i, line)
			}
		}
		if diff := cmp.Diff("an end without a newline", lines[n]); diff != "" {
			t.Errorf("unexpected last line (-want +got):\n%s", diff)
		}
	})
}

var crowd = job("crowd", func(_ context.Context, _ []byte, report io.Writer) error {
	var wait sync.WaitGroup
	for writer := range 8 {
		wait.Go(func() {
			for range 200 {
				say(report, strings.Repeat(strconv.Itoa(writer), 5000))
			}
		})
	}
	wait.Wait()
	return nil
})

// Lines that are written at the same time do not mix, however long they are.
func TestReportFromManyGoroutines(t *testing.T) {
	lines := reported(t, sandbox.Spec{Job: crowd})
	count := make(map[string]int)
	for _, line := range lines {
		count[line]++
	}
	if len(count) != 8 || len(lines) != 8*200 {
		t.Errorf("%d different lines, %d lines, want 8 and 1600", len(count), len(lines))
	}
}

var echo = job("echo", func(_ context.Context, data []byte, report io.Writer) error {
	_, err := fmt.Fprintf(report, "%d bytes\n", len(data))
	return err
})

func TestLargeData(t *testing.T) {
	lines := reported(t, sandbox.Spec{Job: echo, Data: make([]byte, 3<<20)})
	if diff := cmp.Diff([]string{"3145728 bytes"}, lines); diff != "" {
		t.Errorf("unexpected report (-want +got):\n%s", diff)
	}
}

var ending = job("ending", func(ctx context.Context, how []byte, report io.Writer) error {
	say(report, "before the end")
	switch string(how) {
	case "error":
		return errors.New("building the lab: no room")
	case "empty error":
		return errors.New("")
	case "unsupported":
		return fmt.Errorf("building the lab: %w", &feature.Unsupported{
			Feature: "conntrack", Needs: "CONFIG_NF_CONNTRACK", Remedy: "build it", Err: syscall.EPROTONOSUPPORT,
		})
	case "cancelled":
		<-ctx.Done()
		return fmt.Errorf("building the lab: %w", ctx.Err())
	case "panic":
		panic("out of cheese")
	case "panic with error":
		panic(fmt.Errorf("broken: %w", &feature.Unsupported{Feature: "cheese"}))
	case "panic elsewhere":
		go panic("out of cheese")
		select {}
	case "goexit":
		// What t.FailNow does.
		runtime.Goexit()
	case "exit":
		os.Exit(7)
	case "runtime error":
		how[len(how)-14] = 0
	}
	return nil
})

func TestWait(t *testing.T) {
	everyone(t, func(t *testing.T) {
		for _, test := range []struct {
			how  string
			want sandbox.ExitError // Stack is compared by what it must contain
			text string
		}{
			{"error", sandbox.ExitError{Code: 1, Text: "building the lab: no room"}, "building the lab: no room"},
			{"empty error", sandbox.ExitError{Code: 1, Text: "an error of type *errors.errorString without text"},
				"an error of type *errors.errorString without text"},
			{"panic", sandbox.ExitError{Code: 1, Panicked: true, Text: "out of cheese", Stack: "job_test.go"},
				`running job "ending" in a sandbox: panic: out of cheese`},
			{"panic elsewhere", sandbox.ExitError{Code: 2, Panicked: true, Text: "out of cheese", Stack: "job_test.go"},
				`running job "ending" in a sandbox: panic: out of cheese`},
			{"runtime error", sandbox.ExitError{Code: 1, Panicked: true, Text: "runtime error: index out of range [-1]", Stack: "job_test.go"},
				`running job "ending" in a sandbox: panic: runtime error: index out of range [-1]`},
			{"goexit", sandbox.ExitError{Code: 1, Text: "the job left its goroutine without returning"},
				"the job left its goroutine without returning"},
			{"exit", sandbox.ExitError{Code: 7},
				`running job "ending" in a sandbox: process 1 ended with exit status 7 and no word`},
		} {
			t.Run(test.how, func(t *testing.T) {
				var stderr strings.Builder
				lines, err := finished(t, sandbox.Spec{Job: ending, Data: []byte(test.how), Stderr: &stderr})
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
			})
		}
	})
}

// A missing feature keeps its type on the way out, and so does a cancelled context.
func TestErrorsThatKeepTheirType(t *testing.T) {
	_, err := finished(t, sandbox.Spec{Job: ending, Data: []byte("unsupported")})
	missing, ok := errors.AsType[*feature.Unsupported](err)
	if !ok || missing.Feature != "conntrack" || missing.Needs != "CONFIG_NF_CONNTRACK" || missing.Remedy != "build it" ||
		missing.Err == nil || missing.Err.Error() != syscall.EPROTONOSUPPORT.Error() {
		t.Errorf("Wait returned %#v", err)
	}
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v is not ErrUnsupported", err)
	}

	_, err = finished(t, sandbox.Spec{Job: ending, Data: []byte("panic with error")})
	if missing, ok := errors.AsType[*feature.Unsupported](err); !ok || missing.Feature != "cheese" {
		t.Errorf("Wait returned %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	s, err := sandbox.Start(ctx, sandbox.Spec{Job: ending, Data: []byte("cancelled")})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := s.Wait(); !errors.Is(err, context.Canceled) || err.Error() != "building the lab: context canceled" {
		t.Errorf("Wait returned %v", err)
	}
}

func TestStop(t *testing.T) {
	everyone(t, func(t *testing.T) {
		for _, test := range []struct {
			name string
			stop func(s *sandbox.Sandbox, cancel func())
		}{
			{"Stop", func(s *sandbox.Sandbox, _ func()) { s.Stop(); s.Stop() }},
			{"context", func(_ *sandbox.Sandbox, cancel func()) { cancel() }},
		} {
			t.Run(test.name, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				r := newReport()
				s, err := sandbox.Start(ctx, sandbox.Spec{Job: idle, Report: r.line})
				if err != nil {
					t.Fatal(err)
				}
				r.await(t, "up")
				test.stop(s, cancel)
				r.await(t, "asked to stop")
				for range 2 {
					if err := s.Wait(); err != nil {
						t.Errorf("Wait returned %v", err)
					}
				}
				s.Stop()
				s.Kill()
			})
		}
	})
}

func TestKill(t *testing.T) {
	everyone(t, func(t *testing.T) {
		s := launched(t, sandbox.Spec{Job: idle})
		begin := time.Now()
		s.Kill()
		err := s.Wait()
		exit, ok := errors.AsType[*sandbox.ExitError](err)
		if !ok || exit.Signal != syscall.SIGKILL {
			t.Fatalf("Wait returned %v", err)
		}
		if diff := cmp.Diff(`running job "idle" in a sandbox: process 1 was killed by SIGKILL`, err.Error()); diff != "" {
			t.Errorf("unexpected text (-want +got):\n%s", diff)
		}
		t.Logf("killed in %v", time.Since(begin))
	})
}

func TestStartErrors(t *testing.T) {
	everyone(t, func(t *testing.T) {
		dir := tempDir(t)
		if err := os.WriteFile(dir+"/file", nil, 0o644); err != nil {
			t.Fatal(err)
		}
		tests := []struct {
			name string
			spec sandbox.Spec
			want string // $DIR stands for the folder
		}{
			{"no job", sandbox.Spec{Job: "no-such"}, `starting a sandbox: no job "no-such" is registered`},
			{"no folder", sandbox.Spec{Job: idle, Dir: dir + "/no"},
				"starting a sandbox: using the result folder: stat $DIR/no: no such file or directory"},
			{"a file", sandbox.Spec{Job: idle, Visible: []string{dir + "/file"}},
				"starting a sandbox: keeping a folder visible: $DIR/file is not a folder"},
		}
		if os.Geteuid() != 0 {
			// Root may write everywhere.
			tests = append(tests, tests[0])
			test := &tests[len(tests)-1]
			test.name, test.spec = "not writable", sandbox.Spec{Job: idle, Dir: "/usr"}
			test.want = "starting a sandbox: using the result folder: /usr is not writable: permission denied"
		}
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				s, err := sandbox.Start(t.Context(), test.spec)
				if err == nil {
					s.Kill()
					t.Fatal("it started")
				}
				if diff := cmp.Diff(test.want, strings.ReplaceAll(err.Error(), dir, "$DIR")); diff != "" {
					t.Errorf("unexpected error (-want +got):\n%s", diff)
				}
			})
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := sandbox.Start(ctx, sandbox.Spec{Job: idle}); !errors.Is(err, context.Canceled) {
			t.Errorf("with a cancelled context Start returned %v", err)
		}
	})
}

// Starting and ending leaves nothing open in the parent.
func TestNothingStaysOpen(t *testing.T) {
	open := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	reported(t, sandbox.Spec{Job: echo})
	before := open()
	for range 5 {
		reported(t, sandbox.Spec{Job: echo})
	}
	if after := open(); after > before {
		t.Errorf("%d descriptors are open, before there were %d", after, before)
	}
}
