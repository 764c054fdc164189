package sandbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"outlive/lab/sandbox"
)

// look reports what process 1 sees.
var look = job("look", func(_ context.Context, _ []byte, report io.Writer) error {
	note := func(what string, value any) { _, _ = fmt.Fprintf(report, "%s: %v\n", what, value) }
	names := func(dir string) (names []string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return []string{err.Error()}
		}
		for _, entry := range entries {
			names = append(names, entry.Name())
		}
		return names
	}
	outcome := func(err error) string {
		if err == nil {
			return "ok"
		}
		if errno, ok := errors.AsType[syscall.Errno](err); ok {
			return unix.ErrnoName(errno)
		}
		return err.Error()
	}
	// Opening shows what writing may do; nothing is written to the host's files. How it
	// is refused depends on the user, and on what the kernel has.
	writable := func(path string) string {
		fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return "refused"
		}
		_ = unix.Close(fd)
		return "writable"
	}
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		return err
	}
	note("pid", os.Getpid())
	note("uid", fmt.Sprint(os.Getuid(), os.Getgid()))
	note("name", strings.TrimSpace(string(comm)))
	note("cwd", outcome(syscall.Chdir(".")))
	note("/tmp", names("/tmp"))
	note("/dev/shm", names("/dev/shm"))
	note("interfaces in /sys", names("/sys/class/net"))

	note("a file in /tmp", outcome(os.WriteFile("/tmp/own", nil, 0o600)))
	note("a file in /run", outcome(os.WriteFile("/run/own", nil, 0o600)))
	note("a folder in /run", outcome(os.MkdirAll("/run/lock/own", 0o700)))
	note("/proc/sys/kernel/panic", writable("/proc/sys/kernel/panic"))
	note("/proc/sysrq-trigger", writable("/proc/sysrq-trigger"))
	note("/sys/kernel/mm", writable("/sys/kernel/mm/transparent_hugepage/enabled"))
	note("/proc/sys/net/ipv4/ip_forward", writable("/proc/sys/net/ipv4/ip_forward"))
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
		return err
	}
	note("setting the clock", outcome(unix.ClockSettime(unix.CLOCK_REALTIME, &now)))
	note("sethostname", outcome(unix.Sethostname([]byte("lab"))))

	conf, err := os.ReadFile("/etc/resolv.conf")
	note("resolv.conf", fmt.Sprintf("%q %s", conf, outcome(err)))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	note("loopback", outcome(err))
	if err == nil {
		c, err := net.Dial("tcp", l.Addr().String())
		note("connection over loopback", outcome(err))
		if err == nil {
			c.Close()
		}
		l.Close()
	}
	return nil
})

