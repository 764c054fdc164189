package sandbox

import (
	"bytes"
	"errors"
	"os"
	"os/signal"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reap collects the processes whose parents have died, for as long as process 1
// lives. The kernel gives them to the main thread of process 1, which is where
// this must run.
//
// It leaves alone what somebody in this process waits for. Those are children of
// the threads that forked them, and __WNOTHREAD hides the children of other
// threads; but when such a thread ends, its children too pass to the main thread.
// The runtime holds a pidfd of every child that it will wait for, and by that they
// are told apart.
func reap() {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, unix.SIGCHLD)
	for {
		for reapOne() {
		}
		// A child that was left alone is looked at again when the next one ends: its
		// end, too, is announced by this signal.
		<-changed
	}
}

// reapOne collects one orphan that has ended, if there is one to collect.
func reapOne() bool {
	const peek = unix.WEXITED | unix.WNOHANG | unix.WNOWAIT | unix.WNOTHREAD
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_ALL, 0, &info, peek, nil); err != nil || info.Signo == 0 {
		return errors.Is(err, unix.EINTR)
	}
	pid := waitedPID(&info)
	if awaited(pid) {
		return false
	}
	_, err := unix.Wait4(pid, nil, unix.WNOHANG|unix.WNOTHREAD, nil)
	return err == nil || errors.Is(err, unix.EINTR)
}

// waitedPID is si_pid, which lies behind signo, errno and code (and, on 64-bit
// machines, four bytes that align the union it is in).
func waitedPID(info *unix.Siginfo) int {
	const offset = 12 + (unsafe.Sizeof(uintptr(0)) - 4)
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(info), offset)))
}

// awaited says whether this process holds a pidfd of the child.
func awaited(pid int) bool {
	const dir = "/proc/self/fdinfo"
	entries, err := os.ReadDir(dir)
	if err != nil {
		// Better a zombie than somebody's child.
		return true
	}
	want := []byte("Pid:\t" + strconv.Itoa(pid) + "\n")
	for _, entry := range entries {
		// A descriptor that was closed meanwhile is nobody's pidfd.
		if text, err := os.ReadFile(dir + "/" + entry.Name()); err == nil && bytes.Contains(text, want) {
			return true
		}
	}
	return false
}
