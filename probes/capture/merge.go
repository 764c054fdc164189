package capture

import (
	"bufio"
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// MergeResult says what became of the parts of a capture.
type MergeResult struct {
	// Packets is how many packets capture.pcapng has, all points together.
	Packets uint64
	// Points are in the order in which Start was given them, which is that of the
	// interfaces in capture.pcapng. Those whose part had no readable head have no
	// interface there and come last.
	Points []MergedPoint
	// Disordered is how many packets are stamped earlier than the one before
	// them in capture.pcapng. It is zero unless a clock was wrong.
	Disordered uint64
}

// MergedPoint says what the part of one point held.
type MergedPoint struct {
	// Name is the point's name, or the part's file name if it had no readable head.
	Name    string
	Packets uint64
	// Stopped says that the recorder wrote the kernel's counts at its end. Where
	// it was killed they are not known.
	Stopped bool
	// Dropped is how many packets the kernel could not keep, if Stopped.
	Dropped uint64
	// Damage is why the rest of the part could not be read: it "ends in the
	// middle of a block" if its writer was killed. It is empty for a whole part.
	Damage string
}

// Problems are the reasons for which the capture may lack packets or order, in
// words. There are none for a capture that was stopped in order and lost nothing.
func (m MergeResult) Problems() []string {
	var problems []string
	for _, p := range m.Points {
		switch {
		case p.Damage != "":
			problems = append(problems, fmt.Sprintf("the capture at %s is damaged after %d packets: %s", p.Name, p.Packets, p.Damage))
		case !p.Stopped:
			problems = append(problems, fmt.Sprintf("the capture at %s was not stopped in order: its last packets and the number of lost ones are not known", p.Name))
		case p.Dropped > 0:
			problems = append(problems, fmt.Sprintf("the capture at %s lost %d packets", p.Name, p.Dropped))
		}
	}
	if m.Disordered > 0 {
		problems = append(problems, fmt.Sprintf("%d packets of the capture are stamped earlier than the ones before them", m.Disordered))
	}
	return problems
}

// Merge makes dir/capture.pcapng of the parts that a Recorder left in dir, in order
// of time, and then removes them. The file appears whole or not at all. Parts may
// end anywhere, because their writer was killed: what can be read of them is used
// and MergeResult says so. Memory does not grow with the number of packets.
//
// The error is fs.ErrNotExist if there are no parts, and fs.ErrExist if there is
// a capture.pcapng already.
func Merge(dir string) (MergeResult, error) {
	target := filepath.Join(dir, FileName)
	// Parts beside a merged capture are what an earlier call could not remove.
	if err := notYetMerged(dir); err != nil {
		return MergeResult{}, fmt.Errorf("merging captures: %w", err)
	}
	paths, err := partPaths(dir)
	if err != nil {
		return MergeResult{}, err
	}
	result, err := mergeFiles(target+".tmp", paths)
	if err == nil {
		err = os.Rename(target+".tmp", target)
	}
	if err != nil {
		// What cannot be removed is overwritten by the next attempt.
		_ = os.Remove(target + ".tmp")
		return MergeResult{}, fmt.Errorf("merging captures into %s: %w", target, err)
	}
	for _, path := range paths {
		err = errors.Join(err, os.Remove(path))
	}
	return result, err
}

// partPaths lists the parts in a folder, by name.
func partPaths(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("looking for captures: %w", err)
	}
	var paths []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), partPrefix) && strings.HasSuffix(e.Name(), partSuffix) {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("looking for captures in %s: no %s*%s: %w", dir, partPrefix, partSuffix, fs.ErrNotExist)
	}
	return paths, nil
}

func mergeFiles(target string, paths []string) (result MergeResult, err error) {
	var parts []*part
	var headless []MergedPoint
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return result, err
		}
		defer f.Close()
		p, err := openPart(f)
		if err != nil {
			headless = append(headless, MergedPoint{Name: filepath.Base(path), Damage: err.Error()})
			continue
		}
		parts = append(parts, p)
	}
	out, err := os.Create(target)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	w := bufio.NewWriterSize(out, 1<<20)
	result, err = mergeParts(w, parts)
	if err != nil {
		return result, err
	}
	result.Points = append(result.Points, headless...)
	return result, w.Flush()
}

// lookAhead is how many packets of a part are put in order before the first of
// them is written. Two processors that write to one ring at once may swap a few.
const lookAhead = 64

// mergeParts writes all packets of the parts in order of their stamps.
func mergeParts(w io.Writer, parts []*part) (MergeResult, error) {
	slices.SortStableFunc(parts, func(a, b *part) int { return cmp.Compare(a.order, b.order) })
	head := appendSection(nil)
	for i, p := range parts {
		p.id = uint32(i)
		head = appendInterface(head, p.name, p.description, p.mac)
	}
	if _, err := w.Write(head); err != nil {
		return MergeResult{}, err
	}
	var result MergeResult
	var q queue
	var seq uint64
	for _, p := range parts {
		for range lookAhead {
			stamp, block, ok := p.next()
			if !ok {
				break
			}
			seq++
			q = append(q, &queued{part: p, stamp: stamp, seq: seq, block: slices.Clone(block)})
		}
	}
	heap.Init(&q)
	var last uint64
	for len(q) > 0 {
		first := q[0]
		if _, err := w.Write(first.block); err != nil {
			return result, err
		}
		result.Packets++
		if first.stamp < last {
			result.Disordered++
		}
		last = first.stamp
		stamp, block, ok := first.part.next()
		if !ok {
			heap.Pop(&q)
			continue
		}
		seq++
		first.stamp, first.seq, first.block = stamp, seq, append(first.block[:0], block...)
		heap.Fix(&q, 0)
	}
	return result, result.finish(w, parts)
}

// finish writes the kernel's counts and sums up.
func (m *MergeResult) finish(w io.Writer, parts []*part) error {
	for _, p := range parts {
		point := MergedPoint{Name: p.name, Packets: p.packets}
		if p.damage != nil {
			point.Damage = p.damage.Error()
		}
		if p.counts != nil {
			point.Stopped, point.Dropped = true, p.counts.dropped
			if _, err := w.Write(appendStats(nil, p.id, *p.counts)); err != nil {
				return err
			}
		}
		m.Points = append(m.Points, point)
	}
	return nil
}

// queued is a packet that waits to be written.
type queued struct {
	part  *part
	stamp uint64
	seq   uint64 // keeps packets of one stamp in the order in which they were read
	block []byte
}

// queue is a heap of packets by time, then by point along the path.
type queue []*queued

func (q queue) Len() int      { return len(q) }
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q queue) Less(i, j int) bool {
	a, b := q[i], q[j]
	return cmp.Or(cmp.Compare(a.stamp, b.stamp), cmp.Compare(a.part.id, b.part.id), cmp.Compare(a.seq, b.seq)) < 0
}
func (q *queue) Push(x any) { *q = append(*q, x.(*queued)) }
func (q *queue) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return last
}
