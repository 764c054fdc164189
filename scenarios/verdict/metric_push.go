package verdict

import (
	"fmt"

	"outlive/probes/flow"
)

// pushMetrics speak of what the server was given to deliver.
var pushMetrics = []Metric{
	{
		Name: "push.delivered", Unit: Share, Aggregates: []Aggregate{Bare}, bare: Mean, Needs: []Need{NeedPush},
		Definition: "The share of the pushes handed to the server whose bytes reached the device's interface, on a connection that was open there, before the scenario ended.",
		observe:    delivered,
	},
	{
		Name: "push.latency", Unit: Duration, Aggregates: ofSamples, Needs: []Need{NeedPush},
		Definition: "From the instant at which the lab handed a push to the server to the arrival of its bytes at the device's interface. Pushes that never arrived have none: push.delivered tells of them.",
		observe:    latency,
	},
	{
		Name: "push.duplicates", Unit: Number, Aggregates: ofEvents, Needs: []Need{NeedPush},
		Definition: "Copies of a push that the device's program was given beyond the first.",
		observe:    duplicates,
	},
}

// pushName names a push as events and logs do.
func pushName(p *flow.Push) string {
	return fmt.Sprintf("push %s to %s at %s", p.ID, p.Device, Instant(p.At))
}

const nothingPushed = "nothing was pushed"

func delivered(s scene) observation {
	o := observation{missing: nothingPushed}
	for p := range s.pushes() {
		o.basis++
		x := sample{connection: p.Connection, what: func() string { return pushName(p) + " arrived" }}
		if p.Arrived != nil {
			x.n = 1
		} else {
			x.what = func() string { return pushName(p) + " never arrived" }
		}
		o.samples = append(o.samples, x)
	}
	return o
}

func latency(s scene) observation {
	o := observation{missing: nothingPushed}
	for p := range s.pushes() {
		o.basis++
		if p.Arrived == nil {
			o.missing = "no push arrived"
			continue
		}
		took := *p.Arrived - p.At
		o.samples = append(o.samples, sample{n: float64(took), connection: p.Connection, what: func() string {
			return fmt.Sprintf("%s took %s to arrive", pushName(p), length(took))
		}})
	}
	return o
}

func duplicates(s scene) observation {
	o := observation{missing: nothingPushed}
	for p := range s.pushes() {
		if p.Copies == 0 {
			if o.basis == 0 {
				o.missing = "no push arrived"
			}
			continue
		}
		o.basis++
		o.missing = "no push arrived twice"
		for range p.Copies - 1 {
			o.samples = append(o.samples, sample{connection: p.Connection, what: func() string {
				return fmt.Sprintf("%s was delivered %d times", pushName(p), p.Copies)
			}})
		}
	}
	return o
}
