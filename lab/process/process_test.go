package process

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/labtest"
	"outlive/lab/netns"
	"outlive/lab/sandbox"
)

func TestExitState(t *testing.T) {
	everyone(t, func(t *testing.T) {
		for _, test := range []struct {
			name string
			spec Spec
			want string
			log  string
		}{
			{"zero", Spec{Argv: []string{"true"}}, "exit status 0", ""},
			{"status", Spec{Argv: []string{"sh", "-c", "echo out; echo err >&2; exit 3"}}, "exit status 3", "out\nerr\n"},
			{"signal", Spec{Argv: []string{"sh", "-c", "echo on the way; kill -ABRT $$"}}, "killed by SIGABRT", "on the way\n"},
			{"own program", Spec{Cmd: sandbox.Program("failing")}, "exit status 1", "failing: it did not work\n"},
			{"bytes as they are", Spec{Argv: []string{"printf", `a\r\n\003\004\000b\t`}}, "exit status 0", "a\r\n\x03\x04\x00b\t"},
		} {
			t.Run(test.name, func(t *testing.T) {
				test.spec.Log = filepath.Join(t.TempDir(), "log")
				begin := time.Now()
				p := launched(t, test.spec)
				state := awaitExit(t, p)
				if diff := cmp.Diff(test.want, state.String()); diff != "" {
					t.Errorf("unexpected end (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(test.log, read(t, test.spec.Log)); diff != "" {
					t.Errorf("unexpected log (-want +got):\n%s", diff)
				}
				if state.At.Before(begin) || state.At.After(time.Now()) || state.LogErr != nil {
					t.Errorf("ended at %v, log: %v", state.At, state.LogErr)
				}
			})
		}
	})
}

func TestExitStateWhileRunning(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		p := launched(t, Spec{Argv: []string{"sleep", "60"}})
		if diff := cmp.Diff("running", p.ExitState().String()); diff != "" {
			t.Errorf("unexpected state (-want +got):\n%s", diff)
		}
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		if state := p.ExitState(); state.Signal != syscall.SIGKILL || state.String() != "killed by SIGKILL" {
			t.Errorf("unexpected state %+v", state)
		}
	})
}

// A log must hold what the program wrote in its last moment, however much it is
// and however it ends.
func TestLogIsComplete(t *testing.T) {
	everyone(t, func(t *testing.T) {
		const size = 300_000
		for _, end := range []string{"exit 0", "kill -KILL $$"} {
			for range 30 {
				log := filepath.Join(t.TempDir(), "log")
				p := launched(t, Spec{Log: log, Argv: []string{"sh", "-c",
					fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x; echo; echo last; %s", size, end)}})
				awaitExit(t, p)
				want := strings.Repeat("x", size) + "\nlast\n"
				if got := read(t, log); got != want {
					t.Fatalf("with %q the log has %d bytes of %d", end, len(got), len(want))
				}
			}
		}
	})
}

// A program that uses stdio holds its output back unless it goes to a terminal.
func TestOutputComesLineByLine(t *testing.T) {
	everyone(t, func(t *testing.T) {
		log := filepath.Join(t.TempDir(), "log")
		launched(t, Spec{Log: log, Argv: []string{"sh", "-c", "{ echo ready; exec sleep 60; } | sed s/ready/READY/"}})
		eventually(t, "READY in the log", func() bool {
			text, err := os.ReadFile(log)
			return err == nil && string(text) == "READY\n"
		})
	})
}

func TestLogIsAppendedTo(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		log := filepath.Join(t.TempDir(), "log")
		for _, word := range []string{"one", "two"} {
			awaitExit(t, launched(t, Spec{Log: log, Argv: []string{"echo", word}}))
		}
		if diff := cmp.Diff("one\ntwo\n", read(t, log)); diff != "" {
			t.Errorf("unexpected log (-want +got):\n%s", diff)
		}
	})
}

// A full disk costs the log, and says so; it does not stop the program.
func TestLogThatCannotBeWritten(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		p := launched(t, Spec{Log: "/dev/full", Argv: []string{"sh", "-c", "head -c 300000 /dev/zero; exit 7"}})
		state := awaitExit(t, p)
		if state.Code != 7 || state.LogErr == nil {
			t.Errorf("ended with %v, log: %v", state, state.LogErr)
		}
	})
}

func TestEnvironment(t *testing.T) {
	everyone(t, func(t *testing.T) {
		t.Setenv("PATH", "/opt/own/bin:/usr/bin:/bin")
		t.Setenv("OUTLIVE_TEST_STRAY", "must not be passed on")
		dir := t.TempDir()
		log := filepath.Join(dir, "log")
		awaitExit(t, launched(t, Spec{Log: log, Dir: dir, Argv: []string{"env"}, Env: []string{"LANG=de_DE.UTF-8", "OWN=1"}}))
		want := strings.Join([]string{
			"PATH=/opt/own/bin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin",
			"HOME=" + dir, "PWD=" + dir, "LANG=de_DE.UTF-8", "TERM=dumb", "NO_COLOR=1", "OWN=1", "",
		}, "\n")
		sorted := func(text string) []string { return strings.Split(text, "\n") }
		if diff := cmp.Diff(sorted(want), sorted(read(t, log)), cmp.Transformer("set", func(lines []string) map[string]bool {
			set := make(map[string]bool)
			for _, line := range lines {
				set[line] = true
			}
			return set
		})); diff != "" {
			t.Errorf("unexpected environment (-want +got):\n%s", diff)
		}
	})
}

