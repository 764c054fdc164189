package warp_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/labtest"
	"outlive/lab/sandbox/image"
	"outlive/lab/sandbox/warp"
)

// beParent is a program like outlive itself: it runs a job in a guest and passes the
// report on.
func beParent() int {
	dir, err := os.MkdirTemp("", "result-")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	g, err := warp.Start(context.Background(), warp.Spec{
		Job: os.Getenv(parentVariable), Dir: dir, Length: time.Hour,
		Report:   func(line []byte) { fmt.Printf("%s\n", line) },
		Progress: func(text string) { fmt.Println(text) },
	})
	if err == nil {
		err = g.Wait()
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("orderly end")
	return 0
}

// Words of a parent.
const (
	booting = "starting the virtual machine once, to keep its state"
	orderly = "orderly end"
)

// brood is a parent process with what it has started.
type brood struct {
	cmd    *exec.Cmd
	marker string
	temp   string
	lines  chan string // what it says; closed when nobody of it is left who could say anything
}

// hatch starts a parent that runs a job. An empty cache is that of the tests.
func hatch(t *testing.T, what, cache string) *brood {
	t.Helper()
	b := &brood{
		marker: fmt.Sprintf("%d-%x", os.Getpid(), rand.Uint64()),
		temp:   t.TempDir(), lines: make(chan string, 1000),
	}
	b.cmd = exec.Command("/proc/self/exe")
	b.cmd.Env = append(os.Environ(), parentVariable+"="+what, markerVariable+"="+b.marker, "TMPDIR="+b.temp)
	if cache != "" {
		b.cmd.Env = append(b.cmd.Env, cacheVariable+"="+cache)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	b.cmd.Stdout, b.cmd.Stderr = w, w
	err = b.cmd.Start()
	_ = w.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = b.cmd.Process.Kill()
		_ = b.cmd.Wait()
	})
	go func() {
		defer close(b.lines)
		defer r.Close()
		for in := bufio.NewScanner(r); in.Scan(); {
			b.lines <- in.Text()
		}
	}()
	return b
}

// await waits for a line and says whether it came.
func (b *brood) await(t *testing.T, want string) bool {
	t.Helper()
	limit := time.After(patience)
	for {
		select {
		case line, more := <-b.lines:
			if !more || line == want {
				return more
			}
		case <-limit:
			t.Fatalf("no %q after %v", want, patience)
		}
	}
}

// ended gives all that it says to its end.
func (b *brood) ended(t *testing.T) []string {
	t.Helper()
	var all []string
	limit := time.After(2 * patience)
	for {
		select {
		case line, more := <-b.lines:
			if !more {
				_ = b.cmd.Wait()
				return all
			}
			all = append(all, line)
		case <-limit:
			t.Fatalf("no end after %v, only %q", 2*patience, all)
		}
	}
}

// mustBeGone fails if a process of the brood is left, some time after its parent is.
func (b *brood) mustBeGone(t *testing.T) {
	t.Helper()
	limit := time.Now().Add(patience)
	for len(marked(t, b.marker)) > 0 {
		if time.Now().After(limit) {
			t.Fatalf("after %v processes %v were left", patience, marked(t, b.marker))
		}
		time.Sleep(time.Millisecond)
	}
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

// machinesOf lists the virtual machines that a process has started.
func machinesOf(t *testing.T, parent int) (pids []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		name, rest, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		if len(fields) < 2 || fields[0] == "Z" || fields[1] != strconv.Itoa(parent) || !strings.Contains(name, "(qemu-system") {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// names lists what is in a cache and in the folders of its images.
func names(t *testing.T, cache string) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"outlive/*", "outlive/image-*/*"} {
		found, err := filepath.Glob(filepath.Join(cache, pattern))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

// killRounds is how often each kind of death is tried.
const killRounds = 8

// A parent that is killed, at whatever moment, takes its machine with it. Neither leaves
// anything but the result folder.
func TestNothingSurvivesTheParent(t *testing.T) {
	reported(t, warp.Spec{Job: curious})
	// Again, now that there is a template: so long does a run take now.
	begin := time.Now()
	reported(t, warp.Spec{Job: curious})
	length := time.Since(begin)
	cache := os.Getenv(cacheVariable)
	before := names(t, cache)
	up := 0
	for range killRounds {
		b := hatch(t, spinner, "")
		time.Sleep(rand.N(length * 3 / 2)) // the moment is the point
		if err := b.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = b.cmd.Wait()
		b.mustBeGone(t)
		if left, err := filepath.Glob(b.temp + "/*"); err != nil || len(left) > 1 {
			t.Errorf("it left %v, %v", left, err)
		}
		for line := range b.lines {
			if line == "spinning" {
				up++
			}
		}
	}
	if diff := cmp.Diff(before, names(t, cache)); diff != "" {
		t.Errorf("the cache has changed (-before +after):\n%s", diff)
	}
	t.Logf("%d rounds, in %d of them the job ran", killRounds, up)
	reported(t, warp.Spec{Job: curious})
}

// Whatever happens to a template while it is made or afterwards, the next run has one
// that works; and of those who need it at once, one makes it.
func TestTemplates(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	users, err := image.Cache()
	if err != nil {
		t.Fatal(err)
	}
	labtest.SkipUnsupported(t, warp.Available())
	if err := copyKernels(users, filepath.Join(cache, "outlive")); err != nil {
		t.Fatal(err)
	}
	for _, victim := range []string{"parent", "machine", "parent", "machine"} {
		b := hatch(t, curious, cache)
		if !b.await(t, booting) {
			t.Fatalf("there was no template to be made in %v", names(t, cache))
		}
		time.Sleep(rand.N(time.Second)) // the moment is the point
		if machines := machinesOf(t, b.cmd.Process.Pid); victim == "machine" && len(machines) > 0 {
			if err := syscall.Kill(machines[0], syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if said := b.ended(t); !strings.Contains(strings.Join(said, "\n"), "SIGKILL") {
				t.Errorf("a parent whose machine was killed said %q", said)
			}
		}
		_ = b.cmd.Process.Kill()
		_ = b.cmd.Wait()
		b.mustBeGone(t)
	}

	one, two := hatch(t, curious, cache), hatch(t, curious, cache)
	made := count(runs(t, one), booting) + count(runs(t, two), booting)
	templates, err := filepath.Glob(filepath.Join(cache, "outlive/image-*", warp.TemplateName))
	if err != nil || len(templates) != 1 || made != 1 {
		t.Errorf("%d have made a template; there are %v, %v", made, templates, err)
	}
	if parts, err := filepath.Glob(filepath.Join(cache, "outlive/image-*", warp.PartName)); err != nil || len(parts) > 0 {
		t.Errorf("there is left: %v, %v", parts, err)
	}
	if count(runs(t, hatch(t, curious, cache)), booting) != 0 {
		t.Error("a template that is there was made again")
	}
	if err := os.Truncate(filepath.Join(templates[0], "state"), 1000); err != nil {
		t.Fatal(err)
	}
	if count(runs(t, hatch(t, curious, cache)), booting) != 1 {
		t.Error("a broken template was not made again")
	}
}

// runs gives what a parent says whose guest must run.
func runs(t *testing.T, b *brood) []string {
	t.Helper()
	said := b.ended(t)
	if count(said, orderly) != 1 {
		t.Fatalf("it said %q", said)
	}
	return said
}

func count(lines []string, want string) (n int) {
	for _, line := range lines {
		if line == want {
			n++
		}
	}
	return n
}
