package warp_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"outlive/lab/labtest"
	"outlive/lab/sandbox"
	"outlive/lab/sandbox/image"
	"outlive/lab/sandbox/warp"
)

// TestMain is what every program that has guests does: Main first. The parents that
// tests start only to kill them are this executable, too.
func TestMain(m *testing.M) {
	// The race detector sleeps for a second at the end of every process.
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	sandbox.Main()
	if os.Getenv(parentVariable) != "" {
		os.Exit(beParent())
	}
	os.Exit(withCache(m.Run))
}

const (
	asVariable     = "OUTLIVE_TEST_AS"
	parentVariable = "OUTLIVE_TEST_PARENT"
	markerVariable = "OUTLIVE_TEST_MARKER"
	cacheVariable  = "XDG_CACHE_HOME"
)

// withCache runs the tests with a cache of their own, which they share. The images of
// tests must not take the place of a user's; the kernel, which is large and the same
// for everyone, is taken from there if it is there.
func withCache(run func() int) int {
	dir, err := os.MkdirTemp("", "outlive-warp-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if users, err := image.Cache(); err == nil {
		if err := copyKernels(users, filepath.Join(dir, "outlive")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	if err := os.Setenv(cacheVariable, dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return run()
}

// copyKernels copies the kernels of one cache to another. A broken one does no harm.
func copyKernels(from, to string) error {
	kernels, err := filepath.Glob(filepath.Join(from, "kernel-*"))
	if err != nil {
		return err
	}
	for _, kernel := range kernels {
		if err := os.CopyFS(filepath.Join(to, filepath.Base(kernel)), os.DirFS(kernel)); err != nil {
			return err
		}
	}
	return nil
}

// patience is how long a test waits for what must happen: far longer than it takes on
// the busiest machine, and shorter than the limits of a guest.
const patience = time.Minute

// job registers a job for a test; it is used to initialise a variable.
func job(name string, f sandbox.Job) string {
	sandbox.Register(name, f)
	return name
}

// started starts a guest that is killed if the test leaves it.
func started(t *testing.T, spec warp.Spec) *warp.Guest {
	t.Helper()
	return startedIn(t.Context(), t, spec)
}

func startedIn(ctx context.Context, t *testing.T, spec warp.Spec) *warp.Guest {
	t.Helper()
	if spec.Dir == "" {
		spec.Dir = t.TempDir()
	}
	if spec.Stderr == nil {
		spec.Stderr = t.Output()
	}
	g, err := warp.Start(ctx, spec)
	labtest.SkipUnsupported(t, err)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.Kill()
		_ = g.Wait()
	})
	return g
}

// finished runs a job to its end and gives what it reported.
func finished(t *testing.T, spec warp.Spec) ([]string, error) {
	t.Helper()
	var lines []string
	spec.Report = func(line []byte) { lines = append(lines, string(line)) }
	err := started(t, spec).Wait()
	return lines, err
}

// reported is finished for a job that must succeed.
func reported(t *testing.T, spec warp.Spec) []string {
	t.Helper()
	lines, err := finished(t, spec)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	return lines
}

// report collects lines and lets a test wait for one.
type report struct {
	lines chan string
	all   []string
}

func newReport() *report { return &report{lines: make(chan string, 10_000)} }

func (r *report) line(line []byte) { r.lines <- string(line) }

func (r *report) await(t *testing.T, want string) {
	t.Helper()
	limit := time.After(patience)
	for {
		select {
		case line := <-r.lines:
			r.all = append(r.all, line)
			if line == want {
				return
			}
		case <-limit:
			t.Fatalf("no report %q after %v, only %q", want, patience, r.all)
		}
	}
}

// rest gives all lines of a guest that has ended.
func (r *report) rest() []string {
	for {
		select {
		case line := <-r.lines:
			r.all = append(r.all, line)
		default:
			return r.all
		}
	}
}

// say reports a line. If nobody hears it, the test that waits for it says so.
func say(report io.Writer, words ...any) { _, _ = fmt.Fprintln(report, words...) }
