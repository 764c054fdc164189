package verdict

import (
	"fmt"

	"outlive/lab/units"
)

// heartbeatMetrics speak of what it costs to keep a connection alive.
var heartbeatMetrics = []Metric{
	{
		Name: "heartbeat.sent", Unit: Number, Aggregates: ofEvents, countable: true, Needs: []Need{NeedHeartbeat},
		Definition: "Heartbeats that left the interface of their sender, the client's and the server's together.",
		observe:    heartbeats,
	},
	{
		Name: "heartbeat.interval", Unit: Duration, Aggregates: ofSamples, countable: true, Needs: []Need{NeedHeartbeat},
		Definition: "The time between two heartbeats of one sender that follow each other on one connection.",
		observe:    intervals,
	},
	{
		Name: "heartbeat.bytes", Unit: Bytes, Aggregates: ofSamples, countable: true, Needs: []Need{NeedHeartbeat},
		Definition: "IP bytes of one heartbeat and its answer at the device's interface, with acknowledgements that carry nothing else.",
		observe:    heartbeatBytes,
	},
}

func heartbeats(s scene) observation {
	o := s.amongReady("no heartbeat was sent")
	for h := range s.heartbeats() {
		o.samples = append(o.samples, sample{connection: h.Connection, what: func() string {
			return fmt.Sprintf("the %s of %s sent one at %s", h.From, s.name(h.Connection), Instant(h.Sent))
		}})
	}
	return o
}

func intervals(s scene) observation {
	o := s.amongReady("no two heartbeats followed each other on a connection")
	type sender struct {
		connection int
		from       string
	}
	last := map[sender]units.Seconds{}
	for h := range s.heartbeats() {
		k := sender{h.Connection, h.From}
		if before, ok := last[k]; ok {
			o.samples = append(o.samples, sample{n: float64(h.Sent - before), connection: h.Connection, what: func() string {
				return fmt.Sprintf("%s passed before the one that the %s of %s sent at %s", length(h.Sent-before), h.From, s.name(h.Connection), Instant(h.Sent))
			}})
		}
		last[k] = h.Sent
	}
	return o
}

func heartbeatBytes(s scene) observation {
	o := s.amongReady("no heartbeat was sent")
	for h := range s.heartbeats() {
		o.samples = append(o.samples, sample{n: float64(h.Bytes), connection: h.Connection, what: func() string {
			return fmt.Sprintf("the one that the %s of %s sent at %s took %d bytes", h.From, s.name(h.Connection), Instant(h.Sent), h.Bytes)
		}})
	}
	return o
}
