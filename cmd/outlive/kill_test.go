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
// now the command itself, now any process of its family (process 1 of the sandbox,
// mosquitto, mosquitto_sub), and then looks for anything left on the machine. Every
// process seen before a kill is followed by its number and start time, and the
// test fails if it did not meet each kind of victim alive: then it showed nothing.
func TestKilledAtAnyMomentLeavesNothing(t *testing.T) {
	dir, tmp := t.TempDir(), t.TempDir()
	marker := fmt.Sprintf("OUTLIVE_KILL_TEST=%d-%d", os.Getpid(), time.Now().UnixNano())
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	before := machine(t)

	var mu sync.Mutex
	met := map[identity]string{} // every process of a run that was seen alive
	killed := map[string]int{}   // victims by name
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
			victim, name := cmd.Process.Pid, "the command"
			family := descendants(victim)
			if i%2 == 1 && len(family) > 0 {
				chosen := family[random.IntN(len(family))]
				victim, name = chosen.pid, comm(chosen.pid)
			}
			mu.Lock()
			for _, p := range family {
				met[p] = comm(p.pid)
			}
			killed[name]++
			mu.Unlock()
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
	for p, name := range met {
		for p.alive() && time.Now().Before(deadline) {
			time.Sleep(10 * time.Millisecond)
		}
		if p.alive() {
			t.Errorf("%s, process %d, is left in state %s", name, p.pid, stat(p.pid)[0])
		}
	}
	t.Logf("killed: %v; %d processes seen alive before", killed, len(met))
	for _, name := range []string{"the command", "outlive-lab", "mosquitto", "mosquitto_sub"} {
		if killed[name] == 0 {
			t.Errorf("%s was never killed: the test shows nothing about it", name)
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

// identity is a process that no later one can be taken for.
type identity struct {
	pid   int
	start string // field 22 of /proc/PID/stat
}

// descendants lists the children of a process and theirs, across namespaces: the
// host sees the processes of a sandbox under numbers of its own.
func descendants(root int) []identity {
	children := map[int][]int{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if f := stat(pid); f != nil {
				parent, _ := strconv.Atoi(f[1])
				children[parent] = append(children[parent], pid)
			}
		}
	}
	var all []identity
	for todo := children[root]; len(todo) > 0; todo = todo[1:] {
		if f := stat(todo[0]); len(f) > 19 {
			all = append(all, identity{todo[0], f[19]})
		}
		todo = append(todo, children[todo[0]]...)
	}
	return all
}

// stat gives the fields of /proc/PID/stat behind the name, nil if there is no such process.
func stat(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
}

// alive says that the process runs. A zombie does not: it holds nothing but its
// number, until the machine's own process 1, whose child an orphan becomes, asks.
func (p identity) alive() bool {
	f := stat(p.pid)
	return len(f) > 19 && f[19] == p.start && f[0] != "Z" && f[0] != "X"
}

func comm(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(b))
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
