package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"outlive/lab/feature"
)

// Remedies that more than one place gives.
const (
	containerRemedy = "start the container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined " +
		"--security-opt systempaths=unconfined, or with --privileged"
	maskedProcRemedy = "start the container with --security-opt systempaths=unconfined (Kubernetes: procMount: Unmasked), " +
		"or with --privileged"
)

// limits are the sysctls that bound the namespaces of a sandbox.
var limits = []string{
	"user.max_user_namespaces", "user.max_net_namespaces", "user.max_mnt_namespaces",
	"user.max_pid_namespaces", "user.max_ipc_namespaces", "user.max_uts_namespaces",
}

// facts are what a machine says about its restrictions on user namespaces.
type facts struct {
	root bool
	// sysctl has the values that were there, by name.
	sysctl map[string]string
	// missing are the namespaces that the kernel was built without: "user", "net".
	missing []string
	// seccomp says that a filter decides over this process's system calls, as in a
	// container.
	seccomp bool
	// canMapRoot says that this process has CAP_SETFCAP, without which root cannot
	// map itself into a user namespace.
	canMapRoot bool
}

// Restrictions that distributions have added to the kernel.
const (
	appArmorSysctl   = "kernel.apparmor_restrict_unprivileged_userns"
	usernsSysctl     = "kernel.unprivileged_userns_clone"
	capSetFCap       = 1 << unix.CAP_SETFCAP
	sandboxFeature   = "a sandbox for the lab"
	permissionNeeded = "permission to make user namespaces"
)

// readFacts asks the machine. It reads a few files of /proc, and is only worth it
// when something went wrong.
func readFacts() facts {
	f := facts{root: os.Geteuid() == 0, sysctl: make(map[string]string), canMapRoot: effectiveCapabilities()&capSetFCap != 0}
	for _, name := range append([]string{appArmorSysctl, usernsSysctl}, limits...) {
		if value, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/")); err == nil {
			f.sysctl[name] = strings.TrimSpace(string(value))
		}
	}
	for _, ns := range []string{"user", "net", "mnt", "pid", "ipc", "uts"} {
		if _, err := os.Lstat("/proc/self/ns/" + ns); err != nil {
			f.missing = append(f.missing, ns)
		}
	}
	f.seccomp = statusField("Seccomp") == "2"
	return f
}

// statusField gives one line of /proc/self/status.
func statusField(name string) string {
	file, err := os.Open("/proc/self/status")
	if err != nil {
		return ""
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// Explain turns the error of an attempt to make user namespaces, as Unprivileged
// does, into a *feature.Unsupported if it is about a restriction of this machine.
// doing is the attempt, for errors that are about something else.
func Explain(doing string, err error) error { return readFacts().explain(doing, err) }

// explain turns the kernel's answer to an attempt to make a sandbox into what is
// missing and what to do. doing is the attempt, for an answer that says nothing of
// the kind.
func (f facts) explain(doing string, err error) error {
	unsupported := func(needs, remedy string) error {
		return &feature.Unsupported{Feature: sandboxFeature, Needs: needs, Remedy: remedy, Err: err}
	}
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		// The kernel says "no space left on device" and means a quota, of this user
		// or of one that made an outer namespace.
		for _, name := range limits {
			if f.sysctl[name] == "0" {
				return unsupported(name+" above 0", "sudo sysctl -w "+name+"=10000")
			}
		}
		return unsupported("quota left in user.max_user_namespaces ("+f.sysctl[limits[0]]+") and the other user.max_*_namespaces",
			"end what uses them up, or raise them: sudo sysctl -w user.max_user_namespaces=100000")
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		switch {
		case !f.root && f.sysctl[appArmorSysctl] == "1":
			return unsupported(permissionNeeded+", which AppArmor denies ("+appArmorSysctl+"=1)",
				"sudo sysctl -w "+appArmorSysctl+"=0, or run it with sudo")
		case !f.root && f.sysctl[usernsSysctl] == "0":
			return unsupported(permissionNeeded+", which "+usernsSysctl+"=0 denies",
				"sudo sysctl -w "+usernsSysctl+"=1, or run it with sudo")
		case f.seccomp:
			return unsupported(permissionNeeded+", which a seccomp filter denies, as in a container", containerRemedy)
		case f.root && !f.canMapRoot:
			return unsupported("root with CAP_SETFCAP, CAP_SETUID and CAP_SETGID", "run it with the capabilities, or as another user than root")
		case f.root:
			return unsupported(permissionNeeded, "run it outside a chroot, and where a security module (SELinux, AppArmor) allows user namespaces")
		}
		return unsupported(permissionNeeded,
			"run it with sudo, or outside a chroot and where a security module (SELinux, AppArmor) allows user namespaces")
	case errors.Is(err, unix.EINVAL) && len(f.missing) > 0:
		return unsupported("a kernel with CONFIG_"+strings.ToUpper(f.missing[0])+"_NS", "use the kernel of a general-purpose distribution")
	case errors.Is(err, unix.ENOSYS):
		return unsupported("the system calls of namespaces, which a filter or an emulator denies", containerRemedy)
	case errors.Is(err, unix.EAGAIN):
		return fmt.Errorf("%s: %w (the user's limit of processes, ulimit -u, may be reached)", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
