package parcel

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// ErrNoEnd says that the guest did not get as far as telling its end. What it told
// before is in the report.
var ErrNoEnd = errors.New("the virtual machine ended without handing over a result")

// Reader is the host's side of the device that comes out. It may read while the
// guest writes: it never waits for the guest, and takes nothing that is there by
// half. It is not safe for concurrent use.
type Reader struct {
	f      *os.File
	report source
	now    time.Duration
}

// NewReader reads what comes out into f, which Format has made.
func NewReader(f *os.File) *Reader {
	return &Reader{f: f, report: source{r: f, kind: kindReport, at: reportAt, limit: reportAt + reportSize}}
}

// atOnce bounds the bytes of the lines that one Next gives.
const atOnce = 4 << 20

// Next gives the lines that have come since the last call, some megabytes at most,
// and the latest time that the guest has told, 0 before the first. No lines means
// that there are none at the moment. The error is of reading the file.
func (r *Reader) Next() (lines [][]byte, now time.Duration, err error) {
	var b [block]byte
	if _, err := r.f.ReadAt(b[:], timeAt); err != nil {
		return nil, r.now, fmt.Errorf("reading the guest's time: %w", err)
	}
	if now, ok := decodeTime(b[:]); ok {
		r.now = time.Duration(now)
	}
	for size := 0; size < atOnce; {
		line, err := r.report.next()
		if errors.Is(err, errNoRecord) {
			break
		}
		if err != nil {
			return lines, r.now, err
		}
		lines = append(lines, slices.Clone(line))
		size += len(line)
	}
	return lines, r.now, nil
}

// Finish gives the end and unpacks the files into dir, a folder that exists; files
// of the same names are replaced, and nothing is ever made outside dir. It is called
// when the guest has ended; where the guest had not told its end, the error is
// ErrNoEnd and dir is as it was. On any other error, as of a full disk, the end is
// still what the guest told, and dir has what could be unpacked.
func (r *Reader) Finish(dir string) (End, error) {
	var b [block]byte
	if _, err := r.f.ReadAt(b[:], slotAt); err != nil {
		return End{}, fmt.Errorf("reading the guest's end: %w", err)
	}
	s, ok := decodeSlot(b[:])
	if !ok {
		return End{}, ErrNoEnd
	}
	text := make([]byte, s.end)
	if _, err := r.f.ReadAt(text, endAt); err != nil {
		return End{}, fmt.Errorf("reading the guest's end: %w", err)
	}
	if checksum(kindEnd, 0, text) != s.sum {
		return End{}, ErrNoEnd
	}
	var end End
	if err := json.Unmarshal(text, &end); err != nil {
		return End{}, fmt.Errorf("reading the guest's end: %w", err)
	}
	if err := unpackFiles(r.f, s.files, dir); err != nil {
		return end, fmt.Errorf("taking over the guest's files: %w", err)
	}
	return end, nil
}
