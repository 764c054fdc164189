// Package cli is the command line: one file per sub-command. The state of the
// process is injected, so that tests run the real command tree.
package cli

import (
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"
)

// State is what the command line takes from its process.
type State struct {
	// Args are the arguments without the program's name.
	Args []string
	// Stdout takes results, Stderr everything else.
	Stdout, Stderr io.Writer
	// Getenv reads the environment.
	Getenv func(string) string
	// StdoutTerminal and StderrTerminal say that a person is looking.
	StdoutTerminal, StderrTerminal bool
	// Width is the terminal's width in columns.
	Width int
	// Signals receives interrupts: the first ends the work in order, the second at once.
	Signals <-chan os.Signal
	// Exit ends the process at once.
	Exit func(code int)
	// Now is the clock on the wall, for the names of result folders.
	Now func() time.Time
}

// FromProcess gathers the state of this process.
func FromProcess() *State {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	s := &State{
		Args:           os.Args[1:],
		Stdout:         os.Stdout,
		Stderr:         os.Stderr,
		Getenv:         os.Getenv,
		StdoutTerminal: term.IsTerminal(int(os.Stdout.Fd())),
		StderrTerminal: term.IsTerminal(int(os.Stderr.Fd())),
		Width:          80,
		Signals:        signals,
		Exit:           os.Exit,
		Now:            time.Now,
	}
	if w, _, err := term.GetSize(int(os.Stderr.Fd())); err == nil && w > 20 {
		s.Width = w
	}
	return s
}

// colour says whether stdout may be coloured (https://no-color.org).
func (s *State) colour() bool {
	return s.StdoutTerminal && s.Getenv("NO_COLOR") == "" && s.Getenv("TERM") != "dumb"
}
