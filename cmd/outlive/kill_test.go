package main_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// killRounds is how many runs are killed: a rare leak shows only in many.
const killRounds = 100

// TestKilledAtAnyMomentLeavesNothing kills runs with SIGKILL at random moments,
// now the command itself, now process 1 of its sandbox, now the server, and then
// looks for anything left on the machine.
func TestKilledAtAnyMomentLeavesNothing(t *testing.T) {
	dir, tmp := t.TempDir(), t.TempDir()
	marker := fmt.Sprintf("OUTLIVE_KILL_TEST=%d-%d", os.Getpid(), time.Now().UnixNano())
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	before := machine(t)

	var rounds sync.WaitGroup
	slots := make(chan struct{}, 6)
	for i := range killRounds {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		slots <- struct{}{}
		rounds.Go(func() {
			defer func() { <-slots }()
			cmd := exec.Command(binary, "run", "mosquitto-sub-shorter", "--out", filepath.Join(dir, strconv.Itoa(i)))
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), marker, "TMPDIR="+tmp, fmt.Sprintf("OUTLIVE_KILL_ROUND=%d", i))
			if err := cmd.Start(); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(time.Duration(random.Int64N(int64(900 * time.Millisecond)))) // the moment is the point
			victim := cmd.Process.Pid
			if family := withEnv(fmt.Sprintf("OUTLIVE_KILL_ROUND=%d", i)); i%2 == 1 && len(family) > 0 {
				victim = family[random.IntN(len(family))]
			}
			_ = syscall.Kill(victim, syscall.SIGKILL)
			if victim != cmd.Process.Pid {
				// Without its victim the run may go on to its end; then it is
				// interrupted as a person would.
				_ = cmd.Process.Signal(os.Interrupt)
			}
			_ = cmd.Wait()
		})
	}
	rounds.Wait()

	// The kernel ends a sandbox's processes after its first one is dead: wait
	// until the last is gone, or the test's patience.
	deadline := time.Now().Add(20 * time.Second)
	for len(left(marker, dir)) > 0 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	if left := left(marker, dir); len(left) > 0 {
		for _, pid := range left {
			cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			t.Errorf("process %d is left: %s", pid, bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '}))
		}
	}
	after := machine(t)
	for what, want := range before {
		if got := after[what]; got != want {
			t.Errorf("%s changed:\n%s\nbefore:\n%s", what, got, want)
		}
	}
	if left := allNames(tmp); left != "" {
		t.Errorf("left in the folder for temporary files: %s", left)
	}
	// Whatever lies in the folder is a result folder.
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err != nil || n >= killRounds {
			t.Errorf("%s was left beside the result folders", e.Name())
		}
	}
}

// machine takes down what a leak would change.
func machine(t *testing.T) map[string]string {
	t.Helper()
	state := map[string]string{}
	for what, argv := range map[string][]string{
		"links":          {"ip", "-o", "link"},
		"rules":          {"iptables-save"},
		"named networks": {"ip", "netns", "list"},
	} {
		out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		if err != nil && what != "rules" {
			t.Fatalf("%s: %v: %s", argv, err, out)
		}
		// Comment lines of iptables-save carry the time of day.
		lines := slices.DeleteFunc(strings.Split(string(out), "\n"), func(l string) bool { return strings.HasPrefix(l, "#") })
		state[what] = strings.Join(lines, "\n")
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	state["mounts"] = string(mounts)
	for _, dir := range []string{"/run", "/dev/shm"} {
		state["files in "+dir] = names(dir)
	}
	return state
}

// names lists the files of a folder that outlive could have left there; other
// programs of the machine come and go.
func names(dir string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, e := range entries {
		if strings.Contains(e.Name(), "outlive") || strings.Contains(e.Name(), "xtables") || strings.Contains(e.Name(), "mosquitto") {
			out = append(out, e.Name())
		}
	}
	return strings.Join(out, "\n")
}

// allNames lists a folder.
func allNames(dir string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return strings.Join(out, "\n")
}

// left lists the processes that belong to the test's runs: by their environment
// where they inherited it, by program or working folder where they did not.
func left(marker, dir string) []int {
	pids := withEnv(marker)
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || slices.Contains(pids, pid) {
			continue
		}
		exe, _ := os.Readlink(filepath.Join("/proc", e.Name(), "exe"))
		cwd, _ := os.Readlink(filepath.Join("/proc", e.Name(), "cwd"))
		if exe == binary || strings.HasPrefix(cwd, dir) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// withEnv lists the processes whose environment has the entry.
func withEnv(entry string) []int {
	var pids []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err == nil && slices.Contains(strings.Split(string(env), "\x00"), entry) {
			pids = append(pids, pid)
		}
	}
	return pids
}
