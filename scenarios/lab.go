package scenarios

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"outlive/faults"
	"outlive/lab"
	"outlive/lab/sandbox"
	"outlive/lab/units"
	"outlive/nat"
	"outlive/probes/capture"
	"outlive/probes/flow"
	"outlive/probes/server"
	"outlive/probes/socket"
)

// The parts of outlive that run inside a sandbox: the lab itself as process 1,
// and the built-in server and clients as programs of their own, so that they can
// be killed and frozen like any other; those of a fleet together.
const (
	labJob        = "lab"
	serverProgram = "outlive-server"
	clientProgram = "outlive-client"
	fleetProgram  = "outlive-fleet"
)

func init() {
	sandbox.Register(labJob, runLab)
	sandbox.RegisterProgram(serverProgram, server.Main)
	sandbox.RegisterProgram(clientProgram, clientMain)
	sandbox.RegisterProgram(fleetProgram, fleetMain)
}

// serverHost is the name of the server's host.
const serverHost = lab.ServerName

// labOrder is what the parent tells process 1.
type labOrder struct {
	// Dir is the result folder. The scenario is its scenario.yaml, as resolved.
	Dir string `json:"dir"`
	// Engine is the kind of sandbox: live, or warp, whose clock is not the world's.
	Engine Engine `json:"engine"`
}

// readyLimit is how long the server may take until it listens.
const readyLimit = 30 * time.Second

// checkLimit is how long the self-checks may go on after the scenario's end.
const checkLimit = 20 * time.Second

// settleTime is how long the self-checks leave the processor to the clients that
// connect when the scenario starts. They need a tenth of a second of a slow one.
const settleTime = 200 * time.Millisecond

// labRun is one lab, from its set-up to its last line of evidence.
type labRun struct {
	dir      string
	engine   Engine
	scenario *Scenario
	journal  *journal

	topology *lab.Topology
	nats     map[string]*nat.NAT
	natOrder []string
	recorder *capture.Recorder
	tap      *tap
	sockets  map[string]*socket.Watcher
	programs programs
	timeline *timeline
	noise    noise

	// faulting is held while a fault happens; serverFaulted says that one ended the server.
	faulting      sync.Mutex
	serverFaulted bool
	// lasting are the faults that go on, and endFaults what ends them.
	lasting   sync.WaitGroup
	endFaults []context.CancelFunc

	watching sync.WaitGroup
	checking sync.WaitGroup
	pushes   sync.WaitGroup
	pushed   int
}

// runLab is process 1 of a sandbox. It only gathers evidence; what that means is
// decided outside, after it has ended.
func runLab(ctx context.Context, order []byte, report io.Writer) (err error) {
	var o labOrder
	if err := json.Unmarshal(order, &o); err != nil {
		return fmt.Errorf("reading the lab's order: %w", err)
	}
	s, err := loadResolved(o.Dir)
	if err != nil {
		return err
	}
	j, err := openJournal(o.Dir, report)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.close()) }()
	j.add(time.Now(), kindEngine, "", "", engineRecord{Engine: o.Engine, Kernel: kernel()})
	l := &labRun{dir: o.Dir, engine: o.Engine, scenario: s, journal: j, nats: map[string]*nat.NAT{}, sockets: map[string]*socket.Watcher{}}
	if err := l.run(ctx); err != nil {
		l.problem(err.Error())
		return err
	}
	return nil
}

