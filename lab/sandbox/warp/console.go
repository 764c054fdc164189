package warp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// ConsoleFile is what the machine's console said, in Spec.Dir after a guest that did
// not end well.
const ConsoleFile = "console.log"

// console is what a machine said in all its life: its kernel, process 1 of the lab, and
// whatever has their standard error.
type console struct{ lines []string }

func newConsole(f *os.File) (console, error) {
	info, err := f.Stat()
	if err != nil {
		return console{}, fmt.Errorf("reading the guest's console: %w", err)
	}
	text, err := io.ReadAll(io.NewSectionReader(f, 0, info.Size()))
	if err != nil {
		err = fmt.Errorf("reading the guest's console: %w", err)
	}
	// A terminal's lines end with a carriage return as well.
	text = bytes.TrimRight(bytes.ReplaceAll(text, []byte("\r"), nil), "\n")
	if len(text) == 0 {
		return console{}, err
	}
	return console{strings.Split(string(text), "\n")}, err
}

// kernelLine is how a line of the kernel begins: with its time.
var kernelLine = regexp.MustCompile(`^\[ *\d+\.\d{6}\]`)

// repeat writes what others than the kernel have said.
func (c console) repeat(to io.Writer) {
	for _, line := range c.lines {
		if line != "" && !kernelLine.MatchString(line) {
			// If nobody reads it, nobody misses it.
			_, _ = fmt.Fprintln(to, line)
		}
	}
}

// tailLines is how much of the console an error repeats.
const tailLines = 8

func (c console) tail() string {
	if len(c.lines) == 0 {
		return ""
	}
	return "    " + strings.Join(c.lines[max(0, len(c.lines)-tailLines):], "\n    ")
}

// keep writes all of it to the result folder.
func (c console) keep(dir string) error {
	f, err := os.Create(filepath.Join(dir, ConsoleFile))
	if err == nil {
		_, err = io.WriteString(f, strings.Join(append(c.lines, ""), "\n"))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("keeping the guest's console: %w", err)
	}
	return nil
}
