package sandbox

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"outlive/lab/feature"
)

func TestExplain(t *testing.T) {
	for _, test := range []struct {
		name   string
		facts  facts
		err    error
		needs  string // empty where the error is not about a restriction
		remedy string
		text   string // of an error that is not
	}{
		{
			name: "no network namespaces left", err: unix.ENOSPC,
			facts:  facts{sysctl: map[string]string{"user.max_user_namespaces": "100", "user.max_net_namespaces": "0"}},
			needs:  "user.max_net_namespaces above 0",
			remedy: "sudo sysctl -w user.max_net_namespaces=10000",
		},
		{
			name: "quota used up", err: unix.ENOSPC,
			facts:  facts{sysctl: map[string]string{"user.max_user_namespaces": "100"}},
			needs:  "quota left in user.max_user_namespaces (100) and the other user.max_*_namespaces",
			remedy: "end what uses them up, or raise them: sudo sysctl -w user.max_user_namespaces=100000",
		},
		{
			name: "AppArmor", err: unix.EACCES,
			facts:  facts{sysctl: map[string]string{appArmorSysctl: "1", usernsSysctl: "1"}},
			needs:  "permission to make user namespaces, which AppArmor denies (kernel.apparmor_restrict_unprivileged_userns=1)",
			remedy: "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or run it with sudo",
		},
		{
			name: "AppArmor leaves root alone", err: unix.EPERM,
			facts:  facts{root: true, canMapRoot: true, sysctl: map[string]string{appArmorSysctl: "1"}},
			needs:  "permission to make user namespaces",
			remedy: "run it outside a chroot, and where a security module (SELinux, AppArmor) allows user namespaces",
		},
		{
			name: "distribution's switch", err: unix.EPERM,
			facts:  facts{sysctl: map[string]string{usernsSysctl: "0"}},
			needs:  "permission to make user namespaces, which kernel.unprivileged_userns_clone=0 denies",
			remedy: "sudo sysctl -w kernel.unprivileged_userns_clone=1, or run it with sudo",
		},
		{
			name: "container", err: unix.EPERM,
			facts:  facts{root: true, seccomp: true},
			needs:  "permission to make user namespaces, which a seccomp filter denies, as in a container",
			remedy: containerRemedy,
		},
		{
			name: "root without capabilities", err: unix.EPERM,
			facts:  facts{root: true},
			needs:  "root with CAP_SETFCAP, CAP_SETUID and CAP_SETGID",
			remedy: "run it with the capabilities, or as another user than root",
		},
		{
			name: "no reason known", err: unix.EPERM,
			needs:  "permission to make user namespaces",
			remedy: "run it with sudo, or outside a chroot and where a security module (SELinux, AppArmor) allows user namespaces",
		},
		{
			name: "kernel without", err: unix.EINVAL,
			facts:  facts{missing: []string{"user"}},
			needs:  "a kernel with CONFIG_USER_NS",
			remedy: "use the kernel of a general-purpose distribution",
		},
		{
			name: "too many processes", err: unix.EAGAIN,
			text: "starting it: resource temporarily unavailable (the user's limit of processes, ulimit -u, may be reached)",
		},
		{name: "something else", err: unix.ENOEXEC, text: "starting it: exec format error"},
		{name: "kernel with, but", err: unix.EINVAL, text: "starting it: invalid argument"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.facts.explain("starting it", test.err)
			if !errors.Is(err, test.err) {
				t.Errorf("%v does not wrap %v", err, test.err)
			}
			missing, ok := errors.AsType[*feature.Unsupported](err)
			if !ok {
				if diff := cmp.Diff(test.text, err.Error()); diff != "" {
					t.Errorf("unexpected error (-want +got):\n%s", diff)
				}
				return
			}
			if diff := cmp.Diff([]string{test.needs, test.remedy}, []string{missing.Needs, missing.Remedy}); diff != "" {
				t.Errorf("unexpected explanation (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseIdentity(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       []syscall.SysProcIDMap
		err        string
	}{
		{"the first namespace", "         0          0 4294967295\n", []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 4294967295}}, ""},
		{"one user", "0 1000 1\n", []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}, ""},
		{"a container of an ordinary user", "0 1000 1\n1 100000 65536\n",
			[]syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}, {ContainerID: 1, HostID: 1, Size: 65536}}, ""},
		{"nothing", "", nil, "no id is mapped"},
		{"nonsense", "0 x\n", nil, `reading id map line "0 x": expected integer`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseIdentity(strings.NewReader(test.text))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("unexpected map (-want +got):\n%s", diff)
			}
			var text string
			if err != nil {
				text = err.Error()
			}
			if diff := cmp.Diff(test.err, text); diff != "" {
				t.Errorf("unexpected error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHides(t *testing.T) {
	for path, want := range map[string]bool{
		"/tmp": true, "/tmp/a": true, "/tmpfoo": false, "/run/x/y": true, "/dev/shm": true, "/dev": false, "/": false, "/home/tmp": false,
	} {
		if got := Hides(path); got != want {
			t.Errorf("Hides(%q) is %v", path, got)
		}
	}
}

func TestMainMustBeCalled(t *testing.T) {
	mainCalled = false
	defer func() { mainCalled = true }()
	const want = "sandbox.Main was not called: it must be the first statement of main or TestMain"
	if _, err := Start(t.Context(), Spec{Job: checkJob}); err == nil || err.Error() != "starting a sandbox: "+want {
		t.Errorf("Start returned %v", err)
	}
	if err := Program(checkProgram).Run(); err == nil || err.Error() != want {
		t.Errorf("a program returned %v", err)
	}
}
