package flow

import (
	"bytes"
	"fmt"
	"strings"
)

// lineProtocol is that of the built-in client and server (docs/line-protocol.md).
var lineProtocol = protocol{
	name:    "line",
	words:   []string{"hello", "welcome", "ping", "pong", "push", "ack"},
	decoder: func() decoder { return new(lineDecoder) },
}

// maxLine is far beyond the line protocol's own limit, so that a server that is
// generous with it is still understood.
const maxLine = 1 << 16

type lineDecoder struct{ in [2]inflow }

func (l *lineDecoder) decode(d direction, b []byte, found func(message)) error {
	f := &l.in[d]
	f.add(b)
	for {
		n := bytes.IndexByte(f.rest, '\n')
		if n < 0 {
			if len(f.rest) > maxLine {
				return fmt.Errorf("a line of the %s is longer than %d bytes", d.sender(), maxLine)
			}
			return nil
		}
		m := lineMessage(d, strings.TrimSuffix(string(f.rest[:n]), "\r"))
		m.d, m.start, m.end = d, f.at, f.at+int64(n)+1
		f.done(n + 1)
		found(m)
	}
}

func lineMessage(d direction, line string) message {
	word, rest, _ := strings.Cut(line, " ")
	first, _, _ := strings.Cut(rest, " ")
	m := message{name: "data", key: first}
	if isWord(word) {
		m.name = strings.ToLower(word)
	}
	switch {
	case word == "PING":
		m.role = rolePing
	case word == "PONG":
		m.role = rolePong
	case word == "WELCOME" && d == toClient:
		m.role = roleReady
	case word == "PUSH" && d == toClient:
		m.role, m.body = rolePush, []byte(first)
	case word == "ACK" && d == toServer:
		m.role = roleAck
	}
	return m
}
