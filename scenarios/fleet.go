package scenarios

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"outlive/lab/netns"
	"outlive/lab/process"
	"outlive/lab/sandbox"
	"outlive/probes/client"
	"outlive/probes/wire"
)

// The built-in clients of a fleet share processes: as one each, a thousand took half a
// minute to start, and 10 MB each. A device that was asked for alone has its client as a
// process of its own, which can end and be ended like any other program.

// crewSize is how many clients share a process at most. Each has three files open, of
// which a process may have 4096 where nobody has raised that.
const crewSize = 1000

// alone says whether the client of the device is a process of its own.
func (d Device) alone() bool { return d.Fleet == "" || len(d.Client.Run) > 0 }

// crew gives those of the devices, from the first on, whose clients are one process.
func crew(devices []Device) []Device {
	n := 1
	for !devices[0].alone() && n < min(len(devices), crewSize) && devices[n].Fleet == devices[0].Fleet {
		n++
	}
	return devices[:n]
}

// fleetLog is the log of what the processes of a fleet say besides their clients.
func fleetLog(fleet string) string { return "fleet-" + fleet + ".log" }

// crewConfig is what a process of a fleet is told. Its working directory is the result folder.
type crewConfig struct {
	// Client is what its clients have in common, which is all but their names. Seed is
	// the first one's; the others count on from there.
	Client client.Config `json:"client"`
	// Devices are the names. The descriptors from crewFirst on hold their network
	// namespaces, in this order.
	Devices []string `json:"devices"`
}

// crewFirst follows the descriptors of the gate.
const crewFirst = gateArrive + 1

// startCrew starts the clients of a fleet that share a process, which then wait at the gate.
func (l *labRun) startCrew(devices []Device, common client.Config, gate *gate) (err error) {
	fleet := devices[0].Fleet
	defer func() {
		if err != nil {
			err = fmt.Errorf("starting the clients %s to %s: %w", devices[0].Name, devices[len(devices)-1].Name, err)
		}
	}()
	config := crewConfig{Client: common}
	var spaces []*os.File
	defer func() {
		for _, f := range spaces {
			_ = f.Close()
		}
	}()
	for _, d := range devices {
		f, err := l.topology.Host(d.Name).NS.File()
		if err != nil {
			return err
		}
		spaces = append(spaces, f)
		config.Devices = append(config.Devices, d.Name)
	}
	text, err := json.Marshal(config)
	if err != nil {
		return err
	}
	cmd := sandbox.Program(fleetProgram, string(text))
	gate.hold(cmd)
	cmd.ExtraFiles = append(cmd.ExtraFiles, spaces...)
	p, err := process.Start(process.Spec{
		Name: "fleet " + fleet, Cmd: cmd, Dir: l.dir, Log: filepath.Join(l.dir, fleetLog(fleet)),
		// To enter the hosts.
		Privileged: true,
	})
	if err != nil {
		return err
	}
	l.programs.clients = append(l.programs.clients, p)
	l.watchExit(p, kindClientExit, config.Devices...)
	return nil
}

// fleetMain is a process with many built-in clients: they wait at their gate first.
func fleetMain(ctx context.Context, args []string) error {
	var config crewConfig
	if err := wire.ReadConfig(args, &config); err != nil {
		return fmt.Errorf("starting clients: %w", err)
	}
	client.LimitMemory(len(config.Devices))
	crew := make([]crewMember, len(config.Devices))
	for i, name := range config.Devices {
		var err error
		if crew[i], err = openMember(config.Client, name, uint64(i), crewFirst+i); err != nil {
			return fmt.Errorf("starting the client of %s: %w", name, err)
		}
	}
	if err := passGate(ctx); err != nil {
		return err
	}
	var running sync.WaitGroup
	errs := make([]error, len(crew))
	for i, m := range crew {
		running.Go(func() { errs[i] = m.run(ctx) })
	}
	running.Wait()
	return errors.Join(errs...)
}

// crewMember is one client among others.
type crewMember struct {
	config client.Config
	host   *netns.NS
	log    *os.File
}

// openMember opens what the nth client needs.
func openMember(config client.Config, device string, n uint64, fd int) (m crewMember, err error) {
	config.Device, config.Topic = device, wire.Topic(device)
	config.Seed += n
	m.config = config
	if m.host, err = netns.Inherit(fd); err != nil {
		return m, err
	}
	m.log, err = os.OpenFile(clientProgramName(device)+".log", os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	return m, err
}

func (m crewMember) run(ctx context.Context) error {
	err := client.RunFrom(ctx, m.config, m.log, func(ctx context.Context, server netip.AddrPort) (net.Conn, error) {
		conn, err := m.host.Connect(ctx, server)
		if err != nil {
			// Not a connection that is nil and yet something.
			return nil, err
		}
		return conn, nil
	})
	return errors.Join(err, m.log.Close(), m.host.Close())
}
