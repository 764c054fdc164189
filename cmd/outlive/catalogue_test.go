package main_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"outlive/lab/labtest"
	"outlive/lab/sandbox/warp"
	"outlive/scenarios"
)

// nobody is the uid and gid of an ordinary user that needs no account.
const nobody = 65534

// TestCatalogue runs every scenario of the catalogue as whoever runs the tests.
func TestCatalogue(t *testing.T) {
	runCatalogue(t, t.TempDir(), nil)
}

// TestCatalogueAsAnOrdinaryUser does so without any privilege, which for root
// means to become somebody else.
func TestCatalogueAsAnOrdinaryUser(t *testing.T) {
	if os.Getuid() != 0 {
		// TestCatalogue has done it.
		return
	}
	runCatalogue(t, nobodysFolder(t), &syscall.Credential{Uid: nobody, Gid: nobody})
}

// nobodysFolder is a folder in which an ordinary user can work.
func nobodysFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	// The folders above belong to root and are closed to others.
	for d := filepath.Dir(dir); d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// runCatalogue runs the scenarios, several at a time: in real time those that a person
// would wait for, which mostly wait, and in virtual time the others. Those of a day and
// more are run by one user only: they take a minute each.
func runCatalogue(t *testing.T, dir string, as *syscall.Credential) {
	slots := make(chan struct{}, 6)
	var running sync.WaitGroup
	for _, src := range scenarios.Catalogue() {
		s, err := scenarios.Load(src, scenarios.LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if as != nil && s.Duration.D() >= 24*time.Hour {
			continue
		}
		engine := "live"
		if s.Duration.D() >= time.Minute {
			engine = "warp"
			labtest.SkipUnsupported(t, warp.Available())
		}
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			got := steady(t, func(attempt string) outcome {
				return runAs(t, as, dir, "run", src.Name, "--engine", engine, "--out", attempt)
			})
			if got.code != 0 {
				t.Errorf("%s: exit code %d\n%s\n%s", src.Name, got.code, got.stdout, got.stderr)
			}
		})
	}
	running.Wait()
}

// runAs runs the program in dir as somebody, whose cache is in there unless it is nil,
// which is whoever runs the tests. It may be called from any goroutine.
func runAs(t *testing.T, as *syscall.Credential, dir string, args ...string) outcome {
	cmd := exec.Command(binary, args...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	if as != nil {
		cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(dir, "cache"))
	}
	stdout, err := cmd.Output()
	exit := (*exec.ExitError)(nil)
	if err != nil && !errors.As(err, &exit) {
		t.Error(err)
		return outcome{code: -1}
	}
	var said string
	if exit != nil {
		said = string(exit.Stderr)
	}
	return outcome{string(stdout), said, cmd.ProcessState.ExitCode()}
}
