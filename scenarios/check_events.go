package scenarios

import (
	"slices"
	"strings"

	"outlive/faults"
	"outlive/lab/units"
	"outlive/nat"
	"outlive/probes/flow"
)

// events checks the events, expands what they do to fleets and puts them in order.
func (c *checker) events() {
	world := faults.World{Uplinks: natNames(c.scenario.Uplinks), Devices: map[string][]string{}, Profiles: map[string]nat.Profile{}}
	for _, u := range c.scenario.Uplinks {
		for _, n := range u.boxes() {
			world.Profiles[n.Name] = n.Profile
		}
	}
	for _, d := range c.scenario.Devices {
		world.Devices[d.Name] = d.Uplinks
	}
	for i := range c.file.Events {
		e := &c.file.Events[i]
		if e.at == nil || e.at.kind != mapping {
			continue
		}
		c.instant(e)
		c.deed(e, world)
		c.scenario.Events = append(c.scenario.Events, c.expand(e)...)
		if len(c.scenario.Events) > maxExpanded {
			c.report(e.at, "", "the fleets make more than %d events", maxExpanded)
			break
		}
	}
	slices.SortStableFunc(c.scenario.Events, func(a, b Event) int {
		switch {
		case a.After != "" && b.After != "":
			return 0
		case a.After != "":
			return 1
		case b.After != "":
			return -1
		}
		return int(min(1, max(-1, a.At-b.At)))
	})
}

// instant checks when an event happens.
func (c *checker) instant(e *eventKeys) {
	at, after, plus := e.at.get("at"), e.at.get("after"), e.at.get("plus")
	end := c.scenario.Duration
	late := func(n *node, t *units.Duration, what string) {
		if t != nil && end > 0 && *t >= end {
			c.report(n, "", "%s %s is not before the end of the scenario, %s", what, *t, end)
		}
	}
	switch {
	case at == nil && after == nil:
		c.report(e.at, "", `the event has no instant: give it "at", or "after"`)
	case at != nil && after != nil:
		c.report(after.keyNode(), "", "an event has at or after, not both")
	case at != nil && plus != nil:
		c.report(plus.keyNode(), "", "plus counts from after; an event with at has none")
	}
	late(at, e.At, "the event at")
	late(plus, e.Plus, "an event after")
	if e.After != "" {
		c.after(after, e)
	}
}

// after checks a reference to a protocol event: a device, a dot and its name.
func (c *checker) after(n *node, e *eventKeys) {
	device, name, ok := strings.Cut(e.After, ".")
	if !ok {
		c.report(n, "", `after wants a device and a protocol event, for example "phone.established", not %q`, clip(e.After))
		return
	}
	if !c.knownDevice(n, device) {
		return
	}
	names := flow.EventNames(c.scenario.Server.Protocol)
	if _, known := protocolNamed(c.scenario.Server.Protocol); known && !slices.Contains(names, name) {
		suggestion := units.Closest(name, names)
		if suggestion != "" {
			suggestion = device + "." + suggestion
		}
		c.report(n, suggestion, "the protocol %s has no event %q; it has %s", c.scenario.Server.Protocol, clip(name), units.List(names))
		return
	}
	if fleet, ok := c.fleets[device]; ok && !slices.Equal(fleet, []string{device}) && device != e.Push && len(fleet) > 0 {
		c.report(n, fleet[0]+"."+name, "%s is a fleet of %d: say which of them the event waits for", device, len(fleet))
	}
}

// knownDevice says whether a name stands for a device or for a fleet.
func (c *checker) knownDevice(n *node, name string) bool {
	if _, ok := c.fleets[name]; ok || c.hosts[name] != nil {
		return true
	}
	names := c.file.Devices.names()
	if c.file.root.get("devices") != nil {
		c.unknownName(n, "device", name, names)
	}
	return false
}

// deed checks what an event does.
func (c *checker) deed(e *eventKeys, world faults.World) {
	push, fault := e.at.get("push"), e.at.get("fault")
	switch {
	case push == nil && fault == nil:
		c.report(e.at, "", `the event does nothing: give it "push" or "fault"`)
	case push != nil && fault != nil:
		c.report(fault.keyNode(), "", "an event is a push or a fault, not both: write two")
	case e.Push != "":
		c.knownDevice(push, e.Push)
	}
	if e.params != nil && !c.full() {
		c.faultProblems(e, e.params.Check(world))
	}
}

// faultProblems reports what a fault found wrong with its parameters. Where it
// has no suggestion but the value resembles a name of the scenario, that is it.
func (c *checker) faultProblems(e *eventKeys, found []units.Problem) {
	if len(found) == 0 {
		return
	}
	var names []string
	for _, u := range c.scenario.Uplinks {
		names = append(names, u.Name)
		for _, n := range u.boxes() {
			names = append(names, n.Name)
		}
	}
	for _, d := range c.scenario.Devices {
		names = append(names, d.Name)
	}
	flawed := e.at.flawed()
	for _, p := range found {
		at := e.at.get(p.Field)
		switch {
		case at != nil && at.spoilt, at == nil && flawed:
			continue
		case at == nil:
			at = e.at.get("fault")
		case p.Suggestion == "" && at.kind == scalar && !slices.Contains(names, at.text):
			p.Suggestion = units.Closest(at.text, names)
		}
		c.report(at, p.Suggestion, "%s", p.Text)
	}
}

// expand makes the events of one entry: one, or a push to each device of a fleet.
func (c *checker) expand(e *eventKeys) []Event {
	event := Event{After: e.After, Push: e.Push, FaultName: e.Fault, Fault: e.params}
	if e.At != nil {
		event.At = *e.At
	}
	if e.Plus != nil {
		event.Plus = *e.Plus
	}
	fleet, ok := c.fleets[e.Push]
	if !ok || slices.Equal(fleet, []string{e.Push}) {
		return []Event{event}
	}
	var out []Event
	for _, device := range fleet {
		one := event
		one.Push = device
		// After a fleet's own event, each device's push waits for its own.
		if waits, name, _ := strings.Cut(e.After, "."); waits == e.Push {
			one.After = device + "." + name
		}
		out = append(out, one)
	}
	return out
}
