// Package units has the quantities of scenario files as people write them:
// durations and shares, with one spelling each and errors that say how to write
// the thing right. Beside them are the words in which messages count things, list
// them, and say what was perhaps meant.
package units

import "fmt"

// ParseError says why a text is not a quantity, and what was perhaps meant.
type ParseError struct {
	// Kind is the kind of quantity: "duration", "share".
	Kind string
	// Text is what was read.
	Text string
	// Problem says what is wrong with it and what would be right.
	Problem string
	// Suggestion is a value that was perhaps meant, or empty.
	Suggestion string
}

// Error reads as one sentence: `reading "90" as a duration: it has no unit; write "90s"`.
func (e *ParseError) Error() string {
	s := fmt.Sprintf("reading %q as a %s: %s", e.Text, e.Kind, e.Problem)
	if e.Suggestion != "" {
		s += fmt.Sprintf("; write %q", e.Suggestion)
	}
	return s
}
