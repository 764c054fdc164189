package flow

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"
)

// mqttProtocol is MQTT 3.1, 3.1.1 and 5 over plain TCP.
var mqttProtocol = protocol{
	name:    "mqtt",
	words:   []string{"connect", "connack", "subscribe", "suback", "pingreq", "pingresp", "publish", "puback", "disconnect"},
	decoder: func() decoder { return new(mqttDecoder) },
}

// maxMQTT is the longest packet whose content is read. Longer ones are passed over.
const maxMQTT = 1 << 20

// The reason codes of DISCONNECT that matter (MQTT 5, 3.14.2.1). Below 0x80 is an
// ordinary end.
const (
	mqttError            = 0x80
	mqttShuttingDown     = 0x8B
	mqttKeepAliveTimeout = 0x8D
	mqttTakenOver        = 0x8E
)

type mqttDecoder struct {
	in      [2]inflow
	skip    [2]int64 // bytes of a long packet still to come
	long    [2]message
	version byte
	// begun says that CONNECT was seen, without which nothing is MQTT.
	begun bool
}

func (q *mqttDecoder) decode(d direction, b []byte, found func(message)) error {
	f := &q.in[d]
	f.add(b)
	for {
		if q.skip[d] > 0 {
			n := int(min(q.skip[d], int64(len(f.rest))))
			f.done(n)
			if q.skip[d] -= int64(n); q.skip[d] > 0 {
				return nil
			}
			found(q.long[d])
		}
		head, remaining, ok, err := mqttHeader(f.rest)
		if err != nil || !ok {
			return err
		}
		p := packets.Packet{ProtocolVersion: q.version}
		if err := p.FixedHeader.Decode(f.rest[0]); err != nil {
			return fmt.Errorf("the %s sent a packet that begins with %#02x: %w", d.sender(), f.rest[0], err)
		}
		p.FixedHeader.Remaining = remaining
		if !q.begun {
			if d == toClient || p.FixedHeader.Type != packets.Connect {
				return fmt.Errorf("the %s did not begin with CONNECT", d.sender())
			}
			q.begun = true
		}
		m := message{d: d, name: strings.ToLower(packets.PacketNames[p.FixedHeader.Type]), start: f.at, end: f.at + int64(head+remaining)}
		if remaining > maxMQTT {
			q.skip[d], q.long[d] = int64(head+remaining), m
			continue
		}
		if len(f.rest) < head+remaining {
			return nil
		}
		if err := q.content(&m, &p, f.rest[head:head+remaining]); err != nil {
			return fmt.Errorf("the %s sent a %s that cannot be read: %w", d.sender(), strings.ToUpper(m.name), err)
		}
		f.done(head + remaining)
		found(m)
	}
}

// mqttHeader reads the length of the packet that b begins with; not ok if b is too short to tell.
func mqttHeader(b []byte) (head, remaining int, ok bool, err error) {
	const longest = 5
	remaining, n, err := 0, 0, error(nil)
	if len(b) > 1 {
		remaining, n, err = packets.DecodeLength(bytes.NewReader(b[1:min(len(b), longest)]))
	}
	switch {
	case len(b) < 2 || err != nil && len(b) < longest:
		return 0, 0, false, nil
	case err != nil:
		return 0, 0, false, fmt.Errorf("a packet length that is none: % x", b[1:longest])
	}
	return 1 + n, remaining, true, nil
}

// content reads what matters of a packet.
func (q *mqttDecoder) content(m *message, p *packets.Packet, body []byte) (err error) {
	defer func() {
		// The bytes are whatever the server under test sent, and the codec was written for its own.
		if x := recover(); x != nil {
			err = fmt.Errorf("decoding it panicked: %v", x)
		}
	}()
	switch p.FixedHeader.Type {
	case packets.Connect:
		if err := p.ConnectDecode(body); err != nil {
			return err
		}
		q.version = p.ProtocolVersion
	case packets.Connack:
		if err := p.ConnackDecode(body); err != nil {
			return err
		}
		// Only a session that goes on has its subscriptions already.
		if p.SessionPresent && p.ReasonCode == 0 {
			m.role = roleReady
		}
	case packets.Suback:
		if err := p.SubackDecode(body); err != nil {
			return err
		}
		for _, code := range p.ReasonCodes {
			if code < mqttError {
				m.role = roleReady
			}
		}
	case packets.Publish:
		if err := p.PublishDecode(body); err != nil {
			return err
		}
		if m.d == toClient {
			m.role, m.key, m.body = rolePush, strconv.Itoa(int(p.PacketID)), bytes.Clone(p.Payload)
		}
	case packets.Puback, packets.Pubrec:
		if err := p.PubackDecode(body); err != nil {
			return err
		}
		if m.d == toServer {
			m.role, m.key = roleAck, strconv.Itoa(int(p.PacketID))
		}
	case packets.Pingreq:
		m.role = rolePing
	case packets.Pingresp:
		m.role = rolePong
	case packets.Disconnect:
		q.goodbye(m, body)
	}
	return nil
}

// goodbye reads a DISCONNECT. A keep-alive timeout is no leave-taking: it says
// that the sender believes the other end dead. The codec passes over a reason that
// stands alone, so the first byte is read here.
func (q *mqttDecoder) goodbye(m *message, body []byte) {
	m.role, m.why = roleGoodbye, "sent DISCONNECT"
	if q.version != 5 || len(body) == 0 {
		return
	}
	switch code := body[0]; {
	case code == mqttKeepAliveTimeout:
		m.role, m.why = roleNone, ""
	case code == mqttTakenOver:
		m.why = "sent DISCONNECT: session taken over"
	case code == mqttShuttingDown:
		m.why = "sent DISCONNECT: server shutting down"
	case code >= mqttError:
		m.why = fmt.Sprintf("sent DISCONNECT with reason %#02x", code)
	}
}
