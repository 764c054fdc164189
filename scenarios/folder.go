package scenarios

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"

	"outlive/probes/capture"
	"outlive/scenarios/report"
)

// The names in a result folder that programs rely on.
const (
	scenarioFile = "scenario.yaml"
	resultFile   = "result.json"
	captureFile  = capture.FileName
	// consoleFile is what the kernel of a guest said that did not end in order.
	consoleFile = "console.log"
	// againFolder has the second run, where that was another one.
	againFolder = "again"
)

// labFiles are the files that a lab leaves in its result folder.
var labFiles = []string{eventsFile, consoleFile, "capture*", "server.log", "client-*.log", "fleet-*.log", "nat-*.rules", "nat-*.counters"}

// workFolder is the working folder of a program, in the result folder.
func workFolder(program string) string { return filepath.Join("work", program) }

// clientProgramName is what the client of a device is called.
func clientProgramName(device string) string { return "client-" + device }

// ours says whether a name in the result folder belongs to the lab.
func ours(name string) bool {
	for _, pattern := range append([]string{scenarioFile, resultFile, "work", againFolder}, labFiles...) {
		if ok, _ := filepath.Match(pattern, strings.SplitN(filepath.ToSlash(filepath.Clean(name)), "/", 2)[0]); ok {
			return true
		}
	}
	return false
}

// inFolder lists what a reader finds in a result folder, the most useful first.
func inFolder(dir string) []report.File {
	files := []report.File{
		{Name: resultFile, What: "this result, for programs"},
		{Name: captureFile, What: "every packet at every point, for Wireshark"},
		{Name: eventsFile, What: "what the lab did and saw, a line each"},
		{Name: scenarioFile, What: "the scenario as it ran; run it again from here"},
	}
	for _, pattern := range []struct{ glob, what string }{
		{"server.log", "what the server said"},
		{"client-*.log", "what the client said"},
		{"fleet-*.log", "what a process of many clients said besides"},
		{"nat-*.rules", "the NAT's rules as installed"},
		{"nat-*.counters", "how often each rule was met"},
		{consoleFile, "what the guest's kernel said in the end"},
		{againFolder, "the second run, which was another one"},
	} {
		found, err := filepath.Glob(filepath.Join(dir, pattern.glob))
		if err != nil {
			continue
		}
		for _, f := range found {
			files = append(files, report.File{Name: filepath.Base(f), What: pattern.what})
		}
	}
	return files
}

// loadResolved loads the scenario that a result folder holds.
func loadResolved(dir string) (*Scenario, error) {
	path := filepath.Join(dir, scenarioFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s is not a result folder: %w", dir, err)
	}
	return Load(Source{Name: path, Path: path, FS: os.DirFS(dir), Data: data}, LoadOptions{})
}

func readResult(dir string) (report.Result, error) {
	var r report.Result
	b, err := os.ReadFile(filepath.Join(dir, resultFile))
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(b, &r)
}

// writeResult writes result.json whole or not at all.
func writeResult(dir string, r report.Result) error {
	path := filepath.Join(dir, resultFile)
	f, err := os.Create(path + ".tmp")
	if err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	err = report.Write(f, r)
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("writing the result: %w", err)
	}
	return nil
}

// versions names what a result depends on besides the scenario. What the run itself
// found out (the engine's parts) is added to.
func versions(kernel string, found map[string]string) map[string]string {
	v := map[string]string{}
	maps.Copy(v, found)
	if kernel != "" {
		v["kernel"] = kernel
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		v["go"] = info.GoVersion
		v["outlive"] = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v["outlive"] = strings.TrimPrefix(v["outlive"]+" ", "(devel) ") + s.Value[:min(12, len(s.Value))]
			}
		}
	}
	return v
}

// kernel is the release of the kernel that this process runs on.
func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
