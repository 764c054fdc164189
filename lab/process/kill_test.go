package process

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/labtest"
	"outlive/lab/sandbox"
)

// Kill reaches everything that a program started: what left its session, what
// ignores every signal, what outlived the program itself.
func TestKillEndsTheFamily(t *testing.T) {
	everyone(t, func(t *testing.T) {
		for _, test := range []struct{ name, then string }{
			{"the program stays", "stay"},
			{"the program goes to the background", "go"},
		} {
			for _, privileged := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, privileged %v", test.name, privileged), func(t *testing.T) {
					marker := strings.ReplaceAll(t.Name(), "/", "-")
					bystander := launched(t, Spec{Argv: []string{"sleep", "60"}})
					log := filepath.Join(t.TempDir(), "log")
					p := launched(t, Spec{
						Cmd: sandbox.Program("stubborn", "....", test.then), Log: log,
						Env: []string{markerVariable + "=" + marker}, Privileged: privileged,
					})
					eventually(t, "the whole family is there", func() bool { return read(t, log) == "all there\n" })
					if test.then == "go" {
						awaitExit(t, p)
					}
					begin := time.Now()
					if err := p.Kill(); err != nil {
						t.Fatal(err)
					}
					t.Logf("killed in %v", time.Since(begin))
					if left := marked(marker); len(left) > 0 {
						t.Errorf("processes %v are left", left)
					}
					if state := bystander.ExitState(); state.Ended {
						t.Errorf("the bystander has %v", state)
					}
				})
			}
		}
	})
}

// A program may be gone before anyone could look at it, and leave a family behind.
func TestKillEndsTheFamilyOfAProgramThatWasTooShortToSee(t *testing.T) {
	everyone(t, func(t *testing.T) {
		bystander := launched(t, Spec{Argv: []string{"sleep", "60"}})
		const marker = "orphans"
		cmd := sandbox.Program("stubborn", "..", "go")
		p, err := Start(Spec{Name: "program", Cmd: cmd, Env: []string{markerVariable + "=" + marker}})
		if err != nil {
			t.Fatal(err)
		}
		awaitExit(t, p)
		eventually(t, "orphans", func() bool { return len(marked(marker)) > 0 })
		// As if it had ended between its start and the look.
		families.mu.Lock()
		delete(families.known, p.family.number)
		p.family.held.Close()
		families.mu.Unlock()
		p.family, err = families.add(func() (int, error) { return p.PID(), nil })
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		if left := marked(marker); len(left) > 0 {
			t.Errorf("processes %v are left", left)
		}
		if state := bystander.ExitState(); state.Ended {
			t.Errorf("the bystander has %v", state)
		}
	})
}

// The kernel gives the numbers of namespaces and processes out again. A second Kill
// must not meet whoever has them by then.
func TestKillTwice(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		first := launched(t, Spec{Argv: []string{"true"}})
		awaitExit(t, first)
		if err := first.Kill(); err != nil {
			t.Fatal(err)
		}
		var later []*Process
		for range 5 {
			later = append(later, launched(t, Spec{Argv: []string{"sleep", "60"}}))
		}
		if err := first.Kill(); err != nil {
			t.Fatal(err)
		}
		for _, p := range later {
			if len(p.family.members()) == 0 {
				t.Errorf("process %d has been killed", p.PID())
			}
		}
	})
}

func TestKillWhileItStarts(t *testing.T) {
	everyone(t, func(t *testing.T) {
		for i := range 20 {
			marker := fmt.Sprintf("round-%d", i)
			p := launched(t, Spec{
				Cmd: sandbox.Program("stubborn", strings.Repeat(".", 10), "stay"),
				Env: []string{markerVariable + "=" + marker},
			})
			// The family grows all the while.
			time.Sleep(time.Duration(i) * time.Millisecond)
			if err := p.Kill(); err != nil {
				t.Fatal(err)
			}
			if left := marked(marker); len(left) > 0 {
				t.Fatalf("round %d: processes %v are left", i, left)
			}
		}
	})
}

func TestStop(t *testing.T) {
	everyone(t, func(t *testing.T) {
		for _, test := range []struct {
			name, script string
			grace        time.Duration
			state, log   string
		}{
			{"orderly", `trap 'echo saved; exit 0' TERM; echo up; sleep 60 & wait`, patience, "exit status 0", "up\nsaved\n"},
			{"no handler", `echo up; exec sleep 60`, patience, "killed by SIGTERM", "up\n"},
			{"deaf", `trap '' TERM; echo up; sleep 60`, 20 * time.Millisecond, "killed by SIGKILL", "up\n"},
		} {
			t.Run(test.name, func(t *testing.T) {
				log := filepath.Join(t.TempDir(), "log")
				p := launched(t, Spec{Log: log, Argv: []string{"sh", "-c", test.script}})
				eventually(t, "up", func() bool { return read(t, log) == "up\n" })
				if err := p.Stop(test.grace); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(test.state, p.ExitState().String()); diff != "" {
					t.Errorf("unexpected end (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(test.log, read(t, log)); diff != "" {
					t.Errorf("unexpected log (-want +got):\n%s", diff)
				}
			})
		}
	})
}

// Many clients must cost neither a thread each nor each other's place.
func TestManyPrograms(t *testing.T) {
	everyone(t, func(t *testing.T) {
		const n = 200
		all := make([]*Process, n)
		begin := time.Now()
		for i := range all {
			all[i] = launched(t, Spec{Argv: []string{"sleep", "60"}})
		}
		t.Logf("%d programs started in %v", n, time.Since(begin))
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		if len(threads) > n/2 {
			t.Errorf("%d threads for %d programs", len(threads), n)
		}
		begin = time.Now()
		var wait sync.WaitGroup
		for _, p := range all {
			wait.Go(func() {
				if err := p.Kill(); err != nil {
					t.Error(err)
				}
				if p.ExitState().Signal != syscall.SIGKILL {
					t.Errorf("unexpected state %v", p.ExitState())
				}
			})
		}
		wait.Wait()
		t.Logf("killed in %v", time.Since(begin))
	})
}
