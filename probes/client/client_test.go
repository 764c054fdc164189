package client

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
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/units"
	"outlive/probes/heartbeat"
)

// network is where a client under test lives: a list of what becomes of its
// attempts to connect, in a bubble where time is virtual.
type network struct {
	t    *testing.T
	play []func(server net.Conn) // nil: the attempt fails

	mu       sync.Mutex
	attempts int
	open     int // connections that the client has not closed
}

func (n *network) dial(context.Context, netip.AddrPort) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open > 0 {
		n.t.Error("the client connects while it still has a connection open")
	}
	if n.attempts++; n.attempts > len(n.play) || n.play[n.attempts-1] == nil {
		return nil, errors.New("no route to the server")
	}
	near, far := net.Pipe()
	n.open++
	play := n.play[n.attempts-1]
	go func() {
		defer far.Close()
		play(far)
	}()
	return &counted{Conn: near, network: n}, nil
}

type counted struct {
	net.Conn
	network *network
	once    sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() {
		c.network.mu.Lock()
		defer c.network.mu.Unlock()
		c.network.open--
	})
	return c.Conn.Close()
}

// drive runs a client for some virtual time and gives its log, as "time event …".
func drive(t *testing.T, config Config, duration time.Duration, play ...func(net.Conn)) []string {
	t.Helper()
	var out []string
	synctest.Test(t, func(t *testing.T) {
		n := &network{t: t, play: play}
		ctx, cancel := context.WithTimeout(t.Context(), duration)
		defer cancel()
		var log bytes.Buffer
		if err := RunFrom(ctx, config, &log, n.dial); err != nil {
			t.Fatal(err)
		}
		if n.open != 0 {
			t.Errorf("%d connections are left open", n.open)
		}
		out = readable(t, &log)
	})
	return out
}

// readable is a log with times from its first line, and without addresses.
func readable(t *testing.T, log io.Reader) []string {
	t.Helper()
	var lines []string
	var start units.Seconds
	decoder := json.NewDecoder(log)
	for decoder.More() {
		var record struct {
			At    units.Seconds  `json:"monotonic_s"`
			Event string         `json:"event"`
			ID    string         `json:"id"`
			Cause string         `json:"cause"`
			In    *units.Seconds `json:"in_s"`
			Error string         `json:"error"`
		}
		if err := decoder.Decode(&record); err != nil {
			t.Fatal(err)
		}
		if lines == nil {
			start = record.At
		}
		line := fmt.Sprintf("%v %s", (record.At - start).D(), record.Event)
		if record.ID != "" {
			line += " " + record.ID
		}
		if record.Cause != "" {
			line += " " + record.Cause
		}
		if record.In != nil {
			line += " " + record.In.D().String()
		}
		if record.Error != "" {
			line += ": " + record.Error
		}
		lines = append(lines, line)
	}
	return lines
}

// script is a server that says and expects text, line by line: "> text" is said,
// "< text" expected, "wait 5s" waited, "swallow" reads and answers nothing, and the end closes.
func script(t *testing.T, steps ...string) func(net.Conn) {
	return func(conn net.Conn) {
		in := bufio.NewReader(conn)
		for _, step := range steps {
			what, text, _ := strings.Cut(step, " ")
			switch what {
			case ">":
				if _, err := io.WriteString(conn, text+"\n"); err != nil {
					t.Errorf("saying %q: %v", text, err)
					return
				}
			case "<":
				got, err := in.ReadString('\n')
				if err != nil || got != text+"\n" {
					t.Errorf("the client said %q, %v; want %q", got, err, text)
					return
				}
			case "wait":
				d, err := time.ParseDuration(text)
				if err != nil {
					t.Error(err)
					return
				}
				time.Sleep(d)
			case "swallow":
				_, _ = io.Copy(io.Discard, in)
			}
		}
	}
}

func noJitter() heartbeat.ReconnectSpec {
	none := units.Share(0)
	return heartbeat.ReconnectSpec{Jitter: &none}
}

