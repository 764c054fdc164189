package guest

import (
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// machine is what is prepared before the template is kept.
type machine struct {
	devices []string // paths of the memory devices, in no order
	stop    *stopLine
}

// mounts are the file systems of the machine. The lab's root gets them, too.
var mounts = []struct {
	kind, at, options string
	flags             uintptr
}{
	{"proc", "/proc", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	{"sysfs", "/sys", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	{"devtmpfs", "/dev", "mode=0755", unix.MS_NOSUID},
	{"devpts", "/dev/pts", "mode=0620,ptmxmode=0666", unix.MS_NOSUID | unix.MS_NOEXEC},
	{"tmpfs", "/dev/shm", "mode=1777", unix.MS_NOSUID | unix.MS_NODEV},
}

// sysctls keep the kernel quiet while nothing happens, and lift limits that in the
// lab's own namespaces cannot be lifted.
var sysctls = []struct{ name, value string }{
	// Work that is done by the clock, whether there is any or not.
	{"vm.compaction_proactiveness", "0"},
	{"vm.stat_interval", "2000000"},
	{"vm.dirty_writeback_centisecs", "0"},
	{"kernel.hung_task_timeout_secs", "0"},
	// Code that is always at the same address is translated once and not for each program
	// that uses it: 41,000 instead of 172,000 instructions of libraries in a short run.
	{"kernel.randomize_va_space", "0"},
	// A list of all processes would wash other messages away.
	{"vm.oom_dump_tasks", "0"},
	// By default as many as suit a small router.
	{"net.netfilter.nf_conntrack_max", "1048576"},
	// A burst of a thousand sockets' ends overruns the usual buffer.
	{"net.core.rmem_max", "4194304"},
	// By default a share of the memory, which is small.
	{"kernel.threads-max", "100000"},
	{"kernel.pid_max", "100000"},
	{"user.max_user_namespaces", "100000"},
	{"user.max_net_namespaces", "100000"},
	{"user.max_mnt_namespaces", "100000"},
	{"user.max_pid_namespaces", "100000"},
	{"user.max_ipc_namespaces", "100000"},
	{"user.max_uts_namespaces", "100000"},
}

// limits are what a process may have, unless it asks for more, and at most: about what
// the usual distribution gives. The bare kernel's are small.
var limits = map[int]syscall.Rlimit{
	unix.RLIMIT_NOFILE: {Cur: 1024, Max: 1 << 20},
	unix.RLIMIT_NPROC:  {Cur: 100000, Max: 100000},
}

// hostName needs no entry in a hosts file that the host's does not have.
const hostName = "localhost"

// protection keeps the kernel from killing process 1 of the lab, which inherits it,
// when memory runs out, while a program is left that can be killed instead.
const protection = "-500"

// boot makes the bare machine fit for a lab.
func boot() (*machine, error) {
	for _, m := range mounts {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return nil, err
		}
		if err := unix.Mount(m.kind, m.at, m.kind, m.flags, m.options); err != nil {
			return nil, fmt.Errorf("mounting %s: %w", m.at, err)
		}
	}
	for name, target := range map[string]string{
		"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(target, name); err != nil {
			return nil, err
		}
	}
	// Before what makes the devices.
	news, err := listen()
	if err != nil {
		return nil, err
	}
	defer news.close()
	if err := loadModules("/modules"); err != nil {
		return nil, err
	}
	for _, s := range sysctls {
		path := "/proc/sys/" + strings.ReplaceAll(s.name, ".", "/")
		if err := os.WriteFile(path, []byte(s.value), 0); err != nil {
			return nil, fmt.Errorf("setting %s: %w", s.name, err)
		}
	}
	for which, limit := range limits {
		// By this package rather than by unix, for the runtime to know: at first it has
		// raised the limit of open files, and would give its children the old one.
		if err := syscall.Setrlimit(which, &limit); err != nil {
			return nil, fmt.Errorf("setting the limits of processes: %w", err)
		}
	}
	if err := unix.Sethostname([]byte(hostName)); err != nil {
		return nil, fmt.Errorf("setting the host name: %w", err)
	}
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte(protection), 0); err != nil {
		return nil, fmt.Errorf("protecting the lab from running out of memory: %w", err)
	}
	if err := relax(); err != nil {
		return nil, err
	}
	stop, err := openStopLine()
	if err != nil {
		return nil, err
	}
	devices, err := news.awaitDevices()
	if err != nil {
		return nil, err
	}
	return &machine{devices, stop}, nil
}