// withoutLibrarySignals takes signals 32 and 33 out of the masks in /proc/PID/status.
// The C library keeps them to itself, and its posix_spawn (make uses it) leaves
// the first one ignored in all that is started from there.
func withoutLibrarySignals(t *testing.T, status string) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(status) {
		name, mask, _ := strings.Cut(strings.TrimSpace(line), ":\t")
		bits, err := strconv.ParseUint(mask, 16, 64)
		if err != nil {
			t.Fatalf("reading %q: %v", line, err)
		}
		fmt.Fprintf(&b, "%s:\t%016x\n", name, bits&^(3<<31))
	}
	return b.String()
}

// Nothing of process 1 reaches a program: no descriptor, no ignored or blocked
// signal, no controlling terminal.
func TestProgramBeginsClean(t *testing.T) {
	everyone(t, func(t *testing.T) {
		stray, err := os.Open("/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		defer stray.Close()
		dir := t.TempDir()
		see := func(argv ...string) string {
			log := filepath.Join(t.TempDir(), "log")
			awaitExit(t, launched(t, Spec{Log: log, Dir: dir, Argv: argv}))
			return read(t, log)
		}
		// 3 is the descriptor of ls on the folder that it lists. In stat, the seventh field
		// is the terminal that controls the process, 0 for none.
		got := []string{
			see("ls", "-1", "/proc/self/fd"),
			see("readlink", "/proc/self/fd/0"),
			see("pwd"),
			withoutLibrarySignals(t, see("grep", "-E", "Sig(Blk|Ign)", "/proc/self/status")),
			see("cut", "-d ", "-f7", "/proc/self/stat"),
		}
		want := []string{
			"0\n1\n2\n3\n",
			"/dev/null\n",
			dir + "\n",
			"SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n",
			"0\n",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("unexpected surroundings (-want +got):\n%s", diff)
		}
	})
}

func TestWhoAProgramIs(t *testing.T) {
	everyone(t, func(t *testing.T) {
		for _, test := range []struct {
			privileged bool
			want       string
		}{{false, "65534 65534 0000000000000000\n"}, {true, "0 0 000001ffffffffff\n"}} {
			dir := t.TempDir()
			log := filepath.Join(dir, "log")
			awaitExit(t, launched(t, Spec{Log: log, Dir: dir, Privileged: test.privileged, Argv: []string{"sh", "-c",
				`echo $(id -u) $(id -g) $(awk '/CapEff/ {print $2}' /proc/self/status); : >mine`}}))
			if diff := cmp.Diff(test.want, read(t, log)); diff != "" {
				t.Errorf("privileged %v: unexpected identity (-want +got):\n%s", test.privileged, diff)
			}
			info, err := os.Stat(filepath.Join(dir, "mine"))
			if err != nil {
				t.Fatal(err)
			}
			if uid := info.Sys().(*syscall.Stat_t).Uid; uid != 0 {
				t.Errorf("privileged %v: its file belongs to %d, not to the lab's user", test.privileged, uid)
			}
		}
	})
}

func TestProgramRunsInItsHost(t *testing.T) {
	everyone(t, func(t *testing.T) {
		host, err := netns.New()
		if err != nil {
			t.Fatal(err)
		}
		defer host.Close()
		if err := host.SetSysctl("net.ipv4.ip_default_ttl", "77"); err != nil {
			t.Fatal(err)
		}
		log := filepath.Join(t.TempDir(), "log")
		awaitExit(t, launched(t, Spec{Log: log, NS: host, Argv: []string{"cat", "/proc/sys/net/ipv4/ip_default_ttl"}}))
		if diff := cmp.Diff("77\n", read(t, log)); diff != "" {
			t.Errorf("unexpected host (-want +got):\n%s", diff)
		}
	})
}

// With sudo the lab's folder may lie in the home of a user who lets nobody in. A
// program without root's privileges cannot walk there, and yet it must work there.
func TestFolderBehindAClosedOne(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		closed := t.TempDir()
		dir := filepath.Join(closed, "results")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "serve"), []byte("#!/bin/sh\ncat conf\npwd\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "conf"), []byte("port 1883\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if os.Chown(closed, 1000, 1000) != nil {
			t.Log("an ordinary user has no folders of others: this one is its own")
		}
		if err := os.Chmod(closed, 0o700); err != nil {
			t.Fatal(err)
		}
		log := filepath.Join(t.TempDir(), "log")
		p := launched(t, Spec{Log: log, Dir: dir, Argv: []string{"sh", "./serve"}})
		awaitExit(t, p)
		if diff := cmp.Diff("port 1883\n"+dir+"\n", read(t, log)); diff != "" {
			t.Errorf("unexpected output (-want +got):\n%s", diff)
		}
	})
}
