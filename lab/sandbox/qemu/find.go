package qemu

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"outlive/lab/feature"
)

const (
	programName = "qemu-system-x86_64"
	// oldest is the first version with -action panic=pause.
	oldest = 6
	// answerLimit is how long QEMU may take to say its version.
	answerLimit = 20 * time.Second
	// wantedMachine is the type of machine where the program has it, so that a newer
	// program makes the same machine.
	wantedMachine = "pc-q35-7.2"
)

// Program is an emulator that was found.
type Program struct {
	// Path is where it is.
	Path string
	// Version is what it says of itself: "7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)".
	Version string
	// Machine is the type of machine that it makes for us: "pc-q35-7.2".
	Machine string
}

// Find looks for the emulator on PATH, once in the life of a process. What it says of
// itself is kept in the cache as long as its file stays the same. The error is a
// *feature.Unsupported if there is none that will do.
func Find() (*Program, error) { return find() }

var find = sync.OnceValues(func() (*Program, error) {
	path, err := exec.LookPath(programName)
	if err != nil {
		return nil, unsupported(programName+" on PATH", err)
	}
	if p := recall(path); p != nil {
		return p, nil
	}
	version, err := ask(path, "--version")
	if err != nil {
		return nil, err
	}
	types, err := ask(path, "-machine", "help")
	if err != nil {
		return nil, err
	}
	p, err := identify(path, version, types)
	if err == nil {
		remember(p)
	}
	return p, err
})

func unsupported(needs string, err error) error {
	return &feature.Unsupported{
		Feature: "a machine in virtual time", Needs: needs,
		Remedy: "apt-get install qemu-system-x86", Err: err,
	}
}

func ask(path string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), answerLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, args...).Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		return "", unsupported("a "+programName+" that runs", fmt.Errorf("%s %s: %w", path, strings.Join(args, " "), err))
	}
	return string(out), nil
}

var (
	versionText = regexp.MustCompile(`(?m)version ((\d+)\.\d+\S*( \(.*\))?)\s*$`)
	machineType = regexp.MustCompile(`(?m)^pc-q35-(\d+)\.(\d+) `)
)

// identify makes a Program of what it says.
func identify(path, version, types string) (*Program, error) {
	match := versionText.FindStringSubmatch(version)
	if match == nil {
		return nil, unsupported("a "+programName+" that says its version", fmt.Errorf("%s --version said %q", path, version))
	}
	if major, _ := strconv.Atoi(match[2]); major < oldest {
		return nil, unsupported(fmt.Sprintf("QEMU %d.0 or newer", oldest), fmt.Errorf("%s is %s", path, match[1]))
	}
	p := &Program{Path: path, Version: match[1]}
	newest := 0
	for _, t := range machineType.FindAllStringSubmatch(types, -1) {
		name := strings.TrimSpace(t[0])
		if name == wantedMachine {
			p.Machine = name
			break
		}
		major, _ := strconv.Atoi(t[1])
		minor, _ := strconv.Atoi(t[2])
		if n := major*1000 + minor; n > newest {
			newest, p.Machine = n, name
		}
	}
	if p.Machine == "" {
		return nil, unsupported("a machine of type pc-q35", fmt.Errorf("%s -machine help lists none", path))
	}
	return p, nil
}
