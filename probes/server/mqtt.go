package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"outlive/probes/heartbeat"
	"outlive/probes/wire"
)

var mqttProtocol = Protocol{
	Name:    "mqtt",
	Summary: "MQTT 3.1.1 and 5 without authentication; cuts a client after 1.5 times its keep alive.",
	Port:    1883,
	check: func(c Config) error {
		if c.Idle != 0 || c.Heartbeat.WithDefaults() != (heartbeat.Spec{}).WithDefaults() {
			return errors.New("an MQTT server has neither an idle timeout nor a heartbeat of its own: it goes by the client's keep alive")
		}
		return nil
	},
	serve:   serveMQTT,
	publish: []openFunc{openMQTTPublisher(wire.MQTT5), openMQTTPublisher(wire.MQTT311)},
}

// serveMQTT runs a mochi broker on the listener until the context ends.
func serveMQTT(ctx context.Context, listener net.Listener, _ Config, log *slog.Logger) error {
	broker := mqtt.New(&mqtt.Options{
		Logger: log,
		// Nobody here reads $SYS topics; this is as rare as the broker's arithmetic allows.
		SysTopicResendInterval: math.MaxInt32,
	})
	tidier := &tidier{broker: broker}
	if err := broker.AddHook(&hook{broker: broker, tidier: tidier, log: log}, nil); err != nil {
		return fmt.Errorf("starting the mqtt server: %w", err)
	}
	if err := broker.AddListener(&listenOnce{Net: listeners.NewNet("tcp", keepAliveListener{listener})}); err != nil {
		return fmt.Errorf("starting the mqtt server: %w", err)
	}
	broker.Listeners.ServeAll(broker.EstablishConnection)
	<-ctx.Done()
	tidier.stop()
	return broker.Close()
}

// hook lets everyone in, writes what happens to the log, and mends where the
// broker strays from the standard.
type hook struct {
	mqtt.HookBase
	broker  *mqtt.Server
	tidier  *tidier
	log     *slog.Logger
	unheard sync.Map // of publication: not yet acknowledged, and without a subscriber
}

// publication is a PUBLISH at QoS 1 on its way through the broker.
type publication struct {
	from *mqtt.Client
	id   uint16
}

// ID is the hook's name in the broker's log.
func (h *hook) ID() string { return "reference" }

// Provides lists the events that the hook wants.
func (h *hook) Provides(b byte) bool {
	return bytes.Contains([]byte{
		mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnConnect, mqtt.OnSessionEstablished, mqtt.OnSubscribed, mqtt.OnDisconnect,
		mqtt.OnPacketRead, mqtt.OnPacketEncode, mqtt.OnPacketSent, mqtt.OnPublish,
		mqtt.OnQosPublish, mqtt.OnRetainMessage, mqtt.OnWill,
	}, []byte{b})
}

// OnConnectAuthenticate lets everyone in.
func (h *hook) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }

// OnACLCheck lets everyone do everything.
func (h *hook) OnACLCheck(*mqtt.Client, string, bool) bool { return true }

// OnConnect tells the connection its keep alive, before the broker first sets a deadline by it.
func (h *hook) OnConnect(cl *mqtt.Client, p packets.Packet) error {
	if conn, ok := cl.Net.Conn.(*keepAliveConn); ok {
		conn.allowed.Store(int64(time.Duration(p.Connect.Keepalive) * time.Second * 3 / 2))
	}
	return nil
}

// OnSessionEstablished writes the new session to the log.
func (h *hook) OnSessionEstablished(cl *mqtt.Client, p packets.Packet) {
	h.log.Info("connect", "client", cl.ID, "remote", cl.Net.Remote, "version", p.ProtocolVersion, "keepalive_s", p.Connect.Keepalive)
}

// OnSubscribed writes subscriptions to the log: from here on pushes can come.
func (h *hook) OnSubscribed(cl *mqtt.Client, p packets.Packet, _ []byte) {
	for _, f := range p.Filters {
		h.log.Info("subscribe", "client", cl.ID, "filter", f.Filter)
	}
}

