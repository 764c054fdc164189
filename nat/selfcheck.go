package nat

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"outlive/lab"
	"outlive/lab/netns"
	"outlive/lab/units"
)

// CheckResult is what the self-check of one NAT found. It is evidence: without
// OK the scenario's verdict is inconclusive.
type CheckResult struct {
	// NAT is the name of the NAT's host.
	NAT string `json:"nat"`
	// At is when the check ended, and Took how long it had run.
	At   time.Time     `json:"-"`
	Took units.Seconds `json:"took_s"`
	// OK says that every proof was given and nothing contradicts the profile.
	OK bool `json:"ok"`
	// Why says in words what differs from the profile, or what could not be proven. Empty if OK.
	Why string `json:"why,omitempty"`
	// Twin says that the expiry was proven on a second NAT with the same rules and
	// a timeout of 2 s, because the scenario's own NAT was not left alone for long
	// enough. Late packets were proven on both.
	Twin bool `json:"twin"`
	// Want is the late-packet behaviour asked for, and Seen what was seen. Besides
	// the profile's words Seen has "leak" (it left with its private address) and, on the
	// WAN side, "pass"; it is empty where nothing was seen.
	Want Late `json:"want"`
	Seen Late `json:"seen"`
	// Timeout is the idle timeout for established TCP connections asked for.
	Timeout units.Seconds `json:"timeout_s"`
	// Proven is the timeout against which probe connections were left idle:
	// Timeout, or the twin's.
	Proven units.Seconds `json:"proven_timeout_s"`
	// LastAlive is the longest silence after which a packet passed, FirstDead the
	// shortest after which none did. They enclose the true timeout.
	LastAlive units.Seconds `json:"last_alive_s"`
	FirstDead units.Seconds `json:"first_dead_s"`
	// Rounds is how many rounds of probes it took: one, or two with a twin. More
	// mean that the machine was late, or that the lab deleted the probes' mappings.
	Rounds int `json:"rounds"`
}

const (
	// probeMargin is how far before and after the timeout probes are sent. Timeouts
	// are whole seconds, so that less than half of one tells any two apart.
	probeMargin = 400 * time.Millisecond
	// twinTimeout is that of a twin's established connections: the shortest with
	// room for the margin and for a machine that is busy.
	twinTimeout = 2 * time.Second
	// roundLimit is how often a round is repeated that proved nothing.
	roundLimit = 5
	// roundExtra is what a round takes beyond the timeout, at most.
	roundExtra = probeMargin + probeSets*probeStagger + time.Second
)

// SelfCheck proves from packets that the NAT is the one that its profile
// describes: when it forgets an idle connection, and what a late packet from
// either side meets. It sends probe connections of its own through the NAT, beside
// the scenario's traffic and without touching its mappings.
//
// window is how long, from now on, no fault touches the NAT. If that is longer
// than the timeout, probes are left idle until just before and just after it.
// If not, the real NAT's timeout is read from an entry that it has made and its
// late-packet behaviour seen on connections whose mapping was deleted, and the
// expiry is proven on a twin with a short timeout. In both cases settings and
// rules are read back.
//
// It takes at most the timeout plus some seconds per round, and ends early when
// the context does, which makes the result not OK. A probe that the machine sent
// too late to prove anything is repeated.
func SelfCheck(ctx context.Context, t *lab.Topology, n *NAT, window time.Duration) CheckResult {
	start := time.Now()
	timeout := n.profile.Timeouts.TCPEstablished.D()
	c := &check{topology: t, nat: n, result: CheckResult{NAT: n.host.Name, Want: n.profile.Late, Timeout: units.Seconds(timeout)}}
	if err := c.run(ctx, start.Add(window)); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("it was cut short: %w", context.Cause(ctx))
		}
		c.wrong("the check could not be finished: %v", err)
	}
	r := c.result
	r.At = time.Now()
	r.Took = units.Seconds(r.At.Sub(start))
	r.Why = strings.Join(c.problems, "; ")
	r.OK = len(c.problems) == 0 && c.proven && r.Seen == r.Want
	if !r.OK && r.Why == "" {
		r.Why = "not everything could be proven"
	}
	return r
}

type check struct {
	topology *lab.Topology
	nat      *NAT
	result   CheckResult
	problems []string
	// proven is set when every proof has been given.
	proven bool
}

func (c *check) wrong(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(c.problems, text) {
		c.problems = append(c.problems, text)
	}
}

func (c *check) run(ctx context.Context, until time.Time) error {
	for _, w := range compareSysctls(c.nat.host.NS, Sysctls(c.nat.profile)) {
		c.wrong("%s", w)
	}
	own, err := c.nat.takeProber(c.topology)
	if err != nil {
		return err
	}
	defer c.nat.checking.Unlock()
	direct, err := c.direct(ctx, own, until)
	if err != nil {
		return err
	}
	if direct {
		reference, err := netns.New()
		if err != nil {
			return err
		}
		defer reference.Close()
		if err := restore(ctx, reference, Rules(c.nat.profile)); err != nil {
			return err
		}
		return c.compareRules(ctx, reference)
	}
	return c.byTwin(ctx, own)
}

// direct proves everything on the real NAT, as long as it is left alone. It is
// false if it could not, for want of time.
func (c *check) direct(ctx context.Context, own *prober, until time.Time) (bool, error) {
	timeout := c.result.Timeout.D()
	enough := func() bool { return time.Until(until) >= timeout+roundExtra }
	if !enough() {
		return false, nil
	}
	r, err := c.repeat(ctx, own, timeout, false, enough)
	if err != nil || !r.conclusive() {
		return false, err
	}
	c.take(r, "")
	c.proven = r.proven()
	return true, nil
}

