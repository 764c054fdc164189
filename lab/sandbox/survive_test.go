package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"outlive/lab/netns"
	"outlive/lab/sandbox"
)

// family is a lab in small: network namespaces, and programs that leave the session
// of whoever started them, hear no signal, and start others.
var family = job("family", func(ctx context.Context, _ []byte, report io.Writer) error {
	for range 3 {
		ns, err := netns.New()
		if err != nil {
			return err
		}
		defer ns.Close()
		cmd := stubborn(2)
		if err := ns.Start(cmd); err != nil {
			return err
		}
		go func() { _ = cmd.Wait() }()
		say(report, cmd.Process.Pid)
	}
	for _, kind := range []string{"user", "net", "mnt", "pid", "ipc", "uts"} {
		name, err := os.Readlink("/proc/self/ns/" + kind)
		if err != nil {
			return err
		}
		say(report, name)
	}
	say(report, "up")
	<-ctx.Done()
	say(report, "asked to stop")
	return nil
})

// stubborn is a command for a program with so many descendants in a row.
func stubborn(descendants int) *exec.Cmd {
	cmd := inherit(sandbox.Program("stubborn", strconv.Itoa(descendants)))
	cmd.Env = append(cmd.Env, markerVariable+"="+os.Getenv(markerVariable))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if descendants%2 == 0 {
		sandbox.Unprivileged(cmd)
	}
	return cmd
}

func init() {
	sandbox.RegisterProgram("stubborn", func(_ context.Context, args []string) error {
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
		n, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		if n > 0 {
			cmd := inherit(sandbox.Program("stubborn", strconv.Itoa(n-1)))
			cmd.Env = append(cmd.Env, markerVariable+"="+os.Getenv(markerVariable))
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if err := cmd.Start(); err != nil {
				return err
			}
		}
		select {}
	})
}

// beParent is a program like outlive itself: it runs a job in a sandbox, passes the
// report on, and on Ctrl-C lets the job end.
func beParent() int {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT)
	defer cancel()
	s, err := sandbox.Start(ctx, sandbox.Spec{
		Job: os.Getenv(parentVariable), Report: func(line []byte) { fmt.Printf("%s\n", line) },
	})
	if err == nil {
		err = s.Wait()
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("orderly end")
	return 0
}

// rounds is how often each kind of death is tried.
func rounds() int {
	if testing.Short() {
		return 3
	}
	return 30
}

// moment is when to kill: from before anything is set up to after everything is.
func moment() time.Duration { return time.Duration(rand.Int64N(int64(60 * time.Millisecond))) }

// brood is a parent process with what it has started.
type brood struct {
	cmd    *exec.Cmd
	marker string
	output []string      // what it reported; to be read when it is over
	over   chan struct{} // closed when nobody of it is left who could say anything
}

func hatch(t *testing.T) *brood {
	t.Helper()
	b := &brood{marker: fmt.Sprintf("%d-%x", os.Getpid(), rand.Uint64()), over: make(chan struct{})}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	b.cmd = exec.Command("/proc/self/exe")
	b.cmd.Env = append(os.Environ(), parentVariable+"="+family, markerVariable+"="+b.marker)
	b.cmd.Stdout, b.cmd.Stderr = w, w
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	go func() {
		defer close(b.over)
		defer r.Close()
		text, _ := io.ReadAll(r)
		b.output = strings.Split(string(text), "\n")
	}()
	return b
}

// mustBeGone fails if anything of a brood is left that was killed at an instant.
func (b *brood) mustBeGone(t *testing.T, killed uint64) {
	t.Helper()
	select {
	// Every process of it has the pipe as its standard output: its end is theirs.
	case <-b.over:
	case <-time.After(patience):
		left := marked(t, b.marker)
		for _, pid := range left {
			if n, err := strconv.Atoi(pid); err == nil {
				_ = syscall.Kill(n, syscall.SIGKILL)
			}
		}
		t.Fatalf("after %v processes %v were left", patience, left)
	}
	// Closing its files comes early in the end of a process.
	limit := time.After(patience)
	for {
		left := remains(t, b.marker, b.output, killed)
		if len(left) == 0 {
			return
		}
		select {
		case <-time.After(time.Millisecond):
		case <-limit:
			t.Fatalf("after %v there is left: %q", patience, left)
		}
	}
}

// remains lists the living processes with the marker, and those in the namespaces
// that were reported. The kernel gives the numbers of namespaces out again, so that only
// processes count which are older than the kill.
func remains(t *testing.T, marker string, output []string, killed uint64) (left []string) {
	t.Helper()
	for _, pid := range marked(t, marker) {
		left = append(left, "process "+pid)
	}
	gone := make(map[string]bool)
	for _, line := range output {
		if strings.HasSuffix(line, "]") {
			gone[line] = true
		}
	}
	links, err := filepath.Glob("/proc/[0-9]*/ns/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		name, err := os.Readlink(link)
		if err != nil || !gone[name] {
			continue
		}
		process := filepath.Dir(filepath.Dir(link))
		stat, err := os.ReadFile(filepath.Join(process, "stat"))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest)
		// A process that has ended is left for the host's init to collect.
		if fields[0] == "Z" || fields[0] == "X" {
			continue
		}
		if started, err := strconv.ParseUint(fields[19], 10, 64); err != nil || started < killed {
			left = append(left, fmt.Sprintf("namespace %s in %s", name, process))
		}
	}
	return left
}

