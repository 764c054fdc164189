package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"outlive/lab/labtest"
	"outlive/lab/sandbox"
)

func TestMain(m *testing.M) {
	// The race detector sleeps for a second at the end of every process.
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	sandbox.Main()
	os.Exit(m.Run())
}

const (
	asVariable     = "OUTLIVE_TEST_AS"
	markerVariable = "OUTLIVE_TEST_MARKER"
)

// everyone runs a test in a sandbox as the user who runs the tests and, if that is
// root, once more as an ordinary user.
func everyone(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	// Inside a sandbox everyone is root: there the variable tells.
	as := os.Getenv(asVariable)
	if as == "" && os.Getuid() != 0 {
		as = "user"
		t.Setenv(asVariable, as)
	}
	if as != "" && as != "root" {
		labtest.Run(t, test)
		return
	}
	t.Run("root", func(t *testing.T) {
		t.Setenv(asVariable, "root")
		labtest.Run(t, test)
	})
	if as == "root" {
		return
	}
	labtest.AsNobody(t, asVariable+"=user")
}

// launched starts a program that is killed when the test ends.
func launched(t *testing.T, spec Spec) *Process {
	t.Helper()
	if spec.Name == "" {
		spec.Name = "program"
	}
	p, err := Start(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

func awaitExit(t *testing.T, p *Process) ExitState {
	t.Helper()
	select {
	case <-p.Exited():
	case <-time.After(patience):
		t.Fatalf("%s has not ended after %v", p.name, patience)
	}
	return p.ExitState()
}

// eventually waits until a condition that announces itself to nobody holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	limit := time.After(patience)
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for !holds() {
		select {
		case <-look.C:
		case <-limit:
			t.Fatalf("after %v still not: %s", patience, what)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// marked lists the living processes with a marker in their environment.
func marked(marker string) (pids []string) {
	for _, pid := range processes() {
		env, err := os.ReadFile(filepath.Join("/proc", pid, "environ"))
		if err == nil && bytes.Contains(env, []byte(markerVariable+"="+marker+"\x00")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// stubborn is a program that leaves the session and group of whoever started it,
// listens to no signal and, as often as its argument says, starts another such.
func init() {
	sandbox.RegisterProgram("stubborn", func(_ context.Context, args []string) error {
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		if n := len(args[0]); n > 0 {
			cmd := sandbox.Program("stubborn", args[0][1:], "stay")
			cmd.Env = append(cmd.Env, markerVariable+"="+os.Getenv(markerVariable))
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if err := cmd.Start(); err != nil {
				return err
			}
		} else {
			fmt.Println("all there")
		}
		if args[1] == "go" {
			return nil
		}
		select {}
	})
	sandbox.RegisterProgram("failing", func(context.Context, []string) error { return errors.New("it did not work") })
}
