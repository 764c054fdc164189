package verdict

import (
	"cmp"
	"fmt"
	"iter"
	"slices"

	"outlive/lab/units"
	"outlive/probes/flow"
)

// scene is the evidence as one expectation sees it: of all devices, or of one.
type scene struct {
	analysis *flow.Analysis
	truth    flow.Truth
	device   string // empty: all
	// of are the indices of each device's connections.
	of map[string][]int
}

func newScene(a *flow.Analysis, t flow.Truth) scene {
	s := scene{analysis: a, truth: t, of: map[string][]int{}}
	if a == nil {
		s.analysis = &flow.Analysis{}
	}
	for i := range s.analysis.Connections {
		device := s.analysis.Connections[i].Device
		s.of[device] = append(s.of[device], i)
	}
	return s
}

// box is the NAT or firewall of that name.
func (s scene) box(name string) flow.NAT {
	for _, n := range s.truth.NATs {
		if n.Name == name {
			return n
		}
	}
	return flow.NAT{Name: name}
}

// only is the same scene seen from one device; empty means all.
func (s scene) only(device string) scene {
	s.device = device
	return s
}

// neverReady is why nothing can be said of connections where there was none.
const neverReady = "no connection ever could take pushes"

func (s scene) sees(device string) bool { return s.device == "" || s.device == device }

// devices are the names of the devices in scope, in the scenario's order.
func (s scene) devices() []string {
	var names []string
	for _, d := range s.truth.Devices {
		if s.sees(d.Name) {
			names = append(names, d.Name)
		}
	}
	return names
}

// connections are those of the devices in scope, with their index in the analysis.
func (s scene) connections() iter.Seq2[int, *flow.Connection] {
	return func(yield func(int, *flow.Connection) bool) {
		for i := range s.analysis.Connections {
			c := &s.analysis.Connections[i]
			if s.sees(c.Device) && !yield(i, c) {
				return
			}
		}
	}
}

func (s scene) pushes() iter.Seq[*flow.Push] {
	return func(yield func(*flow.Push) bool) {
		for i := range s.analysis.Pushes {
			if p := &s.analysis.Pushes[i]; s.sees(p.Device) && !yield(p) {
				return
			}
		}
	}
}

func (s scene) heartbeats() iter.Seq[*flow.Heartbeat] {
	return func(yield func(*flow.Heartbeat) bool) {
		for i := range s.analysis.Heartbeats {
			h := &s.analysis.Heartbeats[i]
			if c := s.connection(h.Connection); c != nil && s.sees(c.Device) && !yield(h) {
				return
			}
		}
	}
}

// connection is the one with the index, or nil if there is none.
func (s scene) connection(i int) *flow.Connection {
	if i < 0 || i >= len(s.analysis.Connections) {
		return nil
	}
	return &s.analysis.Connections[i]
}

// amongReady is an observation for which every connection that got ready is a
// basis; why says what did not happen to any of them.
func (s scene) amongReady(why string) observation {
	n := 0
	for _, c := range s.connections() {
		if c.Ready != nil {
			n++
		}
	}
	if n == 0 {
		why = neverReady
	}
	return observation{basis: n, missing: why}
}

// firstReady is when a device could first take pushes, or nil.
func (s scene) firstReady(device string) *units.Seconds {
	var first *units.Seconds
	for _, i := range s.of[device] {
		if at := s.analysis.Connections[i].Ready; at != nil && (first == nil || *at < *first) {
			first = at
		}
	}
	return first
}

// name is how texts call a connection: "phone's connection", or with a number
// where the device had several: "phone's connection 2".
func (s scene) name(i int) string {
	device := s.analysis.Connections[i].Device
	all := s.of[device]
	if len(all) == 1 {
		return device + "'s connection"
	}
	return fmt.Sprintf("%s's connection %d", device, slices.Index(all, i)+1)
}

// stretch is a time in which a connection could deliver pushes.
type stretch struct {
	from, until units.Seconds
	connection  int
}

// stretches are those of a device's connections, in order of their start.
func (s scene) stretches(device string) []stretch {
	var all []stretch
	for _, i := range s.of[device] {
		c := &s.analysis.Connections[i]
		if c.Ready == nil {
			continue
		}
		at, end := *c.Ready, s.truth.End
		for _, t := range []*units.Seconds{c.Died, closedAt(c)} {
			if t != nil {
				end = min(end, *t)
			}
		}
		for _, l := range c.Lapses {
			if l.From > at && at < end {
				all = append(all, stretch{at, min(l.From, end), i})
			}
			if l.Until == nil {
				at = end
			} else {
				at = max(at, *l.Until)
			}
		}
		if at < end {
			all = append(all, stretch{at, end, i})
		}
	}
	slices.SortStableFunc(all, func(a, b stretch) int { return cmp.Compare(a.from, b.from) })
	return all
}

// union are the stretches in which the device could be reached on any
// connection, without overlaps.
func (s scene) union(device string) []stretch {
	var all []stretch
	for _, x := range s.stretches(device) {
		if n := len(all); n > 0 && x.from <= all[n-1].until {
			if x.until > all[n-1].until {
				all[n-1].until, all[n-1].connection = x.until, x.connection
			}
			continue
		}
		all = append(all, x)
	}
	return all
}

func closedAt(c *flow.Connection) *units.Seconds {
	if c.Closed == nil {
		return nil
	}
	return &c.Closed.At
}
