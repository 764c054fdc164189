// Package feature has the one error that says "this machine cannot do that",
// and the form in which packages tell the doctor what they need.
package feature

import (
	"context"
	"errors"
	"fmt"
)

// Unsupported reports that the machine lacks something that the lab needs.
// It is the only error by way of which a test may skip, and errors.Is(err,
// errors.ErrUnsupported) holds for it.
type Unsupported struct {
	// Feature is what was wanted, in a user's words: "conntrack in a network namespace".
	Feature string
	// Needs is what provides it: a kernel option, a package, a privilege.
	Needs string
	// Remedy is what to do, as a sentence or a command line to paste.
	Remedy string
	// Err is what the kernel or the tool said. It may be nil.
	Err error
}

// Error is one line: what is missing, what the kernel said, what to do.
func (e *Unsupported) Error() string {
	s := fmt.Sprintf("%s is not available here (needs %s)", e.Feature, e.Needs)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

// Unwrap gives the cause.
func (e *Unsupported) Unwrap() error { return e.Err }

// Is makes errors.Is(err, errors.ErrUnsupported) true.
func (e *Unsupported) Is(target error) bool { return target == errors.ErrUnsupported }

// Check is one thing that the lab needs, found out by trying it.
type Check struct {
	// Name is short and stable: "user namespaces", "iptables-restore".
	Name string
	// Optional says that the lab runs without it, with less.
	Optional bool
	// Try tries the thing. It returns what was found ("nf_tables 1.8.9"), or an
	// *Unsupported that carries the remedy, or another error where the attempt
	// itself went wrong and nothing is known.
	Try func(ctx context.Context) (found string, err error)
}
