package sandbox_test

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
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

// foreground starts a program as simply as can be, and tells how it fared.
var foreground = job("foreground", func(ctx context.Context, _ []byte, report io.Writer) error {
	cmd := exec.Command("/bin/sleep", "60")
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	say(report, "up")
	<-ctx.Done()
	// Whoever got the signal got it before the parent could ask for the end.
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	say(report, <-ended)
	return nil
})

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
		cmd.Env = append(os.Environ(), parentVariable+"="+foreground)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = screen, in, in
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		in.Close()
		defer time.AfterFunc(patience, func() { _ = cmd.Process.Kill() }).Stop()

		var lines []string
		for output := bufio.NewScanner(out); output.Scan(); {
			lines = append(lines, output.Text())
			if output.Text() == "up" {
				if _, err := keyboard.Write([]byte{3}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{"up", "signal: terminated", "orderly end"}, lines); diff != "" {
			t.Errorf("unexpected output (-want +got):\n%s", diff)
		}
	})
}
