package socket

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"outlive/lab/netns"
)

// eventBuffer is how much the kernel may queue for us, if it lets us have so much.
// An event takes about 1 KiB of it.
const eventBuffer = 4 << 20

// Watcher watches the TCP sockets of one host. The kernel tells when a socket is
// freed; that it has given one up it only tells the program, so the watcher looks the
// socket up whenever a packet may have changed it, and has it guarded while its end
// may come without one. Where a program's files are out of reach, it looks a
// hundred times a second instead, for as long as that lasts. While
// nothing happens it does nothing. It needs Packet to be
// called: a socket that has never had a packet is not known, and neither is one
// that is freed before the first of its packets is reported.
type Watcher struct {
	lookups  *diag
	events   *diag
	tracker  *tracker
	receiver sync.WaitGroup
	stop     context.CancelFunc
	done     chan struct{}
	err      error // valid after done

	mu    sync.Mutex
	inbox inbox
	news  chan struct{} // has an element if the inbox is not empty
}

// inbox is what has come in since run last looked.
type inbox struct {
	packets map[tuple]bool // whether one of them was a RST that came in
	signs   []signal
	freed   []freed
	lost    bool
	err     error // the events have ended
}

type freed struct {
	at time.Time
	info
}

// signal is a sign of a socket.
type signal struct {
	at     time.Time
	cookie uint64
	what   sign
}

// Watch begins to watch the sockets of the host in ns. Each event is passed to f,
// from one goroutine, when it is certain what it means: up to a second after its
// time, and in order for one socket. f may be called for the last time during
// Stop and must not call the Watcher. If ctx ends, that is like Stop.
//
// The error is a *feature.Unsupported where the kernel has no socket diagnostics.
func Watch(ctx context.Context, host string, ns *netns.NS, f func(Event)) (*Watcher, error) {
	return watch(ctx, host, ns, eventBuffer, f)
}

func watch(ctx context.Context, host string, ns *netns.NS, buffer int, f func(Event)) (*Watcher, error) {
	w := &Watcher{
		tracker: newTracker(host, f),
		done:    make(chan struct{}),
		inbox:   inbox{packets: map[tuple]bool{}},
		news:    make(chan struct{}, 1),
	}
	if err := w.open(ns, buffer); err != nil {
		return nil, fmt.Errorf("watching the sockets of %s: %w", host, errors.Join(err, w.close()))
	}
	w.tracker.ask = w.ask
	joinGuards()
	ctx, w.stop = context.WithCancel(ctx)
	w.receiver.Go(w.receive)
	go func() {
		defer close(w.done)
		defer w.stop()
		err := w.run(ctx)
		err = errors.Join(err, w.close(), leaveGuards())
		w.receiver.Wait()
		if err != nil {
			w.err = fmt.Errorf("watching the sockets of %s: %w", host, err)
		}
	}()
	return w, nil
}

func (w *Watcher) open(ns *netns.NS, buffer int) error {
	var err error
	if w.lookups, err = openDiag(ns, 0); err != nil {
		return err
	}
	// A look-up alone cannot tell a missing handler from a missing socket.
	if _, err := w.lookups.list(1<<stateListen, 0); err != nil {
		return err
	}
	if w.events, err = openDiag(ns, groupDestroyed); err != nil {
		return err
	}
	if err := w.events.conn.SetReadBuffer(buffer); err != nil {
		return fmt.Errorf("making room for events: %w", err)
	}
	return nil
}

func (w *Watcher) close() error {
	var err error
	for _, d := range []*diag{w.lookups, w.events} {
		if d != nil {
			err = errors.Join(err, d.close())
		}
	}
	return err
}

// Packet says that the host has sent or received a packet of the connection
// between local (the host's end) and remote. resetReceived says that it is a RST
// and came in. It takes about 0.1 µs and may be called from any goroutine.
func (w *Watcher) Packet(local, remote netip.AddrPort, resetReceived bool) {
	key := tuple{local, remote}
	w.mu.Lock()
	before, known := w.inbox.packets[key]
	if !known || resetReceived && !before {
		w.inbox.packets[key] = before || resetReceived
	}
	w.mu.Unlock()
	if !known {
		w.wake()
	}
}

