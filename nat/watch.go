package nat

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"outlive/lab/units"
)

// Watch reports every mapping of the scenario as it is made and as it goes, in
// the order in which it learns of them, until the context ends; that is no error.
// The first Watch of a NAT also reports what happened since Install.
//
// The kernel says at once that a mapping was made or deleted, but not that one
// expired: it forgets in silence and tells up to half a minute later. So each
// mapping is looked up when it should have expired, which shows the instant to a
// few milliseconds and refreshes nothing. The Window of an event says how exact
// it was. report is called from one goroutine; while it blocks, the kernel may
// drop events, and then everything is made good by listing the table and marked Lost.
func (n *NAT) Watch(ctx context.Context, report func(MappingEvent)) error {
	n.mu.Lock()
	conn := n.events
	n.events = nil
	n.mu.Unlock()
	fail := func(err error) error {
		return fmt.Errorf("watching the mappings of NAT %s: %w", n.host.Name, err)
	}
	if conn == nil {
		var err error
		if conn, err = openEvents(n.host.NS); err != nil {
			return fail(err)
		}
	}
	defer conn.Close()
	look, err := openTable(n.host.NS)
	if err != nil {
		return fail(err)
	}
	defer look.Close()
	resets, err := openResets(n.host.NS, n.Firewall())
	if err != nil {
		return fail(err)
	}
	defer func() { _ = resets.close() }()
	w := newWatcher(n, look, report)
	if err := w.run(ctx, conn, resets); err != nil && ctx.Err() == nil {
		return fail(err)
	}
	return nil
}

// heard is one message of the event socket, or that some were lost, or a reset.
type heard struct {
	at    time.Time
	msg   netlink.Message
	reset *reset
	lost  bool
	err   error
}

const (
	// quietTime is how long no event must come for the kernel's buffer to be surely empty.
	quietTime = 2 * time.Millisecond
	// lossyTime is how long that is waited for, where events come without a pause,
	// before the table is listed anyway.
	lossyTime = 250 * time.Millisecond
)

// listen reads the event socket as fast as it can and does nothing else, so that
// the kernel's buffer stays empty. It ends when the socket is closed.
//
// When the buffer has overflowed, the kernel says so at once and only once, and
// goes on dropping until the buffer has been read empty. Only what is listed then is complete.
func listen(conn *netlink.Conn, out chan<- heard, done <-chan struct{}) {
	put := func(h heard) bool {
		select {
		case out <- h:
			return true
		case <-done:
			return false
		}
	}
	lossy, waited := false, time.Duration(0)
	for {
		before := time.Now()
		limit := time.Time{}
		if lossy {
			limit = before.Add(quietTime)
		}
		if err := conn.SetReadDeadline(limit); err != nil {
			put(heard{at: before, err: err})
			return
		}
		messages, err := conn.Receive()
		at := time.Now()
		quiet := errors.Is(err, os.ErrDeadlineExceeded)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			lossy, waited = true, 0
		case err != nil && !quiet:
			put(heard{at: at, err: err})
			return
		}
		for _, m := range messages {
			if !put(heard{at: at, msg: m}) {
				return
			}
		}
		if !lossy {
			continue
		}
		if waited += at.Sub(before); quiet || waited > lossyTime {
			if !put(heard{at: at, lost: true}) {
				return
			}
			waited = 0
		}
		if quiet {
			lossy = false
		}
	}
}

// listenResets does the same for resets.
func listenResets(r *resets, out chan<- heard, done <-chan struct{}) {
	for {
		h := heard{}
		got, err := r.next()
		if h.at = time.Now(); err != nil {
			h.err = err
		} else {
			h.reset = &got
		}
		select {
		case out <- h:
		case <-done:
			return
		}
		if err != nil {
			return
		}
	}
}

func (w *watcher) run(ctx context.Context, conn *netlink.Conn, resets *resets) error {
	// Room for a burst while a report is being written.
	in := make(chan heard, 4096)
	done := make(chan struct{})
	var listening sync.WaitGroup
	listening.Go(func() { listen(conn, in, done) })
	listening.Go(func() { listenResets(resets, in, done) })
	defer func() {
		close(done)
		conn.Close()
		_ = resets.close()
		listening.Wait()
	}()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if next, ok := w.due.next(); ok {
			timer.Reset(time.Until(next))
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case h := <-in:
			if err := w.hear(h); err != nil {
				return err
			}
		case <-timer.C:
			if err := w.lookDue(ctx); err != nil {
				return err
			}
		}
	}
}

// hear takes in one message.
func (w *watcher) hear(h heard) error {
	if h.err != nil {
		return h.err
	}
	if h.lost {
		if h.at.Before(w.resynced) {
			return nil
		}
		return w.reconcile()
	}
	if h.reset != nil {
		w.wasReset(h.at, *h.reset)
		return nil
	}
	var e conntrack.Event
	if err := e.Unmarshal(h.msg); err != nil {
		return err
	}
	if e.Flow == nil {
		return nil
	}
	m, ok := mappingOf(*e.Flow)
	if !ok {
		return nil
	}
	switch e.Type {
	case conntrack.EventNew:
		return w.made(h.at, m, *e.Flow)
	case conntrack.EventUpdate:
		return w.changed(h.at, m, *e.Flow)
	case conntrack.EventDestroy:
		// The kernel names the program that asked for the deletion, or nobody.
		w.destroyed(h.at, m.ID, h.msg.Header.PID != 0)
	}
	return nil
}

