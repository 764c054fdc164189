package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"outlive/lab/sandbox"
)

// command completes the command of a spec. release lets go of what only its start
// needs.
func command(spec Spec) (cmd *exec.Cmd, release func(), err error) {
	if (spec.Cmd == nil) == (len(spec.Argv) == 0) {
		return nil, nil, errors.New("exactly one of Argv and Cmd must say what to run")
	}
	if spec.Dir == "" {
		spec.Dir = "/"
	}
	dir, err := unix.Open(spec.Dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("entering its folder %s: %w%s", spec.Dir, err, hiddenHint(spec.Dir, err))
	}
	env := environment(spec)
	if cmd = spec.Cmd; cmd == nil {
		path, err := find(spec.Argv[0], spec.Dir, variable(env, "PATH"))
		if err != nil {
			_ = unix.Close(dir)
			return nil, nil, err
		}
		cmd = &exec.Cmd{Path: path, Args: slices.Clone(spec.Argv)}
	}
	cmd.Env = env
	// By descriptor: the folder can be entered so even if one above it cannot, as in
	// the home of the user who called sudo.
	cmd.Dir = fmt.Sprintf("/proc/self/fd/%d", dir)
	cmd.Stdin = nil
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	// A session of its own: no terminal controls the program, though one is its output,
	// and its process group can be signalled.
	cmd.SysProcAttr.Setsid = true
	cmd.SysProcAttr.Cloneflags |= familyNamespace
	if !spec.Privileged {
		sandbox.Unprivileged(cmd)
	}
	return cmd, func() { _ = unix.Close(dir) }, nil
}

// environment is what a program gets, later entries before earlier ones.
func environment(spec Spec) []string {
	env := []string{
		"PATH=" + searchPath(os.Getenv("PATH")),
		"HOME=" + spec.Dir,
		"PWD=" + spec.Dir,
		"LANG=C.UTF-8",
		// Its output is a terminal, but nobody looks at it.
		"TERM=dumb",
		"NO_COLOR=1",
	}
	if spec.Cmd != nil {
		env = append(env, spec.Cmd.Env...)
	}
	return append(env, spec.Env...)
}

// variable is the value of a variable in an environment, the last one if there are
// several.
func variable(env []string, name string) string {
	for _, entry := range slices.Backward(env) {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// searchPath adds the places where servers are installed to the caller's PATH: an
// ordinary user's often has no sbin.
func searchPath(path string) string {
	dirs := filepath.SplitList(path)
	for _, dir := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return strings.Join(dirs, string(filepath.ListSeparator))
}

// find gives the path by which a program is executed from dir.
func find(name, dir, path string) (string, error) {
	if name == "" {
		return "", errors.New("the program's name is empty")
	}
	if strings.Contains(name, "/") {
		full := name
		if !filepath.IsAbs(name) {
			full = filepath.Join(dir, name)
		}
		if err := executable(full); err != nil {
			return "", fmt.Errorf("%s: %w%s", full, err, hiddenHint(full, err))
		}
		// A relative one is left so: execution starts from dir, which may be the only
		// way to reach it.
		return name, nil
	}
	var forbidden error
	for _, place := range filepath.SplitList(path) {
		// An empty or relative place would be one in dir, which no user means.
		if !filepath.IsAbs(place) {
			continue
		}
		full := filepath.Join(place, name)
		err := executable(full)
		if err == nil {
			return full, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && forbidden == nil {
			forbidden = fmt.Errorf("%s: %w", full, err)
		}
	}
	if forbidden != nil {
		return "", forbidden
	}
	return "", fmt.Errorf("%s: not found in PATH; install the package that has it, or give the program's path (PATH=%s)", name, path)
}

// executable says why a file is not a program.
func executable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		// Only the cause: the caller names the file.
		if cause, ok := errors.AsType[*fs.PathError](err); ok {
			return cause.Err
		}
		return err
	}
	switch {
	case info.IsDir():
		return errors.New("it is a folder, not a program")
	case info.Mode()&0o111 == 0:
		return errors.New("it is not executable; chmod +x makes it so")
	}
	return nil
}

// hiddenHint explains a file that is there on the host and not in the lab.
func hiddenHint(path string, err error) string {
	if errors.Is(err, fs.ErrNotExist) && sandbox.Hides(path) {
		return " (the lab has a private /run, /tmp and /dev/shm; keep the file elsewhere, or beside the scenario)"
	}
	return ""
}

// explainStart says more about why a program could not be started than the kernel does.
func explainStart(spec Spec, cmd *exec.Cmd, err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w: the interpreter that it needs is missing, see its first line (head -n 1 %s) or ldd", err, cmd.Path)
	case errors.Is(err, unix.ENOEXEC):
		return fmt.Errorf("%w: it is not a program for this machine, nor does it begin with #! and an interpreter", err)
	case errors.Is(err, unix.EACCES) && !spec.Privileged:
		return fmt.Errorf("%w: the program or its folder %s is closed to ordinary users of the lab, "+
			"or lies in a folder that is; open it to all (chmod a+rx), move it, or run the program privileged", err, spec.Dir)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		return sandbox.Explain("starting the program", err)
	}
	return err
}