// Stop looks at every socket once more, so that nothing that happened before the
// call is missed, and ends the watch. It takes at most a little over a second. An
// error says that the watch ended early.
func (w *Watcher) Stop() error {
	w.stop()
	<-w.done
	return w.err
}

func (w *Watcher) wake() {
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// ask asks for signs of a socket, which come into the inbox.
func (w *Watcher) ask(cookie uint64, inode uint32) {
	askGuards(inode, func(what sign) {
		at := time.Now()
		w.mu.Lock()
		w.inbox.signs = append(w.inbox.signs, signal{at, cookie, what})
		w.mu.Unlock()
		w.wake()
	})
}

// receive takes the kernel's events until the connection is closed.
func (w *Watcher) receive() {
	for {
		all, err := w.events.destroyed()
		at := time.Now()
		w.mu.Lock()
		for _, i := range all {
			w.inbox.freed = append(w.inbox.freed, freed{at, i})
		}
		switch {
		case errors.Is(err, unix.ENOBUFS):
			w.inbox.lost = true
			err = nil
		case err != nil && !errors.Is(err, os.ErrClosed):
			w.inbox.err = fmt.Errorf("receiving events of sockets: %w", err)
		}
		w.mu.Unlock()
		w.wake()
		if err != nil {
			return
		}
	}
}

// takeInbox empties the inbox.
func (w *Watcher) takeInbox() inbox {
	w.mu.Lock()
	defer w.mu.Unlock()
	in := w.inbox
	w.inbox = inbox{packets: make(map[tuple]bool, len(in.packets))}
	return in
}

// run does all the work, in one goroutine.
func (w *Watcher) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return w.finish()
		case <-w.news:
		case <-timer.C:
		}
		began := time.Now()
		if err := w.work(); err != nil {
			return err
		}
		now := time.Now()
		if wake := w.tracker.wakeAt(); !wake.IsZero() {
			// With very many sockets in trouble, look-ups take no more than a
			// fifth of a processor; they come later instead.
			timer.Reset(max(wake.Sub(now), 4*now.Sub(began)))
		}
	}
}

// work deals with what has come in and with what is due.
func (w *Watcher) work() error {
	in := w.takeInbox()
	now := time.Now()
	for key, reset := range in.packets {
		w.tracker.packet(now, key, reset)
	}
	for _, s := range in.signs {
		w.tracker.sign(s.at, s.cookie, s.what)
	}
	for _, f := range in.freed {
		w.tracker.freed(f.at, f.info)
	}
	if in.lost {
		if err := w.reconcile(); err != nil {
			return err
		}
	}
	for _, key := range w.tracker.dueAt(now) {
		if err := w.look(key); err != nil {
			return err
		}
	}
	w.tracker.settle(time.Now())
	return in.err
}

func (w *Watcher) look(key tuple) error {
	asked := time.Now()
	i, found, err := w.lookups.get(key)
	answered := time.Now()
	switch {
	case err != nil:
		return err
	case found:
		w.tracker.found(asked, answered, key, i)
	default:
		w.tracker.absent(answered, key)
	}
	return nil
}

// reconcile is called after the kernel has lost events.
func (w *Watcher) reconcile() error {
	asked := time.Now()
	// Bits 1 to 11 are the states; those in TIME_WAIT are no sockets any more.
	all, err := w.lookups.list((1<<12-1)&^(1<<stateTimeWait|1<<stateListen), 0)
	if err != nil {
		return err
	}
	answered := time.Now()
	holds, err := heldSockets()
	if err != nil {
		return err
	}
	w.tracker.reconcile(asked, answered, all, func(inode uint32) bool { return holds[inode] })
	return nil
}

// finish looks at every socket for the last time and waits for the events that
// belong to what it sees.
func (w *Watcher) finish() error {
	if err := w.work(); err != nil {
		return err
	}
	for _, key := range w.tracker.tuples() {
		if err := w.look(key); err != nil {
			return err
		}
	}
	for !w.tracker.settled() {
		select {
		case <-w.news:
		case <-time.After(time.Until(w.tracker.wakeAt())):
		}
		if err := w.work(); err != nil {
			return err
		}
	}
	return nil
}
