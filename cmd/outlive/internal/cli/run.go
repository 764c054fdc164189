package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"outlive/lab"
	"outlive/probes/flow"
	"outlive/scenarios"
	"outlive/scenarios/report"
	"outlive/scenarios/verdict"
)

type runFlags struct {
	engine   string
	twice    bool
	out      string
	set      []string
	seed     uint64
	parallel int
	junit    string
	json     string
	format   string
}

func newRun(s *State) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run SCENARIO...",
		Short: "Run scenarios and judge them",
		Long: `Run runs scenario files, folders of them, or scenarios of the catalogue by name,
each in a sandbox of its own, and judges from the captures.

The engine live is namespaces of this machine, in real time. The engine warp is a
virtual machine whose clock jumps over idle time: a day costs seconds or minutes,
and the same seed gives the same run. Its image is built on first use. auto, the
default, takes warp for a scenario of a minute or more where it can be had, and
says what it took and why.

Results go to stdout, everything else to stderr. Each scenario gets a folder
with result.json, capture.pcapng, events.jsonl, the logs of server and clients,
and the NATs' rules as installed.

Exit code: 0 all passed, 1 an expectation failed, 2 usage or scenario error,
3 the lab could not run, 4 inconclusive, 130 interrupted.`,
		Example: `  outlive run quickstart
  outlive run scenarios/ --parallel 4 --junit results.xml
  outlive run nat-reboot --set devices.phone.heartbeat.interval=2s
  outlive run soak-24h-mosquitto
  outlive run nat-reboot --engine warp --twice
  outlive run mine.yaml --format quiet --json -`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return run(cmd.Context(), s, f, cmd.Flags().Changed("seed"), args)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.engine, "engine", "auto", "auto, live (real time) or warp (virtual time)")
	flags.BoolVar(&f.twice, "twice", false, "run each scenario twice on the engine warp and compare captures and events byte for byte")
	flags.StringVar(&f.out, "out", "", "folder for the results, one sub-folder a scenario (default outlive-results/TIME)")
	flags.StringArrayVar(&f.set, "set", nil, "change a value of the scenario: --set devices.phone.heartbeat.interval=2s")
	flags.Uint64Var(&f.seed, "seed", 1, "what every choice of the lab is drawn from, instead of the scenario's seed")
	flags.IntVar(&f.parallel, "parallel", 1, "how many scenarios run at the same time; on the engine warp at most one a processor core")
	flags.StringVar(&f.junit, "junit", "", "write a JUnit XML file; inconclusive is an error there")
	flags.StringVar(&f.json, "json", "", "write all results as one JSON array, - for stdout")
	flags.StringVar(&f.format, "format", "text", "text, github (annotations) or quiet (a line a scenario)")
	return cmd
}

func run(ctx context.Context, s *State, f runFlags, seeded bool, args []string) error {
	if f.parallel < 1 || f.parallel > 1000 {
		return fmt.Errorf("--parallel %d: give a number from 1 to 1000", f.parallel)
	}
	switch f.format {
	case "text", "github", "quiet":
	default:
		return fmt.Errorf("--format %q: give text, github or quiet", f.format)
	}
	options := scenarios.Options{Engine: scenarios.Engine(f.engine), Twice: f.twice, Stderr: s.Stderr}
	if seeded {
		f.set = append(f.set, fmt.Sprintf("seed=%d", f.seed))
	}
	todo, err := load(s, args, f.set)
	if err != nil {
		return err
	}
	for _, t := range todo {
		if err := options.Check(t); err != nil {
			return err
		}
	}
	out := f.out
	if out == "" {
		if out, err = newFolder(filepath.Join("outlive-results", s.Now().Format("20060102-150405"))); err != nil {
			return &exitError{exitLab, err}
		}
	}

	results := make([]*report.Result, len(todo))
	code := exitPass
	live := newLive(s, todo)
	var mu sync.Mutex
	finish := func(i int, r *report.Result, err error) {
		mu.Lock()
		defer mu.Unlock()
		live.done(i)
		if r != nil {
			results[i] = r
			code = worse(code, codeOfVerdict(r.Verdict))
			live.print(func() { s.write(f, r) })
		}
		if err != nil {
			code = worse(code, codeOfRun(err))
			live.print(func() { fmt.Fprintf(s.Stderr, "outlive: %s: %v\n", todo[i].Name, err) })
		}
		if r == nil && err != nil {
			results[i] = notRun(todo[i], options.Engine, err)
		}
	}
	queue := make(chan int)
	var workers sync.WaitGroup
	for range min(f.parallel, len(todo)) {
		workers.Go(func() {
			for i := range queue {
				o := options
				o.Dir = filepath.Join(out, todo[i].Name)
				o.Progress = func(e lab.Event) { live.event(i, e) }
				o.Tick = func(at time.Duration) { live.tick(i, at) }
				r, err := scenarios.Run(ctx, todo[i], o)
				finish(i, r, err)
			}
		})
	}
feed:
	for i := range todo {
		select {
		case queue <- i:
		case <-ctx.Done():
			break feed
		}
	}
	close(queue)
	workers.Wait()
	live.stop()

	var finished []report.Result
	for _, r := range results {
		if r != nil {
			finished = append(finished, *r)
		}
	}
	if err := s.summarise(f, finished, len(todo)); err != nil {
		return &exitError{worse(code, exitLab), err}
	}
	if code != exitPass {
		return &exitError{code: code}
	}
	return nil
}

