// Package sandbox is where a lab lives: process 1 of a user, network, mount,
// process-id, IPC and UTS namespace of its own. Process 1 is this same program,
// executed again. Whatever ends it, or the process that started it, kill -9
// included, the kernel ends every process of the sandbox and frees every
// namespace, link and rule in it: nothing is left that would have to be cleaned.
//
// It works the same for root and for an ordinary user, and root is contained too:
// the host's clock, its network and its sysctls are out of reach.
//
// A program that uses sandboxes calls Main as the first statement of main, or of
// TestMain. What can run as process 1 is registered with Register; what can run as
// a process of its own inside, with RegisterProgram.
//
// What is different inside: /run, /tmp and /dev/shm are empty and private but for
// the folders that a Spec names; /proc/sys is read-only except for /proc/sys/net;
// there is no name server; and only loopback has a link.
package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Spec says what to run in a sandbox.
type Spec struct {
	// Job is the name of the registered job that runs as process 1.
	Job string
	// Data is handed to the job as it is.
	Data []byte
	// Dir is an existing folder in which the job may write; it is the working
	// directory of process 1 and has the same path inside, wherever it lies. Empty
	// means that there is none, and the working directory is "/".
	Dir string
	// Visible are further existing folders that keep their path inside although
	// they lie below /run, /tmp or /dev/shm. Folders elsewhere are visible anyway.
	Visible []string
	// Report is called for each line that the job writes to its report, in order,
	// without the newline, from one goroutine. The slice is the callee's. A slow
	// Report holds the job up once about a megabyte waits. Nil discards the report.
	Report func(line []byte)
	// Stderr receives the standard output and error of process 1 and of what it
	// starts with them. Nil means os.Stderr.
	Stderr io.Writer
}

// setUpLimit is how long a sandbox may take to come up: far longer than it takes on
// the busiest machine.
const setUpLimit = 30 * time.Second

// Sandbox is a sandbox that was started. It is safe for concurrent use.
type Sandbox struct {
	cmd   *exec.Cmd
	stop  func()         // asks once
	asked chan struct{}  // closed by stop
	ready chan struct{}  // closed when process 1 has set the sandbox up
	ended chan struct{}  // closed when process 1 has ended
	wires sync.WaitGroup // what serves the pipes
	last  []byte         // what process 1 said of itself in the end, when wires are done
	done  chan struct{}  // closed when err is final
	err   error
}

// Start starts a sandbox and waits until it is set up and the job runs, which takes
// a few milliseconds. When ctx is cancelled later, that is a Stop. The error is a
// *feature.Unsupported where this machine does not allow a sandbox.
//
// The sandbox ends with the calling process. The caller must Wait.
func Start(ctx context.Context, spec Spec) (*Sandbox, error) {
	settings, err := spec.settings()
	if err != nil {
		return nil, fmt.Errorf("starting a sandbox: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("starting a sandbox: %w", err)
	}
	s, err := start(spec, settings)
	if err != nil {
		return nil, Explain("starting process 1 of a sandbox", err)
	}

	limit := time.NewTimer(setUpLimit)
	defer limit.Stop()
	select {
	case <-s.ready:
		go s.followContext(ctx)
		return s, nil
	case <-s.done:
		// A short job may be over before its start was noticed.
		select {
		case <-s.ready:
			return s, nil
		default:
		}
		return nil, s.setUpError()
	case <-ctx.Done():
		err = ctx.Err()
	case <-limit.C:
		err = fmt.Errorf("process 1 did not come up within %v", setUpLimit)
	}
	s.Kill()
	<-s.done
	return nil, fmt.Errorf("starting a sandbox: %w", err)
}

// start is Start without the waiting.
func start(spec Spec, settings settings) (*Sandbox, error) {
	message, err := json.Marshal(settings)
	if err != nil {
		return nil, err
	}
	pipes, err := newPipes()
	if err != nil {
		return nil, err
	}
	defer pipes.closeInner()

	stderr := spec.Stderr
	if stderr == nil {
		stderr = os.Stderr
	}
	cmd := exec.Command(self)
	cmd.Args = []string{"outlive-lab"}
	cmd.Env = append(os.Environ(), roleVariable+"="+roleProcess1)
	cmd.Stdout, cmd.Stderr = stderr, stderr
	cmd.ExtraFiles = pipes.inner()
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: namespaces,
		// Two ways to end with the parent: this one and the life pipe. This one acts
		// even while process 1 is not yet itself, the pipe even where a debugger or an
		// exec has cleared this one.
		Pdeathsig: syscall.SIGKILL,
		// A session of its own: Ctrl-C and Ctrl-Z in a terminal reach the parent only,
		// which decides what becomes of the lab.
		Setsid: true,
	}
	mapIDs(cmd.SysProcAttr)
	if err := launch(cmd.Start); err != nil {
		pipes.closeOuter()
		return nil, err
	}

	asked := make(chan struct{})
	s := &Sandbox{
		cmd:   cmd,
		stop:  sync.OnceFunc(func() { close(asked) }),
		asked: asked,
		ready: make(chan struct{}),
		ended: make(chan struct{}),
		done:  make(chan struct{}),
	}
	s.wires.Go(func() {
		defer pipes.life.Close()
		s.keepAlive(pipes.life, message)
	})
	s.wires.Go(func() {
		defer pipes.report.Close()
		readReport(pipes.report, spec.Report)
	})
	s.wires.Go(func() {
		defer pipes.words.Close()
		s.last = readWords(pipes.words, func() { close(s.ready) })
	})
	go s.wait(spec.Job)
	return s, nil
}

// keepAlive writes to the life pipe, on which process 1 first reads its settings and
// then the request to stop. Its end would tell process 1 to end.
func (s *Sandbox) keepAlive(life io.Writer, settings []byte) {
	// An error means that process 1 is gone, which wait finds out too.
	if _, err := life.Write(append(settings, '\n')); err != nil {
		return
	}
	select {
	case <-s.asked:
		_, _ = life.Write([]byte{'\n'})
	case <-s.ended:
		return
	}
	<-s.ended
}

func (s *Sandbox) followContext(ctx context.Context) {
	select {
	case <-ctx.Done():
		s.Stop()
	case <-s.done:
	}
}

// wait collects the end of process 1. The kernel lets it be waited for only when
// every other process of the sandbox is gone, so that the pipes end as well.
func (s *Sandbox) wait(job string) {
	err := s.cmd.Wait()
	close(s.ended)
	s.wires.Wait()
	s.err = exitError(job, s.cmd.ProcessState, err, s.last)
	close(s.done)
}

// setUpError is the error of a sandbox that ended before it was ready.
func (s *Sandbox) setUpError() error {
	exit, ok := errors.AsType[*ExitError](s.err)
	if !ok {
		return errors.New("starting a sandbox: process 1 ended before the job was started")
	}
	if exit.setUp && exit.Err != nil {
		return exit.Err
	}
	return fmt.Errorf("starting a sandbox: %w", exit)
}

// Stop asks the job to end: its context is cancelled. It returns at once; what
// comes of it is in Wait. Asking twice, or after the end, does nothing.
func (s *Sandbox) Stop() { s.stop() }

// Kill ends the sandbox at once, with every process in it. What the job has not
// written is lost. It does nothing after the end.
func (s *Sandbox) Kill() {
	// The only error is that it has ended already.
	_ = s.cmd.Process.Kill()
}

// Wait waits for the end of the sandbox: when it returns, no process of it lives
// and the report is complete. It returns nil if the job returned nil, and an
// *ExitError otherwise. It may be called several times.
func (s *Sandbox) Wait() error {
	<-s.done
	return s.err
}
