package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/mochi-mqtt/server/v2/packets"
)

// The levels of MQTT as CONNECT carries them.
const (
	MQTT311 byte = 4
	MQTT5   byte = 5
)

// maxPacket is the length of the longest MQTT packet that is read. Nothing in a
// lab is near it; it keeps a broken server from making us allocate 256 MiB.
const maxPacket = 1 << 20

// ReadPacket reads the next MQTT packet of a connection of the given level. At
// the end of the input the error is io.EOF, in the middle of a packet
// io.ErrUnexpectedEOF.
func ReadPacket(r *bufio.Reader, level byte) (packets.Packet, error) {
	p := packets.Packet{ProtocolVersion: level}
	first, err := r.ReadByte()
	if err != nil {
		return p, err
	}
	if err := p.FixedHeader.Decode(first); err != nil {
		return p, fmt.Errorf("reading an MQTT packet: first byte %#02x: %w", first, err)
	}
	p.FixedHeader.Remaining, _, err = packets.DecodeLength(r)
	if err != nil {
		return p, inside(err)
	}
	if p.FixedHeader.Remaining > maxPacket {
		return p, fmt.Errorf("reading an MQTT packet: %d bytes are more than the %d that this program reads", p.FixedHeader.Remaining, maxPacket)
	}
	body := make([]byte, p.FixedHeader.Remaining)
	if _, err := io.ReadFull(r, body); err != nil {
		return p, inside(err)
	}
	if err := decode(&p, body); err != nil {
		return p, fmt.Errorf("reading an MQTT %s: %w", Name(p), err)
	}
	return p, nil
}

func decode(p *packets.Packet, body []byte) error {
	switch p.FixedHeader.Type {
	case packets.Connect:
		return p.ConnectDecode(body)
	case packets.Connack:
		if len(body) == 2 {
			// A server that does not speak MQTT 5 says so in the form that it knows, without properties.
			older := packets.Packet{ProtocolVersion: MQTT311, FixedHeader: p.FixedHeader}
			err := older.ConnackDecode(body)
			p.ReasonCode = older.ReasonCode
			return err
		}
		return p.ConnackDecode(body)
	case packets.Publish:
		return p.PublishDecode(body)
	case packets.Puback:
		return p.PubackDecode(body)
	case packets.Subscribe:
		return p.SubscribeDecode(body)
	case packets.Suback:
		return p.SubackDecode(body)
	case packets.Pingreq, packets.Pingresp:
		return nil
	case packets.Disconnect:
		return p.DisconnectDecode(body)
	}
	return packets.ErrNoValidPacketAvailable
}

// WritePacket writes an MQTT packet in one call of Write, so that it leaves in
// one TCP segment. Its ProtocolVersion says in which level it is encoded.
func WritePacket(w io.Writer, p packets.Packet) error {
	var b bytes.Buffer
	if err := encode(&p, &b); err != nil {
		return fmt.Errorf("encoding an MQTT %s: %w", Name(p), err)
	}
	_, err := w.Write(b.Bytes())
	return err
}

func encode(p *packets.Packet, b *bytes.Buffer) error {
	switch p.FixedHeader.Type {
	case packets.Connect:
		return p.ConnectEncode(b)
	case packets.Publish:
		return p.PublishEncode(b)
	case packets.Puback:
		return p.PubackEncode(b)
	case packets.Subscribe:
		return p.SubscribeEncode(b)
	case packets.Pingreq:
		return p.PingreqEncode(b)
	case packets.Disconnect:
		return p.DisconnectEncode(b)
	}
	return packets.ErrNoValidPacketAvailable
}

// Name is the type of a packet as the standard writes it: "CONNECT".
func Name(p packets.Packet) string {
	if name, ok := packets.PacketNames[p.FixedHeader.Type]; ok {
		return string(bytes.ToUpper([]byte(name)))
	}
	return fmt.Sprintf("packet of type %d", p.FixedHeader.Type)
}

// Topic is where the pushes to a device are published.
func Topic(device string) string { return "outlive/" + device }

// inside is the error for an input that ends inside a packet.
func inside(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
