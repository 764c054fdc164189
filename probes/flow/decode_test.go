package flow

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// spoke is what one end said.
type spoke struct {
	d direction
	b string
}

// decoded runs a new decoder over what was said, a piece at a time, and gives the messages in words.
func decoded(protocol string, said []spoke, piece int) []string {
	var got []string
	q := newDecoder(protocol)
	for _, s := range said {
		for b := s.b; b != ""; {
			n := min(piece, len(b))
			err := q.decode(s.d, []byte(b[:n]), func(m message) {
				text := fmt.Sprintf("%s %s [%d,%d)", m.d.sender(), m.name, m.start, m.end)
				if m.role != roleNone {
					text += " " + [...]string{rolePush: "push", roleAck: "ack", rolePing: "ping", rolePong: "pong", roleReady: "ready", roleGoodbye: "goodbye"}[m.role]
				}
				if m.role == rolePush || m.role == roleAck || m.role == rolePing || m.role == rolePong {
					text += " " + m.key
				}
				if m.body != nil {
					text += " " + string(m.body)
				}
				if m.why != "" {
					text += " (" + m.why + ")"
				}
				got = append(got, strings.TrimSpace(text))
			})
			if err != nil {
				return append(got, "error: "+err.Error())
			}
			b = b[n:]
		}
	}
	return got
}

var conversations = []struct {
	name, protocol string
	said           []spoke
	want           []string
}{
	{"line", "line", []spoke{
		{toServer, "HELLO phone\n"}, {toClient, "WELCOME phone\n"},
		{toServer, "PING 1\nPING 2\n"}, {toClient, "PONG 1\r\n"},
		{toClient, "PUSH p1 hello there\nPUSH p2\n"}, {toServer, "ACK p1\n"},
		{toClient, "PING 5\n"}, {toServer, "PONG 5\n"}, {toServer, "PUSH p3\n\n\x00\x01\nunfinished"},
	}, []string{
		"client hello [0,12)", "server welcome [0,14) ready", "client ping [12,19) ping 1", "client ping [19,26) ping 2",
		"server pong [14,22) pong 1", "server push [22,42) push p1 p1", "server push [42,50) push p2 p2", "client ack [26,33) ack p1",
		"server ping [50,57) ping 5", "client pong [33,40) pong 5", "client push [40,48)", "client data [48,49)", "client data [49,52)",
	}},
	{"line without end", "line", []spoke{{toClient, strings.Repeat("x", maxLine+1)}}, []string{"error: a line of the server is longer than 65536 bytes"}},
	{"mqtt 3.1.1", "mqtt", []spoke{
		{toServer, "\x10\x11\x00\x04MQTT\x04\x02\x00\x00\x00\x05phone"}, {toClient, "\x20\x02\x00\x00"},
		{toServer, "\x82\x08\x00\x01\x00\x03a/b\x01"}, {toClient, "\x90\x03\x00\x01\x01"},
		{toClient, "\x32\x0a\x00\x03a/b\x00\x07xyz\x30\x08\x00\x03a/babc"}, {toServer, "\x40\x02\x00\x07"},
		{toServer, "\xc0\x00"}, {toClient, "\xd0\x00"},
		{toServer, "\x30\x06\x00\x03a/bq"}, {toServer, "\xe0\x00"},
	}, []string{
		"client connect [0,19)", "server connack [0,4)", "client subscribe [19,29)", "server suback [4,9) ready",
		"server publish [9,21) push 7 xyz", "server publish [21,31) push 0 abc", "client puback [29,33) ack 7",
		"client pingreq [33,35) ping", "server pingresp [31,33) pong", "client publish [35,43)", "client disconnect [43,45) goodbye (sent DISCONNECT)",
	}},
	{"mqtt 5", "mqtt", []spoke{
		{toServer, "\x10\x12\x00\x04MQTT\x05\x00\x00\x00\x00\x00\x05phone"}, {toClient, "\x20\x03\x01\x00\x00"},
		{toClient, "\x34\x0b\x00\x03a/b\x00\x07\x00xyz"}, {toServer, "\x50\x02\x00\x07"}, {toClient, "\x62\x02\x00\x07"}, {toServer, "\x70\x02\x00\x07"},
		{toClient, "\x90\x04\x00\x01\x00\x87"}, {toClient, "\xe0\x01\x8d"}, {toClient, "\xe0\x02\x8b\x00"}, {toServer, "\xe0\x02\x04\x00"}, {toServer, "\xe0\x01\x82"},
	}, []string{
		"client connect [0,20)", "server connack [0,5) ready", "server publish [5,18) push 7 xyz", "client pubrec [20,24) ack 7",
		"server pubrel [18,22)", "client pubcomp [24,28)", "server suback [22,28)", "server disconnect [28,31)",
		"server disconnect [31,35) goodbye (sent DISCONNECT: server shutting down)",
		"client disconnect [28,32) goodbye (sent DISCONNECT)", "client disconnect [32,35) goodbye (sent DISCONNECT with reason 0x82)",
	}},
	{"mqtt, a session that was refused", "mqtt", []spoke{
		{toServer, "\x10\x11\x00\x04MQTT\x04\x02\x00\x00\x00\x05phone"}, {toClient, "\x20\x02\x00\x05"},
	}, []string{"client connect [0,19)", "server connack [0,4)"}},
	{"mqtt, a very long message", "mqtt", []spoke{
		{toServer, "\x10\x11\x00\x04MQTT\x04\x02\x00\x00\x00\x05phone"},
		{toClient, "\x30\x81\x80\x40" + strings.Repeat("x", maxMQTT+1) + "\xd0\x00"},
	}, []string{"client connect [0,19)", fmt.Sprintf("server publish [0,%d)", maxMQTT+5), fmt.Sprintf("server pingresp [%d,%d) pong", maxMQTT+5, maxMQTT+7)}},
	{"mqtt that is none", "mqtt", []spoke{{toServer, "GET / HTTP/1.1\r\n"}}, []string{"error: the client sent a packet that begins with 0x47: malformed packet: flags"}},
	{"mqtt that does not begin", "mqtt", []spoke{{toServer, "\xc0\x00"}}, []string{"error: the client did not begin with CONNECT"}},
	{"mqtt of a server that speaks first", "mqtt", []spoke{{toClient, "\xd0\x00"}}, []string{"error: the server did not begin with CONNECT"}},
	{"mqtt with a length that is none", "mqtt", []spoke{{toServer, "\x10\xff\xff\xff\xff\xff"}}, []string{"error: a packet length that is none: ff ff ff ff"}},
	{"mqtt cut short", "mqtt", []spoke{{toServer, "\x10\x04\x00\x04MQ"}}, []string{"error: the client sent a CONNECT that cannot be read: malformed packet: protocol name"}},
	{"unknown", "smoke-signals", []spoke{{toServer, "\x10\x04\x00\x04MQ"}}, nil},
}

