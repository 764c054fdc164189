package capture

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// pointDescription goes into a part as the description of its interface. Merge
// reads it back to keep the points in the order in which they were given.
const pointDescription = "capture point %d of %d"

const (
	// batch is how many packets are moved at a time, at most.
	batch = 256
	// A reader to which packets come faster than a crowd in a rest takes one: being
	// woken for every packet would cost the network more than the packet.
	crowd = 16
	rest  = 2 * time.Millisecond
)

// reader moves the packets of one point from its ring to its file.
type reader struct {
	point Point
	index int
	ring  *ring
	file  *os.File
	clock *clock
	tap   func(Frame)

	stopping atomic.Bool

	// What follows belongs to run until it has returned.
	buf       []byte
	began     int64 // when capturing began, in the clock's monotonic time
	last      int64 // the latest stamp so far, in the same
	received  uint64
	ambiguous uint64
	maxLag    time.Duration
	torn      bool  // the file ends in the middle of a block
	err       error // everything that went wrong
}

// openReader opens the ring and the file and writes the file's head.
func openReader(dir string, p Point, index int, description string, slots int, c *clock, tap func(Frame)) (*reader, error) {
	path := filepath.Join(dir, partName(p.Name))
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, fmt.Errorf("creating the file of point %s: %w", p.Name, err)
	}
	r := &reader{point: p, index: index, file: file, clock: c, tap: tap}
	// One write, so that a part has its whole head or nothing.
	head := appendInterface(appendSection(nil), p.Name, description, p.MAC)
	if _, err := file.Write(head); err != nil {
		return nil, errors.Join(fmt.Errorf("writing the head of %s: %w", path, err), r.discard())
	}
	r.began = c.check()
	r.last = r.began
	err = p.NS.Do(func() (err error) {
		r.ring, err = openRing(p.Interface, slots)
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("capturing at %s: %w", p.Name, err), r.discard())
	}
	return r, nil
}

// discard undoes openReader.
func (r *reader) discard() error {
	err := errors.Join(r.file.Close(), os.Remove(r.file.Name()))
	if r.ring != nil {
		err = errors.Join(err, r.ring.close())
	}
	return err
}

// stop asks run to come to its end.
func (r *reader) stop() {
	r.stopping.Store(true)
	r.ring.bell.interrupt()
}

// run reads until stop, then what the kernel still has, and closes everything.
func (r *reader) run() {
	r.keep(r.receive())
	r.keep(r.finish())
	r.keep(r.file.Close())
	r.keep(r.ring.close())
}

// keep keeps an error for Stop to return.
func (r *reader) keep(err error) {
	if err != nil {
		r.err = errors.Join(r.err, fmt.Errorf("capturing at %s: %w", r.point.Name, err))
	}
}

// receive returns after stop.
func (r *reader) receive() error {
	began, moved := time.Now(), 0
	for !r.stopping.Load() {
		if n := r.take(); n > 0 {
			moved += n
			continue
		}
		elapsed := time.Since(began)
		crowded := moved >= crowd && time.Duration(moved)*rest >= crowd*elapsed
		if crowded {
			time.Sleep(rest)
		}
		if crowded || elapsed > rest {
			began, moved = time.Now(), 0
		}
		if crowded {
			continue
		}
		if err := r.ring.wait(); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("waiting for packets: %w", err)
		}
	}
	return nil
}

// finish takes the ring off its interface, reads every packet that was stamped
// before, and writes down what the kernel counted.
func (r *reader) finish() error {
	kept, err := r.ring.detach()
	if err != nil {
		return err
	}
	end := r.clock.check()
	for r.take() > 0 {
	}
	if r.received != kept {
		return fmt.Errorf("the kernel kept %d packets and handed over %d", kept, r.received)
	}
	r.buf = appendStats(r.buf[:0], 0, counts{
		start:    r.clock.base + r.began,
		end:      r.clock.base + end,
		received: r.received,
		dropped:  r.ring.dropped,
	})
	r.write()
	return nil
}

// take moves some packets from the ring to the file, if there are any,
// and says how many.
func (r *reader) take() int {
	n := r.ring.ready(batch)
	if n == 0 {
		return 0
	}
	now := r.clock.check()
	notBefore := r.last
	offsets := r.clock.between(notBefore, now)
	r.buf = r.buf[:0]
	for range n {
		p := r.ring.read()
		mono, ambiguous := offsets.mono(p.stamp, notBefore, now)
		if ambiguous {
			r.ambiguous++
		}
		r.received++
		r.last = max(r.last, mono)
		r.maxLag = max(r.maxLag, time.Duration(now-mono))
		r.buf = appendPacket(r.buf, 0, r.clock.base+mono, p.out, p.data, p.length)
		r.tap(Frame{Point: r.index, At: r.clock.time(mono), Out: p.out, Data: p.data, Length: int(p.length)})
		r.ring.release()
	}
	r.write()
	return n
}

// write appends buf to the file in one piece: whoever is killed leaves whole
// blocks, or at worst one that is cut off. After an error nothing more is
// written, because it would stand behind half a block.
func (r *reader) write() {
	if r.torn {
		return
	}
	if _, err := r.file.Write(r.buf); err != nil {
		r.torn = true
		r.keep(fmt.Errorf("writing packets: %w", err))
	}
}
