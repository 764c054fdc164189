package scenarios

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"outlive/probes/capture"
	"outlive/probes/flow"
	"outlive/scenarios/report"
	"outlive/scenarios/verdict"
)

// judge makes the result out of the evidence in the result folder.
func judge(s *Scenario, dir string, ev *evidence, run report.Run) (*report.Result, error) {
	if ev.end.Interrupted {
		ev.truth.End = min(ev.truth.End, ev.end.Scenario)
	}
	analysis, err := analyse(dir, ev)
	if err != nil {
		return nil, err
	}
	outcome := verdict.Judge(verdict.Input{
		Analysis:     analysis,
		Truth:        ev.truth,
		Expectations: s.Expect,
		Checks:       ev.checks,
		Spoilt:       append(ev.reasons(s), ev.mismatches(s, analysis)...),
	})
	run.Scenario = s.Name
	run.Summary = s.Summary
	// The lab knows best what it ran on.
	run.Engine = cmp.Or(string(ev.engine.Engine), run.Engine)
	run.Seed = s.Seed
	run.Started = ev.truth.Start
	run.Command = "outlive run " + filepath.Join(run.Folder, scenarioFile)
	if s.Duration.D() >= patience || Engine(run.Engine) != EngineLive {
		run.Command += " --engine " + run.Engine
	}
	if run.ExactBy == report.ByTwice {
		run.Command += " --twice"
	}
	if Engine(run.Engine) == EngineWarp {
		if run.SHA256, err = hashes(dir); err != nil {
			return nil, err
		}
	}
	run.Files = inFolder(dir)
	run.NATChecks = ev.checks
	run.Events = ev.events
	run.Lab.Scenario = ev.end.Scenario
	run.Lab.Drops = ev.capture.Dropped()
	run.Lab.MaxLateness = ev.end.MaxLateness
	run.Lab.Versions = versions(ev.engine.Kernel, run.Lab.Versions)
	result := report.New(run, ev.truth, analysis, outcome)
	return &result, nil
}

// analyse reads the capture. Without one the result is nil: nothing was seen.
func analyse(dir string, ev *evidence) (*flow.Analysis, error) {
	f, err := os.Open(filepath.Join(dir, captureFile))
	if errors.Is(err, fs.ErrNotExist) || !ev.started {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening the capture: %w", err)
	}
	defer f.Close()
	a, err := flow.Analyze(f, ev.truth)
	if err != nil {
		return nil, fmt.Errorf("analysing %s: %w", f.Name(), err)
	}
	return a, nil
}

// reasons lists everything about the lab itself for which nothing can be judged.
func (ev *evidence) reasons(s *Scenario) []string {
	reasons := append([]string(nil), ev.spoilt...)
	add := func(format string, args ...any) { reasons = append(reasons, fmt.Sprintf(format, args...)) }
	switch {
	case !ev.started:
		add("the lab ended before the scenario began")
	case !ev.ended:
		add("the lab ended before the scenario did: its evidence is not whole")
	case ev.end.Interrupted:
		add("the run was interrupted after %.1fs of %s", ev.end.Scenario.D().Seconds(), s.Duration)
	}
	for _, e := range ev.events {
		// What the lab was late with may have fallen out of the scenario altogether.
		if (e.Kind == kindFault || e.Kind == kindPush) && e.At >= ev.truth.End && ev.started && !ev.end.Interrupted {
			add("an event came only at %.3fs, after the end of the scenario: %s", e.At.D().Seconds(), e.Text)
		}
	}
	if ev.end.MaxLateness.D() > latenessLimit {
		add("the lab was late by up to %s (limit %s): the machine was too busy to trust its times",
			ev.end.MaxLateness.D().Round(time.Millisecond), latenessLimit)
	}
	if n := ev.capture.Ambiguous; n > 0 {
		add("the machine's clock was set during the run, and the times of %d packets near that moment are uncertain", n)
	}
	return reasons
}

// mismatches are the ways in which the parts of the evidence are not of one run of
// this scenario: a file was changed, cut or taken from elsewhere.
func (ev *evidence) mismatches(s *Scenario, a *flow.Analysis) []string {
	var all []string
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if !ev.started {
		return nil
	}
	var devices, nats, wantDevices, wantNATs []string
	for _, d := range ev.truth.Devices {
		devices = append(devices, d.Name)
	}
	for _, n := range ev.truth.NATs {
		nats = append(nats, fmt.Sprintf("%s %+v", n.Name, n.Profile.Complete()))
	}
	for _, d := range s.Devices {
		wantDevices = append(wantDevices, d.Name)
	}
	for _, u := range s.Uplinks {
		for _, n := range u.boxes() {
			wantNATs = append(wantNATs, fmt.Sprintf("%s %+v", n.Name, n.Profile.Complete()))
		}
	}
	if !slices.Equal(devices, wantDevices) || !slices.Equal(nats, wantNATs) ||
		ev.truth.Protocol != s.Server.Protocol || ev.truth.Port() != s.Server.Port || !ev.end.Interrupted && ev.truth.End.D() != s.Duration.D() {
		add("%s is of another scenario than %s", eventsFile, scenarioFile)
	}
	if a == nil || !ev.ended {
		return all
	}
	if !ev.counted {
		add("the lab did not say how many packets it captured")
	}
	for _, p := range ev.capture.Points {
		if got := a.Captured[p.Name]; uint64(got) != p.Received {
			add("%s has %d packets of %s, and the lab captured %d: it was changed, or is of another run", captureFile, got, p.Name, p.Received)
		}
	}
	return all
}

// Report judges the evidence in a result folder again, and writes result.json
// anew. The lab is not run; a folder whose run was killed gives what is there.
func Report(folder string) (*report.Result, error) {
	dir, err := filepath.Abs(folder)
	if err != nil {
		return nil, fmt.Errorf("finding the result folder: %w", err)
	}
	s, err := loadResolved(dir)
	if err != nil {
		return nil, err
	}
	run := report.Run{File: s.Source.Name, Folder: filepath.Clean(folder)}
	if old, err := readResult(dir); err == nil {
		run.File, run.Ran, run.EngineWhy, run.Repeats = old.File, old.Ran, old.EngineWhy, old.Repeats
		run.Lab.Wall, run.Lab.Versions = old.Lab.Wall, old.Lab.Versions
	}
	return conclude(s, dir, run, nil)
}

// conclude merges the captures, judges and writes the result.
func conclude(s *Scenario, dir string, run report.Run, labErr error) (*report.Result, error) {
	ev, err := readEvidence(dir)
	if err != nil {
		return nil, err
	}
	if labErr != nil {
		if !ev.started {
			return nil, labErr
		}
		ev.spoilt = append(ev.spoilt, labErr.Error())
	}
	if run.ExactBy == report.ByTwice && !*run.Exact {
		ev.spoilt = append(ev.spoilt, "a second run with the same seed was another one: "+run.Difference)
	}
	if parts, _ := filepath.Glob(filepath.Join(dir, "*.part")); len(parts) > 0 {
		merged, err := capture.Merge(dir)
		if err != nil {
			return nil, fmt.Errorf("merging the captures in %s: %w", dir, err)
		}
		ev.spoilt = append(ev.spoilt, merged.Problems()...)
	} else if n := ev.capture.Dropped(); n > 0 {
		ev.spoilt = append(ev.spoilt, fmt.Sprintf("the capture lost %d packets", n))
	}
	result, err := judge(s, dir, ev, run)
	if err != nil {
		return nil, err
	}
	return result, writeResult(dir, *result)
}
