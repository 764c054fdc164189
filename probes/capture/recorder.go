package capture

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"outlive/lab/units"
)

// FileName is the name of the merged capture in its folder.
const FileName = "capture.pcapng"

const (
	partPrefix = "capture-"
	partSuffix = ".part"
)

// partName is the name of a point's file: capture-phone_cell.part.
func partName(point string) string {
	return partPrefix + strings.NewReplacer(":", "_", "/", "_").Replace(point) + partSuffix
}

// notYetMerged fails with fs.ErrExist if the folder holds a merged capture.
func notYetMerged(dir string) error {
	path := filepath.Join(dir, FileName)
	switch _, err := os.Lstat(path); {
	case err == nil:
		return fmt.Errorf("%s: %w", path, fs.ErrExist)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	default:
		return err
	}
}

// Recorder captures at several points. Its methods are safe for concurrent use.
type Recorder struct {
	clock   *clock
	watch   *clockWatch
	readers []*reader
	running sync.WaitGroup

	stop  sync.Once
	stats Stats
	err   error
}

// Start begins to capture at all points, each into a file of its own in dir, and
// returns when every packet from now on is seen. ctx only counts until then: a
// recorder runs until Stop.
//
// tap, if not nil, is called with every packet, as soon as it went past. It
// is called in order for one point, and by several goroutines at once for several
// points. It must be quick: while it takes its time, packets get lost.
//
// The error is a *feature.Unsupported where the kernel or the privileges do not
// allow capturing, and fs.ErrExist where dir holds an earlier capture.
func Start(ctx context.Context, dir string, points []Point, tap func(Frame)) (*Recorder, error) {
	if tap == nil {
		tap = func(Frame) {}
	}
	if err := notYetMerged(dir); err != nil {
		return nil, fmt.Errorf("starting a capture: %w", err)
	}
	r := &Recorder{clock: newClock()}
	var err error
	if r.watch, err = watchClock(r.clock); err != nil {
		return nil, err
	}
	if err := r.open(ctx, dir, points, tap); err != nil {
		return nil, fmt.Errorf("starting a capture: %w", errors.Join(err, r.watch.close()))
	}
	for _, rd := range r.readers {
		r.running.Go(rd.run)
	}
	return r, nil
}

// openers is how many rings are opened at once. Opening one is mostly waiting for
// the kernel, some 10 ms, which it does for all that wait together.
const openers = 64

// open opens all readers, or none.
func (r *Recorder) open(ctx context.Context, dir string, points []Point, tap func(Frame)) error {
	readers := make([]*reader, len(points))
	errs := make([]error, len(points))
	kinds := map[bool]int{}
	for _, p := range points {
		kinds[p.Shared]++
	}
	memory := machineMemory()
	turns := make(chan struct{}, openers)
	var opening sync.WaitGroup
	for i, p := range points {
		turns <- struct{}{}
		opening.Go(func() {
			defer func() { <-turns }()
			if errs[i] = ctx.Err(); errs[i] != nil {
				return
			}
			description := fmt.Sprintf(pointDescription, i+1, len(points))
			readers[i], errs[i] = openReader(dir, p, i, description, slotsFor(kinds[p.Shared], memory), r.clock, tap)
		})
	}
	opening.Wait()
	err := errors.Join(errs...)
	if err == nil {
		r.readers = readers
		return nil
	}
	for _, rd := range readers {
		if rd != nil {
			err = errors.Join(err, rd.discard())
		}
	}
	return err
}

// Realtime is the time in the capture files of an instant that has a monotonic
// reading, such as one from time.Now().
func (r *Recorder) Realtime(t time.Time) time.Time { return r.clock.realtime(t) }

// Stop ends the capture. Every packet that went past a point before the call is
// in the point's file. It takes some 20 ms, and at most a few seconds. Calling it
// again gives the same results. An error says that a file is not complete; the
// figures are valid nevertheless.
func (r *Recorder) Stop() (Stats, error) {
	r.stop.Do(func() {
		for _, rd := range r.readers {
			rd.stop()
		}
		r.running.Wait()
		var errs []error
		for _, rd := range r.readers {
			errs = append(errs, rd.err)
			r.stats.Ambiguous += rd.ambiguous
			r.stats.Points = append(r.stats.Points, PointStats{
				Name:     rd.point.Name,
				Received: rd.received,
				Dropped:  rd.ring.dropped,
				MaxLag:   units.Seconds(rd.maxLag),
			})
		}
		errs = append(errs, r.watch.close())
		r.stats.ClockSteps = r.clock.steps()
		r.err = errors.Join(errs...)
	})
	return r.stats, r.err
}
