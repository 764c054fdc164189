package process

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"outlive/lab/labtest"
	"outlive/lab/sandbox"
)

func init() {
	sandbox.RegisterProgram("slack", func(context.Context, []string) error {
		slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
		fmt.Println(slack)
		return err
	})
}

// A program that is tested has the usual slack, whatever the lab's own have; they, and
// the lab itself, keep theirs.
func TestSlack(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		const own = time.Millisecond
		// Not unlocked: the thread ends with the test.
		runtime.LockOSThread()
		if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(own), 0, 0, 0); err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			name string
			spec Spec
			want time.Duration
		}{
			{"tested", Spec{Argv: []string{"cat", "/proc/self/timerslack_ns"}}, 50 * time.Microsecond},
			{"the lab's", Spec{Cmd: sandbox.Program("slack")}, own},
		} {
			// In this goroutine, which has the thread.
			test.spec.Log = filepath.Join(t.TempDir(), "log")
			awaitExit(t, launched(t, test.spec))
			if got, want := strings.TrimSpace(read(t, test.spec.Log)), fmt.Sprint(test.want.Nanoseconds()); got != want {
				t.Errorf("a program that is %s has a slack of %s ns, want %s", test.name, got, want)
			}
		}
		if got, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); err != nil || time.Duration(got) != own {
			t.Errorf("the lab has a slack of %d ns (%v), want %v", got, err, own)
		}
	})
}
