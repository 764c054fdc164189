package main_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

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
	runCatalogue(t, dir, &syscall.Credential{Uid: nobody, Gid: nobody})
}

// runCatalogue runs the scenarios, several at a time: they mostly wait.
func runCatalogue(t *testing.T, dir string, as *syscall.Credential) {
	slots := make(chan struct{}, 6)
	var running sync.WaitGroup
	for _, src := range scenarios.Catalogue() {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			got := steady(t, func(attempt string) outcome {
				cmd := exec.Command(binary, "run", src.Name, "--out", attempt)
				cmd.Dir = dir
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
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
			})
			if got.code != 0 {
				t.Errorf("%s: exit code %d\n%s\n%s", src.Name, got.code, got.stdout, got.stderr)
			}
		})
	}
	running.Wait()
}
