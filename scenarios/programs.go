package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"outlive/lab/process"
	"outlive/lab/sandbox"
	"outlive/probes/client"
	"outlive/probes/server"
	"outlive/probes/socket"
	"outlive/probes/wire"
)

// programs are the server and the clients of a lab.
type programs struct {
	server    *process.Process
	publisher *server.Publisher
	clients   []*process.Process

	ending  sync.Once
	closing chan struct{}
	exits   sync.WaitGroup
}

// startServer starts the server under test and waits until it listens.
func (l *labRun) startServer(ctx context.Context) error {
	l.programs.closing = make(chan struct{})
	s := l.scenario.Server
	host := l.topology.Server()
	spec := process.Spec{
		Name:       serverHost,
		NS:         host.NS,
		Dir:        filepath.Join(l.dir, workFolder(serverHost)),
		Log:        filepath.Join(l.dir, "server.log"),
		Privileged: s.Privileged,
	}
	if len(s.Run) > 0 {
		spec.Argv = replaceAll(replaceAddr(s.Run, "{address}", l.listenAddr()), map[string]string{
			"{port}": strconv.Itoa(int(s.Port)),
		})
	} else {
		config, err := json.Marshal(server.Config{
			Protocol: s.Protocol, Listen: netip.AddrPortFrom(l.anyAddr(), s.Port),
			Idle: s.Idle, Heartbeat: s.Heartbeat,
		})
		if err != nil {
			return fmt.Errorf("configuring the built-in server: %w", err)
		}
		spec.Cmd = sandbox.Program(serverProgram, string(config))
	}
	p, err := process.Start(spec)
	if err != nil {
		return err
	}
	l.programs.server = p
	ready, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	go func() {
		select {
		case <-p.Exited():
			cancel()
		case <-ready.Done():
		}
	}()
	if err := socket.Listening(ready, host.NS, s.Port, l.scenario.families()); err != nil {
		select {
		case <-p.Exited():
			return fmt.Errorf("starting the server: it ended (%s) before it listened on port %d; its last words, from server.log:\n%s", p.ExitState(), s.Port, lastLines(spec.Log, 5))
		default:
		}
		return fmt.Errorf("starting the server: %w; its last words, from server.log:\n%s", err, lastLines(spec.Log, 5))
	}
	l.step("server listens on port %d", s.Port)
	l.watchExit(p, kindServerExit, serverHost)
	if l.scenario.pushes() {
		publisher, err := server.OpenPublisher(ready, host.NS.Dial, s.Protocol, l.publishTo())
		if err != nil {
			return fmt.Errorf("connecting the publisher to the server: %w", err)
		}
		l.programs.publisher = publisher
	}
	return nil
}

// startBuiltIn starts the built-in clients, which then wait at the gate.
func (l *labRun) startBuiltIn(ctx context.Context, gate *gate) error {
	for i := 0; i < len(l.scenario.Devices); {
		crew := crew(l.scenario.Devices[i:])
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("starting the clients: %w", err)
		}
		if err := l.startTogether(crew, l.scenario.Seed+uint64(i), gate); err != nil {
			return err
		}
		i += len(crew)
	}
	if err := gate.await(ctx, readyLimit+time.Duration(len(l.scenario.Devices))*startLimit); err != nil {
		return fmt.Errorf("starting the clients: %w", err)
	}
	return nil
}

// startTogether starts the built-in clients of devices that share a process, or the only
// one's. A client that is a command is none.
func (l *labRun) startTogether(devices []Device, seed uint64, gate *gate) error {
	d := devices[0]
	if len(d.Client.Run) > 0 {
		return nil
	}
	config := client.Config{
		Protocol: l.scenario.Server.Protocol, Server: l.serverOf(d),
		Version: d.Client.Version, KeepAlive: d.Client.KeepAlive,
		Heartbeat: d.Client.Heartbeat, Reconnect: d.Client.Reconnect,
		Seed: seed,
	}
	if !d.alone() {
		return l.startCrew(devices, config, gate)
	}
	config.Device, config.Topic = d.Name, wire.Topic(d.Name)
	text, err := json.Marshal(config)
	if err != nil {
		return fmt.Errorf("configuring the client of %s: %w", d.Name, err)
	}
	cmd := sandbox.Program(clientProgram, string(text))
	gate.hold(cmd)
	return l.startClient(d, process.Spec{Cmd: cmd})
}

// startCommands starts the clients that are commands of the scenario.
func (l *labRun) startCommands(ctx context.Context) error {
	for i, d := range l.scenario.Devices {
		if len(d.Client.Run) == 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("starting the clients: %d of %d were started when the scenario ended: %w", i, len(l.scenario.Devices), err)
		}
		addr := l.serverOf(d)
		argv := replaceAll(replaceAddr(d.Client.Run, "{server}", addr.Addr()), map[string]string{
			"{port}":   strconv.Itoa(int(addr.Port())),
			"{device}": d.Name,
			"{topic}":  wire.Topic(d.Name),
		})
		if err := l.startClient(d, process.Spec{Argv: argv}); err != nil {
			return err
		}
	}
	return nil
}

