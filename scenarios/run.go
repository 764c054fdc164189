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
	// Engine is the kind of sandbox; empty means EngineAuto.
	Engine Engine
	// Twice runs the scenario a second time with the same seed, on the warp engine, and
	// compares captures and events byte for byte. A run that differs is inconclusive,
	// and the second one stays in the folder "again" of the first.
	Twice bool
	// Progress is called with every event of the lab as it happens, in order,
	// from one goroutine. Before them come those of the kinds EventEngine and EventImage.
	// A second run has none. Nil means nobody looks.
	Progress func(lab.Event)
	// Tick is called now and then on the warp engine with the scenario's time, whose
	// speed nobody outside can know, from the goroutine of Progress or another one. Nil means nobody looks.
	Tick func(at time.Duration)
	// Stderr takes what process 1 of the sandbox has to say when it goes wrong. Nil means os.Stderr.
	Stderr io.Writer

	// warp is the warp engine; nil means the real one.
	warp *guests
}

const (
	// setupLimit is how long a lab may take before and after the scenario itself.
	setupLimit = 90 * time.Second
	// startLimit is how long a client may take to come up, beside all the others.
	startLimit = 100 * time.Millisecond
)

// Run runs a scenario in a sandbox and judges what came of it. Everything is in
// the result folder afterwards. Cancelling ctx ends the lab early: the result is
// then what there was, and inconclusive.
//
// The error is an *EngineError where the options do not go with the scenario, a
// *feature.Unsupported (errors.Is errors.ErrUnsupported) where this
// machine cannot run a lab, and another error where the lab could not be built;
// then there is no result. A lab that ran and went wrong later gives a result that says so.
//
// The program that calls Run must have called sandbox.Main first thing in main or TestMain.
func Run(ctx context.Context, s *Scenario, o Options) (*report.Result, error) {
	if err := o.Check(s); err != nil {
		return nil, err
	}
	dir, err := prepare(s, o.Dir)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	run, labErr := attempt(ctx, s, dir, o)
	run.File = s.Source.Name
	run.Folder = filepath.Clean(o.Dir)
	run.Ran = began
	run.Lab.Wall = units.Seconds(time.Since(began))
	result, err := conclude(s, dir, run, labErr)
	if o.Twice && labErr == nil && err == nil && ctx.Err() == nil {
		run.Repeats, labErr = o.runAgain(ctx, s, dir, run)
		run.Lab.Wall = units.Seconds(time.Since(began))
		result, err = conclude(s, dir, run, labErr)
	}
	if errors.Is(err, unix.ENOSPC) {
		err = fmt.Errorf("%w; the evidence is kept: make room and run 'outlive report %s'", err, dir)
	}
	return result, err
}

// attempt runs the lab on the best engine on which it can be run.
func attempt(ctx context.Context, s *Scenario, dir string, o Options) (report.Run, error) {
	choices := o.choices(s)
	for i := 0; ; i++ {
		c := choices[i]
		o.tell(EventEngine, fmt.Sprintf("engine %s: %s", c.engine, c.why))
		run := report.Run{Engine: string(c.engine), EngineWhy: c.why}
		var err error
		if c.engine == EngineWarp {
			err = o.runWarp(ctx, s, dir, &run)
		} else {
			err = runLive(ctx, s, dir, o)
		}
		if err == nil || i == len(choices)-1 || begun(dir) {
			return run, err
		}
		why, ok := c.instead(err)
		if !ok {
			return run, err
		}
		if next := &choices[i+1]; next.engine == EngineWarp {
			if missing := o.guests().available(); missing != nil {
				return run, fmt.Errorf("%w; nor can the engine warp be had: %w", err, missing)
			}
		}
		choices[i+1].why = why
		if err := discard(dir); err != nil {
			return run, err
		}
	}
}

// tell lets those who watch know what happens before there is a lab.
func (o Options) tell(kind, text string) {
	if o.Progress != nil {
		o.Progress(lab.Event{Kind: kind, Text: text})
	}
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
	for _, f := range s.profileFiles() {
		if ours(f) {
			return "", fmt.Errorf("copying the NAT profile %s: a result folder has a file of that name already; call it something else", f)
		}
		if err := copyTree(s.Source.FS, f, filepath.Join(dir, f)); err != nil {
			return "", fmt.Errorf("copying the NAT profile %s: %w", f, err)
		}
	}
	if err := stage(serverHost, s.Server.Files); err != nil {
		return "", err
	}
	for _, d := range s.Devices {
		if !d.alone() {
			continue
		}
		if err := stage(clientProgramName(d.Name), d.Client.Files); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// runLive runs the lab in a sandbox of this machine and waits for its end, which it enforces.
func runLive(ctx context.Context, s *Scenario, dir string, o Options) error {
	order, err := json.Marshal(labOrder{Dir: dir, Engine: EngineLive})
	if err != nil {
		return fmt.Errorf("writing the lab's order: %w", err)
	}
	box, err := sandbox.Start(ctx, sandbox.Spec{
		Job:    labJob,
		Data:   order,
		Dir:    dir,
		Stderr: o.stderr(),
		Report: func(line []byte) { o.pass(line) },
	})
	if err != nil {
		return fmt.Errorf("starting the sandbox: %w", err)
	}
	limit := time.AfterFunc(s.Duration.D()+setupLimit+time.Duration(len(s.Devices))*startLimit, box.Kill)
	defer limit.Stop()
	return box.Wait()
}

// pass hands an event that the lab reported to those who watch, and returns it.
func (o Options) pass(line []byte) (e lab.Event) {
	if json.Unmarshal(line, &e) == nil && o.Progress != nil {
		o.Progress(e)
	}
	return e
}

func (o Options) stderr() io.Writer {
	if o.Stderr == nil {
		return os.Stderr
	}
	return o.Stderr
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