func TestDecoders(t *testing.T) {
	for _, c := range conversations {
		t.Run(c.name, func(t *testing.T) {
			for _, piece := range []int{1 << 30, 1000, 3, 1} {
				if diff := cmp.Diff(c.want, decoded(c.protocol, c.said, piece)); diff != "" {
					t.Errorf("%d bytes at a time: %s", piece, diff)
				}
			}
		})
	}
}

// Every word that one can wait for is one that the decoder says.
func TestEventNames(t *testing.T) {
	for _, p := range protocols {
		said := map[string]bool{"syn": true, "established": true, "fin": true, "rst": true}
		for _, c := range conversations {
			if c.protocol != p.name {
				continue
			}
			for _, m := range c.want {
				said[strings.Fields(m)[1]] = true
			}
		}
		for _, name := range EventNames(p.name) {
			if !said[name] {
				t.Errorf("the decoder of %s never says %q", p.name, name)
			}
		}
		if len(p.words) == 0 {
			t.Errorf("nobody can wait for a message of %s", p.name)
		}
	}
}

// Whatever the bytes and however they are cut, a decoder does not panic, and finds the same
// messages in them, in order and without overlap.
func fuzzDecoder(f *testing.F, protocol string) {
	for _, c := range conversations {
		var both [2]string
		for _, s := range c.said {
			both[s.d] += s.b
		}
		if len(both[0])+len(both[1]) < 4096 {
			f.Add([]byte(both[toServer]), []byte(both[toClient]), 3)
		}
	}
	f.Fuzz(func(t *testing.T, client, server []byte, piece int) {
		said := []spoke{{toServer, string(client)}, {toClient, string(server)}}
		whole := decoded(protocol, said, 1<<30)
		cut := decoded(protocol, said, max(piece&0xff, 1))
		if diff := cmp.Diff(whole, cut); diff != "" {
			t.Errorf("in pieces of %d: %s", max(piece&0xff, 1), diff)
		}
		var at [2]int64
		q := newDecoder(protocol)
		for _, s := range said {
			err := q.decode(s.d, []byte(s.b), func(m message) {
				if m.d != s.d || m.start != at[m.d] || m.end <= m.start || m.end > int64(len(s.b)) {
					t.Errorf("message %+v after %d of %d bytes", m, at[m.d], len(s.b))
				}
				at[m.d] = m.end
			})
			if err != nil {
				return
			}
		}
	})
}

func FuzzLine(f *testing.F) { fuzzDecoder(f, "line") }

func FuzzMQTT(f *testing.F) { fuzzDecoder(f, "mqtt") }
