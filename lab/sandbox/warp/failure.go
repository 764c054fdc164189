package warp

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"outlive/lab/sandbox/parcel"
)

// Failure says that a guest, and not its job, did not end well. What it had handed
// over until then is in Spec.Dir all the same.
type Failure struct {
	// What happened, as a sentence without its end: "the guest ran out of memory".
	What string
	// Console is the end of what the machine said, a few lines. It may be empty.
	Console string
	// Err is what the virtual machine or the reader of its memory said. It may be nil.
	Err error
}

// Error is what happened, and the console's end in lines of its own.
func (f *Failure) Error() string {
	text := f.What
	if f.Err != nil {
		text += ": " + f.Err.Error()
	}
	if f.Console != "" {
		text += "; its console's last lines (all of them are in " + ConsoleFile + "):\n" + f.Console
	}
	return text
}

// Unwrap gives Err.
func (f *Failure) Unwrap() error { return f.Err }

// conclude takes over what the guest has left, and says what became of it.
func (g *Guest) conclude(machineErr error, tooSlow bool) error {
	end, err := g.reader.Finish(g.spec.Dir)
	var failures []*Failure
	fail := func(err error, format string, args ...any) {
		failures = append(failures, &Failure{What: fmt.Sprintf(format, args...), Err: err})
	}
	if tooSlow {
		fail(nil, "the guest was stopped because it was too slow: its clock had got to %v of the %v that the lab is to take; a program in it may be spinning",
			g.now.Round(time.Millisecond), g.spec.Length)
	}
	switch {
	case errors.Is(err, parcel.ErrNoEnd):
		fail(machineErr, "the guest ended without handing over its evidence")
	case machineErr != nil:
		fail(machineErr, "the guest did not end in order")
	}
	if err != nil && !errors.Is(err, parcel.ErrNoEnd) {
		fail(err, "what the guest has left is not complete")
	}
	if len(end.OOM) > 0 {
		fail(nil, "the guest ran out of memory: %s", strings.Join(end.OOM, "; "))
	}
	if end.DeadlinePassed {
		fail(nil, "the lab did not end within %v of the guest's time", g.spec.Length+spareTime)
	}
	if end.Killed {
		fail(nil, "the lab did not end when it was asked to, and was killed")
	}
	if len(end.Lost) > 0 {
		fail(nil, "files of the guest were lost: %s", strings.Join(end.Lost, "; "))
	}
	if end.DroppedLines > 0 {
		fail(nil, "%d lines of the lab's report were lost because there was no more room for them", end.DroppedLines)
	}
	said, err := newConsole(g.console)
	if len(failures) == 0 {
		said.repeat(g.stderr())
		// As it is: with %+v it may say more.
		return end.Err()
	}
	failures[0].Console = said.tail()
	all := []error{end.Err()}
	for _, f := range failures {
		all = append(all, f)
	}
	return errors.Join(append(all, err, said.keep(g.spec.Dir))...)
}

func (g *Guest) stderr() io.Writer {
	if g.spec.Stderr != nil {
		return g.spec.Stderr
	}
	return os.Stderr
}
