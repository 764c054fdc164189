package sandbox_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"outlive/lab/labtest"
	"outlive/lab/sandbox"
)

// TestMain is what every program that uses sandboxes does: Main first. The parents
// that tests start only to kill them are this executable, too.
func TestMain(m *testing.M) {
	// The race detector sleeps for a second at the end of every process.
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	sandbox.Main()
	if os.Getenv(parentVariable) != "" {
		os.Exit(beParent())
	}
	os.Exit(m.Run())
}

const (
	asVariable     = "OUTLIVE_TEST_AS"
	parentVariable = "OUTLIVE_TEST_PARENT"
	markerVariable = "OUTLIVE_TEST_MARKER"
)

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

// everyone runs a test as the user who runs the tests and, if that is root, once
// more in a process that belongs to an ordinary user.
func everyone(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if os.Geteuid() != 0 || os.Getenv(asVariable) != "" {
		test(t)
		return
	}
	t.Run("root", test)
	labtest.AsNobody(t, asVariable+"=nobody")
}

// job registers a job for a test; it is used to initialise a variable.
func job(name string, f sandbox.Job) string {
	sandbox.Register(name, f)
	return name
}

// launched starts a sandbox that is killed if the test leaves it.
func launched(t *testing.T, spec sandbox.Spec) *sandbox.Sandbox {
	t.Helper()
	s, err := sandbox.Start(t.Context(), spec)
	labtest.SkipUnsupported(t, err)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Kill()
		_ = s.Wait()
	})
	return s
}

// finished runs a job to its end and gives what it reported.
func finished(t *testing.T, spec sandbox.Spec) ([]string, error) {
	t.Helper()
	var lines []string
	spec.Report = func(line []byte) { lines = append(lines, string(line)) }
	err := launched(t, spec).Wait()
	return lines, err
}

// reported is finished for a job that must succeed.
func reported(t *testing.T, spec sandbox.Spec) []string {
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

// tempDir is t.TempDir below /tmp, which sandboxes hide.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "outlive-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	dir, err = filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// marked lists the living processes with a marker in their environment.
func marked(t *testing.T, marker string) (pids []string) {
	t.Helper()
	environments, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range environments {
		env, err := os.ReadFile(path)
		if err == nil && bytes.Contains(env, []byte(markerVariable+"="+marker+"\x00")) {
			pids = append(pids, filepath.Base(filepath.Dir(path)))
		}
	}
	return pids
}

// say reports a line. If nobody hears it, the test that waits for it says so.
func say(report io.Writer, words ...any) { _, _ = fmt.Fprintln(report, words...) }

var idle = job("idle", func(ctx context.Context, _ []byte, report io.Writer) error {
	say(report, "up")
	<-ctx.Done()
	say(report, "asked to stop")
	return nil
})
