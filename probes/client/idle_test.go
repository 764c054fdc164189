package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"outlive/lab"
	"outlive/lab/labtest"
	"outlive/lab/sandbox"
	"outlive/lab/units"
	"outlive/nat"
	"outlive/probes/capture"
	"outlive/probes/client"
	"outlive/probes/server"
	"outlive/probes/socket"
)

const (
	serverProgram = "idle-server"
	clientProgram = "idle-client"
	countProgram  = "idle-count"
)

func TestMain(m *testing.M) {
	sandbox.RegisterProgram(serverProgram, server.Main)
	sandbox.RegisterProgram(clientProgram, client.Main)
	sandbox.RegisterProgram(countProgram, countSleeps)
	sandbox.Main()
	os.Exit(m.Run())
}

const (
	// quiet is how long an idle lab is watched at a time.
	quiet = 6 * time.Second
	// fewSleeps is how often a process may go to sleep within that: less than with
	// anything that happens once a second.
	fewSleeps = 5
)

// While nothing happens in a lab, nobody in it is woken: neither whoever watches, at every
// point and every host, nor the built-in server and client. Where time is virtual
// it costs nothing, but every wake-up does.
//
//	phone ── cell ── lan0 [NAT cell] wan0 ── cell [server]
func TestIdleLabSleeps(t *testing.T) {
	for _, protocol := range []string{"line", "mqtt"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel() // they wait, each in a sandbox of its own
			labtest.Run(t, func(t *testing.T) {
				topology, routers := buildLab(t)
				observe(t, topology, routers)
				at := netip.AddrPortFrom(topology.ServerAddr(), 1883)
				names := []string{"process 1", "the watchers", "the server", "the client"}
				pids := []int{
					1, os.Getpid(),
					run(t, topology.Server(), "listening", serverProgram, server.Config{Protocol: protocol, Listen: at}),
					run(t, topology.Host("phone"), "ready", clientProgram, client.Config{Protocol: protocol, Server: at, Device: "phone"}),
				}
				// The Go runtime itself is busy once in some minutes, and for a while
				// after the start; what keeps waking does so every time.
				var awake []string
				for range 5 {
					awake = nil
					counts := count(t, pids)
					t.Logf("in %s went to sleep: %s, %d times", quiet, strings.Join(names, ", "), counts)
					for i, n := range counts {
						if n > fewSleeps {
							awake = append(awake, names[i])
						}
					}
					if awake == nil {
						return
					}
				}
				t.Errorf("in an idle lab these were woken again and again: %s", strings.Join(awake, ", "))
			})
		})
	}
}

// buildLab makes the network, with a NAT whose mappings live for five minutes.
func buildLab(t *testing.T) (*lab.Topology, []*nat.NAT) {
	t.Helper()
	var routers []*nat.NAT
	topology, err := lab.Build(t.Context(), lab.TopologySpec{
		Uplinks: []lab.UplinkSpec{{Name: "cell", NATs: []string{"cell"}}},
		Devices: []lab.DeviceSpec{{Name: "phone", Uplinks: []string{"cell"}}},
		Prepare: func(ctx context.Context, host *lab.Host) error {
			profile := nat.Default()
			profile.Timeouts.TCPEstablished = units.Duration(5 * time.Minute)
			n, err := nat.Install(ctx, host, profile)
			routers = append(routers, n)
			return err
		},
	})
	labtest.SkipUnsupported(t, err)
	t.Cleanup(func() {
		if err := topology.Close(); err != nil {
			t.Error(err)
		}
	})
	return topology, routers
}

// observe starts everything that watches a lab: mappings, sockets, packets.
func observe(t *testing.T, topology *lab.Topology, routers []*nat.NAT) {
	t.Helper()
	for _, n := range routers {
		background(t, func(ctx context.Context) error { return n.Watch(ctx, func(nat.MappingEvent) {}) })
	}
	watchers := map[string]*socket.Watcher{}
	for _, h := range []*lab.Host{topology.Host("phone"), topology.Server()} {
		w, err := socket.Watch(t.Context(), h.Name, h.NS, func(socket.Event) {})
		labtest.SkipUnsupported(t, err)
		watchers[h.Name] = w
		t.Cleanup(func() {
			if err := w.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
	var points []capture.Point
	var hosts []string
	for _, i := range topology.Points() {
		points = append(points, capture.Point{Name: i.Point, NS: i.Host.NS, Interface: i.Name, MAC: i.MAC})
		hosts = append(hosts, i.Host.Name)
	}
	r, err := capture.Start(t.Context(), t.TempDir(), points, func(f capture.Frame) {
		w := watchers[hosts[f.Point]]
		if w == nil || len(f.Data) < 54 || f.Data[23] != unix.IPPROTO_TCP {
			return
		}
		source, target := end(f.Data, 26, 34), end(f.Data, 30, 36)
		if f.Out {
			w.Packet(source, target, false)
		} else {
			w.Packet(target, source, false)
		}
	})
	labtest.SkipUnsupported(t, err)
	t.Cleanup(func() {
		if _, err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
}

// end reads an address and a port of a TCP segment over IPv4 without options.
func end(b []byte, addr, port int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[addr:])), uint16(b[port])<<8|uint16(b[port+1]))
}

// run starts a program of ours on a host and waits until it says a word. It gives the process.
func run(t *testing.T, host *lab.Host, word, name string, config any) int {
	t.Helper()
	argument, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	cmd := sandbox.Program(name, string(argument))
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	log := newJournal()
	cmd.Stdout, cmd.Stderr = log, log
	if err := host.NS.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed, as it says
	})
	log.await(t, 0, event(word))
	return cmd.Process.Pid
}

// count says how often each process goes to sleep in a while. It leaves the counting to
// another process, so as not to count what it takes.
func count(t *testing.T, pids []int) []int {
	t.Helper()
	argument, err := json.Marshal(pids)
	if err != nil {
		t.Fatal(err)
	}
	out, err := sandbox.Program(countProgram, string(argument)).Output()
	if err != nil {
		t.Fatal(err)
	}
	var counts []int
	if err := json.Unmarshal(out, &counts); err != nil {
		t.Fatal(err)
	}
	return counts
}

// countSleeps is the program that counts: processes as JSON in, numbers as JSON out.
func countSleeps(_ context.Context, args []string) error {
	var pids []int
	if err := json.Unmarshal([]byte(args[0]), &pids); err != nil {
		return err
	}
	counts := make([]int, len(pids))
	for _, sign := range []int{-1, 1} {
		for i, pid := range pids {
			n, err := sleeps(pid)
			if err != nil {
				return err
			}
			counts[i] += sign * n
		}
		if sign < 0 {
			<-time.After(quiet)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(counts)
}

// sleeps is how often the threads of a process have gone to sleep.
func sleeps(pid int) (int, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("looking for the threads of process %d: %d, %w", pid, len(files), err)
	}
	sum := 0
	for _, name := range files {
		b, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // it has ended
		}
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(b)) {
			if text, ok := strings.CutPrefix(line, "voluntary_ctxt_switches:"); ok {
				n, err := strconv.Atoi(strings.TrimSpace(text))
				if err != nil {
					return 0, err
				}
				sum += n
			}
		}
	}
	return sum, nil
}
