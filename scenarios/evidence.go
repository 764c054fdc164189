package scenarios

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"outlive/faults"
	"outlive/lab"
	"outlive/lab/units"
	"outlive/nat"
	"outlive/probes/capture"
	"outlive/probes/flow"
)

// The kinds of events that a lab writes, and what their Data holds.
const (
	kindEngine     = "engine"      // engineRecord; from outside, why it was chosen and no data
	kindImage      = "image"       // from outside only, no data
	kindStep       = "setup"       // no data
	kindStart      = "start"       // flow.Truth: scenario time zero
	kindMapping    = "mapping"     // nat.MappingEvent
	kindSocket     = "socket"      // socket.Event
	kindFault      = "fault"       // faultRecord
	kindPush       = "push"        // pushRecord
	kindProtocol   = "protocol"    // no data: what an event of the scenario waited for
	kindServerExit = "server-exit" // exitRecord
	kindClientExit = "client-exit" // exitRecord
	kindCheck      = "nat-check"   // nat.CheckResult
	kindCapture    = "capture"     // capture.Stats
	kindProblem    = "problem"     // no data: a reason for which nothing can be judged
	kindEnd        = "end"         // endRecord
)

// engineRecord says what the lab runs on, as it sees that itself.
type engineRecord struct {
	Engine Engine `json:"engine"`
	Kernel string `json:"kernel,omitempty"`
}

type faultRecord struct {
	Name string        `json:"name"`
	Late units.Seconds `json:"late_s"`
	faults.Effect
}

type pushRecord struct {
	ID      string `json:"id"`
	Device  string `json:"device"`
	Outcome string `json:"outcome,omitempty"`
}

type exitRecord struct {
	Status string `json:"status"`
	Killed bool   `json:"killed,omitempty"` // by a signal
}

type endRecord struct {
	// Lines counts those of events.jsonl before this one, which is the last, and SHA256 is their hash.
	Lines       int           `json:"lines"`
	SHA256      string        `json:"sha256"`
	Interrupted bool          `json:"interrupted,omitempty"`
	Scenario    units.Seconds `json:"scenario_s"`
	MaxLateness units.Seconds `json:"max_lateness_s"`
}

// evidence is what a lab left in its result folder, read back.
type evidence struct {
	events  []lab.Event
	engine  engineRecord
	truth   flow.Truth
	checks  []nat.CheckResult
	capture capture.Stats
	end     endRecord
	// started and ended say that the lab reached time zero, and its end; counted that
	// it said what it had captured.
	started, ended, counted bool
	// spoilt are the reasons for which nothing can be judged.
	spoilt []string
}

// begun says whether a lab in the folder has reached time zero.
func begun(dir string) bool {
	ev, err := readEvidence(dir)
	return err != nil || ev.started
}

// readEvidence reads events.jsonl. A file that ends in the middle of a line (the
// lab was killed) gives what was there.
func readEvidence(dir string) (*evidence, error) {
	ev := &evidence{}
	f, err := os.Open(filepath.Join(dir, eventsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return ev, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the evidence: %w", err)
	}
	defer f.Close()
	r := bufio.NewReader(f)
	sum := sha256.New()
	after := false // the scenario's end, which is the last line
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			if len(line) > 0 {
				ev.spoilt = append(ev.spoilt, fmt.Sprintf("%s ends in the middle of line %d: the lab was killed while writing", eventsFile, n))
			}
			// Lines stand in the order in which things were learnt.
			slices.SortStableFunc(ev.events, func(a, b lab.Event) int { return cmp.Compare(a.At, b.At) })
			return ev, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", f.Name(), err)
		}
		var e lab.Event
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("reading %s, line %d: %w", f.Name(), n, err)
		}
		if ev.ended && !after {
			after = true
			ev.spoilt = append(ev.spoilt, fmt.Sprintf("%s goes on after the scenario's end, from line %d: it was changed, or is of two runs", eventsFile, n))
		}
		if err := ev.add(e); err != nil {
			return nil, fmt.Errorf("reading %s, line %d: %w", f.Name(), n, err)
		}
		switch {
		case e.Kind != kindEnd:
			_, _ = sum.Write(line)
		case ev.end.Lines != n-1:
			ev.spoilt = append(ev.spoilt, fmt.Sprintf("%s has %d lines before the scenario's end, and the lab wrote %d: it was changed", eventsFile, n-1, ev.end.Lines))
		case ev.end.SHA256 != hex.EncodeToString(sum.Sum(nil)):
			ev.spoilt = append(ev.spoilt, fmt.Sprintf("%s is not as the lab wrote it: it was changed", eventsFile))
		}
	}
}

// add sorts one event into its place.
func (ev *evidence) add(e lab.Event) error {
	ev.events = append(ev.events, e)
	switch e.Kind {
	case kindEngine:
		return json.Unmarshal(e.Data, &ev.engine)
	case kindStart:
		ev.started = true
		// What was seen of mappings and sockets before zero stays.
		mappings, sockets := ev.truth.Mappings, ev.truth.Sockets
		if err := json.Unmarshal(e.Data, &ev.truth); err != nil {
			return err
		}
		ev.truth.Mappings, ev.truth.Sockets = mappings, sockets
	case kindMapping:
		m := flow.Mapping{At: e.At}
		if err := json.Unmarshal(e.Data, &m.MappingEvent); err != nil {
			return err
		}
		if m.Lost {
			ev.spoilt = append(ev.spoilt, "NAT "+m.NAT+": the kernel lost events about mappings")
		}
		ev.truth.Mappings = append(ev.truth.Mappings, m)
	case kindSocket:
		s := flow.Socket{At: e.At}
		if err := json.Unmarshal(e.Data, &s.Event); err != nil {
			return err
		}
		ev.truth.Sockets = append(ev.truth.Sockets, s)
	case kindFault:
		var r faultRecord
		if err := json.Unmarshal(e.Data, &r); err != nil {
			return err
		}
		if r.Host != "" {
			ev.truth.Breaks = append(ev.truth.Breaks, flow.Break{At: e.At, Host: r.Host, Cause: r.Name})
		}
	case kindServerExit:
		ev.truth.Breaks = append(ev.truth.Breaks, flow.Break{At: e.At, Host: e.Host, Cause: flow.CauseServerExit})
	case kindClientExit:
		var r exitRecord
		if err := json.Unmarshal(e.Data, &r); err != nil {
			return err
		}
		if r.Killed {
			// One that ends in its own time closes its connections: that shows in the packets.
			ev.truth.Breaks = append(ev.truth.Breaks, flow.Break{At: e.At, Host: e.Host, Cause: flow.CauseClientExit})
		}
	case kindPush:
		var r pushRecord
		if err := json.Unmarshal(e.Data, &r); err != nil {
			return err
		}
		ev.truth.Pushes = append(ev.truth.Pushes, flow.PushOrder{ID: r.ID, Device: r.Device, At: e.At})
	case kindCheck:
		var c nat.CheckResult
		if err := json.Unmarshal(e.Data, &c); err != nil {
			return err
		}
		ev.checks = append(ev.checks, c)
	case kindCapture:
		ev.counted = true
		return json.Unmarshal(e.Data, &ev.capture)
	case kindProblem:
		ev.spoilt = append(ev.spoilt, e.Text)
	case kindEnd:
		ev.ended = true
		return json.Unmarshal(e.Data, &ev.end)
	}
	return nil
}
