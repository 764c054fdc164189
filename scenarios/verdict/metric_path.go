package verdict

import (
	"fmt"

	"outlive/lab/units"
)

// pathMetrics speak of whether a push could have been delivered, sent or not.
var pathMetrics = []Metric{
	{
		Name: "alive", Unit: Share, Aggregates: ofDevices, bare: Min,
		Definition: "For each device, the share of the time from its first ready connection to the end of the scenario in which a push to it could have been delivered. Bare, it is the lowest of the devices'.",
		observe:    alive,
	},
	{
		Name: "deaf", Unit: Duration, Aggregates: ofDevices, bare: Max,
		Definition: "For each device, the longest stretch from its first ready connection to the end of the scenario in which a push to it could not have been delivered: no ready connection, no mapping, or a dead one. At least so long where it lasts to the end. Bare, it is the longest of the devices'.",
		observe:    deaf,
	},
	{
		Name: "lapse", Unit: Duration, Aggregates: ofSamples, countable: true,
		Definition: "Stretches in which a NAT had no mapping for an open connection: until it had one again, until the client gave the connection up, or to the end of the scenario, and then at least so long.",
		observe:    lapses,
	},
}

func alive(s scene) observation {
	o := observation{missing: neverReady}
	for _, device := range s.devices() {
		ready := s.firstReady(device)
		if ready == nil || *ready >= s.truth.End {
			continue
		}
		o.basis++
		total, worst := s.truth.End-*ready, -1
		var could units.Seconds
		for _, x := range s.union(device) {
			could += x.until - x.from
			worst = x.connection
		}
		n := float64(could) / float64(total)
		o.samples = append(o.samples, sample{n: n, connection: worst, what: func() string {
			return fmt.Sprintf("%s could be reached for %s of %s", device, length(could), length(total))
		}})
	}
	return o
}

func deaf(s scene) observation {
	o := observation{missing: neverReady}
	for _, device := range s.devices() {
		ready := s.firstReady(device)
		if ready == nil || *ready >= s.truth.End {
			continue
		}
		o.basis++
		longest := sample{connection: -1, what: func() string { return device + " could be reached all the time" }}
		consider := func(from, until units.Seconds, connection int) {
			if n := float64(until - from); n > longest.n {
				longest = sample{n: n, connection: connection, what: func() string {
					return fmt.Sprintf("%s could not be reached for %s, from %s", device, length(until-from), Instant(from))
				}}
			}
		}
		at, last := *ready, -1
		for _, x := range s.union(device) {
			consider(at, x.from, last)
			at, last = x.until, x.connection
		}
		consider(at, s.truth.End, last)
		// While the last stretch goes on it can still become the longest.
		longest.open = at < s.truth.End
		o.samples = append(o.samples, longest)
	}
	return o
}

func lapses(s scene) observation {
	o := s.amongReady("no NAT forgot a mapping of an open connection")
	for i, c := range s.connections() {
		for _, l := range c.Lapses {
			from, until, open := l.From, s.truth.End, true
			if l.Until != nil {
				until, open = *l.Until, false
			}
			for _, end := range []*units.Seconds{c.ClientSide.NoticedAt, closedAt(c)} {
				if end != nil && *end < until {
					until, open = *end, false
				}
			}
			if until <= from {
				continue
			}
			o.samples = append(o.samples, sample{n: float64(until - from), open: open, connection: i, what: func() string {
				n := s.box(l.NAT)
				return fmt.Sprintf("%s had no %s for %s for %s, from %s", n, n.Memory(), s.name(i), length(until-from), Instant(from))
			}})
		}
	}
	return o
}
