package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mochi-mqtt/server/v2/packets"

	"outlive/probes/wire"
)

// mqttCaller is a client's end of a connection to the MQTT server.
type mqttCaller struct {
	t     *testing.T
	conn  net.Conn
	in    *bufio.Reader
	level byte
}

func callMQTT(t *testing.T, dial DialFunc, level byte, id string, keepAlive uint16) *mqttCaller {
	t.Helper()
	conn, err := dial(t.Context(), "tcp", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &mqttCaller{t: t, conn: conn, in: bufio.NewReader(conn), level: level}
	c.say(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Connect},
		Connect:     packets.ConnectParams{ProtocolName: []byte("MQTT"), Clean: true, ClientIdentifier: id, Keepalive: keepAlive},
	})
	if p := c.expect(packets.Connack); p.ReasonCode != 0 {
		t.Fatalf("CONNACK with reason code %#02x", p.ReasonCode)
	}
	return c
}

func (c *mqttCaller) say(p packets.Packet) {
	c.t.Helper()
	p.ProtocolVersion = c.level
	if err := wire.WritePacket(c.conn, p); err != nil {
		c.t.Fatal(err)
	}
}

func (c *mqttCaller) expect(kind byte) packets.Packet {
	c.t.Helper()
	p, err := wire.ReadPacket(c.in, c.level)
	if err != nil || p.FixedHeader.Type != kind {
		c.t.Fatalf("the server said %s, %v; want packet type %d", wire.Name(p), err, kind)
	}
	return p
}

func (c *mqttCaller) subscribe(topic string) {
	c.t.Helper()
	c.say(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1},
		PacketID:    1,
		Filters:     packets.Subscriptions{{Filter: topic, Qos: 1}},
	})
	c.expect(packets.Suback)
}

// The server cuts a client after exactly 1.5 times its keep alive without a
// packet: not earlier, as the broker by itself would for odd ones and for 1 s.
func TestMQTTKeepAlive(t *testing.T) {
	tests := []struct {
		level     byte
		keepAlive uint16
	}{
		{wire.MQTT311, 1}, {wire.MQTT311, 2}, {wire.MQTT311, 5}, {wire.MQTT311, 60},
		{wire.MQTT5, 1}, {wire.MQTT5, 2}, {wire.MQTT5, 5}, {wire.MQTT5, 60},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("level %d, %d s", tt.level, tt.keepAlive), func(t *testing.T) {
			serving(t, Config{Protocol: "mqtt"}, func(t *testing.T, dial DialFunc) {
				c := callMQTT(t, dial, tt.level, "phone", tt.keepAlive)
				time.Sleep(time.Duration(tt.keepAlive) * time.Second / 2)
				c.say(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
				c.expect(packets.Pingresp)
				start := time.Now()
				if _, err := c.in.ReadByte(); !errors.Is(err, io.EOF) {
					t.Fatalf("the end of the connection is %v, want %v", err, io.EOF)
				}
				if got, want := time.Since(start), time.Duration(tt.keepAlive)*time.Second*3/2; got != want {
					t.Errorf("cut after %v of silence, want %v", got, want)
				}
			})
		})
	}
}

func TestMQTTWithoutKeepAlive(t *testing.T) {
	serving(t, Config{Protocol: "mqtt"}, func(t *testing.T, dial DialFunc) {
		c := callMQTT(t, dial, wire.MQTT311, "phone", 0)
		time.Sleep(2 * time.Hour)
		c.say(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
		c.expect(packets.Pingresp)
	})
}

func TestMQTTNoConnect(t *testing.T) {
	serving(t, Config{Protocol: "mqtt"}, func(t *testing.T, dial DialFunc) {
		conn, err := dial(t.Context(), "tcp", "")
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the end of the connection is %v, want %v", err, io.EOF)
		}
		if got := time.Since(start); got != greetingLimit {
			t.Errorf("closed after %v, want %v", got, greetingLimit)
		}
	})
}