// byTwin proves late packets on the real NAT by deleting the probes' mappings,
// and the expiry on a twin.
func (c *check) byTwin(ctx context.Context, own *prober) error {
	c.result.Twin = true
	host, probe, err := c.topology.AddTwin(c.nat.host.Name)
	if err != nil {
		return err
	}
	short := c.nat.profile
	short.Timeouts.TCPEstablished = units.Duration(twinTimeout)
	twin, err := Install(ctx, host, short)
	if err != nil {
		return err
	}
	defer twin.Close()
	if err := c.compareRules(ctx, host.NS); err != nil {
		return err
	}
	p, err := newProber(twin.table, probe)
	if err != nil {
		return err
	}
	defer p.close()
	always := func() bool { return true }
	deleted, err := c.repeat(ctx, own, c.result.Timeout.D(), true, always)
	if err != nil {
		return err
	}
	expired, err := c.repeat(ctx, p, twinTimeout, false, always)
	if err != nil {
		return err
	}
	c.take(deleted, "")
	c.take(expired, "its twin: ")
	c.proven = deleted.proven() && expired.proven()
	return nil
}

// repeat makes rounds until one is conclusive, as long as another one may be
// begun. If none becomes so although there was time, the reasons are its problem.
func (c *check) repeat(ctx context.Context, p *prober, timeout time.Duration, deleting bool, more func() bool) (*round, error) {
	var notes []note
	silent := 0
	for n := 1; ; n++ {
		r, err := c.attempt(ctx, p, timeout, deleting)
		if err != nil || r.conclusive() {
			return r, err
		}
		notes = append(notes, r.notes...)
		if r.silent {
			silent++
		}
		// A machine does not stand still twice for as long as silence takes.
		if n == roundLimit || silent == 2 {
			r.wrong(aliveLAN, "%s", summarise(notes))
			return r, nil
		}
		if !more() {
			return r, nil
		}
	}
}

// attempt makes one round. One during which the lab deleted mappings says nothing.
func (c *check) attempt(ctx context.Context, p *prober, timeout time.Duration, deleting bool) (*round, error) {
	c.result.Rounds++
	before := c.nat.touchCount()
	r := &round{prober: p, late: c.nat.profile.Late, timeout: timeout, deleting: deleting}
	err := r.run(ctx)
	if p.table == c.nat.table && c.nat.touchCount() != before {
		r = &round{prober: p, late: c.nat.profile.Late, timeout: timeout, deleting: deleting}
		r.note("the lab deleted the NAT's mappings while they were being probed")
	}
	var quiet *silence
	if errors.As(err, &quiet) {
		// Either the NAT does not forward at all or the machine stood still.
		r.note("%v", quiet)
		r.silent = true
		err = nil
	}
	return r, err
}

// take enters what a round has shown into the result.
func (c *check) take(r *round, where string) {
	for _, w := range r.problems {
		c.wrong("%s%s", where, w)
	}
	want := c.result.Want
	if c.result.Seen.LAN == "" || c.result.Seen.LAN == want.LAN {
		c.result.Seen.LAN = r.seen.LAN
	}
	if c.result.Seen.WAN == "" || c.result.Seen.WAN == want.WAN {
		c.result.Seen.WAN = r.seen.WAN
	}
	if !r.deleting {
		c.result.Proven = units.Seconds(r.timeout)
		c.result.LastAlive, c.result.FirstDead = units.Seconds(r.lastAlive), units.Seconds(r.firstDead)
	}
}

// compareRules holds the NAT's rules against those of a namespace in which the
// profile's rules were installed afresh by the same tool.
func (c *check) compareRules(ctx context.Context, reference *netns.NS) error {
	want, err := save(ctx, reference)
	if err != nil {
		return err
	}
	got, err := save(ctx, c.nat.host.NS)
	if err != nil {
		return err
	}
	for _, w := range compareRules(want, got) {
		c.wrong("%s", w)
	}
	return nil
}

// compareRules says in words how two listings of iptables-save differ.
func compareRules(want, got string) []string {
	wanted, present := listed(want), listed(got)
	var wrong []string
	for _, line := range wanted {
		if !slices.Contains(present, line) {
			wrong = append(wrong, fmt.Sprintf("the rule %q is missing", line))
		}
	}
	for _, line := range present {
		if !slices.Contains(wanted, line) {
			wrong = append(wrong, fmt.Sprintf("the rule %q was not asked for", line))
		}
	}
	if len(wrong) == 0 && !slices.Equal(wanted, present) {
		wrong = append(wrong, "the rules are in another order or number than asked for")
	}
	return wrong
}

// listed gives the lines of a listing that mean something, each with its table,
// without the counters of chains. The variants of the tool list the tables in
// different orders, which means nothing.
func listed(text string) []string {
	tables := map[string][]string{}
	table := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "", line == "COMMIT", strings.HasPrefix(line, "#"):
			continue
		case strings.HasPrefix(line, "*"):
			table = line[1:]
			continue
		case strings.HasPrefix(line, ":"):
			line, _, _ = strings.Cut(line, " [")
		}
		tables[table] = append(tables[table], "-t "+table+" "+line)
	}
	var lines []string
	for _, table := range slices.Sorted(maps.Keys(tables)) {
		lines = append(lines, tables[table]...)
	}
	return lines
}

// summarise joins notes, the first of each kind with how many there were.
func summarise(notes []note) string {
	count := map[string]int{}
	var first []note
	for _, n := range notes {
		if count[n.kind]++; count[n.kind] == 1 {
			first = append(first, n)
		}
	}
	var parts []string
	for _, n := range first {
		if more := count[n.kind] - 1; more > 0 {
			n.text += fmt.Sprintf(" (and %d more)", more)
		}
		parts = append(parts, n.text)
	}
	return strings.Join(parts, "; ")
}
