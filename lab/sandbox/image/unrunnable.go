package image

import "fmt"

// Unrunnable says that a program cannot run in the virtual machine, known before
// the machine is started.
type Unrunnable struct {
	// Program is the word by which the program was asked for.
	Program string
	// File is the file that is in the way: the program's own, or a library's.
	File string
	// Reason is what is wrong with it, as the end of a sentence that begins with
	// File: "needs libfoo.so.1, which is not installed".
	Reason string
	// Remedy is what to do, as a sentence or a command line.
	Remedy string
	// Err is what the operating system said. It may be nil.
	Err error
}

// Error is one line with the remedy at its end.
func (e *Unrunnable) Error() string {
	s := fmt.Sprintf("running %s in virtual time: %s %s", e.Program, e.File, e.Reason)
	if e.File == "" || e.File == e.Program {
		s = fmt.Sprintf("running %s in virtual time: it %s", e.Program, e.Reason)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

// Unwrap gives what the operating system said.
func (e *Unrunnable) Unwrap() error { return e.Err }
