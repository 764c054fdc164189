package client

import (
	"bufio"
	"fmt"
	"net"
	"sync/atomic"

	"outlive/probes/wire"
)

var lineProtocol = Protocol{
	Name:    "line",
	Summary: "A protocol of text lines over TCP, as small as a push protocol can be.",
	check:   func(c Config) error { return wire.CheckName(c.Device) },
	open: func(conn net.Conn, c Config) session {
		return &lineSession{conn: conn, lines: wire.NewLineReader(conn), device: c.Device}
	},
}

type lineSession struct {
	conn   net.Conn
	lines  *bufio.Reader
	device string
	beats  atomic.Uint64 // the number of the last heartbeat; read and beat both use it
}

func (s *lineSession) greet() (notes []any, err error) {
	if err := wire.WriteLine(s.conn, wire.Line{Word: wire.Hello, Device: s.device}); err != nil {
		return nil, err
	}
	l, err := wire.ReadLine(s.lines)
	if err != nil {
		return nil, err
	}
	if l.Word != wire.Welcome || l.Device != s.device {
		return nil, fmt.Errorf("the server answered HELLO %s with %q", s.device, l)
	}
	return nil, nil
}

func (s *lineSession) read() (message, error) {
	l, err := wire.ReadLine(s.lines)
	if err != nil {
		return message{}, err
	}
	switch l.Word {
	case wire.Pong:
		if l.Number != s.beats.Load() {
			// Late, but the server said it.
			return message{kind: other}, nil
		}
		return message{kind: answer}, nil
	case wire.Push:
		return message{kind: push, id: l.ID}, nil
	case wire.Ping:
		return message{kind: ping, number: l.Number}, nil
	}
	return message{}, fmt.Errorf("the server sent %q, which is for servers to receive", l)
}

func (s *lineSession) beat() error {
	return wire.WriteLine(s.conn, wire.Line{Word: wire.Ping, Number: s.beats.Add(1)})
}

func (s *lineSession) reply(m message) error {
	switch m.kind {
	case push:
		return wire.WriteLine(s.conn, wire.Line{Word: wire.Ack, ID: m.id})
	case ping:
		return wire.WriteLine(s.conn, wire.Line{Word: wire.Pong, Number: m.number})
	}
	return nil
}

func (s *lineSession) leave() error { return nil }