// newFolder makes a folder of that name, or with a number behind it where another
// run of the same second was first.
func newFolder(name string) (string, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return "", fmt.Errorf("making the folder for the results: %w", err)
	}
	for n := 1; ; n++ {
		dir := name
		if n > 1 {
			dir = fmt.Sprintf("%s-%d", name, n)
		}
		err := os.Mkdir(dir, 0o755)
		if err == nil || !errors.Is(err, fs.ErrExist) {
			return dir, err
		}
	}
}

// notRun is what files for machines say of a scenario whose lab did not come up:
// a gate must not take a scenario that is missing for one that passed.
func notRun(t *scenarios.Scenario, engine scenarios.Engine, err error) *report.Result {
	outcome := verdict.Judge(verdict.Input{Expectations: t.Expect, Spoilt: []string{err.Error()}})
	r := report.New(report.Run{
		Scenario: t.Name, Summary: t.Summary, File: t.Source.Name, Engine: string(engine), Seed: t.Seed,
	}, flow.Truth{}, nil, outcome)
	return &r
}

// load finds and loads every scenario before the first one runs, so that a
// mistake in the last does not cost the time of the others.
func load(s *State, args, set []string) ([]*scenarios.Scenario, error) {
	sources, err := scenarios.Find(args)
	if err != nil {
		return nil, err
	}
	return loadAll(s, sources, set)
}

func loadAll(s *State, sources []scenarios.Source, set []string) ([]*scenarios.Scenario, error) {
	var todo []*scenarios.Scenario
	var wrong []error
	for _, src := range sources {
		loaded, err := scenarios.Load(src, scenarios.LoadOptions{Set: set})
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		todo = append(todo, loaded)
	}
	for _, err := range wrong {
		fmt.Fprintln(s.Stderr, err)
	}
	if len(wrong) > 0 {
		return nil, &exitError{code: exitUsage}
	}
	names := map[string]string{}
	for _, t := range todo {
		if other, ok := names[t.Name]; ok {
			return nil, fmt.Errorf("%s and %s are both called %s: their results would lie in the same folder; run them one after the other", other, t.Source.Name, t.Name)
		}
		names[t.Name] = t.Source.Name
	}
	return todo, nil
}

// write prints one result in the format asked for. Main tells of a stdout that
// did not take it.
func (s *State) write(f runFlags, r *report.Result) {
	switch f.format {
	case "quiet":
		_ = report.WriteQuiet(s.Stdout, *r)
	case "github":
		_ = report.WriteGitHub(s.Stdout, []report.Result{*r})
	default:
		_ = report.WriteText(s.Stdout, *r, report.TextOptions{Colour: s.colour(), Width: min(s.Width, 100)})
	}
}

// summarise writes what is about all scenarios together.
func (s *State) summarise(f runFlags, results []report.Result, asked int) error {
	if asked > 1 && f.format == "text" {
		_ = report.WriteSummary(s.Stdout, results, asked)
	}
	var errs []error
	if f.junit != "" {
		errs = append(errs, writeFile(f.junit, func(w io.Writer) error { return report.WriteJUnit(w, results) }))
	}
	switch f.json {
	case "":
	case "-":
		errs = append(errs, report.WriteJSON(s.Stdout, results))
	default:
		errs = append(errs, writeFile(f.json, func(w io.Writer) error { return report.WriteJSON(w, results) }))
	}
	return errors.Join(errs...)
}

// writeFile writes a whole file or leaves the old one.
func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	err = errors.Join(write(f), f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
