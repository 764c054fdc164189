package server

import (
	"bufio"
	"fmt"
	"net"

	"github.com/mochi-mqtt/server/v2/packets"

	"outlive/probes/wire"
)

// publisherID is the publisher's MQTT client identifier.
const publisherID = "outlive-publisher"

// openMQTTPublisher connects at an MQTT level. Only in MQTT 5 can a server say
// that there is no subscriber. No keep alive is announced: pushes can be hours apart.
func openMQTTPublisher(level byte) openFunc {
	return func(conn net.Conn) (handFunc, error) {
		p := &mqttPublisher{conn: conn, in: bufio.NewReader(conn), level: level}
		if err := p.connect(); err != nil {
			return nil, err
		}
		return p.hand, nil
	}
}

type mqttPublisher struct {
	conn  net.Conn
	in    *bufio.Reader
	level byte
	last  uint16 // packet identifier
}

func (p *mqttPublisher) connect() error {
	answer, err := p.exchange(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Connect},
		Connect:     packets.ConnectParams{ProtocolName: []byte("MQTT"), Clean: true, ClientIdentifier: publisherID},
	}, packets.Connack)
	switch {
	case err != nil:
		return err
	case answer.ReasonCode == packets.ErrUnsupportedProtocolVersion.Code, answer.ReasonCode == packets.Err3UnsupportedProtocolVersion.Code:
		return errVersion
	case answer.ReasonCode != 0:
		return fmt.Errorf("the server refused the publisher: CONNACK with reason code %#02x", answer.ReasonCode)
	}
	return nil
}

func (p *mqttPublisher) hand(device, id string) (Outcome, error) {
	if p.last++; p.last == 0 {
		p.last = 1 // 0 is not an identifier
	}
	answer, err := p.exchange(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1},
		TopicName:   wire.Topic(device),
		PacketID:    p.last,
		Payload:     []byte(id),
	}, packets.Puback)
	switch {
	case err != nil:
		return "", err
	case answer.PacketID != p.last:
		return "", fmt.Errorf("the server acknowledged packet %d instead of %d", answer.PacketID, p.last)
	case answer.ReasonCode == packets.CodeNoMatchingSubscribers.Code:
		return NoConnection, nil
	case answer.ReasonCode >= 0x80:
		return "", fmt.Errorf("the server refused the push: PUBACK with reason code %#02x", answer.ReasonCode)
	}
	return Accepted, nil
}

// exchange sends a packet and reads the one that answers it.
func (p *mqttPublisher) exchange(out packets.Packet, want byte) (packets.Packet, error) {
	out.ProtocolVersion = p.level
	if err := wire.WritePacket(p.conn, out); err != nil {
		return packets.Packet{}, err
	}
	answer, err := wire.ReadPacket(p.in, p.level)
	if err == nil && answer.FixedHeader.Type != want {
		err = fmt.Errorf("the server answered %s with %s", wire.Name(out), wire.Name(answer))
	}
	return answer, err
}
