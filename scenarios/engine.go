package scenarios

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"outlive/lab/units"
)

// Engine is the kind of sandbox that a scenario runs in.
type Engine string

// The engines.
const (
	// EngineAuto is EngineWarp for a scenario that a person would not wait for, where
	// this machine has what it takes, and EngineLive otherwise. It is what the empty
	// Engine means.
	EngineAuto Engine = "auto"
	// EngineLive is namespaces of this machine's kernel, in real time.
	EngineLive Engine = "live"
	// EngineWarp is a virtual machine whose clock jumps over idle time.
	EngineWarp Engine = "warp"
)

// patience is how long a scenario may last for EngineAuto to run it in real time:
// about as long as a person waits for an answer without doing something else.
const patience = time.Minute

// An EngineError says that a scenario and the way in which it is to be run do not go
// together. It is a mistake of the caller's, found before anything has been done.
type EngineError struct {
	// Scenario is the scenario's name; empty if it is about any.
	Scenario string
	// Problem says what does not go together, and what to do.
	Problem string
}

// Error is one line.
func (e *EngineError) Error() string {
	if e.Scenario == "" {
		return e.Problem
	}
	return e.Scenario + ": " + e.Problem
}

// Check says whether a scenario can be run with these options as far as that does not
// depend on the machine. Its error is an *EngineError.
func (o Options) Check(s *Scenario) error {
	switch o.Engine {
	case "", EngineAuto, EngineLive, EngineWarp:
	default:
		return &EngineError{Problem: fmt.Sprintf("there is no engine %q: give auto, live or warp", string(o.Engine))}
	}
	if o.Engine != EngineLive {
		return nil
	}
	if o.Twice {
		return &EngineError{Problem: "no two runs of the live engine are the same, so that there is nothing to compare: run it twice with the engine warp"}
	}
	if s.Guest.Root != "" {
		return &EngineError{Scenario: s.Name, Problem: "the scenario has a root file system of its own (guest.root), which only the engine warp can give it"}
	}
	return nil
}

// choice is an engine and why it was taken.
type choice struct {
	engine Engine
	why    string
}

// choices are the engines to try, the best first; the next one is for a machine, or
// programs, with which it turns out that the one before cannot be.
func (o Options) choices(s *Scenario) []choice {
	length := s.Duration.D()
	switch {
	case o.Engine == EngineLive || o.Engine == EngineWarp:
		return []choice{{o.Engine, "it was asked for"}}
	case o.Twice:
		return []choice{{EngineWarp, "only its runs can be had twice"}}
	case s.Guest.Root != "":
		return []choice{{EngineWarp, "the scenario has a root file system of its own"}}
	case length < patience:
		return []choice{{EngineLive, fmt.Sprintf("it lasts %s, less than %s", s.Duration, units.Duration(patience))}, {engine: EngineWarp}}
	}
	if err := o.guests().available(); err != nil {
		return []choice{{EngineLive, fmt.Sprintf("it lasts %s, and the engine warp cannot be had: %v", s.Duration, err)}}
	}
	return []choice{{EngineWarp, fmt.Sprintf("it lasts %s, which is longer than a person waits", s.Duration)}, {engine: EngineLive}}
}

// instead gives the reason for taking the next engine, if why the first one failed is
// one: it cannot be had here, and nothing has begun.
func (c choice) instead(failed error) (why string, ok bool) {
	if !errors.Is(failed, errors.ErrUnsupported) && !unrunnable(failed) {
		return "", false
	}
	return fmt.Sprintf("the engine %s cannot run it: %v", c.engine, failed), true
}

// discard takes out of a result folder what an attempt left there that did not get to
// a lab, so that the next one begins as the first did.
func discard(dir string) error {
	for _, pattern := range labFiles {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, f := range found {
			if err := os.Remove(f); err != nil {
				return fmt.Errorf("making room for another engine: %w", err)
			}
		}
	}
	return nil
}
