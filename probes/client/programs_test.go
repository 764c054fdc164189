package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"outlive/lab/feature"
	"outlive/lab/labtest"
	"outlive/lab/units"
	"outlive/probes/client"
	"outlive/probes/heartbeat"
	"outlive/probes/server"
)

// limit bounds every wait of these tests.
const limit = 20 * time.Second

// journal collects what a program writes, line by line, for tests that wait for a line.
type journal struct {
	mu    sync.Mutex
	part  []byte
	lines []string
	more  chan struct{} // closed and replaced when a line comes
}

func newJournal() *journal { return &journal{more: make(chan struct{})} }

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.part = append(j.part, b...)
	for {
		line, rest, found := bytes.Cut(j.part, []byte("\n"))
		if !found {
			return len(b), nil
		}
		j.lines = append(j.lines, string(line))
		j.part = rest
		close(j.more)
		j.more = make(chan struct{})
	}
}

// await waits for the first line after the given number of lines that has all
// the texts, and gives it with the number of lines up to it.
func (j *journal) await(t *testing.T, after int, texts ...string) (line string, upTo int) {
	t.Helper()
	expired := time.After(limit)
	for i := after; ; {
		j.mu.Lock()
		lines, more := j.lines, j.more
		j.mu.Unlock()
		for ; i < len(lines); i++ {
			if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(lines[i], text) }) {
				return lines[i], i + 1
			}
		}
		select {
		case <-more:
		case <-expired:
			t.Fatalf("no line with %q within %v after line %d of:\n%s", texts, limit, after, strings.Join(lines, "\n"))
		}
	}
}

func event(word string) string { return fmt.Sprintf(`"event":%q`, word) }

// background runs something until the test ends, and waits for it.
func background(t *testing.T, run func(ctx context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(limit):
			t.Error("it does not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

func startServer(t *testing.T, config server.Config) (netip.AddrPort, *journal) {
	t.Helper()
	log := newJournal()
	config.Listen = netip.MustParseAddrPort("127.0.0.1:0")
	background(t, func(ctx context.Context) error { return server.Run(ctx, config, log) })
	line, _ := log.await(t, 0, event("listening"))
	var listening struct {
		Address netip.AddrPort `json:"address"`
	}
	if err := json.Unmarshal([]byte(line), &listening); err != nil {
		t.Fatal(err)
	}
	return listening.Address, log
}

func startClient(t *testing.T, config client.Config) (*journal, func()) {
	t.Helper()
	log := newJournal()
	return log, background(t, func(ctx context.Context) error { return client.Run(ctx, config, log) })
}

// program finds a program or skips the test.
func program(t *testing.T, name, needs string) string {
	t.Helper()
	for _, where := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/usr/local/sbin") {
		if path, err := exec.LookPath(filepath.Join(where, name)); err == nil {
			return path
		}
	}
	labtest.SkipUnsupported(t, &feature.Unsupported{
		Feature: "a test against " + name, Needs: "the program " + name, Remedy: "apt-get install " + needs, Err: exec.ErrNotFound,
	})
	return ""
}

// start runs a command until the test ends.
func start(t *testing.T, path string, args ...string) *journal {
	t.Helper()
	log := newJournal()
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed, as it says
	})
	return log
}

// freePort is a port on which nothing listens at the moment.
func freePort(t *testing.T) uint16 {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return netip.MustParseAddrPort(listener.Addr().String()).Port()
}

func startMosquitto(t *testing.T) netip.AddrPort {
	t.Helper()
	path := program(t, "mosquitto", "mosquitto")
	port := freePort(t)
	config := filepath.Join(t.TempDir(), "mosquitto.conf")
	text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\nlog_dest stderr\n", port)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	start(t, path, "-c", config).await(t, 0, "running")
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
}

func dialer(ctx context.Context, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address)
}

func fast() heartbeat.Spec {
	return heartbeat.Spec{Policy: "fixed", Interval: units.Duration(400 * time.Millisecond), Deadline: units.Duration(400 * time.Millisecond)}
}
