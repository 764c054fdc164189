package client

import (
	"encoding/hex"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/units"
)

// bytesScript is a server that says and expects bytes: "> 20 02" is said,
// "< c0 00" expected, "wait 5s" waited, "swallow" reads and answers nothing, and the end closes.
func bytesScript(t *testing.T, steps ...string) func(net.Conn) {
	return func(conn net.Conn) {
		for _, step := range steps {
			what, text, _ := strings.Cut(step, " ")
			if what != ">" && what != "<" {
				script(t, step)(conn)
				continue
			}
			raw, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
			if err != nil {
				t.Error(err)
				return
			}
			if what == ">" {
				if _, err := conn.Write(raw); err != nil {
					t.Errorf("saying %x: %v", raw, err)
					return
				}
				continue
			}
			got := make([]byte, len(raw))
			if n, err := io.ReadFull(conn, got); err != nil || string(got) != string(raw) {
				t.Errorf("the client said %x, %v; want %x", got[:n], err, raw)
				return
			}
		}
	}
}

// The bytes below are written down from the standards' packet layouts, so that
// the client is not tested against the codec that it is made of.
func TestMQTTBytes(t *testing.T) {
	const (
		// CONNECT, MQTT, level 4, clean session, keep alive 20 s, client "p1".
		connect3 = "< 10 0e 0004 4d515454 04 02 0014 0002 7031"
		// The same with level 5 and no properties.
		connect5 = "< 10 0f 0004 4d515454 05 02 0014 00 0002 7031"
		// SUBSCRIBE, packet 1, "outlive/p1" at QoS 1, without and with properties.
		subscribe3 = "< 82 0f 0001 000a 6f75746c6976652f7031 01"
		subscribe5 = "< 82 10 0001 00 000a 6f75746c6976652f7031 01"
	)
	tests := []struct {
		name     string
		version  string
		duration time.Duration
		play     func(net.Conn)
		want     []string
	}{
		{
			name: "3.1.1, from the greeting to the goodbye", version: "3.1.1",
			play: bytesScript(t, connect3, "> 20 02 00 00", subscribe3, "> 90 03 0001 01", "< c0 00", "> d0 00",
				"> 32 10 000a 6f75746c6976652f7031 0007 6831", "< 40 02 0007", "< e0 00", "swallow"),
			want: []string{"0s connecting", "0s connected", "0s ready", "20s beat", "20s answer", "20s push h1", "24s ended"},
		},
		{
			name: "5, with a push before the SUBACK", version: "5",
			play: bytesScript(t, connect5, "> 20 03 00 00 00", subscribe5,
				"> 32 11 000a 6f75746c6976652f7031 0007 00 6831", "> 90 04 0001 00 01", "< 40 02 0007", "< c0 00", "> d0 00", "< e0 02 00 00", "swallow"),
			want: []string{"0s connecting", "0s connected", "0s ready", "0s push h1", "20s beat", "20s answer", "24s ended"},
		},
		{
			name: "a push at QoS 0 is not acknowledged", version: "3.1.1",
			play: bytesScript(t, connect3, "> 20 02 00 00", subscribe3, "> 90 03 0001 00",
				"> 30 0e 000a 6f75746c6976652f7031 6831", "< c0 00", "> d0 00", "swallow"),
			want: []string{"0s connecting", "0s connected", "0s ready", "0s push h1", "20s beat", "20s answer", "24s ended"},
		},
		{
			name: "an unanswered PINGREQ", version: "5", duration: 30 * time.Second,
			play: bytesScript(t, connect5, "> 20 03 00 00 00", subscribe5, "> 90 04 0001 00 01", "< c0 00", "swallow"),
			want: []string{
				"0s connecting", "0s connected", "0s ready", "20s beat",
				"25s lost unanswered: no answer to the heartbeat within the deadline", "25s retry 0s",
				"25s connecting", "25s failed: no route to the server", "25s retry 25s", "30s ended",
			},
		},
		{
			name: "5: the server takes leave, session taken over", version: "5",
			play: bytesScript(t, connect5, "> 20 03 00 00 00", subscribe5, "> 90 04 0001 00 01", "> e0 02 8e 00"),
			want: []string{
				"0s connecting", "0s connected", "0s ready",
				"0s lost closed: the server sent DISCONNECT with reason code 0x8e: EOF", "0s retry 25s", "24s ended",
			},
		},
		{
			name: "3.1.1: the server is not to take leave", version: "3.1.1",
			play: bytesScript(t, connect3, "> 20 02 00 00", subscribe3, "> 90 03 0001 01", "> e0 00"),
			want: []string{
				"0s connecting", "0s connected", "0s ready",
				"0s lost failed: the server sent DISCONNECT, which is for servers to receive", "0s retry 25s", "24s ended",
			},
		},
		{
			name: "the server does not know this version", version: "5",
			play: bytesScript(t, connect5, "> 20 02 00 01"),
			want: []string{
				"0s connecting", "0s connected", "0s failed: the server refused the connection: CONNACK with reason code 0x01",
				"0s retry 25s", "24s ended",
			},
		},
		{
			name: "the server refuses the subscription", version: "3.1.1",
			play: bytesScript(t, connect3, "> 20 02 00 00", subscribe3, "> 90 03 0001 80"),
			want: []string{
				"0s connecting", "0s connected", "0s failed: the server refused the subscription to outlive/p1: SUBACK with reason codes 0x80",
				"0s retry 25s", "24s ended",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// Without a duration of its own a case ends before any second attempt.
			duration := tt.duration
			if duration == 0 {
				duration = 24 * time.Second
			}
			policy := every(20*time.Second, 5*time.Second)
			reconnect := noJitter()
			reconnect.First = units.Duration(25 * time.Second)
			got := drive(t, Config{
				Protocol: "mqtt", Device: "p1", Version: tt.version, KeepAlive: KeepAlive(policy),
				Heartbeat: policy, Reconnect: reconnect,
			}, duration, tt.play)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What an MQTT 5 server imposes is in the log.
func TestServerKeepAlive(t *testing.T) {
	session := mqttProtocol.open(playing(t, bytesScript(t,
		"< 10 0f 0004 4d515454 05 02 0000 00 0002 7031", "> 20 06 00 00 03 13 003c",
		"< 82 10 0001 00 000a 6f75746c6976652f7031 01", "> 90 04 0001 00 01")), Config{Device: "p1"})
	notes, err := session.greet()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]any{"server_keepalive_s", uint16(60)}, notes); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// playing is the client's end of a connection to a script.
func playing(t *testing.T, play func(net.Conn)) net.Conn {
	near, far := net.Pipe()
	t.Cleanup(func() { _ = near.Close() })
	go func() {
		defer far.Close()
		play(far)
	}()
	return near
}
