package scenarios

import (
	"errors"
	"slices"

	"outlive/probes/heartbeat"
	"outlive/scenarios/verdict"
)

// expectGroup is the expectations of one place in the file.
type expectGroup struct {
	at      *node
	lines   []string
	devices []string // empty: all together
}

// expectations checks the scenario's expectations and those of its devices.
func (c *checker) expectations() {
	f := c.file
	c.eventsFlawed = f.root.get("events").flawed()
	c.devicesFlawed = f.root.get("devices").flawed() || f.root.get("server").flawed()
	top := expectGroup{at: f.root.get("expect"), lines: f.Expect}
	written := top.at != nil
	for _, g := range append([]expectGroup{top}, c.groups...) {
		written = written || g.at != nil
		if g.at != nil && g.at.kind == list && len(g.at.items) == 0 {
			c.report(g.at, "", "expect is empty: write what must hold, or leave it out")
		}
		c.group(g)
	}
	if !written {
		c.missing(f.root, "expect", `without it there is nothing to judge; for example "expect: [push.delivered == 100%]"`)
	}
}

func (c *checker) group(g expectGroup) {
	for i, line := range g.lines {
		item := g.at.item(i)
		if item.spoilt || item.kind != scalar || item.empty {
			continue
		}
		e, err := verdict.Parse(line)
		if err != nil {
			c.expectationError(item, err)
			continue
		}
		c.needs(item, e, g.devices)
		if item.place.text == c.file.root.place.text {
			e.Line = item.line
		}
		if g.devices == nil {
			c.scenario.Expect = append(c.scenario.Expect, e)
			continue
		}
		if len(c.scenario.Expect)+len(g.devices) > maxExpanded {
			c.report(item, "", "the fleets make more than %d expectations", maxExpanded)
			return
		}
		for _, device := range g.devices {
			e.Device = device
			c.scenario.Expect = append(c.scenario.Expect, e)
		}
	}
}

// expectationError reports a mistake inside the text of an expectation.
func (c *checker) expectationError(n *node, err error) {
	var bad *verdict.SyntaxError
	if !errors.As(err, &bad) {
		c.report(n, "", "%v", err)
		return
	}
	at, exact := n.textColumn(bad.Column)
	width := max(1, bad.Width)
	if !exact {
		width = n.width()
	}
	c.add(at, width, bad.Suggestion, bad.Text)
}

// needs reports an expectation that could only ever be inconclusive.
func (c *checker) needs(n *node, e verdict.Expectation, devices []string) {
	for _, need := range e.Needs() {
		switch need {
		case verdict.NeedPush:
			if !c.eventsFlawed && !c.anyPush(devices) {
				c.report(n, "", "%s can have no samples: no event pushes to %s", e.Metric, scopeName(devices))
			}
		case verdict.NeedHeartbeat:
			if !c.devicesFlawed && !c.anyHeartbeat(devices) {
				c.report(n, "", "%s can have no samples: neither the server nor %s sends heartbeats", e.Metric, scopeName(devices))
			}
		}
	}
}

func scopeName(devices []string) string {
	switch len(devices) {
	case 0:
		return "any device"
	case 1:
		return devices[0]
	}
	return "any of " + devices[0] + " to " + devices[len(devices)-1]
}

// anyPush says whether some event pushes to one of the devices, or to any at all.
func (c *checker) anyPush(devices []string) bool {
	if c.pushed == nil {
		c.pushed = map[string]bool{}
		for _, e := range c.scenario.Events {
			if e.Push != "" {
				c.pushed[e.Push] = true
			}
		}
	}
	return len(devices) == 0 && len(c.pushed) > 0 || slices.ContainsFunc(devices, func(d string) bool { return c.pushed[d] })
}

// anyHeartbeat says whether the server or one of the devices, or any at all,
// may send heartbeats. A command may for all we know.
func (c *checker) anyHeartbeat(devices []string) bool {
	if c.beating == nil {
		c.beating = map[string]bool{}
		silent := heartbeat.Spec{}.WithDefaults().Policy
		sends := func(run []string, spec heartbeat.Spec) bool {
			return len(run) > 0 || spec.Policy != "" && spec.Policy != silent
		}
		for _, d := range c.scenario.Devices {
			c.beating[d.Name] = sends(c.scenario.Server.Run, c.scenario.Server.Heartbeat) || sends(d.Client.Run, d.Client.Heartbeat)
		}
	}
	if len(devices) == 0 {
		for name := range c.beating {
			devices = append(devices, name)
		}
	}
	return slices.ContainsFunc(devices, func(d string) bool { return c.beating[d] })
}