func (w *watcher) emit(e MappingEvent) {
	e.NAT = w.nat.host.Name
	w.report(e)
}

func (w *watcher) made(at time.Time, m Mapping, f conntrack.Flow) error {
	if old := w.entries[m.ID]; old != nil {
		// It was in the table when that was listed after a loss.
		return w.learn(old, at, m, true)
	}
	old := at.Before(w.resynced)
	if old && w.ended[m.ID] {
		// Reported already, with its end, from what was not in the table any more.
		return nil
	}
	delete(w.forgotten, m.ID)
	if err := w.add(at, m, f, false); err != nil {
		return err
	}
	if e := w.entries[m.ID]; old && e != nil {
		// Its end may be among what was lost.
		e.next = time.Now()
		w.due.fix(e)
	}
	return nil
}

func (w *watcher) add(at time.Time, m Mapping, f conntrack.Flow, lost bool) error {
	e := &entry{flow: f}
	e.learn(at, m, w.minimum(m), true)
	w.entries[m.ID] = e
	w.due.push(e)
	w.emit(MappingEvent{At: at, Kind: MappingNew, Mapping: m, Lost: lost})
	return w.learn(e, at, m, true)
}

func (w *watcher) changed(at time.Time, m Mapping, f conntrack.Flow) error {
	e := w.entries[m.ID]
	if e == nil {
		// Either its beginning was lost, or this is news of one that has ended.
		got, ok, err := w.look.get(f.TupleOrig)
		if err != nil || !ok || got.ID != m.ID {
			return err
		}
		if !w.forgotten[m.ID] {
			return w.add(at, m, f, true)
		}
		// The rules have let go of it. Perhaps they have taken it up again.
		_, kept, asked, err := w.ask(m)
		if err != nil || !kept {
			return err
		}
		delete(w.forgotten, m.ID)
		return w.add(asked, m, f, false)
	}
	if m.State == "" {
		m.State = e.mapping.State
	}
	return w.learn(e, at, m, true)
}

func (w *watcher) destroyed(at time.Time, id uint32, byRequest bool) {
	e := w.entries[id]
	if e == nil {
		delete(w.forgotten, id)
		return
	}
	if !e.missed.IsZero() && e.missed.Before(at) {
		at = e.missed
	}
	switch {
	case byRequest && w.nat.evictions.take(id):
		w.finish(e, at, CauseEvicted, false)
	case byRequest:
		w.finish(e, at, CauseDeleted, false)
	case at.Before(e.safe):
		w.finish(e, at, CauseClosed, false)
	default:
		w.finish(e, at, CauseExpired, false)
	}
}

// finish reports the end of a mapping, of which at is the latest possible instant.
func (w *watcher) finish(e *entry, at time.Time, cause string, lost bool) {
	delete(w.entries, e.mapping.ID)
	w.due.remove(e)
	event := MappingEvent{At: at, Kind: MappingGone, Mapping: e.mapping, Cause: cause, Lost: lost}
	event.Mapping.Left = 0
	switch {
	case cause == CauseExpired:
		// However late that was found out: unless a packet came meanwhile, which
		// would have given it at least the minimum, it had gone by its latest time.
		if e.latest.Before(at) && at.Before(e.seen.Add(e.minimum)) {
			event.At = e.latest
		}
		event.Window = units.Seconds(event.At.Sub(e.safe))
	case lost:
		event.Window = units.Seconds(at.Sub(e.seen))
	}
	event.Window = max(event.Window, 0)
	w.emit(event)
}

// causeUnseen is the best word for the end of a mapping whose event was lost.
func (w *watcher) causeUnseen(e *entry, at time.Time) string {
	switch {
	case w.nat.evictions.take(e.mapping.ID):
		return CauseEvicted
	case w.nat.touchedAfter(e.seen):
		return CauseDeleted
	case at.Before(e.safe):
		return CauseClosed
	}
	return CauseExpired
}

// reconcile lists the table after events were lost and reports what they would have said.
func (w *watcher) reconcile() error {
	flows, err := w.look.dump()
	if err != nil {
		return err
	}
	now := time.Now()
	w.resynced = now
	w.ended = map[uint32]bool{}
	alive := make(map[uint32]bool, len(flows))
	for _, f := range flows {
		m, ok := mappingOf(f)
		if !ok {
			continue
		}
		alive[m.ID] = true
		switch e := w.entries[m.ID]; {
		case e != nil:
			err = w.learn(e, now, m, true)
		case !w.forgotten[m.ID]:
			err = w.add(now, m, f, true)
		}
		if err != nil {
			return err
		}
	}
	var gone []*entry
	for id, e := range w.entries {
		if !alive[id] {
			gone = append(gone, e)
		}
	}
	for _, e := range gone {
		w.ended[e.mapping.ID] = true
		w.finish(e, now, w.causeUnseen(e, now), true)
	}
	return nil
}
