package client_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

	"golang.org/x/sys/unix"

	"outlive/lab/feature"
	"outlive/lab/units"
	"outlive/probes/client"
	"outlive/probes/heartbeat"
	"outlive/probes/server"
)

// These tests run programs against each other over the loopback, in real time.
// They assert order and cause, and durations only from below.

// limit bounds every wait of this file.
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
	t.Skip(&feature.Unsupported{
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

// The built-in clients against the reference servers and a real broker:
// greeting, heartbeats with their answers, a push, and the goodbye.
func TestClientAndServer(t *testing.T) {
	tests := []struct {
		name      string
		config    client.Config
		mosquitto bool
	}{
		{"line", client.Config{Protocol: "line"}, false},
		{"mqtt 3.1.1", client.Config{Protocol: "mqtt", Version: "3.1.1"}, false},
		{"mqtt 5", client.Config{Protocol: "mqtt", Version: "5"}, false},
		{"mqtt 3.1.1, mosquitto", client.Config{Protocol: "mqtt", Version: "3.1.1"}, true},
		{"mqtt 5, mosquitto", client.Config{Protocol: "mqtt", Version: "5"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var address netip.AddrPort
			if tt.mosquitto {
				address = startMosquitto(t)
			} else {
				address, _ = startServer(t, server.Config{Protocol: tt.config.Protocol})
			}
			publisher, err := server.OpenPublisher(t.Context(), dialer, tt.config.Protocol, address.String())
			if err != nil {
				t.Fatal(err)
			}
			defer publisher.Close()
			before, err := publisher.Publish(t.Context(), "phone", "too-early")
			if err != nil || before.Outcome != server.NoConnection {
				t.Errorf("a push before there is a connection: %v, %v", before, err)
			}

			config := tt.config
			config.Server, config.Device, config.Heartbeat, config.KeepAlive = address, "phone", fast(), client.KeepAlive(fast())
			log, stop := startClient(t, config)
			_, at := log.await(t, 0, event("ready"))
			for range 2 {
				_, at = log.await(t, at, event("beat"))
				_, at = log.await(t, at, event("answer"))
			}
			asked := time.Now()
			receipt, err := publisher.Publish(t.Context(), "phone", "p1")
			if err != nil || receipt.Outcome != server.Accepted || receipt.At.Before(asked) || receipt.At.After(time.Now()) {
				t.Errorf("%v, %v", receipt, err)
			}
			log.await(t, 0, event("push"), `"id":"p1"`)
			stop()
			log.await(t, 0, event("ended"))
			for _, line := range log.lines {
				if strings.Contains(line, event("lost")) || strings.Contains(line, event("failed")) {
					t.Errorf("something went wrong on the way: %s", line)
				}
			}
			// The server has yet to see that the client took leave.
			for deadline := time.Now().Add(limit); ; {
				gone, err := publisher.Publish(t.Context(), "phone", "too-late")
				if err == nil && gone.Outcome == server.NoConnection {
					break
				}
				if err != nil || time.Now().After(deadline) {
					t.Fatalf("a push after the client took leave: %v, %v", gone, err)
				}
			}
		})
	}
}

// A silent client is cut by the server's own rule, and connects again.
func TestServerCutsSilentClient(t *testing.T) {
	tests := []struct {
		name      string
		server    server.Config
		client    client.Config
		mosquitto bool
	}{
		{"line, idle timeout", server.Config{Protocol: "line", Idle: units.Duration(300 * time.Millisecond)}, client.Config{Protocol: "line"}, false},
		{"mqtt, keep alive", server.Config{Protocol: "mqtt"}, client.Config{Protocol: "mqtt", KeepAlive: units.Duration(time.Second)}, false},
		{"mosquitto, keep alive", server.Config{}, client.Config{Protocol: "mqtt", KeepAlive: units.Duration(time.Second)}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			config := tt.client
			if tt.mosquitto {
				config.Server = startMosquitto(t)
			} else {
				config.Server, _ = startServer(t, tt.server)
			}
			config.Device = "phone"
			config.Reconnect.First = units.Duration(time.Millisecond)
			log, _ := startClient(t, config)
			_, at := log.await(t, 0, event("ready"))
			_, at = log.await(t, at, event("lost"), `"cause":"closed"`)
			_, at = log.await(t, at, event("retry"), `"in_s":0}`)
			log.await(t, at, event("ready"))
		})
	}
}

// The line server's heartbeat finds a client that has stopped, and a client that has not answers.
func TestServerHeartbeat(t *testing.T) {
	t.Parallel()
	address, log := startServer(t, server.Config{Protocol: "line", Heartbeat: fast()})
	clientLog, _ := startClient(t, client.Config{Protocol: "line", Server: address, Device: "phone"})
	clientLog.await(t, 0, event("ping"))
	_, at := log.await(t, 0, event("beat"), `"device":"phone"`)
	_, at = log.await(t, at, event("answer"), `"device":"phone"`)

	conn, err := net.Dial("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "HELLO deaf\n"); err != nil {
		t.Fatal(err)
	}
	log.await(t, at, event("closed"), `"device":"deaf"`, `"cause":"unanswered"`)
}

// A heartbeat that is not answered ends in a FIN, and the replacement's SYN comes after it.
func TestFINBeforeSYN(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	// One that welcomes and never answers.
	accept := func() *net.TCPConn {
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		return conn.(*net.TCPConn)
	}
	log, _ := startClient(t, client.Config{
		Protocol: "line", Server: netip.MustParseAddrPort(listener.Addr().String()), Device: "phone", Heartbeat: fast(),
		Reconnect: heartbeat.ReconnectSpec{First: units.Duration(time.Millisecond)},
	})
	first := accept()
	if _, err := io.WriteString(first, "WELCOME phone\n"); err != nil {
		t.Fatal(err)
	}
	accept()
	// The second connection is here, so the first one's FIN must be, without waiting for it.
	raw, err := first.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var heard []byte
	err = raw.Control(func(fd uintptr) {
		buf := make([]byte, 64)
		for {
			n, _, err := unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT)
			heard = append(heard, buf[:max(n, 0)]...)
			switch {
			case errors.Is(err, unix.EINTR):
			case err != nil:
				t.Errorf("after %q: %v, want the end of the stream", heard, err)
				return
			case n == 0:
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if string(heard) != "PING 1\n" {
		t.Errorf("the client said %q, want PING 1", heard)
	}
	log.await(t, 0, event("lost"), `"cause":"unanswered"`)
}

// A client tells a reset from an orderly end.
func TestReset(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	log, _ := startClient(t, client.Config{Protocol: "line", Server: netip.MustParseAddrPort(listener.Addr().String()), Device: "phone"})
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "WELCOME phone\n"); err != nil {
		t.Fatal(err)
	}
	_, at := log.await(t, 0, event("ready"))
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	log.await(t, at, event("lost"), `"cause":"reset"`)
}

// Clients that we did not write understand the reference MQTT server.
func TestMosquittoSub(t *testing.T) {
	for _, version := range []string{"311", "5"} {
		t.Run("version "+version, func(t *testing.T) {
			t.Parallel()
			path := program(t, "mosquitto_sub", "mosquitto-clients")
			address, log := startServer(t, server.Config{Protocol: "mqtt"})
			out := start(t, path, "-h", address.Addr().String(), "-p", fmt.Sprint(address.Port()), "-i", "phone", "-V", "mqttv"+version,
				"-q", "1", "-k", "5", "-t", "outlive/phone", "-F", "got %p")
			publisher, err := server.OpenPublisher(t.Context(), dialer, "mqtt", address.String())
			if err != nil {
				t.Fatal(err)
			}
			defer publisher.Close()
			log.await(t, 0, event("subscribe"), `"client":"phone"`)
			if receipt, err := publisher.Publish(t.Context(), "phone", "p1"); err != nil || receipt.Outcome != server.Accepted {
				t.Fatalf("%v, %v", receipt, err)
			}
			out.await(t, 0, "got p1")
			log.await(t, 0, event("ack"), `"client":"phone"`)
		})
	}
}

// After the server was gone and came back, the next push opens a new connection by itself.
func TestPublisherSurvivesTheServer(t *testing.T) {
	t.Parallel()
	address := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), freePort(t))
	serve := func() (stop func()) {
		log := newJournal()
		stop = background(t, func(ctx context.Context) error {
			return server.Run(ctx, server.Config{Protocol: "line", Listen: address}, log)
		})
		log.await(t, 0, event("listening"))
		return stop
	}
	stop := serve()
	publisher, err := server.OpenPublisher(t.Context(), dialer, "line", address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer publisher.Close()
	stop()
	if receipt, err := publisher.Publish(t.Context(), "phone", "p1"); err == nil || receipt.At.IsZero() || !strings.HasPrefix(err.Error(), "handing push p1 for device phone to the server: ") {
		t.Errorf("without a server: %v, %v", receipt, err)
	}
	serve()
	if receipt, err := publisher.Publish(t.Context(), "phone", "p2"); err != nil || receipt.Outcome != server.NoConnection {
		t.Errorf("with a server again: %v, %v", receipt, err)
	}
}
