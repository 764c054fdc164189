package qemu

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Cause is why a machine did not end by being switched off by its guest.
type Cause string

// The causes that there are.
const (
	// Panic is a panic of the guest's kernel.
	Panic Cause = "panic of the guest's kernel"
	// Reset is a guest that started again, without a word.
	Reset Cause = "reset by the guest"
	// NoTimers is a guest that waits for nothing: nothing would ever happen in it.
	NoTimers Cause = "a guest that halted and waits for no timer"
	// Killed is a call of Kill.
	Killed Cause = "killed"
	// Failed is a failure of the emulator itself.
	Failed Cause = "failure of QEMU"

	// quit is our own wish, when a template is made.
	quit Cause = "quit"
)

// GuestError says why a machine did not end well. With %v it is one line; with %+v
// the end of the console follows.
type GuestError struct {
	Cause Cause
	// Text is the panic's, or what QEMU wrote to its standard error, or empty.
	Text string
	// Code is the exit status of QEMU, and Signal what ended it where there was none.
	Code   int
	Signal syscall.Signal
	// Console is the end of what the guest wrote to its console.
	Console string
}

// Error is the cause and what is known of it, in one line.
func (e *GuestError) Error() string {
	s := "running a virtual machine: " + string(e.Cause)
	if e.Cause == Failed {
		if e.Signal != 0 {
			s += fmt.Sprintf(" (ended by %s)", unix.SignalName(e.Signal))
		} else {
			s += fmt.Sprintf(" (exit status %d)", e.Code)
		}
	}
	if e.Text != "" {
		s += ": " + strings.Join(strings.Fields(e.Text), " ")
	}
	return s
}

// Format prints the error, and with %+v also the end of the console.
func (e *GuestError) Format(f fmt.State, verb rune) {
	switch {
	case verb == 'q':
		_, _ = fmt.Fprintf(f, "%q", e.Error())
	case verb == 'v' && f.Flag('+') && e.Console != "":
		_, _ = fmt.Fprintf(f, "%s\n%s", e.Error(), strings.TrimRight(e.Console, "\r\n"))
	default:
		_, _ = io.WriteString(f, e.Error())
	}
}

// What Linux says last. Both are written whatever the log level, with the time before them.
var (
	panicLine    = regexp.MustCompile(`(?m)^\[ *\d+\.\d+\] Kernel panic - not syncing: (.*?)\r?$`)
	poweringOff  = regexp.MustCompile(`(?m)^\[ *\d+\.\d+\] reboot: Power down\r?$`)
	waitsForever = "no active timers"
)

// judge makes an error of how QEMU ended, or nil where the guest switched the machine
// off. cause is what is known already, or empty.
func judge(cause Cause, state *os.ProcessState, stderr, console string) error {
	e := &GuestError{Cause: cause, Text: strings.TrimSpace(stderr), Console: console}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		e.Signal = status.Signal()
	} else {
		e.Code = state.ExitCode()
	}
	switch {
	case e.Cause == quit && state.Success():
		return nil
	case e.Cause != "" && e.Cause != quit:
		return e
	}
	// With -no-reboot a reset ends QEMU as switching off does.
	switch words := panicLine.FindStringSubmatch(console); {
	case !state.Success():
		e.Cause = Failed
	case words != nil:
		e.Cause, e.Text = Panic, words[1]
	case !poweringOff.MatchString(console):
		e.Cause = Reset
	default:
		return nil
	}
	return e
}
