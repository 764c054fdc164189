package scenarios

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"outlive/lab"
	"outlive/lab/feature"
	"outlive/lab/sandbox"
	"outlive/nat"
	"outlive/probes/capture"
	"outlive/probes/socket"
)

// doctorJob tries one check inside a sandbox, where a lab would do the thing.
const doctorJob = "doctor"

func init() { sandbox.Register(doctorJob, runCheck) }

// finding is what a check found, on its way out of the sandbox.
type finding struct {
	Found string `json:"found,omitempty"`
	// Unsupported and Err are the error, if any.
	Unsupported *feature.Unsupported `json:"unsupported,omitempty"`
	Cause       string               `json:"cause,omitempty"`
	Err         string               `json:"err,omitempty"`
}

// inside are the checks that need a sandbox around them.
func inside() []feature.Check {
	return slices.Concat(lab.Checks(), nat.Checks(), capture.Checks(), socket.Checks())
}

// LiveChecks is everything that the engine live needs of a machine, each to be found
// out by trying it. The program that tries them must have called sandbox.Main.
func LiveChecks() []feature.Check {
	checks := sandbox.Checks()
	for _, c := range inside() {
		checks = append(checks, feature.Check{Name: c.Name, Optional: c.Optional, Try: func(ctx context.Context) (string, error) {
			return tryInside(ctx, c.Name)
		}})
	}
	return checks
}

// ProgramChecks looks for programs that only some scenarios need, on either engine.
func ProgramChecks() []feature.Check {
	return []feature.Check{
		programCheck("mosquitto", "-h", "mosquitto", "the quickstart and the scenarios with mosquitto in their name"),
		programCheck("mosquitto_sub", "--help", "mosquitto-clients", "the scenarios called mosquitto-sub-… and soak-…"),
	}
}

// tryInside starts a sandbox and tries the check of that name in it.
func tryInside(ctx context.Context, name string) (string, error) {
	dir, err := os.MkdirTemp("", "outlive-doctor-")
	if err != nil {
		return "", fmt.Errorf("making a folder for the check: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var f finding
	var stderr bytes.Buffer
	box, err := sandbox.Start(ctx, sandbox.Spec{
		Job: doctorJob, Data: []byte(name), Dir: dir, Stderr: &stderr,
		Report: func(line []byte) { _ = json.Unmarshal(line, &f) },
	})
	if err != nil {
		return "", err
	}
	if err := box.Wait(); err != nil {
		return "", err
	}
	switch {
	case f.Unsupported != nil:
		if f.Cause != "" {
			f.Unsupported.Err = errors.New(f.Cause)
		}
		return "", f.Unsupported
	case f.Err != "":
		return "", errors.New(f.Err)
	}
	return f.Found, nil
}

// runCheck is the other half of tryInside.
func runCheck(ctx context.Context, name []byte, report io.Writer) error {
	for _, c := range inside() {
		if c.Name != string(name) {
			continue
		}
		var f finding
		found, err := c.Try(ctx)
		f.Found = found
		if u := (*feature.Unsupported)(nil); errors.As(err, &u) {
			plain := *u
			if u.Err != nil {
				f.Cause = u.Err.Error()
				plain.Err = nil
			}
			f.Unsupported = &plain
		} else if err != nil {
			f.Err = err.Error()
		}
		return json.NewEncoder(report).Encode(f)
	}
	return fmt.Errorf("there is no check called %q", name)
}

// programCheck looks for a program that only some scenarios need.
func programCheck(program, help, pkg, who string) feature.Check {
	return feature.Check{Name: program, Optional: true, Try: func(ctx context.Context) (string, error) {
		path, err := exec.LookPath(program)
		if err != nil {
			return "", &feature.Unsupported{
				Feature: program, Needs: "the package " + pkg + ", for " + who,
				Remedy: "apt-get install " + pkg,
			}
		}
		// Both exit with an error after their help, in which they name their version.
		out, _ := exec.CommandContext(ctx, path, help).CombinedOutput()
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "version") {
				return strings.TrimSpace(line), nil
			}
		}
		return path, nil
	}}
}
