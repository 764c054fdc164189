package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"outlive/lab/feature"
)

// inert are the flags of every file system that is mounted here.
const inert = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// spareProc is where a second /proc is mounted. The kernel lets a user namespace
// mount /proc only where one is in sight that nothing covers, and parts of the
// first one are covered: without the spare, there could be no sandbox in a sandbox.
const spareProc = "/run/outlive/proc"

// setUp makes the sandbox out of fresh namespaces, in the order in which each step
// still finds what it needs.
func setUp(s settings) error {
	explain := readFacts().explain
	keep, err := openKept(s.Keep)
	if err != nil {
		return err
	}
	defer closeKept(keep)
	runFolders, err := folders("/run")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("looking into /run: %w", err)
	}
	resolver := resolverFile()

	// From here on nothing that is mounted reaches the host; what the host unmounts
	// still goes away here, so that the lab keeps no device busy.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return explain("separating the sandbox's mounts from the host's", err)
	}
	if err := mountProc("/proc"); err != nil {
		return err
	}
	mountSys()
	for _, h := range hidden {
		if info, err := os.Lstat(h.path); err != nil || !info.IsDir() {
			continue
		}
		if err := unix.Mount("tmpfs", h.path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, h.mode); err != nil {
			return explain("mounting an empty "+h.path, err)
		}
	}
	if err := furnishRun(runFolders); err != nil {
		return err
	}
	if err := guardProc(); err != nil {
		return err
	}
	if err := silenceResolver(resolver); err != nil {
		return err
	}
	mountTerminals()
	if err := showAgain(keep); err != nil {
		return err
	}
	dir := s.Dir
	if dir == "" {
		dir = "/"
	}
	if err := os.Chdir(dir); err != nil {
		return err
	}
	return loopbackUp()
}

// mountProc mounts the /proc of this sandbox's processes.
func mountProc(at string) error {
	err := unix.Mount("proc", at, "proc", inert, "")
	if errors.Is(err, unix.EPERM) && at == "/proc" {
		return &feature.Unsupported{
			Feature: "a /proc for the sandbox",
			Needs:   "a /proc of which no part is covered or read-only; containers cover theirs",
			Remedy:  maskedProcRemedy,
			Err:     err,
		}
	}
	if err != nil {
		return fmt.Errorf("mounting %s: %w", at, err)
	}
	return nil
}

// mountSys mounts a /sys that shows this sandbox's interfaces, read-only: root in a
// sandbox has the permissions of the host's root on the files in it. Where a
// container has a /sys that may not be mounted again, that one is left, which is
// read-only or covered already.
func mountSys() {
	_ = unix.Mount("sysfs", "/sys", "sysfs", inert|unix.MS_RDONLY, "")
}

// furnishRun makes the folders in the empty /run that the host has in its own.
// Servers expect theirs to exist ("/run/mosquitto"), made when they were installed
// or by the service manager.
func furnishRun(host map[string]fs.FileMode) error {
	for name, mode := range host {
		path := filepath.Join("/run", name)
		if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("furnishing /run: %w", err)
		}
		// Mkdir leaves out what the umask and the sticky bit are about.
		if err := os.Chmod(path, mode&(fs.ModePerm|fs.ModeSticky)); err != nil {
			return fmt.Errorf("furnishing /run: %w", err)
		}
	}
	if err := os.MkdirAll(spareProc, 0o755); err != nil {
		return fmt.Errorf("furnishing /run: %w", err)
	}
	return mountProc(spareProc)
}

// guardProc makes the parts of /proc read-only that act on the machine and not on
// the sandbox. Root keeps its user id in a sandbox, and there are files in /proc
// that ask for nothing else.
func guardProc() error {
	for _, part := range []string{"acpi", "bus", "fs", "irq", "scsi", "sys", "sysrq-trigger"} {
		path := "/proc/" + part
		if err := bind(path, unix.MS_RDONLY); errors.Is(err, unix.ENOENT) {
			continue
		} else if err != nil {
			return fmt.Errorf("making %s read-only: %w", path, err)
		}
	}
	// These belong to the network namespace of whoever looks at them.
	if err := bind("/proc/sys/net", 0); err != nil {
		return fmt.Errorf("keeping /proc/sys/net writable: %w", err)
	}
	return nil
}

// bind mounts path on itself with the flags.
func bind(path string, flags uintptr) error {
	if err := unix.Mount(path, path, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	return unix.Mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|inert|flags, "")
}

const resolverConf = "/etc/resolv.conf"

// resolverFile is the file that /etc/resolv.conf is, symbolic links followed, or
// empty where there is none.
func resolverFile() string {
	file, err := filepath.EvalSymlinks(resolverConf)
	if err != nil {
		return ""
	}
	return file
}

// silenceResolver takes the host's name servers away. Nothing in a lab reaches
// them, and a program that asks would wait for its time-out: now it is refused at
// once, by the loopback address that an empty file stands for.
func silenceResolver(file string) error {
	if file == "" {
		return nil
	}
	const text = "# There is no name server in the lab.\n"
	empty := "/run/outlive/resolv.conf"
	if Hides(file) {
		// The link dangles, since what it points to has just been hidden.
		empty = file
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return fmt.Errorf("taking the name servers out of %s: %w", resolverConf, err)
		}
	}
	if err := os.WriteFile(empty, []byte(text), 0o644); err != nil {
		return fmt.Errorf("taking the name servers out of %s: %w", resolverConf, err)
	}
	if empty == file {
		return nil
	}
	if err := unix.Mount(empty, file, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("taking the name servers out of %s: %w", resolverConf, err)
	}
	return nil
}

// mountTerminals gives the sandbox pseudo-terminals of its own. Programs are run on
// one so that they write line by line; without, they are run on a pipe.
func mountTerminals() {
	_ = unix.Mount("devpts", "/dev/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620")
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening a socket to bring the loopback interface up: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_LOOPBACK | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("bringing the loopback interface up: %w", err)
	}
	return nil
}
