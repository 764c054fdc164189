package process

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// familyNamespace makes every program begin in a UTS namespace of its own. It
// changes nothing for the program, which sees the same host name, and everything
// that the program starts is in it too, whatever session, group or parent it has
// by then. So a program and its descendants, its family, can be told from all other
// processes without an init process between them and the lab, and without making
// the program one.
const familyNamespace = unix.CLONE_NEWUTS

// family is the processes in one such namespace.
type family struct {
	// held keeps the namespace, and thereby its number, while it is asked for. It is nil
	// once nobody is left, or if nobody could be found in the first place.
	held   *os.File
	number uint64
}

// registry knows the namespaces of the programs that this process has started.
type registry struct {
	mu    sync.Mutex
	known map[uint64]bool
}

var families = registry{known: make(map[uint64]bool)}

// add starts a program and tells its family. Programs start one at a time, so that a
// namespace which nobody knows yet can only be the latest one's.
func (r *registry) add(start func() (pid int, err error)) (*family, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := start()
	if err != nil {
		return nil, err
	}
	f := &family{}
	f.held, err = os.Open(namespacePath(strconv.Itoa(pid), "uts"))
	if err != nil {
		// It has ended already, as a program does that moves to the background.
		f.held = r.openUnknown()
	}
	if f.held == nil {
		return f, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.held.Fd()), &st); err != nil {
		return f, nil
	}
	f.number = st.Ino
	r.known[f.number] = true
	return f, nil
}

// openUnknown opens the namespace of a process that is not in one of a known
// program, nor in this process's own. It is nil if there is no such process.
func (r *registry) openUnknown() *os.File {
	ownUTS, ownPID := namespace("self", "uts"), namespace("self", "pid")
	for _, pid := range processes() {
		uts := namespace(pid, "uts")
		// Processes of a sandbox within this one are nobody's family here.
		if uts == 0 || uts == ownUTS || r.known[uts] || namespace(pid, "pid") != ownPID {
			continue
		}
		if f, err := os.Open(namespacePath(pid, "uts")); err == nil {
			return f
		}
	}
	return nil
}

// end kills the family until nobody is left, since whoever is being killed may just
// have started another. It is not for concurrent use.
func (r *registry) end(f *family, until time.Time) error {
	if f.held == nil {
		return nil
	}
	for {
		left := f.members()
		if len(left) == 0 {
			break
		}
		for _, pid := range left {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		if time.Now().After(until) {
			return fmt.Errorf("processes %v have not ended after %v", left, killLimit)
		}
		awaitEnd(left[0], until)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known, f.number)
	f.held.Close()
	f.held = nil
	return nil
}

// members lists the living processes of the family.
func (f *family) members() []int {
	var pids []int
	for _, name := range processes() {
		if namespace(name, "uts") != f.number {
			continue
		}
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// awaitEnd waits for the end of a process that need not be a child, not longer than
// until.
func awaitEnd(pid int, until time.Time) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(fd) }()
	wait := max(time.Until(until), 0)
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(wait.Milliseconds()))
}

// processes lists the names in /proc that are process ids.
func processes() []string {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	pids := names[:0]
	for _, name := range names {
		if name[0] >= '1' && name[0] <= '9' {
			pids = append(pids, name)
		}
	}
	return pids
}

func namespacePath(pid, kind string) string { return "/proc/" + pid + "/ns/" + kind }

// namespace is the number of a process's namespace of a kind. It is 0 for a process
// that has ended, even while its parent has not waited for it.
func namespace(pid, kind string) uint64 {
	var st unix.Stat_t
	if err := unix.Stat(namespacePath(pid, kind), &st); err != nil {
		return 0
	}
	return st.Ino
}