func TestInside(t *testing.T) {
	everyone(t, func(t *testing.T) {
		canary := filepath.Join(tempDir(t), "canary")
		if err := os.WriteFile(canary, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		hostname, err := os.Hostname()
		if err != nil {
			t.Fatal(err)
		}
		want := []string{
			"pid: 1",
			"uid: 0 0",
			"name: outlive-lab",
			"cwd: ok",
			"/tmp: []",
			"/dev/shm: []",
			"interfaces in /sys: [lo]",
			"a file in /tmp: ok",
			"a file in /run: ok",
			"a folder in /run: ok",
			"/proc/sys/kernel/panic: refused",
			"/proc/sysrq-trigger: refused",
			"/sys/kernel/mm: refused",
			"/proc/sys/net/ipv4/ip_forward: writable",
			"setting the clock: EPERM",
			"sethostname: ok",
			`resolv.conf: "# There is no name server in the lab.\n" ok`,
			"loopback: ok",
			"connection over loopback: ok",
		}
		if diff := cmp.Diff(want, reported(t, sandbox.Spec{Job: look})); diff != "" {
			t.Errorf("unexpected inside (-want +got):\n%s", diff)
		}
		if _, err := os.Stat(canary); err != nil {
			t.Error(err)
		}
		if after, err := os.Hostname(); err != nil || after != hostname {
			t.Errorf("the host is now called %q, %v", after, err)
		}
	})
}

type places struct{ Read, Write []string }

var visit = job("visit", func(_ context.Context, data []byte, report io.Writer) error {
	var p places
	if err := json.Unmarshal(data, &p); err != nil {
		return err
	}
	cwd, err := os.Getwd()
	if err != nil {
		return err
	}
	say(report, "in", cwd)
	for _, path := range p.Read {
		text, err := os.ReadFile(path)
		if err != nil {
			text = []byte(errors.Unwrap(err).Error())
		}
		say(report, string(text))
	}
	for _, path := range p.Write {
		if err := os.WriteFile(path, []byte("written inside"), 0o644); err != nil {
			return err
		}
	}
	return nil
})

// Folders that are named keep their paths, by whatever links they are named; all
// else below /tmp is gone.
func TestVisible(t *testing.T) {
	everyone(t, func(t *testing.T) {
		top := tempDir(t)
		for _, dir := range []string{"results/deep", "config", "secret", "outer/inner"} {
			if err := os.MkdirAll(filepath.Join(top, dir), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(top, dir, "file"), []byte("in "+dir), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(filepath.Join(top, "config"), filepath.Join(top, "link")); err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(places{
			Read: []string{
				filepath.Join(top, "results/deep/file"), filepath.Join(top, "link/file"), filepath.Join(top, "config/file"),
				filepath.Join(top, "outer/inner/file"), filepath.Join(top, "secret/file"),
			},
			Write: []string{filepath.Join(top, "results/new"), "relative"},
		})
		if err != nil {
			t.Fatal(err)
		}
		got := reported(t, sandbox.Spec{
			Job: visit, Data: data, Dir: filepath.Join(top, "results"),
			Visible: []string{filepath.Join(top, "link"), filepath.Join(top, "outer"), filepath.Join(top, "outer/inner"), "/usr"},
		})
		want := []string{
			"in " + filepath.Join(top, "results"), "in results/deep", "in config", "in config", "in outer/inner", "no such file or directory",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("unexpected sight (-want +got):\n%s", diff)
		}
		for _, name := range []string{"new", "relative"} {
			path := filepath.Join(top, "results", name)
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if uid := int(info.Sys().(*syscall.Stat_t).Uid); uid != os.Geteuid() {
				t.Errorf("%s belongs to %d", path, uid)
			}
		}
	})
}

// The working directory of the parent may be one that is hidden inside, and a
// relative Dir is relative to it.
func TestRelativeDirInAHiddenPlace(t *testing.T) {
	everyone(t, func(t *testing.T) {
		top := tempDir(t)
		if err := os.Mkdir(filepath.Join(top, "results"), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Chdir(top)
		data, err := json.Marshal(places{Write: []string{"relative"}})
		if err != nil {
			t.Fatal(err)
		}
		got := reported(t, sandbox.Spec{Job: visit, Data: data, Dir: "results"})
		if diff := cmp.Diff([]string{"in " + filepath.Join(top, "results")}, got); diff != "" {
			t.Errorf("unexpected folder (-want +got):\n%s", diff)
		}
		if _, err := os.Stat(filepath.Join(top, "results/relative")); err != nil {
			t.Error(err)
		}
	})
}

// Without a Dir nothing of the parent's working directory remains.
func TestNoDir(t *testing.T) {
	t.Chdir(tempDir(t))
	got := reported(t, sandbox.Spec{Job: visit, Data: []byte("{}")})
	if diff := cmp.Diff([]string{"in /"}, got); diff != "" {
		t.Errorf("unexpected folder (-want +got):\n%s", diff)
	}
}

func TestChecks(t *testing.T) {
	everyone(t, func(t *testing.T) {
		var names []string
		for _, check := range sandbox.Checks() {
			found, err := check.Try(t.Context())
			names = append(names, check.Name)
			if err != nil || found == "" {
				t.Errorf("%s: %q, %v", check.Name, found, err)
			}
			t.Logf("%s: %s", check.Name, found)
		}
		if want := []string{"sandbox", "unprivileged programs", "pseudo-terminals"}; !slices.Equal(names, want) {
			t.Errorf("checks %q instead of %q", names, want)
		}
	})
}
