package lab

import (
	"encoding/json"

	"outlive/lab/units"
)

// Event is one thing that the lab did or saw, as it stands in events.jsonl: one
// JSON object a line. Kind says which package wrote it and what Data holds.
type Event struct {
	// At is when it happened, in scenario time. Set-up lies before zero.
	At units.Seconds `json:"at_s"`
	// Kind is a short fixed word: "server-ready", "mapping-gone", "fault".
	Kind string `json:"kind"`
	// Host is the host that it happened at or to, if one.
	Host string `json:"host,omitempty"`
	// Text is the same thing for people, in one line.
	Text string `json:"text,omitempty"`
	// Data is for programs. Its type belongs to the package that wrote the event.
	Data json.RawMessage `json:"data,omitempty"`
}
