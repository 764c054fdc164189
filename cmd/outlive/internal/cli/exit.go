package cli

import (
	"errors"

	"outlive/scenarios"
	"outlive/scenarios/verdict"
)

// The exit codes, as README documents them.
const (
	exitPass         = 0
	exitFail         = 1
	exitUsage        = 2
	exitLab          = 3
	exitInconclusive = 4
	exitInterrupted  = 130
)

// exitError is an error that says with which code the process ends. An empty
// text means that everything has been said.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// codeOf gives the exit code of an error: what says nothing of itself is a
// mistake in how we were called.
func codeOf(err error) int {
	if err == nil {
		return exitPass
	}
	if e := (*exitError)(nil); errors.As(err, &e) {
		return e.code
	}
	return exitUsage
}

// codeOfRun gives the exit code of a run that could not be finished.
func codeOfRun(err error) int {
	load, engine := (*scenarios.LoadError)(nil), (*scenarios.EngineError)(nil)
	if errors.As(err, &load) || errors.As(err, &engine) {
		return exitUsage
	}
	return exitLab
}

func codeOfVerdict(v verdict.Verdict) int {
	switch v {
	case verdict.Pass:
		return exitPass
	case verdict.Fail:
		return exitFail
	default:
		return exitInconclusive
	}
}

// worse gives the code of several runs together: a failed expectation counts
// before a lab that could not run, that before an inconclusive one.
func worse(a, b int) int {
	order := map[int]int{exitPass: 0, exitInconclusive: 1, exitLab: 2, exitUsage: 3, exitFail: 4, exitInterrupted: 5}
	if order[b] > order[a] {
		return b
	}
	return a
}
