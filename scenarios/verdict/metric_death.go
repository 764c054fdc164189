package verdict

import (
	"fmt"

	"outlive/lab/units"
	"outlive/probes/flow"
)

// deathMetrics speak of connections that died, and of who knew.
var deathMetrics = []Metric{
	{
		Name: "death", Unit: Number, Aggregates: ofEvents, countable: true,
		Definition: "Connections that died: from some instant on they could never again deliver from server to client.",
		observe:    deaths,
	},
	{
		Name: "detect.client", Unit: Duration, Aggregates: ofSamples,
		Definition: "From a connection's death to the instant at which the client's program showed that it knew: it closed, reset, or opened a replacement. Deaths that it never noticed have none: zombie.client tells of them.",
		observe:    func(s scene) observation { return detected(s, client) },
	},
	{
		Name: "detect.server", Unit: Duration, Aggregates: ofSamples,
		Definition: "From a connection's death to the instant at which the server's program showed that it knew. Deaths that it never noticed have none: zombie.server tells of them.",
		observe:    func(s scene) observation { return detected(s, server) },
	},
	{
		Name: "zombie.client", Unit: Duration, Aggregates: ofSamples,
		Definition: "How long the client held a dead connection: from death to its notice, or to the end of the scenario, and then at least so long, where it never noticed.",
		observe:    func(s scene) observation { return zombies(s, client) },
	},
	{
		Name: "zombie.server", Unit: Duration, Aggregates: ofSamples,
		Definition: "How long the server held a dead connection: from death to its notice, or to the end of the scenario, and then at least so long, where it never noticed. A server that was killed or lost power holds nothing.",
		observe:    func(s scene) observation { return zombies(s, server) },
	},
	{
		Name: "recover", Unit: Duration, Aggregates: ofSamples,
		Definition: "From a connection's death to the instant at which another connection of the device could deliver a push; to the end of the scenario, and then at least so long, where none came.",
		observe:    recoveries,
	},
	{
		Name: "false_alarm", Unit: Number, Aggregates: ofEvents, countable: true,
		Definition: "Connections that one side gave up although their path was fine.",
		observe:    falseAlarms,
	},
	{
		Name: "reconnect", Unit: Number, Aggregates: ofEvents, countable: true,
		Definition: "Connections that a device opened (handshake complete) after its first.",
		observe:    reconnects,
	},
	{
		Name: "refused", Unit: Number, Aggregates: ofEvents, countable: true,
		Definition: "Connections of which a NAT dropped the first packet because it had no room for another mapping.",
		observe:    refusals,
	},
}

const nothingDied = "no connection died"

func deaths(s scene) observation {
	o := s.amongReady(nothingDied)
	for i, c := range s.connections() {
		if c.Died == nil {
			continue
		}
		o.samples = append(o.samples, sample{connection: i, what: func() string {
			return fmt.Sprintf("%s died at %s (%s)", s.name(i), Instant(*c.Died), c.Cause)
		}})
	}
	return o
}

// side is one end of a connection.
type side int

const (
	client side = iota
	server
)

func (d side) String() string {
	if d == client {
		return "client"
	}
	return "server"
}

func (d side) of(c *flow.Connection) *flow.Side {
	if d == client {
		return &c.ClientSide
	}
	return &c.ServerSide
}

// holding is the time for which a side held a dead connection.
type holding struct {
	from, until units.Seconds
	// noticed says that it ended by notice; open that it had not ended when the
	// scenario did. Neither: the host itself was lost.
	noticed, open bool
}

func (h holding) length() units.Seconds { return h.until - h.from }

// holds says how long a side held a connection that died; false if it did not
// die, or the side was gone by then.
func (s scene) holds(c *flow.Connection, d side) (holding, bool) {
	if c.Died == nil {
		return holding{}, false
	}
	h := holding{from: *c.Died, until: s.truth.End, open: true}
	if at := d.of(c).NoticedAt; at != nil {
		h = holding{from: h.from, until: max(h.from, *at), noticed: true}
	}
	if gone := d.of(c).GoneAt; gone != nil && *gone <= h.until {
		if *gone <= h.from {
			return holding{}, false
		}
		h = holding{from: h.from, until: *gone}
	}
	return h, true
}