// run is the story of a run.
func (l *labRun) run(ctx context.Context) error {
	watch, unwatch := context.WithCancel(context.Background())
	defer unwatch()
	began := time.Now()

	if l.engine == EngineWarp {
		if err := warmUp(); err != nil {
			return err
		}
	}
	if err := l.build(ctx); err != nil {
		return err
	}
	defer l.topology.Close()
	if err := l.observe(watch); err != nil {
		return err
	}
	defer l.programs.end()
	if err := l.startServer(ctx); err != nil {
		return err
	}
	gate, err := newGate()
	if err != nil {
		return fmt.Errorf("starting the clients: %w", err)
	}
	defer gate.release()
	if err := l.startBuiltIn(ctx, gate); err != nil {
		return err
	}
	l.step("set up in %s", time.Since(began).Round(100*time.Microsecond))

	zero := time.Now()
	end := zero.Add(l.scenario.Duration.D())
	l.journal.add(zero, kindStart, "", "", l.truth(zero))
	l.journal.start(zero)
	gate.release()
	running, fail := context.WithCancel(ctx)
	defer fail()
	launching, stop := context.WithCancel(ctx)
	defer stop()
	starting := make(chan error, 1)
	go func() {
		// Many take a while, for which no event waits.
		err := l.startCommands(launching)
		if err != nil {
			fail()
		}
		starting <- err
	}()
	l.selfCheck(ctx, zero)
	if l.engine != EngineWarp {
		// Where nothing else runs nobody can be kept from running, and looking would
		// wake the guest ten times a second.
		l.noise.measure(watch)
	}
	l.timeline.run(running, zero, l.scenario.Events, end)

	ended := time.Now()
	interrupted := ctx.Err() != nil
	for _, end := range l.endFaults {
		end()
	}
	l.lasting.Wait()
	stop()
	startErr := <-starting
	if startErr != nil && !interrupted {
		// What there is of evidence is still closed in order.
		l.problem(startErr.Error())
	}
	if startErr == nil && !interrupted {
		for _, why := range l.timeline.missed() {
			l.problem(why)
		}
	}
	// The captures end before the programs do: how the lab ends them is not
	// part of the scenario.
	stats, captureErr := l.recorder.Stop()
	// A last look at the sockets, for what is not announced at once.
	for host, w := range l.sockets {
		if err := w.Stop(); err != nil {
			l.problem(fmt.Sprintf("watching the sockets of %s: %v", host, err))
		}
	}
	l.checking.Wait()
	l.pushes.Wait()
	unwatch()
	l.watching.Wait()
	if captureErr != nil {
		return fmt.Errorf("closing the captures: %w", captureErr)
	}
	l.programs.end()
	l.counters()
	l.journal.add(time.Now(), kindCapture, "", "", stats)
	l.journal.end(ended, endRecord{
		Interrupted: interrupted,
		Scenario:    units.Seconds(ended.Sub(zero)),
		MaxLateness: units.Seconds(max(l.timeline.maxLate, l.noise.worst())),
	})
	return nil
}

// build makes the network and its NATs.
func (l *labRun) build(ctx context.Context) error {
	var spec lab.TopologySpec
	profiles := map[string]nat.Profile{}
	for _, u := range l.scenario.Uplinks {
		uplink := lab.UplinkSpec{Name: u.Name}
		for _, n := range u.NATs {
			uplink.NATs = append(uplink.NATs, n.Name)
		}
		if u.Firewall != nil {
			uplink.Firewall = u.Firewall.Name
		}
		for _, n := range u.boxes() {
			profiles[n.Name] = n.Profile
			l.natOrder = append(l.natOrder, n.Name)
		}
		spec.Uplinks = append(spec.Uplinks, uplink)
	}
	for _, d := range l.scenario.Devices {
		spec.Devices = append(spec.Devices, lab.DeviceSpec{Name: d.Name, Uplinks: d.Uplinks})
	}
	var installing sync.Mutex
	spec.Prepare = func(ctx context.Context, host *lab.Host) error {
		n, err := nat.Install(ctx, host, profiles[host.Name])
		if err != nil {
			return fmt.Errorf("setting up %s: %w", host.Name, err)
		}
		installing.Lock()
		defer installing.Unlock()
		l.nats[host.Name] = n
		return nil
	}
	t, err := lab.Build(ctx, spec)
	if err != nil {
		return fmt.Errorf("building the network: %w", err)
	}
	l.topology = t
	for _, name := range l.natOrder {
		if err := os.WriteFile(filepath.Join(l.dir, "nat-"+name+".rules"), []byte(l.nats[name].Rules()), 0o644); err != nil {
			return fmt.Errorf("keeping the rules of NAT %s: %w", name, err)
		}
	}
	return nil
}

