package netns

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// File gives a file that holds the namespace, for the ExtraFiles of a command whose
// program enters it with Inherit. The caller closes it.
func (n *NS) File() (*os.File, error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.fd < 0 {
		return nil, fmt.Errorf("handing on a network namespace: %w", os.ErrClosed)
	}
	fd, err := unix.FcntlInt(uintptr(n.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("handing on a network namespace: %w", err)
	}
	return os.NewFile(uintptr(fd), "network namespace"), nil
}

// Inherit takes over a descriptor of this process that holds a namespace, as the
// parent has given it with File. Its Netlink is nil: a program that is one of very many
// hosts' is to have no more files open than it needs. To enter it takes CAP_SYS_ADMIN
// in the sandbox, which only a privileged program has.
func Inherit(fd int) (*NS, error) {
	const nsfs = 0x6e736673 // NSFS_MAGIC in linux/magic.h
	var system unix.Statfs_t
	err := unix.Fstatfs(fd, &system)
	if err == nil && system.Type != nsfs {
		err = errors.New("it is another kind of file")
	}
	var st unix.Stat_t
	if err == nil {
		err = unix.Fstat(fd, &st)
	}
	if err != nil {
		return nil, fmt.Errorf("taking over descriptor %d as a network namespace: %w", fd, err)
	}
	// A program that this one starts is in its own place.
	unix.CloseOnExec(fd)
	return &NS{fd: fd, ino: st.Ino}, nil
}
