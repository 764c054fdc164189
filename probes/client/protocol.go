package client

import (
	"fmt"
	"net"
	"slices"
)

// protocols are all protocols, in the order in which they are listed. A new one
// is a file with a Protocol and a line here.
var protocols = []Protocol{
	lineProtocol,
	mqttProtocol,
}

// Protocol is a protocol that a built-in client speaks.
type Protocol struct {
	// Name is the word in scenario files.
	Name string
	// Summary says in one sentence what it is.
	Summary string

	// check finds what the protocol cannot carry; open starts it on a connection.
	check func(Config) error
	open  func(net.Conn, Config) session
}

// Protocols lists all protocols that a built-in client speaks.
func Protocols() []Protocol { return slices.Clone(protocols) }

func protocolOf(c Config) (Protocol, error) {
	for _, p := range protocols {
		if p.Name == c.Protocol {
			return p, p.check(c)
		}
	}
	return Protocol{}, fmt.Errorf("there is no built-in client for protocol %q", c.Protocol)
}

// session is a protocol on one connection. read is called from one goroutine
// and the rest from another; greet comes before all others.
type session interface {
	// greet does what must be done before pushes can come. It gives what the log should say of it, as for slog.
	greet() (notes []any, err error)
	// read waits for the next message. Any error ends the connection.
	read() (message, error)
	// beat sends a heartbeat.
	beat() error
	// reply sends what the message calls for, if anything.
	reply(message) error
	// leave says goodbye, if the protocol has a word for it, before an orderly close.
	leave() error
}

// message is something that the server sent.
type message struct {
	kind messageKind
	// id is the identity of a push.
	id string
	// number is what reply needs to know: the number of a server's heartbeat, or an MQTT packet identifier.
	number uint64
}

type messageKind int

const (
	answer messageKind = iota // to the last heartbeat
	push                      // to the device
	ping                      // the server's heartbeat
	other                     // a sign of life without a meaning of its own
)
