package labtest_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/feature"
	"outlive/lab/labtest"
	"outlive/lab/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.Main()
	os.Exit(m.Run())
}

// sampleVariable makes TestSample do something; it names one of its subtests.
const sampleVariable = "OUTLIVE_LABTEST_SAMPLE"

// TestSample is what TestOutcomes runs in processes of its own. By itself it does nothing.
func TestSample(t *testing.T) {
	if os.Getenv(sampleVariable) == "" {
		return
	}
	missing := &feature.Unsupported{Feature: "flying", Needs: "wings", Remedy: "grow some"}
	samples := []struct {
		name string
		f    func(t *testing.T)
	}{
		{"passes", func(t *testing.T) { t.Log("said inside") }},
		{"fails", func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(labtest.Dir(t), "kept"), []byte("kept"), 0o644); err != nil {
				t.Error(err)
			}
			t.Error("failed inside")
		}},
		{"skips", func(t *testing.T) { labtest.SkipUnsupported(t, fmt.Errorf("trying: %w", missing)) }},
		{"has an error", func(t *testing.T) { labtest.SkipUnsupported(t, errors.New("some error")) }},
		{"panics", func(*testing.T) { panic("in a test") }},
		{"dies", func(*testing.T) { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) }},
		{"has parts", func(t *testing.T) {
			t.Run("good", func(*testing.T) {})
			t.Run("bad", func(t *testing.T) { t.Error("failed in a part") })
		}},
		{"nested", func(t *testing.T) {
			t.Run("part", func(t *testing.T) { labtest.Run(t, func(t *testing.T) { t.Log("twice inside") }) })
		}},
	}
	for _, s := range samples {
		t.Run(s.name, func(t *testing.T) { labtest.Run(t, s.f) })
	}
}

func TestOutcomes(t *testing.T) {
	tests := []struct {
		sample, env string
		fails       bool
		output      []string // regular expressions, each of which must match
	}{
		{"passes", "", false, []string{`--- PASS: TestSample/passes `, `said inside`}},
		{"fails", "", true, []string{`--- FAIL: TestSample/fails `, `failed inside`, `is kept in \S+`}},
		{"skips", "", false, []string{`--- SKIP: TestSample/skips `, `flying is not available here \(needs wings\); grow some`}},
		{"skips", labtest.NoSkipVariable + "=1", true, []string{`--- FAIL: TestSample/skips `, `OUTLIVE_NO_SKIP=1 allows no skip`}},
		{"has an error", "", true, []string{`--- FAIL: TestSample/has_an_error `, `some error`}},
		{"panics", "", true, []string{`--- FAIL: TestSample/panics `, `panic: in a test`}},
		{"dies", "", true, []string{`--- FAIL: TestSample/dies `, `signal: killed`}},
		{"has parts", "", true, []string{`--- FAIL: TestSample/has_parts `, `--- PASS: TestSample/has_parts/good `, `--- FAIL: TestSample/has_parts/bad `, `failed in a part`}},
		{"nested", "", false, []string{`--- PASS: TestSample/nested `, `twice inside`}},
	}
	for _, tt := range tests {
		t.Run(strings.TrimSpace(tt.sample+" "+tt.env), func(t *testing.T) {
			t.Parallel()
			name := strings.ReplaceAll(tt.sample, " ", "_")
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run=^TestSample$/^"+name+"$")
			temporary := t.TempDir()
			cmd.Env = append(os.Environ(), sampleVariable+"="+name, "TMPDIR="+temporary)
			if tt.env == "" {
				cmd.Env = append(cmd.Env, labtest.NoSkipVariable+"=0")
			} else {
				cmd.Env = append(cmd.Env, tt.env)
			}
			output, err := cmd.CombinedOutput()
			if failed := err != nil; failed != tt.fails {
				t.Errorf("failed: %v (%v); want %v", failed, err, tt.fails)
			}
			for _, want := range tt.output {
				if !regexp.MustCompile(want).Match(output) {
					t.Errorf("output does not match %q", want)
				}
			}
			if n := strings.Count(string(output), "=== RUN   TestSample/"+name+"\n"); n != 1 {
				t.Errorf("the output tells %d times that the test runs; want 1", n)
			}
			var want []string
			if tt.sample == "fails" {
				want = []string{"TestSample_fails/kept"}
			}
			if diff := cmp.Diff(want, keptFiles(t, temporary)); diff != "" {
				t.Errorf("files that stay (-want +got):\n%s", diff)
			}
			if t.Failed() {
				t.Logf("output:\n%s", output)
			}
		})
	}
}

// keptFiles gives the paths of files below the folders that tests have left.
func keptFiles(t *testing.T, temporary string) []string {
	t.Helper()
	folders, err := filepath.Glob(filepath.Join(temporary, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				relative, _ := filepath.Rel(folder, path)
				files = append(files, relative)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// TestInsideIsASandbox: the test is in a process-id namespace of its own, with a
// private /tmp, and its folder is the one outside.
func TestInsideIsASandbox(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		if os.Getppid() != 1 {
			t.Errorf("the parent is process %d; want process 1 of the sandbox", os.Getppid())
		}
		if os.Getuid() != 0 {
			t.Errorf("the user inside is %d; want 0", os.Getuid())
		}
		if err := os.WriteFile(filepath.Join(labtest.Dir(t), "file"), nil, 0o644); err != nil {
			t.Error(err)
		}
	})
}

// TestDirOutside works without a sandbox too.
func TestDirOutside(t *testing.T) {
	dir := labtest.Dir(t)
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o644); err != nil {
		t.Error(err)
	}
}

// BenchmarkNothing shows that figures come out of the sandbox.
func BenchmarkNothing(b *testing.B) {
	labtest.Benchmark(b, func(b *testing.B) {
		for b.Loop() {
		}
		b.ReportMetric(42, "answers")
	})
}

func TestBenchmark(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$", "-test.bench=^BenchmarkNothing$", "-test.benchtime=100x")
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if !regexp.MustCompile(`(?m)^BenchmarkNothing.* ns/op.* 42.0+ answers$`).Match(output) {
		t.Errorf("no figures in:\n%s", output)
	}
}
