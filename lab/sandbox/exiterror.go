package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"outlive/lab/feature"
)

// ExitError says why a sandbox did not end well. With %v it is one line; with %+v
// the stack of a panic follows.
type ExitError struct {
	// Job is the name of the job.
	Job string
	// Signal is the signal that ended process 1, or 0. SIGKILL is also what the
	// kernel sends when memory runs out.
	Signal syscall.Signal
	// Code is the exit status of process 1 where no signal ended it. It is 2 where
	// the Go runtime gave up, 1 where the job returned an error.
	Code int
	// Panicked says that the job panicked, in whichever goroutine.
	Panicked bool
	// Text is the job's error, or the value of the panic; empty if there was neither.
	Text string
	// Stack is the stack trace of a panic as the Go runtime prints it.
	Stack string
	// Err is what survives of the job's error as a value: a *feature.Unsupported,
	// context.Canceled or context.DeadlineExceeded that it wrapped, or nil.
	Err error

	setUp bool // the sandbox failed before the job was started
}

// Error is the job's own text where it had one, and else how process 1 ended.
func (e *ExitError) Error() string {
	switch {
	case e.Panicked:
		return fmt.Sprintf("running job %q in a sandbox: panic: %s", e.Job, e.Text)
	case e.Text != "":
		return e.Text
	case e.Signal != 0:
		return fmt.Sprintf("running job %q in a sandbox: process 1 was killed by %s", e.Job, unix.SignalName(e.Signal))
	}
	return fmt.Sprintf("running job %q in a sandbox: process 1 ended with exit status %d and no word", e.Job, e.Code)
}

// Unwrap gives Err.
func (e *ExitError) Unwrap() error { return e.Err }

// Format prints the error, and with %+v also the stack of a panic.
func (e *ExitError) Format(f fmt.State, verb rune) {
	switch {
	case verb == 'q':
		_, _ = fmt.Fprintf(f, "%q", e.Error())
	case verb == 'v' && f.Flag('+') && e.Stack != "":
		_, _ = fmt.Fprintf(f, "%s\n%s", e.Error(), strings.TrimRight(e.Stack, "\n"))
	default:
		_, _ = io.WriteString(f, e.Error())
	}
}

// words is what process 1 says of itself, one JSON object a line: first that it is
// ready, in the end what became of the job. Between them the Go runtime may write
// why it crashed, which is no JSON.
type words struct {
	Ready    bool   `json:"ready,omitempty"`
	Done     bool   `json:"done,omitempty"`
	SetUp    bool   `json:"set_up,omitempty"`
	Panicked bool   `json:"panicked,omitempty"`
	Text     string `json:"text,omitempty"`
	Stack    string `json:"stack,omitempty"`
	// Context is the context's error in the job's, Unsupported the missing feature.
	Context     string       `json:"context,omitempty"`
	Unsupported *unsupported `json:"unsupported,omitempty"`
}

// unsupported is a feature.Unsupported on its way out of the sandbox.
type unsupported struct {
	Feature string `json:"feature"`
	Needs   string `json:"needs"`
	Remedy  string `json:"remedy"`
	Err     string `json:"err,omitempty"`
}

// failed puts the end of the job into words.
func failed(err error) words {
	w := words{Done: true}
	if err == nil {
		return w
	}
	w.Text = err.Error()
	if w.Text == "" {
		w.Text = fmt.Sprintf("an error of type %T without text", err)
	}
	switch {
	case errors.Is(err, context.Canceled):
		w.Context = context.Canceled.Error()
	case errors.Is(err, context.DeadlineExceeded):
		w.Context = context.DeadlineExceeded.Error()
	}
	if missing, ok := errors.AsType[*feature.Unsupported](err); ok {
		w.Unsupported = &unsupported{Feature: missing.Feature, Needs: missing.Needs, Remedy: missing.Remedy}
		if missing.Err != nil {
			w.Unsupported.Err = missing.Err.Error()
		}
	}
	return w
}

// err gives the error value that the words carry, or nil.
func (w words) err() error {
	switch {
	case w.Unsupported != nil:
		u := &feature.Unsupported{Feature: w.Unsupported.Feature, Needs: w.Unsupported.Needs, Remedy: w.Unsupported.Remedy}
		if w.Unsupported.Err != "" {
			u.Err = errors.New(w.Unsupported.Err)
		}
		return u
	case w.Context == context.Canceled.Error():
		return context.Canceled
	case w.Context == context.DeadlineExceeded.Error():
		return context.DeadlineExceeded
	}
	return nil
}

// exitError makes one of how process 1 ended (state, or waitErr where it could not
// be waited for) and of its last words. It is nil if the job returned nil.
func exitError(job string, state *os.ProcessState, waitErr error, last []byte) error {
	e := &ExitError{Job: job}
	if state == nil {
		e.Text = fmt.Sprintf("waiting for process 1 of a sandbox: %v", waitErr)
		return e
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		e.Signal = status.Signal()
	} else {
		e.Code = state.ExitCode()
	}
	var w words
	// A job that had said its last word had ended, whatever the runtime wrote after it.
	if err := json.NewDecoder(bytes.NewReader(last)).Decode(&w); err == nil && w.Done {
		if w.Text == "" && !w.Panicked {
			if e.Code != 0 {
				// The race detector has the last word in a process that it watches.
				return e
			}
			return nil
		}
		e.Panicked, e.Text, e.Stack, e.Err, e.setUp = w.Panicked, w.Text, w.Stack, w.err(), w.SetUp
		return e
	}
	if crash := string(last); strings.TrimSpace(crash) != "" {
		e.Panicked, e.Stack = true, crash
		first, _, _ := strings.Cut(strings.TrimSpace(crash), "\n")
		e.Text = strings.TrimPrefix(first, "panic: ")
	}
	return e
}
