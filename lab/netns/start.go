package netns

import (
	"fmt"
	"os/exec"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// Start starts the command in the namespace. Everything else is as with
// cmd.Start, and the caller waits for it with cmd.Wait. cmd.SysProcAttr is used as
// it is: with Pdeathsig set, the child dies when this process does, whichever
// goroutine called Start. Children are never started from the main thread, so
// that a reaper there cannot take them for its own.
//
// The child's timer slack is that of the calling thread, as if that one had started it.
func (n *NS) Start(cmd *exec.Cmd) error {
	slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		return fmt.Errorf("asking for the slack of timers: %w", err)
	}
	done := make(chan error, 1)
	launcher() <- launch{n, cmd, slack, done}
	return <-done
}

type launch struct {
	ns    *NS
	cmd   *exec.Cmd
	slack int // ns
	done  chan<- error
}

// launcher gives the channel of the one thread that starts every child. The
// kernel ties PDEATHSIG to the thread that forked, so that thread must live as
// long as the process.
var launcher = sync.OnceValue(func() chan<- launch {
	requests := make(chan launch)
	go serveLaunches(requests)
	return requests
})

func serveLaunches(requests <-chan launch) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// While this goroutine holds the main thread, another one gets another.
		moved := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(moved)
			launchAll(requests)
		}()
		<-moved
		runtime.UnlockOSThread()
		return
	}
	launchAll(requests)
}

func launchAll(requests <-chan launch) {
	for r := range requests {
		err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(r.slack), 0, 0, 0)
		if err == nil {
			err = r.ns.Do(r.cmd.Start)
		}
		if err != nil {
			err = fmt.Errorf("starting %s in a network namespace: %w", r.cmd.Path, err)
		}
		r.done <- err
	}
}
