package qemu

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"outlive/lab/labtest"
)

// TestStillClock: for a program with the library the time of day stands still, and the
// loader has nothing to complain of.
func TestStillClock(t *testing.T) {
	_, err := Find()
	labtest.SkipUnsupported(t, err)
	library, err := openStillClock()
	if err != nil {
		t.Fatal(err)
	}
	defer library.Close()
	dir := t.TempDir()
	const program = `#include <stdio.h>
#include <sys/time.h>
int main() { struct timeval t; return gettimeofday(&t, 0) || printf("%ld %ld", (long)t.tv_sec, (long)t.tv_usec) < 0; }`
	if err := os.WriteFile(dir+"/clock.c", []byte(program), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-o", dir+"/clock", dir+"/clock.c").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(dir + "/clock")
	cmd.ExtraFiles = []*os.File{library}
	cmd.Env = append(os.Environ(), "LC_ALL=C", preload(3))
	out, err := cmd.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "1767225600 0" {
		t.Errorf("%v: %q", err, out)
	}
}
