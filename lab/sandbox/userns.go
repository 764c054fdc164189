package sandbox

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// namespaces are those that a sandbox has of its own. The user namespace, for root
// too, is what keeps the host's clock, devices and sysctls out of reach.
const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS |
	unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// nobody is the user and group id that an unprivileged program sees as its own.
const nobody = 65534

// Unprivileged makes cmd, which process 1 of a sandbox is to start, run in a user
// namespace of its own as an ordinary user: it sees itself as uid and gid 65534
// and has no capability over the sandbox. Servers that give up root's privileges
// when they are started as root find nothing to give up and run unchanged, and no
// server can undo the lab. The files that it makes belong to whoever runs the lab.
//
// Ports below 1024 need net.ipv4.ip_unprivileged_port_start=0 in its host, raw
// sockets are refused, and as for any user of one id, changing to another user or
// group fails.
func Unprivileged(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	attr := cmd.SysProcAttr
	attr.Cloneflags |= unix.CLONE_NEWUSER
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: nobody, HostID: 0, Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: nobody, HostID: 0, Size: 1}}
	attr.GidMappingsEnableSetgroups = false
}

// mapIDs says who process 1 is. Root keeps every id that it has, so that files of
// other users stay theirs; anyone else may map only themselves, as root.
func mapIDs(attr *syscall.SysProcAttr) {
	if mayMapEveryID() {
		uids, uidErr := identity("/proc/self/uid_map")
		gids, gidErr := identity("/proc/self/gid_map")
		if uidErr == nil && gidErr == nil {
			attr.UidMappings, attr.GidMappings = uids, gids
			// What an outer namespace has denied cannot be allowed in an inner one.
			allowed, err := os.ReadFile("/proc/self/setgroups")
			attr.GidMappingsEnableSetgroups = err == nil && strings.TrimSpace(string(allowed)) == "allow"
			return
		}
	}
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
}

// mayMapEveryID asks for what the kernel asks of the writer of a map with more than
// its own id: CAP_SETUID and CAP_SETGID. Root in a container may lack them.
func mayMapEveryID() bool {
	const needed = 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID
	return os.Geteuid() == 0 && effectiveCapabilities()&needed == needed
}

// effectiveCapabilities are those of the calling thread, the first 32 of them.
func effectiveCapabilities() uint32 {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0
	}
	return data[0].Effective
}

// identity maps every id that exists in this user namespace to itself.
func identity(path string) ([]syscall.SysProcIDMap, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseIdentity(f)
}

// parseIdentity reads a uid_map or gid_map: first id here, first id outside, count.
func parseIdentity(r io.Reader) ([]syscall.SysProcIDMap, error) {
	var maps []syscall.SysProcIDMap
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var here, outside, count int64
		if _, err := fmt.Sscan(lines.Text(), &here, &outside, &count); err != nil {
			return nil, fmt.Errorf("reading id map line %q: %w", lines.Text(), err)
		}
		// On a 32-bit machine an int does not hold the count of all ids.
		count = min(count, math.MaxInt-here)
		maps = append(maps, syscall.SysProcIDMap{ContainerID: int(here), HostID: int(here), Size: int(count)})
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(maps) == 0 {
		return nil, fmt.Errorf("no id is mapped")
	}
	return maps, nil
}
