package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/units"
	"outlive/probes/heartbeat"
)

func lineConfig(idle, interval, deadline time.Duration) Config {
	c := Config{Protocol: "line", Idle: units.Duration(idle)}
	if interval > 0 {
		c.Heartbeat = heartbeat.Spec{Policy: "fixed", Interval: units.Duration(interval), Deadline: units.Duration(deadline)}
	}
	return c
}

func TestLineConversation(t *testing.T) {
	serving(t, lineConfig(0, 0, 0), func(t *testing.T, dial DialFunc) {
		phone := call(t, dial)
		phone.say("HELLO phone")
		phone.expect("WELCOME phone")
		phone.say("PING 1")
		phone.expect("PONG 1")

		publisher := call(t, dial)
		publisher.say("PUBLISHER")
		publisher.expect("READY")
		publisher.say("PUBLISH tablet p1 text")
		publisher.expect("GONE p1")
		publisher.say("PUBLISH phone p2 you have mail")
		phone.expect("PUSH p2 you have mail")
		publisher.expect("OK p2")
		phone.say("ACK p2")

		// Neither side says anything for a week: nobody hangs up.
		time.Sleep(7 * 24 * time.Hour)
		publisher.say("PUBLISH phone p3")
		phone.expect("PUSH p3")
		publisher.expect("OK p3")

		if err := phone.conn.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		publisher.say("PUBLISH phone p4")
		publisher.expect("GONE p4")
	})
}

func TestLineIdleTimeout(t *testing.T) {
	serving(t, lineConfig(30*time.Second, 0, 0), func(t *testing.T, dial DialFunc) {
		phone := call(t, dial)
		phone.say("HELLO phone")
		phone.expect("WELCOME phone")
		time.Sleep(29 * time.Second)
		phone.say("PING 1")
		phone.expect("PONG 1")
		if got := phone.closedAfter(); got != 30*time.Second {
			t.Errorf("closed after %v of silence, want 30s", got)
		}
	})
}

// Pushes go to the device, not from it, so they do not count against its silence.
func TestLineIdleTimeoutIsAboutTheDevice(t *testing.T) {
	serving(t, lineConfig(30*time.Second, 0, 0), func(t *testing.T, dial DialFunc) {
		publisher := call(t, dial)
		publisher.say("PUBLISHER")
		publisher.expect("READY")
		phone := call(t, dial)
		phone.say("HELLO phone")
		phone.expect("WELCOME phone")
		time.Sleep(20 * time.Second)
		publisher.say("PUBLISH phone p1")
		phone.expect("PUSH p1")
		publisher.expect("OK p1")
		if got := phone.closedAfter(); got != 10*time.Second {
			t.Errorf("closed %v after the push, want 10s", got)
		}
		// The publisher's own silence is no reason to close.
		time.Sleep(time.Hour)
		publisher.say("PUBLISH phone p2")
		publisher.expect("GONE p2")
	})
}

func TestLineServerHeartbeat(t *testing.T) {
	serving(t, lineConfig(0, 60*time.Second, 5*time.Second), func(t *testing.T, dial DialFunc) {
		phone := call(t, dial)
		phone.say("HELLO phone")
		phone.expect("WELCOME phone")
		for n, beat := range []string{"1", "2"} {
			start := time.Now()
			phone.expect("PING " + beat)
			if got := time.Since(start); got != time.Minute {
				t.Errorf("heartbeat %d came after %v, want 1m", n+1, got)
			}
			phone.say("PONG " + beat)
		}
		phone.expect("PING 3")
		time.Sleep(time.Second)
		phone.say("PING 1") // a sign of life, but no answer
		phone.expect("PONG 1")
		phone.say("PONG 2") // an answer, but to another
		if got := phone.closedAfter(); got != 4*time.Second {
			t.Errorf("closed %v after that, want 4s", got)
		}
	})
}

// The idle timeout and the heartbeat run side by side.
func TestLineIdleAndHeartbeat(t *testing.T) {
	serving(t, lineConfig(62*time.Second, 60*time.Second, 5*time.Second), func(t *testing.T, dial DialFunc) {
		phone := call(t, dial)
		phone.say("HELLO phone")
		phone.expect("WELCOME phone")
		phone.expect("PING 1")
		if got := phone.closedAfter(); got != 2*time.Second {
			t.Errorf("closed %v after the heartbeat, want 2s, by the idle timeout", got)
		}
	})
}

func TestLineTakeover(t *testing.T) {
	serving(t, lineConfig(0, 0, 0), func(t *testing.T, dial DialFunc) {
		publisher := call(t, dial)
		publisher.say("PUBLISHER")
		publisher.expect("READY")
		first, second := call(t, dial), call(t, dial)
		first.say("HELLO phone")
		first.expect("WELCOME phone")
		second.say("HELLO phone")
		second.expect("WELCOME phone")
		if got := first.closedAfter(); got != 0 {
			t.Errorf("the first connection was closed after %v, want at once", got)
		}
		// The end of the first must not take the second's entry with it.
		synctest.Wait()
		publisher.say("PUBLISH phone p1")
		second.expect("PUSH p1")
		publisher.expect("OK p1")
	})
}

