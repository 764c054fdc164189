package scenarios

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"outlive/lab"
	"outlive/lab/units"
)

// eventsFile is the lab's diary in the result folder.
const eventsFile = "events.jsonl"

// journal writes events.jsonl and repeats every event on the report pipe. Events
// before scenario time zero are kept until zero is known. Safe for concurrent use.
type journal struct {
	report io.Writer

	mu      sync.Mutex
	file    *os.File
	lines   int       // written so far
	sum     hash.Hash // of them
	zero    time.Time
	pending []pendingEvent
	err     error
}

type pendingEvent struct {
	at time.Time
	lab.Event
}

func openJournal(dir string, report io.Writer) (*journal, error) {
	f, err := os.OpenFile(filepath.Join(dir, eventsFile), os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the journal: %w", err)
	}
	return &journal{file: f, sum: sha256.New(), report: report}, nil
}

// add records one event. An event that cannot be written is not lost silently:
// close reports it, and the run is inconclusive.
func (j *journal) add(at time.Time, kind, host, text string, data any) {
	var raw json.RawMessage
	if data != nil {
		var err error
		if raw, err = json.Marshal(data); err != nil {
			j.fail(fmt.Errorf("encoding a %s event: %w", kind, err))
			return
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	e := pendingEvent{at, lab.Event{Kind: kind, Host: host, Text: text, Data: raw}}
	if j.zero.IsZero() {
		j.pending = append(j.pending, e)
		j.tell(e.Event)
		return
	}
	e.At = units.Seconds(at.Sub(j.zero))
	j.write(e.Event)
	j.tell(e.Event)
}

// end records the last event, which says what stands before it, so that a reader knows
// whether it is still there.
func (j *journal) end(at time.Time, record endRecord) {
	j.mu.Lock()
	record.Lines, record.SHA256 = j.lines, hex.EncodeToString(j.sum.Sum(nil))
	j.mu.Unlock()
	j.add(at, kindEnd, "", "the scenario's end", record)
}

// start fixes scenario time zero and writes what came before it.
func (j *journal) start(zero time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.zero = zero
	for _, e := range j.pending {
		e.At = units.Seconds(e.at.Sub(zero))
		j.write(e.Event)
	}
	j.pending = nil
}

// close writes what is left and returns the first thing that went wrong.
func (j *journal) close() error {
	j.mu.Lock()
	started := !j.zero.IsZero()
	j.mu.Unlock()
	if !started {
		// The lab ended before it started: its set-up is all the reader has.
		j.start(time.Now())
	}
	if err := j.file.Close(); err != nil {
		j.fail(fmt.Errorf("closing %s: %w", j.file.Name(), err))
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

func (j *journal) write(e lab.Event) {
	line, err := json.Marshal(e)
	if err == nil {
		line = append(line, '\n')
		_, err = j.file.Write(line)
		j.lines++
		_, _ = j.sum.Write(line)
	}
	if err != nil && j.err == nil {
		j.err = fmt.Errorf("writing %s: %w", j.file.Name(), err)
	}
}

// tell repeats an event to the parent for its live line; the parent may be gone.
func (j *journal) tell(e lab.Event) {
	if line, err := json.Marshal(e); err == nil {
		_, _ = j.report.Write(append(line, '\n'))
	}
}

func (j *journal) fail(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err == nil {
		j.err = err
	}
}