// startClient starts one device's client, whose command is in the spec.
func (l *labRun) startClient(d Device, spec process.Spec) error {
	spec.Name = "client " + d.Name
	spec.NS = l.topology.Host(d.Name).NS
	spec.Dir = filepath.Join(l.dir, workFolder(clientProgramName(d.Name)))
	spec.Log = filepath.Join(l.dir, clientProgramName(d.Name)+".log")
	spec.Privileged = d.Client.Privileged
	p, err := process.Start(spec)
	if err != nil {
		return err
	}
	l.programs.clients = append(l.programs.clients, p)
	l.watchExit(p, kindClientExit, d.Name)
	return nil
}

// watchExit records the end of a process that the lab did not end: the programs of the
// hosts have ended with it.
func (l *labRun) watchExit(p *process.Process, kind string, hosts ...string) {
	l.programs.exits.Go(func() {
		select {
		case <-l.programs.closing:
			return
		case <-p.Exited():
		}
		if kind == kindServerExit && l.outlives(p) {
			return
		}
		// A fault that ends the server says so itself, once it is done.
		l.faulting.Lock()
		defer l.faulting.Unlock()
		if l.serverFaulted && kind == kindServerExit {
			return
		}
		state := p.ExitState()
		status := state.String()
		for _, host := range hosts {
			l.journal.add(time.Now(), kind, host, fmt.Sprintf("%s's program ended by itself: %s", host, status), exitRecord{Status: status, Killed: state.Signal != 0})
		}
	})
}

// outlives waits while something that the server's first process started goes on
// listening after it, as where a script starts the server and ends: then the server
// has not ended. It returns true when the lab ends the programs first.
func (l *labRun) outlives(p *process.Process) bool {
	if !l.listens() {
		return false
	}
	l.step("the server's first process ended (%s), and something goes on listening on port %d", p.ExitState(), l.scenario.Server.Port)
	waiting, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-l.programs.closing:
			cancel()
		case <-waiting.Done():
		}
	}()
	return socket.Deserted(waiting, l.topology.Server().NS, l.scenario.Server.Port) != nil
}

// listens says whether something listens on the server's port now.
func (l *labRun) listens() bool {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	for _, family := range []socket.Families{socket.IPv4, socket.IPv6} {
		if socket.Listening(now, l.topology.Server().NS, l.scenario.Server.Port, family) == nil {
			return true
		}
	}
	return false
}

// end ends all programs, once; their logs are whole when it returns.
func (p *programs) end() {
	p.ending.Do(func() {
		if p.closing == nil {
			return
		}
		close(p.closing)
		p.exits.Wait()
		if p.publisher != nil {
			_ = p.publisher.Close()
		}
		var ending sync.WaitGroup
		for _, c := range append(p.clients, p.server) {
			if c != nil {
				ending.Go(func() { _ = c.Stop(stopGrace) })
			}
		}
		ending.Wait()
	})
}

// stopGrace is how long a program may take to end by itself when the scenario is over.
const stopGrace = time.Second

// push hands one push to the server.
func (l *labRun) push(ctx context.Context, device string) {
	l.pushed++
	id := fmt.Sprintf("push-%06d", l.pushed)
	// The server may be slow to take it, or dead: the timeline goes on meanwhile.
	l.pushes.Go(func() {
		called := time.Now()
		receipt, err := l.programs.publisher.Publish(ctx, device, id)
		outcome := string(receipt.Outcome)
		if err != nil {
			outcome = err.Error()
		}
		if receipt.At.IsZero() {
			receipt.At = called
		}
		l.journal.add(receipt.At, kindPush, device, fmt.Sprintf("%s to %s: %s", id, device, outcome), pushRecord{ID: id, Device: device, Outcome: outcome})
	})
}

// pushes says whether the scenario pushes anything.
func (s *Scenario) pushes() bool {
	for _, e := range s.Events {
		if e.Push != "" {
			return true
		}
	}
	return false
}

func replaceAll(argv []string, values map[string]string) []string {
	out := make([]string, len(argv))
	for i, a := range argv {
		for from, to := range values {
			a = strings.ReplaceAll(a, from, to)
		}
		out[i] = a
	}
	return out
}

// lastLines gives the end of a log, indented, for an error message.
func lastLines(path string, n int) string {
	b, err := os.ReadFile(path)
	if err != nil || len(strings.TrimSpace(string(b))) == 0 {
		return "    (nothing)"
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return "    " + strings.Join(lines[max(0, len(lines)-n):], "\n    ")
}