func TestLineServerEndsWhatItCannotServe(t *testing.T) {
	tests := []struct {
		name  string
		say   []string
		want  time.Duration
		heard string
	}{
		{name: "nothing said", want: greetingLimit},
		{name: "not a greeting", say: []string{"PING 1"}},
		{name: "not a line", say: []string{"GET / HTTP/1.1\r"}},
		{name: "a second greeting", say: []string{"HELLO phone", "HELLO phone"}, heard: "WELCOME phone\n"},
		{name: "a device that publishes", say: []string{"HELLO phone", "PUBLISH phone p1"}, heard: "WELCOME phone\n"},
		{name: "a publisher that pings", say: []string{"PUBLISHER", "PING 1"}, heard: "READY\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			serving(t, lineConfig(0, 0, 0), func(t *testing.T, dial DialFunc) {
				c := call(t, dial)
				start := time.Now()
				go func() {
					for _, line := range tt.say {
						_, _ = io.WriteString(c.conn, line+"\n")
					}
				}()
				heard, err := io.ReadAll(c.in)
				if err != nil || string(heard) != tt.heard {
					t.Errorf("the server said %q, %v; want %q", heard, err, tt.heard)
				}
				if got := time.Since(start); got != tt.want {
					t.Errorf("closed after %v, want %v", got, tt.want)
				}
			})
		})
	}
}

// A device that reads nothing holds up a publisher for the write limit and is then closed.
func TestLineDeviceThatReadsNothing(t *testing.T) {
	serving(t, lineConfig(0, 0, 0), func(t *testing.T, dial DialFunc) {
		publisher := call(t, dial)
		publisher.say("PUBLISHER")
		publisher.expect("READY")
		phone := call(t, dial)
		phone.say("HELLO phone")
		phone.expect("WELCOME phone")
		start := time.Now()
		publisher.say("PUBLISH phone p1") // a pipe holds nothing, so the write waits
		publisher.expect("GONE p1")
		if got := time.Since(start); got != writeLimit {
			t.Errorf("the publisher waited %v, want %v", got, writeLimit)
		}
		phone.closedAfter()
	})
}

func TestLinePublisher(t *testing.T) {
	serving(t, lineConfig(0, 0, 0), func(t *testing.T, dial DialFunc) {
		phone := call(t, dial)
		phone.say("HELLO phone")
		phone.expect("WELCOME phone")
		publisher, err := OpenPublisher(t.Context(), dial, "line", "192.0.2.1:7000")
		if err != nil {
			t.Fatal(err)
		}
		defer publisher.Close()
		time.Sleep(time.Hour)
		heard := make(chan string, 1)
		go func() {
			line, _ := phone.in.ReadString('\n')
			heard <- line
		}()
		for _, push := range []struct {
			device, id string
			want       Outcome
		}{{"phone", "p1", Accepted}, {"tablet", "p2", NoConnection}} {
			before := time.Now()
			got, err := publisher.Publish(t.Context(), push.device, push.id)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(Receipt{At: before, Outcome: push.want}, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", push.id, diff)
			}
		}
		if got := <-heard; got != "PUSH p1 push\n" {
			t.Errorf("the device heard %q", got)
		}
	})
}

// A server that accepts and then says nothing costs a publisher no more than its limit.
func TestPublisherLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dial := func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			go func() {
				_, _ = io.Copy(io.Discard, far)
				_ = far.Close()
			}()
			return near, nil
		}
		for _, protocol := range []string{"line", "mqtt"} {
			start := time.Now()
			_, err := OpenPublisher(t.Context(), dial, protocol, "192.0.2.1:7000")
			if !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "opening a publisher at 192.0.2.1:7000: ") {
				t.Errorf("%s: %v, want the limit exceeded", protocol, err)
			}
			if got := time.Since(start); got != publishLimit {
				t.Errorf("%s: %v, want %v", protocol, got, publishLimit)
			}
		}
	})
}

func TestConfig(t *testing.T) {
	tests := []struct {
		config Config
		want   string
	}{
		{Config{Protocol: "gopher"}, `configuring the server: there is no server for protocol "gopher"`},
		{
			Config{Protocol: "line", Heartbeat: heartbeat.Spec{Policy: "fixed"}},
			"configuring the line server: making the heartbeat policy: a fixed heartbeat needs an interval, such as 4m",
		},
		{
			Config{Protocol: "mqtt", Idle: 1},
			"configuring the mqtt server: an MQTT server has neither an idle timeout nor a heartbeat of its own: it goes by the client's keep alive",
		},
	}
	for _, tt := range tests {
		if err := Run(t.Context(), tt.config, io.Discard); err == nil || err.Error() != tt.want {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
	text, err := json.Marshal(lineConfig(time.Minute, time.Minute, time.Second))
	if err != nil {
		t.Fatal(err)
	}
	var back Config
	if err := json.Unmarshal(text, &back); err != nil || back != lineConfig(time.Minute, time.Minute, time.Second) {
		t.Errorf("through JSON: %v, %v", back, err)
	}
	if err := Main(t.Context(), []string{`{"prt": 1}`}); err == nil || !strings.Contains(err.Error(), "prt") {
		t.Errorf("a key that is not one: %v", err)
	}
	if err := Main(t.Context(), nil); err == nil {
		t.Error("no argument: no error")
	}
}
