package nat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"outlive/lab/feature"
	"outlive/lab/netns"
)

// RuleError reports that iptables-restore refused a ruleset. %v is one line; %+v
// adds the tool's whole output and the ruleset with line numbers.
type RuleError struct {
	// Tool is the program that refused it.
	Tool string
	// Ruleset is what it was given, and Output what it said.
	Ruleset, Output string
	// Err is how the program ended.
	Err error
}

// Error is one line: the tool, and the first line of what it said.
func (e *RuleError) Error() string {
	said, _, _ := strings.Cut(strings.TrimSpace(e.Output), "\n")
	if said == "" {
		said = "no output"
	}
	return fmt.Sprintf("installing rules with %s: %v: %s", e.Tool, e.Err, said)
}

// Unwrap gives how the program ended.
func (e *RuleError) Unwrap() error { return e.Err }

// Format prints the long form for %+v.
func (e *RuleError) Format(s fmt.State, verb rune) {
	text := e.Error()
	if verb == 'v' && s.Flag('+') {
		text += fmt.Sprintf("\n\n%s said:\n%s\n\nthe ruleset:\n", e.Tool, strings.TrimSpace(e.Output))
		for i, line := range strings.Split(strings.TrimSuffix(e.Ruleset, "\n"), "\n") {
			text += fmt.Sprintf("%3d  %s\n", i+1, line)
		}
	}
	// What cannot be printed has nobody to be told.
	_, _ = io.WriteString(s, text)
}

// restore replaces the namespace's filter and nat rules by the ruleset, all or
// nothing per table.
func restore(ctx context.Context, ns *netns.NS, ruleset string) error {
	tool, err := findTool("iptables-restore")
	if err != nil {
		return err
	}
	// The legacy variant locks a file that all namespaces share; it is to wait
	// its turn rather than fail. The nf_tables variant ignores the option.
	output, _, err := runTool(ctx, ns, ruleset, tool, "--wait")
	if err != nil {
		return &RuleError{Tool: tool, Ruleset: ruleset, Output: output, Err: err}
	}
	return nil
}

// save gives the rules that the namespace has, as iptables-save prints them.
func save(ctx context.Context, ns *netns.NS, args ...string) (string, error) {
	tool, err := saver()
	if err != nil {
		return "", err
	}
	said, text, err := runTool(ctx, ns, "", tool, args...)
	if err != nil {
		return "", fmt.Errorf("running %s: %w: %s", tool, err, strings.TrimSpace(said))
	}
	return text, nil
}

// runTool runs a program in the namespace. said is what it wrote to its standard
// error, text what it wrote to its standard output.
func runTool(ctx context.Context, ns *netns.NS, input, tool string, args ...string) (said, text string, err error) {
	if err := ctx.Err(); err != nil {
		return "", "", err
	}
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// Its messages are read by people who may not share the caller's language,
	// and compared with each other.
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := ns.Start(cmd); err != nil {
		return "", "", err
	}
	err = cmd.Wait()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return stderr.String(), stdout.String(), err
}

// findTool finds a program of the iptables package. Ordinary users often lack the
// system directories in their PATH.
func findTool(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	if !errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("finding %s: %w", name, err)
	}
	return "", &feature.Unsupported{
		Feature: name,
		Needs:   "the iptables package",
		Remedy:  "install it: sudo apt-get install iptables",
	}
}

// saver finds the iptables-save that belongs to the iptables-restore in use: that
// of the other variant would show no rules at all.
func saver() (string, error) {
	tool, err := findTool("iptables-restore")
	if err != nil {
		return "", err
	}
	beside := filepath.Join(filepath.Dir(tool), "iptables-save")
	if _, err := os.Stat(beside); err == nil {
		return beside, nil
	}
	return findTool("iptables-save")
}
