package scenarios

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"outlive/lab"
	"outlive/lab/sandbox"
	"outlive/lab/units"
	"outlive/scenarios/report"
)

// Options say how a scenario is run.
type Options struct {
	// Dir is the result folder. It is made if it does not exist; if it holds an
	// earlier result, that is an error, so that nothing is lost.
	Dir string
	// Progress is called with every event of the lab as it happens, in order,
	// from one goroutine. Nil means nobody looks.
	Progress func(lab.Event)
	// Stderr takes what process 1 of the sandbox has to say when it goes wrong. Nil means os.Stderr.
	Stderr io.Writer
}

// setupLimit is how long a lab may take before and after the scenario itself.
const setupLimit = 90 * time.Second

// Run runs a scenario in a sandbox and judges what came of it. Everything is in
// the result folder afterwards. Cancelling ctx ends the lab early: the result is
// then what there was, and inconclusive.
//
// The error is a *feature.Unsupported (errors.Is errors.ErrUnsupported) where this
// machine cannot run a lab, and another error where the lab could not be built;
// then there is no result. A lab that ran and went wrong later gives a result that says so.
//
// The program that calls Run must have called sandbox.Main first thing in main or TestMain.
func Run(ctx context.Context, s *Scenario, o Options) (*report.Result, error) {
	dir, err := prepare(s, o.Dir)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	labErr := runSandbox(ctx, s, dir, o)
	result, err := conclude(s, dir, report.Run{
		File:   s.Source.Name,
		Folder: filepath.Clean(o.Dir),
		Lab:    report.Lab{Wall: units.Seconds(time.Since(began))},
	}, labErr)
	if errors.Is(err, unix.ENOSPC) {
		err = fmt.Errorf("%w; the evidence is kept: make room and run 'outlive report %s'", err, dir)
	}
	return result, err
}

// prepare makes the result folder and puts into it what the lab needs.
func prepare(s *Scenario, dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("finding the result folder: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making the result folder: %w", err)
	}
	for _, old := range []string{eventsFile, resultFile} {
		if _, err := os.Lstat(filepath.Join(dir, old)); err == nil {
			return "", fmt.Errorf("the result folder %s already holds a result (%s): name another with --out, or remove it", dir, old)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, scenarioFile), s.Resolved, 0o644); err != nil {
		return "", fmt.Errorf("keeping the scenario in the result folder: %w", err)
	}
	stage := func(program string, files []string) error {
		folder := workFolder(program)
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			return fmt.Errorf("making the working folder of %s: %w", program, err)
		}
		for _, f := range files {
			if ours(f) {
				return fmt.Errorf("copying %s for %s: a result folder has a file of that name already; call it something else", f, program)
			}
			// Beside the scenario, so that the folder can be run again; and in
			// the program's own folder, which it may write in.
			for _, to := range []string{f, filepath.Join(folder, f)} {
				if err := copyTree(s.Source.FS, f, filepath.Join(dir, to)); err != nil {
					return fmt.Errorf("copying %s for %s: %w", f, program, err)
				}
			}
		}
		return nil
	}
	if err := stage(serverHost, s.Server.Files); err != nil {
		return "", err
	}
	for _, d := range s.Devices {
		if err := stage(clientProgramName(d.Name), d.Client.Files); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// runSandbox runs the lab and waits for its end, which it enforces.
func runSandbox(ctx context.Context, s *Scenario, dir string, o Options) error {
	order, err := json.Marshal(labOrder{Dir: dir})
	if err != nil {
		return fmt.Errorf("writing the lab's order: %w", err)
	}
	stderr := o.Stderr
	if stderr == nil {
		stderr = os.Stderr
	}
	box, err := sandbox.Start(ctx, sandbox.Spec{
		Job:    labJob,
		Data:   order,
		Dir:    dir,
		Stderr: stderr,
		Report: func(line []byte) {
			var e lab.Event
			if o.Progress != nil && json.Unmarshal(line, &e) == nil {
				o.Progress(e)
			}
		},
	})
	if err != nil {
		return fmt.Errorf("starting the sandbox: %w", err)
	}
	limit := time.AfterFunc(s.Duration.D()+setupLimit, box.Kill)
	defer limit.Stop()
	return box.Wait()
}

// copyTree copies a file or folder, with its permissions.
func copyTree(from fs.FS, name, to string) error {
	return fs.WalkDir(from, filepath.ToSlash(filepath.Clean(name)), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(filepath.Clean(name), filepath.FromSlash(path))
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		info, err := fs.Stat(from, path)
		if err != nil {
			return err
		}
		if info.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is not an ordinary file or folder", path)
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		in, err := from.Open(path)
		if err != nil {
			return err
		}
		defer in.Close()
		out, err := os.OpenFile(target, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, info.Mode().Perm()|0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, in)
		return errors.Join(err, out.Close())
	})
}
