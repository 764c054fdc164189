package nat

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
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
	// Twin says that the expiry of TCP connections was proven on a second NAT with the
	// same rules and a timeout of 2 s, because the scenario's own NAT was not left alone
	// for long enough. Late packets were proven on both.
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
	// TCP and UDP are what the NAT does to connections of either protocol, and Words
	// says both in one sentence, in the words of RFC 4787.
	TCP   Nature `json:"tcp,omitzero"`
	UDP   Nature `json:"udp,omitzero"`
	Words string `json:"words,omitempty"`
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
	// twinMappings is how many mappings a NAT must at least be able to have for a round
	// that waits. A twin that has a limit gets so many.
	twinMappings = 64
	// roundLimit is how often a round is repeated that proved nothing.
	roundLimit = 5
	// roundExtra is what a round takes beyond the timeout, at most.
	roundExtra = probeMargin + probeSets*probeStagger + time.Second
)

// SelfCheck proves from packets that the NAT is the one that its profile
// describes. It sends probe connections of its own through the NAT, beside the
// scenario's traffic and without touching its mappings, ports or limits. They show
//
//   - mapping and filtering, by the tests of RFC 5780 §4.3 and §4.4, how ports and
//     outside addresses are chosen, and hairpinning, each for TCP and for UDP. That takes
//     milliseconds, and the scenario's own NAT is asked;
//   - when it forgets an idle connection, what a late packet from either side meets, and
//     which packets refresh a mapping.
//
// window is how long, from now on, no fault touches the NAT. If that is longer
// than the timeout, probes are left idle until just before and just after it.
// If not, the real NAT's timeout is read from an entry that it has made and its
// late-packet behaviour seen on connections whose mapping was deleted, and the
// expiry and the refreshing are proven on a twin with a short timeout. So are those of UDP
// where its timeout is longer than TCP's. In all cases settings and rules are read back.
//
// It takes at most the timeout plus some seconds per round, and ends early when
// the context does, which makes the result not OK. What the machine was too late for
// to prove anything is repeated.
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
	r.Words = natures(r.TCP, r.UDP)
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
	for _, w := range compareSysctls(c.nat.host.NS, c.nat.sysctls()) {
		c.wrong("%s", w)
	}
	own, err := c.nat.takeProber(c.topology)
	if err != nil {
		return err
	}
	defer c.nat.checking.Unlock()
	if err := c.classify(ctx, own); err != nil {
		return err
	}
	direct, err := c.direct(ctx, own, until)
	if err == nil && !direct {
		err = c.byTwin(ctx, own)
	}
	if err != nil {
		return err
	}
	reference, err := netns.New()
	if err != nil {
		return err
	}
	defer reference.Close()
	if err := c.nat.load(ctx, reference); err != nil {
		return err
	}
	return c.compareRules(ctx, reference)
}

// direct proves everything on the real NAT, as long as it is left alone. It is
// false if it could not, for want of time. What it would have to wait longer for is
// proven on a twin meanwhile: the idle timeout of UDP, if that is longer than TCP's.
func (c *check) direct(ctx context.Context, own *prober, until time.Time) (bool, error) {
	timeouts := c.nat.profile.Timeouts
	plan := round{timeout: timeouts.TCPEstablished.D(), udp: timeouts.UDP.D(), aims: tcpAims(c.nat.profile, false)}
	enough := func() bool { return time.Until(until) >= plan.timeout+roundExtra }
	if most := c.nat.profile.Limits.Mappings; !enough() || most > 0 && most < twinMappings {
		return false, nil
	}
	// A flow that goes on gets the timeout for streams, which must not be the shorter one.
	alone := plan.udp <= plan.timeout && plan.udp <= timeouts.UDPStream.D()
	if alone {
		plan.aims = append(plan.aims, udpAims...)
	}
	var datagrams *round
	var twinErr error
	var beside sync.WaitGroup
	if !alone {
		beside.Go(func() { datagrams, twinErr = c.onTwin(ctx, udpAims) })
	}
	r, err := c.repeat(ctx, own, plan, enough)
	beside.Wait()
	if err = errors.Join(err, twinErr); err != nil {
		return false, err
	}
	c.result.Rounds += r.number
	if !r.conclusive() {
		return false, nil
	}
	c.take(r, "")
	r.shown(&c.result.TCP, false)
	c.proven = r.proven()
	if alone {
		r.shown(&c.result.UDP, true)
		return true, nil
	}
	c.take(datagrams, twinWords)
	datagrams.shown(&c.result.UDP, true)
	c.proven = c.proven && datagrams.proven()
	return true, nil
}

// byTwin proves late packets on the real NAT by deleting the probes' mappings,
// and the expiry on a twin.
func (c *check) byTwin(ctx context.Context, own *prober) error {
	c.result.Twin = true
	always := func() bool { return true }
	plan := round{timeout: c.result.Timeout.D(), deleting: true, aims: tcpAims(c.nat.profile, true)}
	deleted, err := c.repeat(ctx, own, plan, always)
	if err != nil {
		return err
	}
	expired, err := c.onTwin(ctx, slices.Concat(tcpAims(c.nat.profile, false), udpAims))
	if err != nil {
		return err
	}
	c.result.Rounds += deleted.number + expired.number
	c.take(deleted, "")
	c.take(expired, twinWords)
	expired.shown(&c.result.TCP, false)
	expired.shown(&c.result.UDP, true)
	c.proven = deleted.proven() && expired.proven()
	return nil
}

// twinWords stand before what was seen of a twin.
const twinWords = "its twin: "

// onTwin proves on a second NAT with the same rules and short timeouts what takes
// waiting.
func (c *check) onTwin(ctx context.Context, aims []aim) (*round, error) {
	host, probe, err := c.topology.AddTwin(c.nat.host.Name)
	if err != nil {
		return nil, err
	}
	short := c.nat.profile
	for _, t := range []*units.Duration{&short.Timeouts.TCPEstablished, &short.Timeouts.UDP, &short.Timeouts.UDPStream} {
		*t = units.Duration(twinTimeout)
	}
	if most := &short.Limits.Mappings; *most > 0 {
		*most = max(*most, twinMappings)
	}
	twin, err := Install(ctx, host, short)
	if err != nil {
		return nil, err
	}
	defer twin.Close()
	p, err := newProber(twin, probe)
	if err != nil {
		return nil, err
	}
	defer p.close()
	return c.repeat(ctx, p, round{timeout: twinTimeout, udp: twinTimeout, aims: aims}, func() bool { return true })
}

// repeat makes rounds as planned until one is conclusive, as long as another one may
// be begun. If none becomes so although there was time, the reasons are its problem.
func (c *check) repeat(ctx context.Context, p *prober, plan round, more func() bool) (*round, error) {
	var notes []note
	silent := 0
	for n := 1; ; n++ {
		r, err := c.attempt(ctx, p, plan)
		if err != nil {
			return nil, err
		}
		if r.number = n; r.conclusive() {
			return r, nil
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
func (c *check) attempt(ctx context.Context, p *prober, plan round) (*round, error) {
	if err := p.reserve(probeSets*len(plan.aims), 1); err != nil {
		return nil, err
	}
	plan.prober, plan.late, plan.choices = p, c.nat.profile.Late, c.nat.profile.choices()
	before := c.nat.touchCount()
	r := new(plan)
	err := r.run(ctx)
	if p.nat == c.nat && c.nat.touchCount() != before {
		r = new(plan)
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
	if !slices.Contains(r.aims, lateLAN) {
		return
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
