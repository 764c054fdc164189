package sandbox_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"outlive/lab/sandbox"
)

func init() {
	sandbox.RegisterGuest(func() {
		name, _, _ := strings.Cut(sandbox.GuestRole, "=")
		_, set := os.LookupEnv(name)
		fmt.Printf("the guest, its role in the environment: %v", set)
		os.Exit(0)
	})
}

// A kernel that starts this program as init, with the role as a word of its command
// line, gets the guest.
func TestGuestRole(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{sandbox.GuestRole, "GORACE=atexit_sleep_ms=0"}
	got, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if want := "the guest, its role in the environment: false"; string(got) != want {
		t.Errorf("it says %q, want %q", got, want)
	}
}

func TestGuestTwice(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a second guest is taken")
		}
	}()
	sandbox.RegisterGuest(func() {})
}