// observe starts everything that watches: captures, mappings, sockets.
func (l *labRun) observe(ctx context.Context) error {
	l.timeline = newTimeline(l.scenario.Events, l.fire)
	l.tap = newTap(l)
	var points []capture.Point
	for _, h := range l.topology.Hosts() {
		for _, i := range h.Interfaces {
			points = append(points, capture.Point{Name: i.Point, NS: h.NS, Interface: i.Name, MAC: i.MAC, Shared: h.Role != lab.RoleDevice})
		}
		if h.Role == lab.RoleNAT || h.Role == lab.RoleFirewall {
			continue
		}
		w, err := socket.Watch(ctx, h.Name, h.NS, func(e socket.Event) {
			l.journal.add(e.At, kindSocket, e.Host, "", e)
		})
		if err != nil {
			return fmt.Errorf("watching the sockets of %s: %w", h.Name, err)
		}
		l.sockets[h.Name] = w
	}
	l.tap.points = points
	l.tap.resolve(l.topology, l.sockets)
	recorder, err := capture.Start(ctx, l.dir, points, l.tap.frame)
	if err != nil {
		return fmt.Errorf("starting the captures: %w", err)
	}
	l.recorder = recorder
	for _, name := range l.natOrder {
		n := l.nats[name]
		l.watching.Go(func() {
			err := n.Watch(ctx, func(e nat.MappingEvent) {
				l.journal.add(e.At, kindMapping, e.NAT, "", e)
			})
			if err != nil && ctx.Err() == nil {
				l.problem(fmt.Sprintf("watching the mappings of NAT %s: %v", name, err))
			}
		})
	}
	return nil
}

// selfCheck proves every NAT beside the scenario, before the first fault that
// touches it.
func (l *labRun) selfCheck(ctx context.Context, zero time.Time) {
	for _, u := range l.scenario.Uplinks {
		for _, n := range u.boxes() {
			l.checking.Go(func() {
				ctx, cancel := context.WithTimeout(ctx, l.scenario.Duration.D()+checkLimit)
				defer cancel()
				select {
				case <-ctx.Done():
				case <-time.After(time.Until(zero.Add(settleTime))):
				}
				window := l.scenario.quietUntil() - time.Since(zero)
				r := nat.SelfCheck(ctx, l.topology, l.nats[n.Name], window)
				box := l.nats[n.Name].String()
				text := box + " is the one asked for"
				if !r.OK {
					text = box + " was not shown to be the one asked for: " + r.Why
				}
				l.journal.add(time.Now(), kindCheck, n.Name, text, r)
			})
		}
	}
}

// quietUntil is the first instant at which a fault may touch a NAT's mappings,
// those of the self-check among them.
func (s *Scenario) quietUntil() time.Duration {
	until := s.Duration.D()
	for _, e := range s.Events {
		if e.Fault == nil {
			continue
		}
		if e.After != "" {
			return 0
		}
		until = min(until, e.At.D())
	}
	return until
}

// fire does one event of the scenario.
func (l *labRun) fire(ctx context.Context, e Event, late time.Duration) {
	if e.Push != "" {
		l.push(ctx, e.Push)
		return
	}
	l.faulting.Lock()
	defer l.faulting.Unlock()
	called := time.Now()
	effect, err := e.Fault.Inject(ctx, faults.Lab{
		Topology: l.topology, NATs: l.nats, Server: l.programs.server,
		Go: func(f func(context.Context) error) { l.goOn(ctx, e, f) },
	})
	if err != nil {
		l.problem(fmt.Sprintf("%s did not happen: %v", e.what(), err))
		return
	}
	if effect.Host == serverHost {
		l.serverFaulted = true
	}
	late += max(0, effect.At.Sub(called))
	l.timeline.maxLate = max(l.timeline.maxLate, late)
	l.journal.add(effect.At, kindFault, effect.Host, effect.Text, faultRecord{Name: e.FaultName, Late: units.Seconds(late), Effect: effect})
}