// OnDisconnect writes the end of the session to the log.
func (h *hook) OnDisconnect(cl *mqtt.Client, err error, over bool) {
	if session := cl.Properties.Props.SessionExpiryInterval; !over && session > 0 && session < math.MaxUint32 {
		h.tidier.after(time.Duration(session)*time.Second, false)
	}
	if cause := cl.StopCause(); err == nil && cause != nil {
		err = cause
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	h.log.Info("closed", "client", cl.ID, "remote", cl.Net.Remote, "error", text)
}

// OnPacketRead writes heartbeats and acknowledgements to the log.
func (h *hook) OnPacketRead(cl *mqtt.Client, p packets.Packet) (packets.Packet, error) {
	switch p.FixedHeader.Type {
	case packets.Pingreq:
		h.log.Info("ping", "client", cl.ID)
	case packets.Puback:
		h.log.Info("ack", "client", cl.ID, "packet", p.PacketID)
	}
	return p, nil
}

// OnPublish notes which publications nobody has subscribed to.
func (h *hook) OnPublish(cl *mqtt.Client, p packets.Packet) (packets.Packet, error) {
	found := h.broker.Topics.Subscribers(p.TopicName)
	if p.FixedHeader.Qos == 1 && len(found.Subscriptions)+len(found.Shared) == 0 {
		h.unheard.Store(publication{cl, p.PacketID}, nil)
	}
	return p, nil
}

// OnQosPublish tells the tidier of a message that waits for its acknowledgement.
func (h *hook) OnQosPublish(_ *mqtt.Client, p packets.Packet, _ int64, _ int) {
	h.tidier.after(time.Until(time.Unix(p.Expiry, 0)), false)
}

// OnRetainMessage tells the tidier of a message that the broker keeps.
func (h *hook) OnRetainMessage(_ *mqtt.Client, p packets.Packet, _ int64) {
	h.tidier.after(time.Until(time.Unix(p.Expiry, 0)), false)
}

// OnWill tells the tidier of a will that is sent later.
func (h *hook) OnWill(cl *mqtt.Client, will mqtt.Will) (mqtt.Will, error) {
	if delay := cl.Properties.Will.WillDelayInterval; delay > 0 {
		h.tidier.after(time.Duration(delay)*time.Second, true)
	}
	return will, nil
}

// OnPacketEncode has the broker say what the standard says. In MQTT 3.1.1 a
// server has no DISCONNECT: the broker refuses to encode the type that is put in
// its place. In MQTT 5 a PUBACK tells a publisher that there was no subscriber,
// which is how it learns that a device has no connection; the broker only
// encodes such a reason code where there are words to it.
func (h *hook) OnPacketEncode(cl *mqtt.Client, p packets.Packet) packets.Packet {
	switch {
	case p.FixedHeader.Type == packets.Disconnect && cl.Properties.ProtocolVersion < 5:
		p.FixedHeader.Type = packets.Reserved
	case p.FixedHeader.Type == packets.Puback && p.ReasonCode < packets.ErrUnspecifiedError.Code:
		// The broker puts the granted QoS here, which is not a reason code of PUBACK.
		p.ReasonCode = packets.CodeSuccess.Code
		if _, unheard := h.unheard.LoadAndDelete(publication{cl, p.PacketID}); unheard {
			p.ReasonCode = packets.CodeNoMatchingSubscribers.Code
			p.Properties.ReasonString = packets.CodeNoMatchingSubscribers.Reason
		}
	}
	return p
}

// OnPacketSent writes pushes to the log.
func (h *hook) OnPacketSent(cl *mqtt.Client, p packets.Packet, _ []byte) {
	if p.FixedHeader.Type == packets.Publish {
		h.log.Info("push", "client", cl.ID, "topic", p.TopicName, "packet", p.PacketID)
	}
}

// keepAliveListener gives the broker connections that keep the keep alive rule exactly.
type keepAliveListener struct{ net.Listener }

func (l keepAliveListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	// The broker itself would wait for a CONNECT for ever.
	if err := conn.SetDeadline(time.Now().Add(greetingLimit)); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &keepAliveConn{Conn: conn}, nil
}

// keepAliveConn keeps the rule of 1.5 times the keep alive [MQTT-3.1.2-24]. The
// broker computes it in whole seconds of 16 bits, so that a keep alive of 1 s is
// cut after 1 s, of 5 s after 7 s, and of more than 43690 s after too little.
type keepAliveConn struct {
	net.Conn
	allowed atomic.Int64 // the longest silence in nanoseconds; zero until CONNECT, and where the client wants none
}

// SetDeadline is called by the broker after CONNECT and after every packet that
// came in. Which instant it asks for does not matter, but zero means none.
func (c *keepAliveConn) SetDeadline(t time.Time) error {
	if allowed := time.Duration(c.allowed.Load()); allowed > 0 && !t.IsZero() {
		t = time.Now().Add(allowed)
	}
	return c.Conn.SetDeadline(t)
}