// ticks is the time in the unit of starttime in /proc/PID/stat.
func ticks(t *testing.T) uint64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		t.Fatal(err)
	}
	return uint64(now.Nano() / int64(10*time.Millisecond))
}

func mounts(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestNothingSurvivesTheParent(t *testing.T) {
	everyone(t, func(t *testing.T) {
		before := mounts(t)
		complete := 0
		for range rounds() {
			b := hatch(t)
			time.Sleep(moment())
			killed := ticks(t)
			if err := b.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = b.cmd.Wait()
			b.mustBeGone(t, killed)
			for _, line := range b.output {
				if line == "up" {
					complete++
				}
			}
		}
		if diff := cmp.Diff(before, mounts(t)); diff != "" {
			t.Errorf("the host's mounts have changed (-before +after):\n%s", diff)
		}
		t.Logf("%d rounds, in %d of them the sandbox was complete", rounds(), complete)
	})
}

func TestNothingSurvivesProcess1(t *testing.T) {
	everyone(t, func(t *testing.T) {
		before := mounts(t)
		complete := 0
		for i := range rounds() {
			marker := fmt.Sprintf("process-1-%d-%d", os.Getpid(), i)
			t.Setenv(markerVariable, marker)
			var output []string
			s, err := sandbox.Start(t.Context(), sandbox.Spec{Job: family, Report: func(line []byte) { output = append(output, string(line)) }})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(moment())
			killed := ticks(t)
			if err := syscall.Kill(s.PID(), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			err = s.Wait()
			if exit, ok := errors.AsType[*sandbox.ExitError](err); !ok || exit.Signal != syscall.SIGKILL {
				t.Fatalf("Wait returned %v", err)
			}
			// No patience here: Wait has promised it.
			if left := remains(t, marker, output, killed); len(left) > 0 {
				t.Fatalf("there is left: %q", left)
			}
			if len(output) > 0 && output[len(output)-1] == "up" {
				complete++
			}
		}
		if diff := cmp.Diff(before, mounts(t)); diff != "" {
			t.Errorf("the host's mounts have changed (-before +after):\n%s", diff)
		}
		t.Logf("%d rounds, in %d of them the sandbox was complete", rounds(), complete)
	})
}

// A kill may meet process 1 before it is anything: Start then says so.
func TestProcess1KilledWhileItStarts(t *testing.T) {
	everyone(t, func(t *testing.T) {
		early := 0
		for i := range rounds() {
			marker := fmt.Sprintf("start-%d-%d", os.Getpid(), i)
			t.Setenv(markerVariable, marker)
			killer := make(chan error, 1)
			killed := ticks(t)
			go func() {
				time.Sleep(moment() / 6)
				for {
					for _, pid := range marked(t, marker) {
						if n, err := strconv.Atoi(pid); err == nil {
							killer <- syscall.Kill(n, syscall.SIGKILL)
							return
						}
					}
				}
			}()
			s, err := sandbox.Start(t.Context(), sandbox.Spec{Job: idle})
			if err == nil {
				err = s.Wait()
			} else {
				early++
			}
			if exit, ok := errors.AsType[*sandbox.ExitError](err); !ok || exit.Signal != syscall.SIGKILL {
				t.Fatalf("it ended with %v", err)
			}
			if err := <-killer; err != nil {
				t.Fatal(err)
			}
			if left := remains(t, marker, nil, killed); len(left) > 0 {
				t.Fatalf("there is left: %q", left)
			}
		}
		t.Logf("%d rounds, in %d of them Start failed", rounds(), early)
	})
}

// A child that is killed takes nothing with it but itself, and the sandbox ends in
// order afterwards.
func TestKilledChildren(t *testing.T) {
	everyone(t, func(t *testing.T) {
		for i := range rounds() {
			marker := fmt.Sprintf("child-%d-%d", os.Getpid(), i)
			t.Setenv(markerVariable, marker)
			var output []string
			s := launched(t, sandbox.Spec{Job: family, Report: func(line []byte) { output = append(output, string(line)) }})
			time.Sleep(moment())
			if pids := marked(t, marker); len(pids) > 1 {
				victim, err := strconv.Atoi(pids[rand.IntN(len(pids))])
				if err != nil {
					t.Fatal(err)
				}
				if victim != s.PID() {
					// It may just have ended: then another round meets one.
					_ = syscall.Kill(victim, syscall.SIGKILL)
				}
			}
			stopped := ticks(t)
			s.Stop()
			if err := s.Wait(); err != nil {
				t.Fatal(err)
			}
			if output[len(output)-1] != "asked to stop" {
				t.Errorf("it reported %q", output)
			}
			if left := remains(t, marker, output, stopped); len(left) > 0 {
				t.Fatalf("there is left: %q", left)
			}
		}
	})
}

// The sandbox belongs to the process that started it and not to the goroutine, nor
// to the thread that this ran on.
func TestSandboxOutlivesItsStarter(t *testing.T) {
	everyone(t, func(t *testing.T) {
		r := newReport()
		started := make(chan *sandbox.Sandbox)
		for range 10 {
			go func() {
				runtime.LockOSThread() // and never unlock: the thread ends here
				s, err := sandbox.Start(context.Background(), sandbox.Spec{Job: idle, Report: r.line})
				if err != nil {
					t.Error(err)
				}
				started <- s
			}()
			s := <-started
			if s == nil {
				return
			}
			r.await(t, "up")
			s.Stop()
			r.await(t, "asked to stop")
			if err := s.Wait(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
