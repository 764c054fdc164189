package parcel

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"time"

	"outlive/lab/feature"
	"outlive/lab/sandbox"
)

// End says how the guest's work ended.
type End struct {
	// Job is the error of the sandbox in the guest, nil if the job returned nil.
	Job *Failure `json:"job,omitempty"`
	// Guest is what went wrong with the guest itself, beside or instead of the job:
	// no image to mount, no room for the result folder. Empty if nothing did.
	Guest string `json:"guest,omitempty"`
	// Stopped says that the host asked for the end, DeadlinePassed that the order's
	// deadline did, Killed that the job did not heed either.
	Stopped        bool `json:"stopped,omitempty"`
	DeadlinePassed bool `json:"deadline_passed,omitempty"`
	Killed         bool `json:"killed,omitempty"`
	// OOM is what the kernel said when it killed programs because memory ran out, a
	// line for each.
	OOM []string `json:"oom,omitempty"`
	// DroppedLines counts the lines of the report for which there was no room. What
	// the job has written to its own files is not concerned.
	DroppedLines int `json:"dropped_lines,omitempty"`
	// Lost are the files that could not be handed over, "name: why".
	Lost []string `json:"lost,omitempty"`
	// Elapsed is the virtual time from the guest's resumption to the end of the job.
	Elapsed time.Duration `json:"elapsed"`
}

// Err gives the error that sandbox.Start or Wait gave in the guest, as the same
// type, or what went wrong with the guest itself. It is nil if the job returned nil
// and the guest had no trouble.
func (e End) Err() error {
	job := e.Job.err()
	if e.Guest == "" {
		return job
	}
	guest := errors.New("in the virtual machine: " + e.Guest)
	if job == nil {
		return guest
	}
	return errors.Join(job, guest)
}

// Failure is an error on its way out of the guest: its text, and those causes that
// callers ask for by type.
type Failure struct {
	Text        string       `json:"text"`
	Exit        *Exit        `json:"exit,omitempty"`
	Unsupported *Unsupported `json:"unsupported,omitempty"`
	// Context is the text of the context's error among the causes.
	Context string `json:"context,omitempty"`
}

// Exit is a sandbox.ExitError.
type Exit struct {
	Job      string         `json:"job"`
	Signal   syscall.Signal `json:"signal,omitempty"`
	Code     int            `json:"code,omitempty"`
	Panicked bool           `json:"panicked,omitempty"`
	Text     string         `json:"text,omitempty"`
	Stack    string         `json:"stack,omitempty"`
}

// Unsupported is a feature.Unsupported.
type Unsupported struct {
	Feature string `json:"feature"`
	Needs   string `json:"needs"`
	Remedy  string `json:"remedy,omitempty"`
	Err     string `json:"err,omitempty"`
}

// NewFailure takes an error apart; it is nil for nil.
func NewFailure(err error) *Failure {
	if err == nil {
		return nil
	}
	f := &Failure{Text: err.Error()}
	if e, ok := errors.AsType[*sandbox.ExitError](err); ok {
		f.Exit = &Exit{Job: e.Job, Signal: e.Signal, Code: e.Code, Panicked: e.Panicked, Text: e.Text, Stack: e.Stack}
	}
	if u, ok := errors.AsType[*feature.Unsupported](err); ok {
		f.Unsupported = &Unsupported{Feature: u.Feature, Needs: u.Needs, Remedy: u.Remedy}
		if u.Err != nil {
			f.Unsupported.Err = u.Err.Error()
		}
	}
	for _, known := range contextErrors {
		if errors.Is(err, known) {
			f.Context = known.Error()
		}
	}
	return f
}

var contextErrors = []error{context.Canceled, context.DeadlineExceeded}

// err puts the error together again.
func (f *Failure) err() error {
	if f == nil {
		return nil
	}
	var inner error
	switch {
	case f.Unsupported != nil:
		u := &feature.Unsupported{Feature: f.Unsupported.Feature, Needs: f.Unsupported.Needs, Remedy: f.Unsupported.Remedy}
		if f.Unsupported.Err != "" {
			u.Err = errors.New(f.Unsupported.Err)
		}
		inner = u
	default:
		for _, known := range contextErrors {
			if f.Context == known.Error() {
				inner = known
			}
		}
	}
	if f.Exit != nil {
		e := f.Exit
		inner = &sandbox.ExitError{Job: e.Job, Signal: e.Signal, Code: e.Code, Panicked: e.Panicked, Text: e.Text, Stack: e.Stack, Err: inner}
	}
	switch {
	case inner == nil:
		return errors.New(f.Text)
	case inner.Error() == f.Text:
		return inner
	}
	return &told{f.Text, inner}
}

// told is an error with its own words about a cause.
type told struct {
	text string
	err  error
}

func (t *told) Error() string { return t.text }
func (t *told) Unwrap() error { return t.err }

// Limits of what an End takes along. The longest is the stack of a panic, which the
// sandbox bounds by as much.
const (
	maxText  = 32 << 10
	maxStack = 256 << 10
	maxList  = 200
	maxEntry = 1 << 10
)

// clipped is an end that surely fits in its place.
func (e End) clipped() End {
	clip(&e.Guest, maxText)
	e.OOM, e.Lost = clipList(e.OOM), clipList(e.Lost)
	if e.Job == nil {
		return e
	}
	job := *e.Job
	clip(&job.Text, maxText)
	clip(&job.Context, maxText)
	if job.Exit != nil {
		exit := *job.Exit
		clip(&exit.Job, maxText)
		clip(&exit.Text, maxText)
		clip(&exit.Stack, maxStack)
		job.Exit = &exit
	}
	if job.Unsupported != nil {
		u := *job.Unsupported
		for _, s := range []*string{&u.Feature, &u.Needs, &u.Remedy, &u.Err} {
			clip(s, maxEntry)
		}
		job.Unsupported = &u
	}
	e.Job = &job
	return e
}

func clip(s *string, limit int) {
	if len(*s) > limit {
		*s = strings.ToValidUTF8((*s)[:limit], "") + " …"
	}
}

func clipList(list []string) []string {
	var kept []string
	for i, entry := range list {
		if i == maxList {
			return append(kept, "…")
		}
		clip(&entry, maxEntry)
		kept = append(kept, entry)
	}
	return kept
}
