package sandbox_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"outlive/lab/feature"
	"outlive/lab/labtest"
)

// terminal opens a pseudo-terminal: the end that is typed on, and the end that
// programs have.
func terminal(t *testing.T) (keyboard, screen *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		labtest.SkipUnsupported(t, &feature.Unsupported{
			Feature: "pseudo-terminals", Needs: "/dev/ptmx", Remedy: "mount devpts", Err: err,
		})
	}
	keyboard = os.NewFile(uintptr(fd), "keyboard")
	t.Cleanup(func() { keyboard.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	slave, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		t.Fatal(errno)
	}
	screen = os.NewFile(slave, "screen")
	t.Cleanup(func() { screen.Close() })
	return keyboard, screen
}

// Ctrl-C in a terminal reaches the parent and nothing else: no program of the lab,
// and not process 1. What becomes of the lab is the parent's decision.
func TestCtrlC(t *testing.T) {
	everyone(t, func(t *testing.T) {
		keyboard, screen := terminal(t)
		out, in, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		cmd := exec.Command("/proc/self/exe")
		marker := fmt.Sprintf("ctrl-c-%d", os.Getpid())
		cmd.Env = append(os.Environ(), parentVariable+"=1", markerVariable+"="+marker)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = screen, in, in
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		in.Close()
		defer time.AfterFunc(patience, func() { cmd.Process.Kill() }).Stop()

		var lines []string
		pressed := 0
		for output := bufio.NewScanner(out); output.Scan(); {
			line := output.Text()
			if line == "up" {
				pressed = len(marked(t, marker))
				if _, err := keyboard.Write([]byte{3}); err != nil {
					t.Fatal(err)
				}
			}
			if !strings.ContainsAny(line, "[0123456789") {
				lines = append(lines, line)
			}
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{"up", "asked to stop", "orderly end"}, lines); diff != "" {
			t.Errorf("unexpected output (-want +got):\n%s", diff)
		}
		if pressed < 5 {
			t.Errorf("only %d processes were there to be hit", pressed)
		}
		if left := marked(t, marker); len(left) > 0 {
			t.Errorf("processes %v are left", left)
		}
	})
}
