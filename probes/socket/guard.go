package socket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A guard tells at once of two ends of a socket that show nowhere else: that the
// kernel gives it up, and that its program closes it. The kernel tells that to
// whoever waits for the program's own file: of its failing by epoll, of its closing
// by inotify. So the guard takes the file from the program for a moment, asks to be
// told, and puts it back; what it then holds keeps no socket open.
//
// Should the program close the file in just that moment, some 50 µs, the guard's
// closing is the last one, and it is the guard that SO_LINGER makes wait.

// sign is what a guard says of a socket.
type sign int

const (
	// signGuarded: from now on the other signs will come.
	signGuarded sign = iota
	// signRefused: they will not. No process that this one may look into holds
	// the socket, or the user has no more inotify instances or watches.
	signRefused
	// signFailed: the kernel has put an error on the socket, or is about to end it.
	signFailed
	// signClosed: the last file of the socket is being closed. No sign comes after it.
	signClosed
)

// guarded is a socket that somebody wants to know about.
type guarded struct {
	inode uint32
	// tell is called from several goroutines, one at a time, and must not wait.
	tell func(sign)
	// number is what it is called in the epoll instance.
	number int32
}

// guard serves all watchers of the process: of inotify instances a user has 128,
// and looking for a socket among all open files costs the same for one as for
// many. Its methods are safe for concurrent use.
type guard struct {
	inotify int
	epoll   *os.File // with inotify and every guarded socket in it, in the runtime's poller
	raw     syscall.RawConn
	news    chan struct{} // has an element if somebody asks
	quit    chan struct{}
	working sync.WaitGroup

	mu     sync.Mutex
	closed bool
	asked  []*guarded
	last   int32              // the last number given; inotify has 0
	number map[int32]*guarded // by number
	watch  map[int32]*guarded // by inotify's watch
}

func openGuard() (*guard, error) {
	g := &guard{
		inotify: -1, news: make(chan struct{}, 1), quit: make(chan struct{}),
		number: map[int32]*guarded{}, watch: map[int32]*guarded{},
	}
	if err := g.setUp(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening a guard of sockets: %w", err), g.release())
	}
	g.working.Go(g.search)
	g.working.Go(g.listen)
	return g, nil
}

func (g *guard) setUp() error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	// The runtime takes into its poller what does not block.
	err = unix.SetNonblock(fd, true)
	g.epoll = os.NewFile(uintptr(fd), "guard of sockets")
	if err != nil {
		return err
	}
	if g.raw, err = g.epoll.SyscallConn(); err != nil {
		return err
	}
	if g.inotify, err = unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK); err != nil {
		return err
	}
	return unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, g.inotify, &unix.EpollEvent{Events: unix.EPOLLIN})
}

// ask asks for signs of a socket. signGuarded or signRefused comes first, and soon.
func (g *guard) ask(inode uint32, tell func(sign)) {
	g.mu.Lock()
	g.asked = append(g.asked, &guarded{inode: inode, tell: tell})
	g.mu.Unlock()
	select {
	case g.news <- struct{}{}:
	default:
	}
}

// search looks for the sockets that were asked for, until close.
func (g *guard) search() {
	for {
		select {
		case <-g.news:
		case <-g.quit:
			return
		}
		g.mu.Lock()
		asked := g.asked
		g.asked = nil
		g.mu.Unlock()
		wanted := map[uint32]*guarded{}
		for _, s := range asked {
			wanted[s.inode] = s
		}
		// Of processes that end meanwhile nothing is found, and of those that may
		// not be looked into: what is left over is refused.
		_ = eachHeld(func(h held) bool {
			if s := wanted[h.inode]; s != nil && g.take(h, s) == nil {
				delete(wanted, h.inode)
			}
			return len(wanted) > 0
		})
		for _, s := range wanted {
			s.tell(signRefused)
		}
	}
}

