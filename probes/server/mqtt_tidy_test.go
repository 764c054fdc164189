package server

import (
	"bufio"
	"testing"
	"testing/synctest"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"outlive/probes/wire"
)

// connectMQTT5 connects with a packet of the caller's own.
func connectMQTT5(t *testing.T, dial DialFunc, p packets.Packet) (c *mqttCaller, sessionPresent bool) {
	t.Helper()
	conn, err := dial(t.Context(), "tcp", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c = &mqttCaller{t: t, conn: conn, in: bufio.NewReader(conn), level: wire.MQTT5}
	p.FixedHeader.Type = packets.Connect
	p.Connect.ProtocolName = []byte("MQTT")
	c.say(p)
	connack := c.expect(packets.Connack)
	if connack.ReasonCode != 0 {
		t.Fatalf("CONNACK with reason code %#02x", connack.ReasonCode)
	}
	return c, connack.SessionPresent
}

// keepingSession asks for a session that outlives its connection by some seconds.
func keepingSession(id string, seconds uint32) packets.Packet {
	return packets.Packet{
		Connect:    packets.ConnectParams{ClientIdentifier: id},
		Properties: packets.Properties{SessionExpiryInterval: seconds, SessionExpiryIntervalFlag: true},
	}
}

// A session is there for as long as the client asked, and not longer.
func TestMQTTSessionExpiry(t *testing.T) {
	serving(t, Config{Protocol: "mqtt"}, func(t *testing.T, dial DialFunc) {
		for _, tt := range []struct {
			away time.Duration
			want bool
		}{{0, false}, {58 * time.Second, true}, {63 * time.Second, false}, {time.Hour, false}, {50 * time.Second, true}} {
			time.Sleep(tt.away)
			c, present := connectMQTT5(t, dial, keepingSession("phone", 60))
			if present != tt.want {
				t.Errorf("after %s away: session present %t, want %t", tt.away, present, tt.want)
			}
			_ = c.conn.Close()
			synctest.Wait()
		}
	})
}

// A will that is to wait is sent when it is due.
func TestMQTTWillDelay(t *testing.T) {
	serving(t, Config{Protocol: "mqtt"}, func(t *testing.T, dial DialFunc) {
		other := callMQTT(t, dial, wire.MQTT5, "other", 0)
		other.subscribe("outlive/will")
		p := keepingSession("phone", 3600)
		p.Connect.WillFlag = true
		p.Connect.WillTopic = "outlive/will"
		p.Connect.WillPayload = []byte("gone")
		p.Connect.WillProperties.WillDelayInterval = 600
		c, _ := connectMQTT5(t, dial, p)
		_ = c.conn.Close()
		lost := time.Now()
		other.expect(packets.Publish)
		if took := time.Since(lost); took < 600*time.Second || took > 602*time.Second {
			t.Errorf("the will came after %s", took)
		}
		_ = other.conn.Close()
		synctest.Wait()
	})
}

// A push that expires while the device is away is not delivered.
func TestMQTTMessageExpiry(t *testing.T) {
	serving(t, Config{Protocol: "mqtt"}, func(t *testing.T, dial DialFunc) {
		for _, tt := range []struct {
			away time.Duration
			want byte
		}{{30 * time.Second, packets.Publish}, {time.Hour, packets.Pingresp}} {
			phone, _ := connectMQTT5(t, dial, keepingSession("phone", 36_000))
			phone.subscribe("outlive/phone")
			_ = phone.conn.Close()
			publisher := callMQTT(t, dial, wire.MQTT5, "publisher", 0)
			publisher.say(packets.Packet{
				FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, TopicName: "outlive/phone", PacketID: 1, Payload: []byte("p1"),
				Properties: packets.Properties{MessageExpiryInterval: 60},
			})
			publisher.expect(packets.Puback)
			_ = publisher.conn.Close()
			time.Sleep(tt.away)
			again, _ := connectMQTT5(t, dial, keepingSession("phone", 36_000))
			// The server may be writing to it already, and a pipe keeps nothing.
			go func() {
				_ = wire.WritePacket(again.conn, packets.Packet{ProtocolVersion: wire.MQTT5, FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
			}()
			if got := again.expect(tt.want); got.FixedHeader.Type == packets.Publish {
				again.expect(packets.Pingresp)
				again.say(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: got.PacketID})
			}
			_ = again.conn.Close()
			synctest.Wait()
		}
	})
}

// Nothing is done for what has gone before it could expire.
func TestNothingToTidy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tidier := &tidier{broker: mqtt.New(nil)}
		tidier.after(2*time.Hour, false)
		tidier.after(time.Hour, false)
		tidier.after(3*time.Hour, false)
		time.Sleep(time.Hour)
		synctest.Wait()
		if tidier.started || tidier.timer != nil {
			t.Error("something was started, or is going to be")
		}
		tidier.after(time.Hour, false)
		tidier.stop()
		time.Sleep(24 * time.Hour)
		if tidier.started {
			t.Error("it was started after its end")
		}
	})
}
