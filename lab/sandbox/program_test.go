package sandbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"outlive/lab/sandbox"
)

func init() {
	sandbox.RegisterProgram("nest", nest)
	sandbox.RegisterProgram("orphanage", orphanage)
	sandbox.RegisterProgram("fail", func(context.Context, []string) error { return errors.New("it did not work") })
	sandbox.RegisterProgram("linger", func(ctx context.Context, args []string) error {
		fmt.Println("up")
		<-ctx.Done()
		fmt.Println("asked to stop")
		return nil
	})
}

// nest runs itself as often as its argument says, and prints who it is.
func nest(_ context.Context, args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		return err
	}
	fmt.Printf("%d %s %s uid %d, environment %q\n", n, os.Args[0], bytes.TrimSpace(comm), os.Getuid(), slices.DeleteFunc(os.Environ(), goes))
	if n == 0 {
		return nil
	}
	return inherit(sandbox.Program("nest", strconv.Itoa(n-1))).Run()
}

// goes says whether a variable is for the Go runtime, which is passed on.
func goes(entry string) bool { return strings.HasPrefix(entry, "GO") }

func inherit(cmd *exec.Cmd) *exec.Cmd {
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd
}

var programs = job("programs", func(_ context.Context, data []byte, report io.Writer) error {
	cmd := sandbox.Program("nest", "3")
	cmd.Stdout, cmd.Stderr = report, report
	if string(data) == "unprivileged" {
		sandbox.Unprivileged(cmd)
	}
	return cmd.Run()
})

// A program can be started where its executable cannot be seen, by programs too,
// and inherits nothing of how it was started.
func TestProgram(t *testing.T) {
	everyone(t, func(t *testing.T) {
		for _, test := range []struct {
			data string
			uid  int
		}{{"", 0}, {"unprivileged", 65534}} {
			var want []string
			for n := 3; n >= 0; n-- {
				want = append(want, fmt.Sprintf("%d nest nest uid %d, environment []", n, test.uid))
			}
			got := reported(t, sandbox.Spec{Job: programs, Data: []byte(test.data)})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: unexpected report (-want +got):\n%s", test.data, diff)
			}
		}
	})
}

func TestProgramOutsideASandbox(t *testing.T) {
	out, err := sandbox.Program("fail").CombinedOutput()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != 1 {
		t.Errorf("it ended with %v", err)
	}
	if diff := cmp.Diff("fail: it did not work\n", string(out)); diff != "" {
		t.Errorf("unexpected output (-want +got):\n%s", diff)
	}
	if err := sandbox.Program("no-such").Run(); err == nil || err.Error() != `no program "no-such" is registered` {
		t.Errorf("an unknown program gives %v", err)
	}
}