// take begins to guard a socket that a process holds.
func (g *guard) take(h held, s *guarded) error {
	process, err := unix.PidfdOpen(h.process, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(process) }()
	fd, err := unix.PidfdGetfd(process, h.fd, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return err
	}
	if stat.Ino != uint64(h.inode) {
		return unix.ESTALE // the program uses the number for another file by now
	}
	// Signs may come before this returns; they wait for the lock.
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return os.ErrClosed
	}
	watch, err := unix.InotifyAddWatch(g.inotify, fmt.Sprintf("/proc/self/fd/%d", fd), unix.IN_CLOSE|unix.IN_ONESHOT)
	if err != nil {
		return err
	}
	g.last++
	s.number = g.last
	// No events are asked for: of errors and of the end epoll always tells.
	event := &unix.EpollEvent{Events: unix.EPOLLET, Fd: s.number}
	err = g.control(func(epoll int) error { return unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, event) })
	if err != nil {
		_, removeErr := unix.InotifyRmWatch(g.inotify, uint32(watch))
		return errors.Join(err, removeErr)
	}
	g.number[s.number], g.watch[int32(watch)] = s, s
	s.tell(signGuarded)
	return nil
}

func (g *guard) control(f func(epoll int) error) error {
	var err error
	if rawErr := g.raw.Control(func(fd uintptr) { err = f(int(fd)) }); rawErr != nil {
		return rawErr
	}
	return err
}

// listen passes on signs until close.
func (g *guard) listen() {
	for {
		var events [64]unix.EpollEvent
		n := 0
		// It fails only for a closed file.
		err := g.raw.Read(func(fd uintptr) bool {
			n, _ = unix.EpollWait(int(fd), events[:], 0)
			return n > 0
		})
		if err != nil {
			return
		}
		g.mu.Lock()
		for _, e := range events[:n] {
			if e.Fd == 0 {
				g.hear()
			} else if s := g.number[e.Fd]; s != nil {
				s.tell(signFailed)
			}
		}
		g.mu.Unlock()
	}
}

// hear reads what inotify has to tell. mu must be held.
func (g *guard) hear() {
	var b [64 * unix.SizeofInotifyEvent]byte
	n, err := unix.Read(g.inotify, b[:])
	if err != nil {
		return // nothing there after all
	}
	for at := 0; at+unix.SizeofInotifyEvent <= n; {
		watch := int32(binary.NativeEndian.Uint32(b[at:]))
		at += unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[at+12:]))
		s := g.watch[watch]
		if s == nil {
			continue // that a watch for one event is over
		}
		delete(g.watch, watch)
		delete(g.number, s.number)
		s.tell(signClosed)
	}
}

func (g *guard) close() error {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	close(g.quit)
	err := g.epoll.Close()
	g.working.Wait()
	return errors.Join(err, unix.Close(g.inotify))
}

// release undoes what there is of setUp.
func (g *guard) release() error {
	var err error
	if g.epoll != nil {
		err = g.epoll.Close()
	}
	if g.inotify >= 0 {
		err = errors.Join(err, unix.Close(g.inotify))
	}
	return err
}

// guards has the guard that all watchers of this process share, from when the
// first of them asks until the last of them leaves.
var guards struct {
	sync.Mutex
	users int
	guard *guard
}

// joinGuards is to be called before askGuards.
func joinGuards() {
	guards.Lock()
	defer guards.Unlock()
	guards.users++
}

// leaveGuards undoes joinGuards.
func leaveGuards() error {
	guards.Lock()
	defer guards.Unlock()
	guards.users--
	if guards.users > 0 || guards.guard == nil {
		return nil
	}
	g := guards.guard
	guards.guard = nil
	return g.close()
}

// askGuards asks for signs of a socket, of which signGuarded or signRefused comes
// first. tell is called from other goroutines and must not wait.
func askGuards(inode uint32, tell func(sign)) {
	guards.Lock()
	defer guards.Unlock()
	if guards.guard == nil {
		g, err := openGuard()
		if err != nil {
			tell(signRefused)
			return
		}
		guards.guard = g
	}
	guards.guard.ask(inode, tell)
}
