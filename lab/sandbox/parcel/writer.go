package parcel

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// Writer is the guest's side of the device that comes out. It is safe for
// concurrent use.
type Writer struct {
	mu      sync.Mutex
	dev     *os.File
	report  *blocks
	spare   []byte // one aligned block, for what has a fixed place
	dropped int
	err     error // of writing the report

	waiting chan struct{} // holds one value while lines wait to be written
}

// reportBuffer holds every ordinary line; a longer one makes it grow.
const reportBuffer = 64 << 10

// NewWriter writes to a device that [Format] has made and nobody has written to
// since. A block device must be open for direct writes (O_DIRECT): the host sees
// nothing of what stays in the guest's page cache.
func NewWriter(dev *os.File) (*Writer, error) {
	report, err := newBlocks(dev, kindReport, reportAt, reportSize, reportBuffer)
	if err != nil {
		return nil, err
	}
	spare, err := aligned(block)
	if err != nil {
		return nil, err
	}
	w := &Writer{dev: dev, report: report, spare: spare, waiting: make(chan struct{}, 1)}
	go w.flush()
	return w, nil
}

// flush writes the lines that wait. Lines that come together go out together, which
// is why Line does not do it: it takes longer than everything else about a line.
func (w *Writer) flush() {
	for range w.waiting {
		w.mu.Lock()
		w.keep(w.report.flush())
		w.mu.Unlock()
	}
}

// Line tells one line of the job's report. The host can read it as soon as the guest
// has nothing else to do. An empty line is not told. A line for which there is no
// room is dropped, and the End says so. The error is that an earlier line could not
// be written.
func (w *Writer) Line(line []byte) error {
	if len(line) == 0 {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(line) > maxRecord {
		w.dropped++
		return w.err
	}
	to, err := w.report.reserve(len(line))
	if err != nil {
		w.dropped++
		if !errors.Is(err, errFull) {
			w.keep(err)
		}
		return w.err
	}
	w.report.commit(copy(to, line))
	select {
	case w.waiting <- struct{}{}:
	default:
	}
	return w.err
}

// keep keeps the first error of writing the report.
func (w *Writer) keep(err error) {
	if w.err == nil {
		w.err = err
	}
}

// Tick tells the guest's time, as the time since the guest was resumed.
func (w *Writer) Tick(sinceStart time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.put(encodeTime(int64(sinceStart)), timeAt)
}

// Finish hands over the named files and folders of dir and then, last of all, the
// end. Names are slash-separated and relative to dir, a folder before what it holds.
// Files that cannot be read or for which there is no room are noted in the end, as is
// a report that could not be written. The error is that the end itself could not be
// told. Nothing can be written after it.
func (w *Writer) Finish(end End, dir string, names []string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keep(w.report.flush())
	if w.err != nil && end.Guest == "" {
		end.Guest = w.err.Error()
	}
	files, lost, err := packFiles(w.dev, dir, names)
	if err != nil {
		lost = append(lost, fmt.Sprintf("all files from there on: %v", err))
	}
	end.Lost = append(end.Lost, lost...)
	end.DroppedLines += w.dropped

	text, err := json.Marshal(end.clipped())
	if err != nil {
		return fmt.Errorf("writing the end of a lab: %w", err)
	}
	if int64(len(text)) > endLimit-block {
		return fmt.Errorf("writing the end of a lab: it takes %d bytes, more than the %d there are", len(text), endLimit-block)
	}
	buf, err := aligned((len(text) + block - 1) / block * block)
	if err != nil {
		return err
	}
	copy(buf, text)
	if _, err := w.dev.WriteAt(buf, endAt); err != nil {
		return fmt.Errorf("writing the end of a lab: %w", err)
	}
	s := slot{end: int64(len(text)), sum: checksum(kindEnd, 0, text), files: files}
	return errors.Join(w.put(s.encode(), slotAt), w.dev.Sync())
}

// put writes one block.
func (w *Writer) put(b []byte, at int64) error {
	copy(w.spare, b)
	if _, err := w.dev.WriteAt(w.spare, at); err != nil {
		return fmt.Errorf("writing to the guest's device: %w", err)
	}
	return nil
}
