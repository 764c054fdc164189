package client

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"outlive/lab/units"
	"outlive/probes/wire"
)

var mqttProtocol = Protocol{
	Name:    "mqtt",
	Summary: "MQTT 3.1.1 or 5: a clean session, one subscription at QoS 1, PINGREQ as heartbeat.",
	check: func(c Config) error {
		switch {
		case c.Version != "" && c.Version != "3.1.1" && c.Version != "5":
			return fmt.Errorf(`there is no built-in client for MQTT version %q; there are "3.1.1" and "5"`, c.Version)
		case c.KeepAlive < 0 || c.KeepAlive > MaxKeepAlive || c.KeepAlive%units.Duration(time.Second) != 0:
			return fmt.Errorf("an MQTT keep alive must be whole seconds from 0s to %v, not %v", MaxKeepAlive, c.KeepAlive)
		case c.Device == "" || len(c.Device) > 65535:
			return errors.New("an MQTT client needs a name of 1 to 65535 bytes")
		}
		return nil
	},
	open: func(conn net.Conn, c Config) session {
		s := &mqttSession{
			conn:      conn,
			in:        bufio.NewReader(conn),
			level:     wire.MQTT5,
			device:    c.Device,
			topic:     c.Topic,
			keepAlive: uint16(c.KeepAlive.D() / time.Second),
		}
		if c.Version == "3.1.1" {
			s.level = wire.MQTT311
		}
		if s.topic == "" {
			s.topic = wire.Topic(c.Device)
		}
		return s
	},
}

// subscription is the packet identifier of the only SUBSCRIBE of a connection.
const subscription = 1

type mqttSession struct {
	conn      net.Conn
	in        *bufio.Reader
	level     byte
	device    string
	topic     string
	keepAlive uint16
	early     []message // came in before the SUBACK, as the standard allows
}

func (s *mqttSession) greet() (notes []any, err error) {
	err = s.send(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Connect},
		Connect: packets.ConnectParams{
			ProtocolName:     []byte("MQTT"),
			Clean:            true,
			Keepalive:        s.keepAlive,
			ClientIdentifier: s.device,
		},
	})
	if err != nil {
		return nil, err
	}
	connack, err := wire.ReadPacket(s.in, s.level)
	switch {
	case err != nil:
		return nil, err
	case connack.FixedHeader.Type != packets.Connack:
		return nil, fmt.Errorf("the server answered CONNECT with %s", wire.Name(connack))
	case connack.ReasonCode != 0:
		return nil, fmt.Errorf("the server refused the connection: CONNACK with reason code %#02x", connack.ReasonCode)
	}
	if connack.Properties.ServerKeepAliveFlag {
		notes = append(notes, "server_keepalive_s", connack.Properties.ServerKeepAlive)
	}
	err = s.send(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1},
		PacketID:    subscription,
		Filters:     packets.Subscriptions{{Filter: s.topic, Qos: 1}},
	})
	if err != nil {
		return nil, err
	}
	for {
		p, err := wire.ReadPacket(s.in, s.level)
		if err != nil {
			return nil, err
		}
		switch p.FixedHeader.Type {
		case packets.Suback:
			if p.PacketID != subscription || len(p.ReasonCodes) != 1 || p.ReasonCodes[0] > 2 {
				return nil, fmt.Errorf("the server refused the subscription to %s: SUBACK with reason codes %#02x", s.topic, p.ReasonCodes)
			}
			return notes, nil
		default:
			m, err := s.message(p)
			if err != nil {
				return nil, err
			}
			s.early = append(s.early, m)
		}
	}
}

func (s *mqttSession) read() (message, error) {
	if len(s.early) > 0 {
		m := s.early[0]
		s.early = s.early[1:]
		return m, nil
	}
	p, err := wire.ReadPacket(s.in, s.level)
	if err != nil {
		return message{}, err
	}
	return s.message(p)
}

func (s *mqttSession) message(p packets.Packet) (message, error) {
	switch p.FixedHeader.Type {
	case packets.Pingresp:
		return message{kind: answer}, nil
	case packets.Publish:
		if p.FixedHeader.Qos > 1 {
			return message{}, errors.New("the server sent a PUBLISH at QoS 2 to a subscription at QoS 1")
		}
		// A packet identifier of 0 is one that cannot be: nothing to acknowledge.
		return message{kind: push, id: string(p.Payload), number: uint64(p.PacketID)}, nil
	case packets.Disconnect:
		if s.level == wire.MQTT5 {
			// The server closes right after it, so this is an orderly close with a reason.
			return message{}, fmt.Errorf("the server sent DISCONNECT with reason code %#02x: %w", p.ReasonCode, io.EOF)
		}
	}
	return message{}, fmt.Errorf("the server sent %s, which is for servers to receive", wire.Name(p))
}

func (s *mqttSession) beat() error {
	return s.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
}

func (s *mqttSession) reply(m message) error {
	if m.kind != push || m.number == 0 {
		return nil
	}
	return s.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: uint16(m.number)})
}

func (s *mqttSession) leave() error {
	return s.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}})
}

func (s *mqttSession) send(p packets.Packet) error {
	p.ProtocolVersion = s.level
	return wire.WritePacket(s.conn, p)
}