// goOn runs what a fault goes on doing.
func (l *labRun) goOn(ctx context.Context, e Event, f func(context.Context) error) {
	ctx, end := context.WithCancel(ctx)
	l.endFaults = append(l.endFaults, end)
	l.lasting.Go(func() {
		if err := f(ctx); err != nil && ctx.Err() == nil {
			l.problem(fmt.Sprintf("%s did not go on: %v", e.what(), err))
		}
	})
}

// truth is what the lab knows by construction.
func (l *labRun) truth(zero time.Time) flow.Truth {
	s := l.scenario
	t := flow.Truth{
		Start:    l.recorder.Realtime(zero),
		End:      units.Seconds(s.Duration),
		Protocol: s.Server.Protocol,
	}
	t.Server, t.Server6 = l.serverAddrs()
	for _, h := range l.topology.Hosts() {
		for _, i := range h.Interfaces {
			t.Points = append(t.Points, flow.Point{Name: i.Point, Host: h.Name, Side: i.Side, Uplink: i.Uplink, MAC: i.MAC.String(), Addr: i.Addr.Addr(), Addr6: i.Addr6.Addr()})
		}
	}
	for _, d := range s.Devices {
		device := flow.Device{Name: d.Name, Addrs: map[string]netip.Addr{}}
		for _, i := range l.topology.Host(d.Name).Interfaces {
			if i.Addr.IsValid() {
				device.Addrs[i.Uplink] = i.Addr.Addr()
			}
			if i.Addr6.IsValid() {
				if device.Addrs6 == nil {
					device.Addrs6 = map[string]netip.Addr{}
				}
				device.Addrs6[i.Uplink] = i.Addr6.Addr()
			}
		}
		t.Devices = append(t.Devices, device)
	}
	for _, u := range s.Uplinks {
		for order, n := range u.NATs {
			entry := flow.NAT{Name: n.Name, Uplink: u.Name, Order: order, Profile: n.Profile.Complete()}
			for _, i := range l.topology.Host(n.Name).Interfaces {
				switch i.Side {
				case lab.SideLAN:
					entry.LAN = i.Addr.Addr()
				case lab.SideWAN:
					entry.WAN = i.Addr.Addr()
				}
			}
			t.NATs = append(t.NATs, entry)
		}
		if n := u.Firewall; n != nil {
			entry := flow.NAT{Name: n.Name, Uplink: u.Name, Profile: n.Profile.CompleteFirewall()}
			for _, i := range l.topology.Host(n.Name).Interfaces {
				switch i.Side {
				case lab.SideLAN:
					entry.LAN = i.Addr6.Addr()
				case lab.SideWAN:
					entry.WAN = i.Addr6.Addr()
				}
			}
			t.NATs = append(t.NATs, entry)
		}
	}
	return t
}

// counters keeps the NATs' rule counters: how often each rule was met.
func (l *labRun) counters() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, name := range l.natOrder {
		text, err := l.nats[name].Counters(ctx)
		if err == nil {
			err = os.WriteFile(filepath.Join(l.dir, "nat-"+name+".counters"), []byte(text), 0o644)
		}
		if err != nil {
			l.problem(fmt.Sprintf("keeping the counters of NAT %s: %v", name, err))
		}
	}
}

func (l *labRun) step(format string, args ...any) {
	l.journal.add(time.Now(), kindStep, "", fmt.Sprintf(format, args...), nil)
}

// problem records a reason for which nothing of this run can be judged.
func (l *labRun) problem(text string) {
	l.journal.add(time.Now(), kindProblem, "", text, nil)
}
