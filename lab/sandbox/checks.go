package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"outlive/lab/feature"
)

// Checks tries what this package needs: a sandbox, programs without privileges in
// it, and pseudo-terminals for their output.
func Checks() []feature.Check {
	return []feature.Check{
		{Name: "sandbox", Try: trySandbox},
		{Name: "unprivileged programs", Try: func(ctx context.Context) (string, error) { return tryInside(ctx, checkUnprivileged) }},
		{Name: "pseudo-terminals", Optional: true, Try: func(ctx context.Context) (string, error) { return tryInside(ctx, checkTerminal) }},
	}
}

// Names that no other package can have meant.
const (
	checkJob     = "lab/sandbox check"
	checkProgram = "lab/sandbox whoami"
)

const (
	checkNothing      = "nothing"
	checkUnprivileged = "unprivileged"
	checkTerminal     = "terminal"
)

func init() {
	Register(checkJob, func(ctx context.Context, what []byte, report io.Writer) error {
		switch string(what) {
		case checkUnprivileged:
			return whoami(report)
		case checkTerminal:
			return openTerminal(report)
		}
		return nil
	})
	RegisterProgram(checkProgram, func(context.Context, []string) error {
		fmt.Printf("%d %s\n", os.Geteuid(), statusField("CapEff"))
		return nil
	})
}

func trySandbox(ctx context.Context) (string, error) {
	begin := time.Now()
	s, err := Start(ctx, Spec{Job: checkJob, Data: []byte(checkNothing)})
	if err != nil {
		return "", err
	}
	took := time.Since(begin)
	if err := s.Wait(); err != nil {
		return "", err
	}
	who := "an ordinary user"
	if os.Geteuid() == 0 {
		who = "root"
	}
	return fmt.Sprintf("as %s, ready after %.1f ms", who, float64(took.Microseconds())/1000), nil
}

// tryInside runs one of the checks in a sandbox; its report is what was found.
func tryInside(ctx context.Context, what string) (string, error) {
	var found strings.Builder
	s, err := Start(ctx, Spec{Job: checkJob, Data: []byte(what), Report: func(line []byte) { found.Write(line) }})
	if err != nil {
		return "", err
	}
	if err := s.Wait(); err != nil {
		return "", err
	}
	return found.String(), nil
}

// whoami runs a program as servers are run, and looks at who it is.
func whoami(report io.Writer) error {
	cmd := Program(checkProgram)
	Unprivileged(cmd)
	out, err := cmd.Output()
	if err != nil {
		if errno, ok := errors.AsType[syscall.Errno](err); ok {
			return Explain("starting an unprivileged program in the sandbox", errno)
		}
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return fmt.Errorf("running an unprivileged program in the sandbox: %w", err)
	}
	var id int
	var capabilities string
	if _, err := fmt.Sscan(string(out), &id, &capabilities); err != nil {
		return fmt.Errorf("running an unprivileged program in the sandbox: it said %q: %w", out, err)
	}
	if id == 0 || strings.Trim(capabilities, "0") != "" {
		return fmt.Errorf("an unprivileged program in the sandbox has uid %d and capabilities %s", id, capabilities)
	}
	_, err = fmt.Fprintf(report, "as uid %d without capabilities\n", id)
	return err
}

func openTerminal(report io.Writer) error {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		fd, err = unix.Open("/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return &feature.Unsupported{
			Feature: "pseudo-terminals in the sandbox", Needs: "/dev/ptmx and CONFIG_UNIX98_PTYS",
			Remedy: "go on without: the logs of servers that buffer their output then come late and in blocks", Err: err,
		}
	}
	defer func() { _ = unix.Close(fd) }()
	_, err = fmt.Fprintln(report, "private to the sandbox")
	return err
}
