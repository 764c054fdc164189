package netns_test

import (
	"errors"
	"io/fs"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/labtest"
)

func TestStartInTheNamespace(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		ns := open(t)
		want := inside(t, ns)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				var out strings.Builder
				cmd := exec.Command("readlink", "/proc/self/ns/net")
				cmd.Stdout = &out
				if err := ns.Start(cmd); err != nil {
					t.Error(err)
					return
				}
				if err := cmd.Wait(); err != nil {
					t.Error(err)
				}
				if diff := cmp.Diff(want, strings.TrimSpace(out.String())); diff != "" {
					t.Errorf("namespace of the child (-want +got):\n%s", diff)
				}
			})
		}
		wg.Wait()
	})
}

// TestStartOutlivesTheThread: the kernel sends PDEATHSIG when the thread that
// forked ends. Here the goroutine that called Start takes its thread with it.
func TestStartOutlivesTheThread(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		ns := open(t)
		cmd := exec.Command("cat")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		cmd.Stdout = &out
		started := make(chan error)
		go func() {
			runtime.LockOSThread() // and never unlocks it
			started <- ns.Start(cmd)
		}()
		if err := <-started; err != nil {
			t.Fatal(err)
		}
		// Threads end in their own time; the next ones make sure that it has.
		for range 20 {
			done := make(chan struct{})
			go func() {
				runtime.LockOSThread()
				close(done)
			}()
			<-done
		}
		if _, err := stdin.Write([]byte("alive")); err != nil {
			t.Fatal(err)
		}
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the child ended with: %v", err)
		}
		if diff := cmp.Diff("alive", out.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestStartFails(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		ns := open(t)
		if err := ns.Start(exec.Command("/no/such/program")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v; want fs.ErrNotExist", err)
		}
		next := exec.Command("true")
		if err := ns.Start(next); err != nil {
			t.Fatalf("after a failure: %v", err)
		}
		if err := next.Wait(); err != nil {
			t.Error(err)
		}
	})
}
