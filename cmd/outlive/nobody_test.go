package main_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// nobody is the uid and gid of an ordinary user that needs no account.
const nobody = 65534

// TestCatalogueAsAnOrdinaryUser runs the whole catalogue without any privilege.
// As root that means becoming somebody else; make catalogue runs it as the caller.
func TestCatalogueAsAnOrdinaryUser(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(binary, "run", "--parallel", "5", "--out", dir+"/results", "catalogue")
	cmd.Dir = dir
	if os.Getuid() == 0 {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		// The folders above belong to root and are closed to others.
		for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Errorf("%v\n%s\n%s", err, &stdout, &stderr)
	}
}