func every(interval, deadline time.Duration) heartbeat.Spec {
	return heartbeat.Spec{Policy: "fixed", Interval: units.Duration(interval), Deadline: units.Duration(deadline)}
}

func TestClient(t *testing.T) {
	fixed := every(20*time.Second, 5*time.Second)
	tests := []struct {
		name      string
		heartbeat heartbeat.Spec
		duration  time.Duration
		play      []func(net.Conn)
		want      []string
	}{
		{
			name:      "an answered heartbeat is followed by the next, an unanswered one by a new connection at once",
			heartbeat: fixed,
			duration:  70 * time.Second,
			play: []func(net.Conn){
				script(t, "< HELLO phone", "> WELCOME phone", "< PING 1", "wait 1s", "> PONG 1", "< PING 2", "swallow"),
				script(t, "< HELLO phone", "> WELCOME phone", "< PING 1", "> PONG 1", "swallow"),
			},
			want: []string{
				"0s connecting", "0s connected", "0s ready",
				"20s beat", "21s answer",
				"40s beat", "45s lost unanswered: no answer to the heartbeat within the deadline",
				"45s retry 0s", "45s connecting", "45s connected", "45s ready",
				"1m5s beat", "1m5s answer", "1m10s ended",
			},
		},
		{
			name:      "pushes are acknowledged and the server's heartbeats answered; neither counts as an answer",
			heartbeat: fixed,
			duration:  25*time.Second + time.Millisecond,
			play: []func(net.Conn){
				script(t, "< HELLO phone", "> WELCOME phone", "wait 2s", "> PUSH p1 you have mail", "< ACK p1", "> PUSH p2", "< ACK p2",
					"wait 8s", "> PING 7", "< PONG 7", "< PING 1", "> PUSH p3", "< ACK p3", "> PONG 99", "swallow"),
			},
			want: []string{
				"0s connecting", "0s connected", "0s ready",
				"2s push p1", "2s push p2", "10s ping", "20s beat", "20s push p3",
				"25s lost unanswered: no answer to the heartbeat within the deadline", "25s retry 0s",
				"25s connecting", "25s failed: no route to the server", "25s retry 1s", "25.001s ended",
			},
		},
		{
			name:      "an answer at the very deadline counts",
			heartbeat: fixed,
			duration:  30 * time.Second,
			play: []func(net.Conn){
				script(t, "< HELLO phone", "> WELCOME phone", "< PING 1", "wait 4999999999ns", "> PONG 1", "swallow"),
			},
			want: []string{
				"0s connecting", "0s connected", "0s ready", "20s beat", "24.999999999s answer", "30s ended",
			},
		},
		{
			name:     "without a heartbeat the client waits for ever",
			duration: 48 * time.Hour,
			play:     []func(net.Conn){script(t, "< HELLO phone", "> WELCOME phone", "swallow")},
			want:     []string{"0s connecting", "0s connected", "0s ready", "48h0m0s ended"},
		},
		{
			name:     "a server that closes is called again, with pauses if it closes at once",
			duration: 11 * time.Second,
			play: []func(net.Conn){
				script(t, "< HELLO phone", "> WELCOME phone", "wait 5s"),
				script(t, "< HELLO phone", "> WELCOME phone"),
				script(t, "< HELLO phone", "> WELCOME phone"),
				nil,
			},
			want: []string{
				"0s connecting", "0s connected", "0s ready", "5s lost closed: EOF", "5s retry 0s",
				"5s connecting", "5s connected", "5s ready", "5s lost closed: EOF", "5s retry 1s",
				"6s connecting", "6s connected", "6s ready", "6s lost closed: EOF", "6s retry 2s",
				"8s connecting", "8s failed: no route to the server", "8s retry 4s",
				"11s ended",
			},
		},
		{
			name:     "a greeting that does not come is given up after ten seconds",
			duration: 10500 * time.Millisecond,
			play:     []func(net.Conn){script(t, "< HELLO phone", "swallow")},
			want: []string{
				"0s connecting", "0s connected", "10s failed: no greeting within 10s", "10s retry 1s", "10.5s ended",
			},
		},
		{
			name:     "a server that speaks something else",
			duration: time.Second / 2,
			play: []func(net.Conn){
				script(t, "< HELLO phone", "> WELCOME tablet"),
			},
			want: []string{
				"0s connecting", "0s connected", `0s failed: the server answered HELLO phone with "WELCOME tablet"`, "0s retry 1s", "500ms ended",
			},
		},
		{
			name:     "a server that breaks the protocol",
			duration: time.Second / 2,
			play:     []func(net.Conn){script(t, "< HELLO phone", "> WELCOME phone", "> HELLO phone")},
			want: []string{
				"0s connecting", "0s connected", "0s ready",
				`0s lost failed: the server sent "HELLO phone", which is for servers to receive`, "0s retry 1s", "500ms ended",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			config := Config{Protocol: "line", Device: "phone", Heartbeat: tt.heartbeat, Reconnect: noJitter()}
			got := drive(t, config, tt.duration, tt.play...)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestConfigErrors(t *testing.T) {
	tests := []struct {
		config Config
		want   string
	}{
		{Config{Protocol: "gopher", Device: "phone"}, `there is no built-in client for protocol "gopher"`},
		{Config{Protocol: "line"}, "a name is empty"},
		{Config{Protocol: "line", Device: "my phone"}, `the name "my phone" has a space or a control character`},
		{Config{Protocol: "mqtt", Device: "phone", Version: "4"}, `there is no built-in client for MQTT version "4"; there are "3.1.1" and "5"`},
		{Config{Protocol: "mqtt", Device: "phone", KeepAlive: units.Duration(time.Second / 2)}, "an MQTT keep alive must be whole seconds from 0s to 18h12m15s, not 500ms"},
		{Config{Protocol: "line", Device: "phone", Heartbeat: heartbeat.Spec{Policy: "fixed"}}, "making the heartbeat policy: a fixed heartbeat needs an interval, such as 4m"},
		{Config{Protocol: "line", Device: "phone", Reconnect: heartbeat.ReconnectSpec{Factor: 0.1}}, "making the reconnect policy: factor: the factor must be a number of at least 1"},
	}
	for _, tt := range tests {
		err := Run(t.Context(), tt.config, io.Discard)
		want := fmt.Sprintf("configuring the client of device %q: %s", tt.config.Device, tt.want)
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestKeepAlive(t *testing.T) {
	tests := []struct {
		heartbeat heartbeat.Spec
		want      time.Duration
	}{
		{heartbeat.Spec{}, 0},
		{every(time.Second, 0), time.Second},
		{every(1500*time.Millisecond, 0), 2 * time.Second},
		{every(4*time.Minute, 0), 4 * time.Minute},
		{every(65535*time.Second, 0), 65535 * time.Second},
		{every(65535*time.Second+1, 0), 0},
	}
	for _, tt := range tests {
		if got := KeepAlive(tt.heartbeat).D(); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.heartbeat, got, tt.want)
		}
	}
}

// A configuration survives the way to the client's process.
func TestConfigJSON(t *testing.T) {
	jitter := units.Share(0)
	want := Config{
		Protocol: "mqtt", Server: netip.MustParseAddrPort("198.51.100.1:1883"), Device: "phone", Version: "3.1.1",
		KeepAlive: units.Duration(time.Minute), Heartbeat: every(time.Minute, time.Second),
		Reconnect: heartbeat.ReconnectSpec{First: units.Duration(time.Second), Jitter: &jitter}, Seed: 1<<64 - 1,
	}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Config
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := Main(t.Context(), []string{`{"protcol":"line"}`}); err == nil || !strings.Contains(err.Error(), "protcol") {
		t.Errorf("a key that is not one: %v", err)
	}
	if err := Main(t.Context(), nil); err == nil {
		t.Error("no argument: no error")
	}
}
