// Package process runs a program of a scenario, a server or a client, in a host of
// the lab, and knows when and how it ended. The program need not be changed: it
// has a terminal as its output, so that it writes line by line, an environment of
// its own, and it sees itself as an ordinary user's.
//
// It is for process 1 of a sandbox and what that starts.
package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"outlive/lab/netns"
)

// Spec says what to run. Either Argv or Cmd is set.
type Spec struct {
	// Name is what messages call the program: "server", "client phone-1".
	Name string
	// NS is the host that it runs in. Nil means that of the calling goroutine.
	NS *netns.NS
	// Argv is the program and its arguments. A program without a slash is looked for
	// in PATH, one with a slash but a relative path in Dir.
	Argv []string
	// Cmd is a command of sandbox.Program instead. Start uses it up; its Dir, Stdin,
	// Stdout and Stderr are overwritten.
	Cmd *exec.Cmd
	// Dir is the program's working directory and HOME; it must exist. Empty means "/".
	Dir string
	// Env are further variables, NAME=value. They win over the ones that every program
	// gets: PATH, which is the caller's and the usual places of servers, HOME and PWD,
	// LANG=C.UTF-8, TERM=dumb, NO_COLOR=1. Nothing else is passed on.
	Env []string
	// Log is the path of the file to which the program's standard output and error
	// are appended. It is made if it is missing. Empty means that there is none.
	Log string
	// Privileged runs the program as root of the sandbox, with every capability over
	// the lab. Otherwise it runs as an ordinary user, as sandbox.Unprivileged says.
	Privileged bool
}

// Process is a program that was started. It is safe for concurrent use.
type Process struct {
	name   string
	cmd    *exec.Cmd
	family *family
	output *output

	exited chan struct{} // closed when state is final and the log complete
	state  ExitState

	mu     sync.Mutex
	reaped bool // its process id may mean another process

	killing sync.Mutex // one Kill at a time
}

// killLimit is how long Kill waits for the kernel to end what it killed.
const killLimit = 10 * time.Second

// Start starts the program. It returns when the program itself is being executed;
// whether it gets ready to serve is for others to find out. Errors say what was
// missing: the program, its folder, a permission.
func Start(spec Spec) (*Process, error) {
	p, err := start(spec)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", spec.Name, err)
	}
	return p, nil
}

func start(spec Spec) (*Process, error) {
	ns := spec.NS
	if ns == nil {
		here, err := netns.Current()
		if err != nil {
			return nil, err
		}
		defer here.Close()
		ns = here
	}
	cmd, release, err := command(spec)
	if err != nil {
		return nil, err
	}
	defer release()
	out, err := openOutput(spec.Log)
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = out.inner, out.inner
	p := &Process{name: spec.Name, cmd: cmd, output: out, exited: make(chan struct{})}
	p.family, err = families.add(func() (int, error) {
		begin := func() error { return ns.Start(cmd) }
		var err error
		if spec.Cmd == nil {
			err = withUsualSlack(begin)
		} else {
			err = begin()
		}
		if err != nil {
			return 0, err
		}
		killFirst(cmd.Process.Pid)
		return cmd.Process.Pid, nil
	})
	if err != nil {
		out.abandon()
		return nil, explainStart(spec, cmd, err)
	}
	out.begin()
	go p.wait()
	return p, nil
}

// killFirst takes from a program the protection that process 1 may have, and that it
// would inherit: when memory runs out, the program is to go and not the lab.
func killFirst(pid int) {
	// One that has ended already needs none.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("0"), 0)
}

// PID is the program's process id in the sandbox.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Exited is closed when the program has ended and everything that it had written is
// in the log. Descendants of it may live on, and go on writing to the log.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// ExitState tells how the program ended. Before Exited is closed it is the zero
// value, "running".
func (p *Process) ExitState() ExitState {
	select {
	case <-p.exited:
		return p.state
	default:
		return ExitState{}
	}
}

// wait collects the end of the program.
func (p *Process) wait() {
	p.awaitEnd()
	at := time.Now()
	// From here on the process id is free for others. Signals to the group must not
	// go out between this and the note of it.
	p.mu.Lock()
	err := p.cmd.Wait()
	p.reaped = true
	p.mu.Unlock()
	p.state = exitState(p.cmd.ProcessState, err, at)
	p.state.LogErr = p.output.drain()
	close(p.exited)
}

// awaitEnd returns when the program has ended and can be waited for. It keeps no
// thread busy meanwhile, of which there would be one for each of a thousand
// clients.
func (p *Process) awaitEnd() {
	fd, err := unix.PidfdOpen(p.PID(), unix.PIDFD_NONBLOCK)
	if err != nil {
		// A kernel older than 5.10: the wait that follows blocks instead.
		return
	}
	pidfd := os.NewFile(uintptr(fd), "pidfd")
	defer pidfd.Close()
	conn, err := pidfd.SyscallConn()
	if err != nil {
		return
	}
	// The descriptor becomes readable when the process ends.
	_ = conn.Read(func(fd uintptr) bool {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PIDFD, int(fd), &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) && (err != nil || info.Signo != 0)
	})
}

// Kill ends the program and every descendant of it with SIGKILL, whatever session
// they made for themselves, and waits until they are gone and the log is complete.
// The signal to the program and its process group goes out first, in one instant.
// The kernel closes their connections, with FIN or RST. It is no error if the
// program has ended before.
func (p *Process) Kill() error {
	p.signalGroup(unix.SIGKILL)
	p.killing.Lock()
	defer p.killing.Unlock()
	limit := time.NewTimer(killLimit)
	defer limit.Stop()
	if err := families.end(p.family, time.Now().Add(killLimit)); err != nil {
		return fmt.Errorf("killing %s: %w", p.name, err)
	}
	select {
	case <-p.exited:
	case <-limit.C:
		return fmt.Errorf("killing %s: process %d has not ended after %v", p.name, p.PID(), killLimit)
	}
	select {
	case <-p.output.ended:
	case <-limit.C:
		return fmt.Errorf("killing %s: something that it started has left its family and still writes to its log", p.name)
	}
	return nil
}

// Stop asks the program and its descendants to end, with SIGTERM, gives the program
// the time of grace, and then kills what is left of them.
func (p *Process) Stop(grace time.Duration) error {
	p.signalGroup(unix.SIGTERM)
	limit := time.NewTimer(grace)
	defer limit.Stop()
	select {
	case <-p.exited:
	case <-limit.C:
	}
	return p.Kill()
}

// signalGroup signals the program and those of its descendants that did not leave
// its process group, in one instant.
func (p *Process) signalGroup(signal syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		// The only error is that nobody is left.
		_ = unix.Kill(-p.PID(), signal)
	}
}