func detected(s scene, d side) observation {
	o := observation{missing: nothingDied}
	for i, c := range s.connections() {
		h, ok := s.holds(c, d)
		if !ok {
			if c.Died != nil && o.basis == 0 {
				o.missing = fmt.Sprintf("the %s itself was gone", d)
			}
			continue
		}
		o.basis++
		if !h.noticed {
			o.missing = fmt.Sprintf("the %s noticed nothing", d)
			continue
		}
		o.samples = append(o.samples, sample{n: float64(h.length()), connection: i, what: func() string {
			return fmt.Sprintf("%s died at %s, and the %s noticed %s later", s.name(i), Instant(h.from), d, length(h.length()))
		}})
	}
	return o
}

func zombies(s scene, d side) observation {
	o := observation{missing: nothingDied}
	for i, c := range s.connections() {
		h, ok := s.holds(c, d)
		if !ok {
			if c.Died != nil {
				o.missing = fmt.Sprintf("the %s itself was gone", d)
			}
			continue
		}
		o.basis++
		o.samples = append(o.samples, sample{n: float64(h.length()), open: h.open, connection: i, what: func() string {
			how := "until it noticed"
			switch {
			case h.open:
				how = "and had not noticed when the scenario ended"
			case !h.noticed:
				how = "until it was gone itself"
			}
			return fmt.Sprintf("the %s held %s dead for %s, %s", d, s.name(i), length(h.length()), how)
		}})
	}
	return o
}

func recoveries(s scene) observation {
	o := observation{missing: nothingDied}
	for i, c := range s.connections() {
		if c.Died == nil {
			continue
		}
		o.basis++
		took, open := s.recovery(i)
		o.samples = append(o.samples, sample{n: float64(took), open: open, connection: i, what: func() string {
			if open {
				return fmt.Sprintf("%s died at %s, and no other came in the %s that were left", s.name(i), Instant(*c.Died), length(took))
			}
			return fmt.Sprintf("%s died at %s, and %s later another could take pushes", s.name(i), Instant(*c.Died), length(took))
		}})
	}
	return o
}

// recovery is how long after the death of a connection another one of the device
// could deliver; open if that had not come about when the scenario ended.
func (s scene) recovery(i int) (took units.Seconds, open bool) {
	died := *s.analysis.Connections[i].Died
	next, open := s.truth.End, true
	for _, x := range s.stretches(s.analysis.Connections[i].Device) {
		if x.connection != i && x.until > died && max(x.from, died) <= next {
			next, open = max(x.from, died), false
		}
	}
	return max(0, next-died), open
}

func falseAlarms(s scene) observation {
	o := s.amongReady("no connection was given up on a good path")
	for i, c := range s.connections() {
		if c.Closed == nil || !c.Closed.FalseAlarm {
			continue
		}
		o.samples = append(o.samples, sample{connection: i, what: func() string {
			return fmt.Sprintf("the %s gave up %s at %s although its path was fine%s", c.Closed.By, s.name(i), Instant(c.Closed.At), reason(c.Closed.Why))
		}})
	}
	return o
}

func reconnects(s scene) observation {
	o := s.amongReady("no device connected a second time")
	first := map[string]bool{}
	for i, c := range s.connections() {
		if c.Opened == nil {
			continue
		}
		if first[c.Device] {
			o.samples = append(o.samples, sample{connection: i, what: func() string {
				return fmt.Sprintf("%s connected again at %s", c.Device, Instant(*c.Opened))
			}})
		}
		first[c.Device] = true
	}
	return o
}

func refusals(s scene) observation {
	o := s.amongReady("no NAT refused a connection")
	for i, c := range s.connections() {
		if c.Refused == "" {
			continue
		}
		if c.Ready == nil {
			o.basis++
		}
		o.samples = append(o.samples, sample{connection: i, what: func() string {
			return fmt.Sprintf("NAT %s had no room for %s at %s", c.Refused, s.name(i), Instant(c.SYN))
		}})
	}
	return o
}
