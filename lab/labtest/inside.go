package labtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"outlive/lab/netns"
	"outlive/lab/sandbox"
)

// dirVariable is set inside a sandbox of this package, to the folder that the test
// may keep things in.
const dirVariable = "OUTLIVE_LABTEST_DIR"

func inside() bool { return os.Getenv(dirVariable) != "" }

// Dir gives a folder for what helps to understand a failure: captures, logs. It is
// removed if the test passes; if it fails, it stays and the log says where it is.
// Inside a sandbox it has the same path as outside.
func Dir(t testing.TB) string {
	t.Helper()
	root := os.Getenv(dirVariable)
	if root == "" {
		return keptFolder(t)
	}
	dir := filepath.Join(root, fileName(t.Name()))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// keptFolder makes a folder that stays if the test fails and something is in it.
func keptFolder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "outlive-"+fileName(t.Name())+"-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if entries, _ := os.ReadDir(dir); t.Failed() && len(entries) > 0 {
			t.Logf("what the test left is kept in %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("removing the folder of the test: %v", err)
		}
	})
	return dir
}

// fileName gives a test's name as the name of a file.
func fileName(name string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("/\\:* \t", r) {
			return '_'
		}
		return r
	}, name)
}

// jobName is what runs as process 1 for a test.
const jobName = "labtest"

func init() { sandbox.Register(jobName, runTest) }

// order is what the job of a test is to run.
type order struct {
	Args []string
	Dir  string
	Env  []string
}

// runTest executes the test binary again, as a child of process 1.
func runTest(ctx context.Context, job []byte, report io.Writer) error {
	var o order
	if err := json.Unmarshal(job, &o); err != nil {
		return err
	}
	ns, err := netns.Current()
	if err != nil {
		return err
	}
	defer ns.Close()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", o.Args...)
	cmd.Args[0] = "labtest"
	cmd.Dir = o.Dir
	cmd.Env = append(os.Environ(), o.Env...)
	cmd.Stdout, cmd.Stderr = report, report
	// What the test has started may hold its output open for longer than it lives.
	cmd.WaitDelay = time.Second
	if err := ns.Start(cmd); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("the test binary ended with: %w", err)
	}
	return nil
}

// runInside runs the test binary with these arguments in a sandbox and gives each
// line of its output to line. A zero limit is none.
func runInside(t testing.TB, args []string, limit time.Duration, line func([]byte)) error {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	kept := keptFolder(t)
	data, err := json.Marshal(order{
		Args: append(args, ownFlags()...), Dir: here,
		Env: []string{dirVariable + "=" + kept},
	})
	if err != nil {
		return err
	}
	ctx := t.Context()
	if limit > 0 {
		var cancel context.CancelFunc
		// The inner test binary has the same limit and says more when it is over.
		ctx, cancel = context.WithTimeout(ctx, limit+reserve/3)
		defer cancel()
	}
	s, err := sandbox.Start(ctx, sandbox.Spec{
		Job: jobName, Data: data, Dir: kept, Visible: []string{here}, Report: line,
	})
	SkipUnsupported(t, err)
	ended := make(chan error, 1)
	go func() { ended <- s.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(reserve / 3):
		s.Kill()
		return <-ended
	}
}