// A second connection of the same client takes over, and only a client of
// MQTT 5 is told why.
func TestMQTTTakeover(t *testing.T) {
	for _, level := range []byte{wire.MQTT311, wire.MQTT5} {
		t.Run(fmt.Sprintf("level %d", level), func(t *testing.T) {
			serving(t, Config{Protocol: "mqtt"}, func(t *testing.T, dial DialFunc) {
				first := callMQTT(t, dial, level, "phone", 60)
				gone := make(chan []byte, 1)
				go func() {
					rest, _ := io.ReadAll(first.in)
					gone <- rest
				}()
				second := callMQTT(t, dial, level, "phone", 60)
				rest := <-gone
				if told := len(rest) > 0; told != (level == wire.MQTT5) {
					t.Errorf("the first connection ended with %x", rest)
				}
				second.subscribe("outlive/phone")
			})
		})
	}
}

func TestMQTTPublisher(t *testing.T) {
	serving(t, Config{Protocol: "mqtt"}, func(t *testing.T, dial DialFunc) {
		phone := callMQTT(t, dial, wire.MQTT311, "phone", 0)
		phone.subscribe("outlive/phone")
		publisher, err := OpenPublisher(t.Context(), dial, "mqtt", "192.0.2.1:1883")
		if err != nil {
			t.Fatal(err)
		}
		defer publisher.Close()
		time.Sleep(time.Hour)
		heard := make(chan packets.Packet, 1)
		go func() {
			p, _ := wire.ReadPacket(phone.in, phone.level)
			heard <- p
		}()
		before := time.Now()
		got, err := publisher.Publish(t.Context(), "phone", "p1")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(Receipt{At: before, Outcome: Accepted}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		push := <-heard
		if push.FixedHeader.Type != packets.Publish || string(push.Payload) != "p1" || push.FixedHeader.Qos != 1 {
			t.Errorf("the device heard %s %q at QoS %d", wire.Name(push), push.Payload, push.FixedHeader.Qos)
		}
		phone.say(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: push.PacketID})
		if got, err = publisher.Publish(t.Context(), "tablet", "p2"); err != nil || got.Outcome != NoConnection {
			t.Errorf("for a device that is not there: %v, %v", got, err)
		}
		if err := phone.conn.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got, err = publisher.Publish(t.Context(), "phone", "p3"); err != nil || got.Outcome != NoConnection {
			t.Errorf("for a device that has gone: %v, %v", got, err)
		}
	})
}

// The publisher falls back to MQTT 3.1.1 for a server that speaks nothing newer.
func TestMQTTPublisherFallsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var levels []byte
		dial := func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			go func() {
				defer far.Close()
				in := bufio.NewReader(far)
				p, err := wire.ReadPacket(in, wire.MQTT311)
				if err != nil {
					t.Error(err)
					return
				}
				levels = append(levels, p.ProtocolVersion)
				if p.ProtocolVersion != wire.MQTT311 {
					_, _ = far.Write([]byte{0x20, 2, 0, 1})
					return
				}
				_, _ = far.Write([]byte{0x20, 2, 0, 0})
				p, err = wire.ReadPacket(in, wire.MQTT311)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = far.Write([]byte{0x40, 2, byte(p.PacketID >> 8), byte(p.PacketID)})
				_, _ = io.Copy(io.Discard, far)
			}()
			return near, nil
		}
		publisher, err := OpenPublisher(t.Context(), dial, "mqtt", "192.0.2.1:1883")
		if err != nil {
			t.Fatal(err)
		}
		defer publisher.Close()
		if got, err := publisher.Publish(t.Context(), "phone", "p1"); err != nil || got.Outcome != Accepted {
			t.Errorf("%v, %v", got, err)
		}
		if diff := cmp.Diff([]byte{wire.MQTT5, wire.MQTT311}, levels); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
