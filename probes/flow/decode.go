package flow

import (
	"strings"
)

// role is what a message of a protocol means for a long connection, whatever the protocol calls it.
type role uint8

const (
	roleNone    role = iota
	rolePush         // body has the push's identity; key names it in the acknowledgement
	roleAck          // acknowledges the push with its key
	rolePing         // heartbeat; key names it in the answer
	rolePong         // answer to the heartbeat with its key
	roleReady        // from here on pushes can be sent
	roleGoodbye      // the sender takes leave; why says how
)

// message is one message of a protocol.
type message struct {
	d    direction
	role role
	// name is the protocol's word for it, in lower case.
	name string
	key  string
	body []byte
	why  string
	// start and end are where it lies in its direction's stream.
	start, end int64
}

// decoder finds the messages in the bytes of one connection. It is told them in
// order, each direction for itself, as they were sent. After an error it is not called again.
type decoder interface {
	decode(d direction, b []byte, found func(message)) error
}

// protocol is a protocol whose messages are decoded.
type protocol struct {
	// name is the word for it in scenarios and in Truth.
	name string
	// words are the names of its messages that others may wait for.
	words   []string
	decoder func() decoder
}

// protocols is the registry: a protocol is one file and one line here.
var protocols = []protocol{lineProtocol, mqttProtocol}

func newDecoder(name string) decoder {
	for _, p := range protocols {
		if p.name == name {
			return p.decoder()
		}
	}
	return undecoded{}
}

// EventNames are the names that a LiveEvent can have: those of TCP, and between
// them those of the protocol, if it is one that is decoded.
func EventNames(protocol string) []string {
	names := []string{"syn", "established"}
	for _, p := range protocols {
		if p.name == protocol {
			names = append(names, p.words...)
		}
	}
	return append(names, "fin", "rst")
}

// undecoded is the decoder of protocols that are not known: it finds no
// messages, but hands on the bytes, in which pushes can still be found.
type undecoded struct{}

func (undecoded) decode(direction, []byte, func(message)) error { return nil }

// inflow keeps the bytes of one direction that are not a whole message yet.
type inflow struct {
	rest []byte
	at   int64 // offset of rest in the stream
}

func (f *inflow) add(b []byte) { f.rest = append(f.rest, b...) }

func (f *inflow) done(n int) {
	f.rest = f.rest[n:]
	f.at += int64(n)
	if len(f.rest) == 0 {
		f.rest = nil
	}
}

// isWord says whether s is a plain word that can name a message.
func isWord(s string) bool {
	return s != "" && len(s) <= 16 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-") == ""
}