func TestProgramIsStoppedByItsContext(t *testing.T) {
	cmd := sandbox.Program("linger")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(patience, func() { _ = cmd.Process.Kill() }).Stop()
	up := make([]byte, 3)
	if _, err := io.ReadFull(out, up); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("asked to stop\n", string(rest)); diff != "" {
		t.Errorf("unexpected output (-want +got):\n%s", diff)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// deeper starts a sandbox in the sandbox, as often as its data says.
var deeper string

func init() {
	deeper = job("deeper", func(ctx context.Context, data []byte, report io.Writer) error {
		if err := func() error { cmd := sandbox.Program("nest", "0"); cmd.Stdout = report; return cmd.Run() }(); err != nil {
			return err
		}
		n, err := strconv.Atoi(string(data))
		if err != nil || n == 0 {
			return err
		}
		s, err := sandbox.Start(ctx, sandbox.Spec{
			Job: deeper, Data: []byte(strconv.Itoa(n - 1)),
			Report: func(line []byte) { say(report, string(line)) },
		})
		if err != nil {
			return err
		}
		return s.Wait()
	})
}

func TestSandboxInASandbox(t *testing.T) {
	everyone(t, func(t *testing.T) {
		if got := reported(t, sandbox.Spec{Job: deeper, Data: []byte("3")}); len(got) != 4 {
			t.Errorf("%d levels instead of 4: %q", len(got), got)
		}
	})
}

var attacked = job("attacked", func(ctx context.Context, _ []byte, report io.Writer) error {
	for s := unix.Signal(1); s < 32; s++ {
		switch s {
		case unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE, unix.SIGPROF, unix.SIGCONT:
			continue // Go's own business, or none
		}
		cmd := exec.Command("/bin/sh", "-c", fmt.Sprintf("kill -%d 1", s))
		sandbox.Unprivileged(cmd)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("sending signal %d: %w: %s", s, err, out)
		}
	}
	say(report, "still there")
	return nil
})

// No program in the sandbox ends process 1, whatever it sends.
func TestSignalsFromInside(t *testing.T) {
	everyone(t, func(t *testing.T) {
		var stderr strings.Builder
		lines, err := finished(t, sandbox.Spec{Job: attacked, Stderr: &stderr})
		if err != nil {
			t.Fatalf("%+v", err)
		}
		if diff := cmp.Diff([]string{"still there"}, lines); diff != "" {
			t.Errorf("unexpected report (-want +got):\n%s", diff)
		}
		for _, name := range []string{"SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGSEGV"} {
			if want := "process 1 of the lab was sent " + name + " and goes on"; !strings.Contains(stderr.String(), want) {
				t.Errorf("standard error lacks %q", want)
			}
		}
	})
}

var shouting = job("shouting", func(_ context.Context, _ []byte, report io.Writer) error {
	_, err := fmt.Fprintln(os.Stderr, "is anyone there?")
	_, reportErr := fmt.Fprintln(report, errors.Is(err, syscall.EPIPE))
	return reportErr
})

// Nor does it end because nobody reads what it says.
func TestClosedStandardError(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r.Close()
	if diff := cmp.Diff([]string{"true"}, reported(t, sandbox.Spec{Job: shouting, Stderr: w})); diff != "" {
		t.Errorf("unexpected report (-want +got):\n%s", diff)
	}
}

// orphanage leaves as many children behind as its argument says.
func orphanage(_ context.Context, args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	for range n {
		cmd := exec.Command("/bin/true")
		if err := cmd.Start(); err != nil {
			return err
		}
	}
	return nil
}

var reaping = job("reaping", func(_ context.Context, _ []byte, report io.Writer) error {
	var wait sync.WaitGroup
	failures := make(chan error, 1000)
	for range 4 {
		wait.Go(func() {
			for i := range 25 {
				cmd := exec.Command("/bin/true")
				if i%5 == 0 {
					cmd = sandbox.Program("orphanage", "10")
				}
				if err := cmd.Run(); err != nil {
					failures <- err
				}
			}
		})
	}
	// A thread that ends leaves its children to the main thread, where the reaper is.
	for range 50 {
		wait.Go(func() {
			started := make(chan *exec.Cmd)
			go func() {
				runtime.LockOSThread() // and never unlock
				cmd := exec.Command("/bin/sh", "-c", "exit 5")
				if err := cmd.Start(); err != nil {
					failures <- err
				}
				started <- cmd
			}()
			cmd := <-started
			if err := cmd.Wait(); err == nil || err.Error() != "exit status 5" {
				failures <- fmt.Errorf("child of a thread that ended: %w", err)
			}
		})
	}
	wait.Wait()
	close(failures)
	for err := range failures {
		say(report, err)
	}
	// The last orphans' ends are on their way.
	for begin := time.Now(); zombies() > 0; time.Sleep(time.Millisecond) {
		if time.Since(begin) > patience {
			say(report, zombies(), "zombies are left")
			break
		}
	}
	return nil
})

// zombies counts the children of process 1 that have ended and were not waited for.
func zombies() (n int) {
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		stat, err := os.ReadFile("/proc/" + entry.Name() + "/stat")
		if err == nil && bytes.Contains(stat, []byte(") Z 1 ")) {
			n++
		}
	}
	return n
}

// Orphans are collected, and nobody's child is taken away.
func TestReaper(t *testing.T) {
	everyone(t, func(t *testing.T) {
		if got := reported(t, sandbox.Spec{Job: reaping}); len(got) > 0 {
			t.Errorf("%q", got)
		}
	})
}
