// Package server has the reference push servers, one file per protocol, and the
// publisher that hands pushes to a server, ours or the one under test.
//
// A reference server does what the protocol asks and no more: it is there so
// that a scenario needs no other program, and as a server whose behaviour is known.
package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"

	"outlive/lab/units"
	"outlive/probes/heartbeat"
	"outlive/probes/wire"
)

// Config says what a reference server does. It crosses a process boundary as JSON.
type Config struct {
	// Protocol is the name of one of Protocols.
	Protocol string `json:"protocol"`
	// Listen is where it listens; the unspecified address means everywhere.
	Listen netip.AddrPort `json:"listen"`
	// Idle is how long a device may be silent before the line server closes its
	// connection; zero means for ever. An MQTT server goes by the keep alive in CONNECT.
	Idle units.Duration `json:"idle,omitempty"`
	// Heartbeat is what the line server sends to every device.
	Heartbeat heartbeat.Spec `json:"heartbeat,omitzero"`
}

// protocols are all protocols, in the order in which they are listed. A new one
// is a file with a Protocol and a line here.
var protocols = []Protocol{
	lineProtocol,
	mqttProtocol,
}

// Protocol is a protocol that a reference server speaks.
type Protocol struct {
	// Name is the word in scenario files.
	Name string
	// Summary says in one sentence what the server does.
	Summary string
	// Port is where servers of the protocol usually listen.
	Port uint16

	// check finds what the protocol's server cannot do; serve serves until the
	// context ends; publish are the versions of its publisher, the best first.
	check   func(Config) error
	serve   func(context.Context, net.Listener, Config, *slog.Logger) error
	publish []openFunc
}

// Protocols lists all protocols that a reference server speaks.
func Protocols() []Protocol { return slices.Clone(protocols) }

func protocolNamed(name string) (Protocol, error) {
	for _, p := range protocols {
		if p.Name == name {
			return p, nil
		}
	}
	return Protocol{}, fmt.Errorf("there is no server for protocol %q", name)
}

// Main runs a server until the context ends. Its one argument is a Config as
// JSON, and its log goes to stderr. It is made for sandbox.RegisterProgram.
func Main(ctx context.Context, args []string) error {
	var config Config
	if err := wire.ReadConfig(args, &config); err != nil {
		return fmt.Errorf("starting the server: %w", err)
	}
	return Run(ctx, config, os.Stderr)
}

// Run listens and serves until the context ends. The log is one JSON object a
// line, with the event and the kernel's monotonic time.
func Run(ctx context.Context, config Config, log io.Writer) error {
	protocol, err := protocolNamed(config.Protocol)
	if err != nil {
		return fmt.Errorf("configuring the server: %w", err)
	}
	if err := protocol.check(config); err != nil {
		return fmt.Errorf("configuring the %s server: %w", protocol.Name, err)
	}
	listener, err := wire.Listen(ctx, config.Listen)
	if err != nil {
		return fmt.Errorf("starting the %s server: %w", protocol.Name, err)
	}
	logger := wire.NewLog(log)
	logger.Info("listening", "protocol", protocol.Name, "address", listener.Addr().String())
	return protocol.serve(ctx, listener, config, logger)
}
