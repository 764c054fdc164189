package process

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ExitState is how a program ended. The zero value is one that runs.
type ExitState struct {
	// Ended says that the program has ended.
	Ended bool
	// Code is the exit status; it is -1 where a signal ended the program.
	Code int
	// Signal is the signal that ended the program, or 0.
	Signal syscall.Signal
	// At is when it was seen to have ended, a fraction of a millisecond after it did.
	At time.Time
	// Err is set where the end could not be found out, and Code and Signal mean nothing.
	Err error
	// LogErr says why the log is not complete. It is nil where it is.
	LogErr error
}

// String is "running", "exit status 1" or "killed by SIGKILL".
func (s ExitState) String() string {
	switch {
	case !s.Ended:
		return "running"
	case s.Err != nil:
		return fmt.Sprintf("ended, nobody knows how: %v", s.Err)
	case s.Signal != 0:
		return "killed by " + unix.SignalName(s.Signal)
	}
	return fmt.Sprintf("exit status %d", s.Code)
}

func exitState(state *os.ProcessState, err error, at time.Time) ExitState {
	s := ExitState{Ended: true, At: at}
	if state == nil {
		s.Code, s.Err = -1, err
		return s
	}
	s.Code = state.ExitCode()
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		s.Signal = status.Signal()
	}
	return s
}
