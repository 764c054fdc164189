package qemu

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// launch starts a command pinned to one core, from the one thread that starts every
// emulator.
//
// The kernel ends a child with PDEATHSIG when the thread ends that forked it, and
// the runtime ends threads as it likes, but not this one. A child also begins with
// the affinity and the policy of that thread, so that no thread of it ever runs
// elsewhere.
func launch(cmd *exec.Cmd, core int) error {
	done := make(chan error, 1)
	launcher() <- func() { done <- startOn(cmd, core) }
	return <-done
}

var launcher = sync.OnceValue(func() chan<- func() {
	requests := make(chan func())
	go func() {
		runtime.LockOSThread()
		// The two threads of QEMU hand over to each other at every wake-up of the guest.
		// A batch thread does not preempt the one that wakes it, only to run into a lock
		// that the other still holds: 264,000 instead of 1,080,000 context switches in
		// 77,000 interrupts. Where it is refused, it is only slower.
		_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_BATCH}, 0)
		for f := range requests {
			f()
		}
	}()
	return requests
})

func startOn(cmd *exec.Cmd, core int) error {
	var one unix.CPUSet
	one.Set(core)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("pinning to core %d: %w", core, err)
	}
	return cmd.Start()
}

// preload is the entry of an environment that has the loader take a library from an
// inherited file before all others.
func preload(fd int) string { return "LD_PRELOAD=" + descriptor(fd) }

// command prepares a QEMU process that ends with this one. clock is the library of
// stillClock.
func command(args arguments, clock, monitor *os.File, files ...*os.File) *exec.Cmd {
	cmd := exec.Command(args.machine.QEMU.Path, args.list()...)
	cmd.ExtraFiles = append(append([]*os.File{monitor}, files...), clock)
	cmd.Env = append(os.Environ(), preload(monitorFD+len(cmd.ExtraFiles)-1))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		// Ctrl-C in a terminal reaches the parent only, which decides.
		Setsid: true,
	}
	return cmd
}

// monitorPair makes the connection to a monitor: our end, and the one to inherit.
func monitorPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "monitor"), os.NewFile(uintptr(fds[1]), "monitor of QEMU")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		_ = theirs.Close()
		return nil, nil, err
	}
	return conn.(*net.UnixConn), theirs, nil
}
