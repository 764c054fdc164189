// Package client has the built-in clients: programs that hold one long
// connection to a push server, keep it alive by a heartbeat policy, and replace it
// when it is lost. A protocol is one file and a line in a list (protocol.go).
//
// A client writes what it does to its log, one JSON object a line. "event" is one of
//
//	connecting  a SYN is about to leave
//	connected   TCP is connected, from "local" to "remote"
//	ready       the protocol's greeting is over: pushes can come ("server_keepalive_s": what an MQTT 5 server imposes)
//	beat        a heartbeat was sent
//	answer      the answer to a heartbeat came in
//	push        a push came in, "id", and was acknowledged
//	ping        the server's heartbeat came in and was answered
//	lost        the connection is over, by "cause" (unanswered: the policy gave it up; timed-out, reset, closed, failed), because of "error"
//	failed      an attempt to connect failed, because of "error"
//	retry       the next attempt comes in "in_s" seconds
//	ended       the client was told to stop
//
// and "monotonic_s" is when, in seconds of the kernel's CLOCK_MONOTONIC.
package client

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"runtime/debug"
	"time"

	"outlive/lab/units"
	"outlive/probes/heartbeat"
	"outlive/probes/wire"
)

// Config says what a built-in client does. It crosses a process boundary as JSON.
type Config struct {
	// Protocol is the name of one of Protocols.
	Protocol string `json:"protocol"`
	// Server is the push server's address.
	Server netip.AddrPort `json:"server"`
	// Device is the name by which the server knows this client.
	Device string `json:"device"`
	// Version is the MQTT version, "3.1.1" or "5"; empty means "5". Other protocols have none.
	Version string `json:"version,omitempty"`
	// KeepAlive is what an MQTT client announces in CONNECT, in whole seconds;
	// zero announces none. KeepAlive(Heartbeat) is what goes with a policy.
	KeepAlive units.Duration `json:"keepalive,omitempty"`
	// Topic is what an MQTT client subscribes to; empty means outlive/DEVICE.
	Topic string `json:"topic,omitempty"`
	// Heartbeat is the policy by which the connection is kept alive.
	Heartbeat heartbeat.Spec `json:"heartbeat,omitzero"`
	// Reconnect says when a lost connection is replaced.
	Reconnect heartbeat.ReconnectSpec `json:"reconnect,omitzero"`
	// Seed is what the jitter of Reconnect is drawn from.
	Seed uint64 `json:"seed,omitempty"`
}

// MaxKeepAlive is the longest keep alive that CONNECT can carry: 16 bits of seconds.
const MaxKeepAlive = units.Duration(65535 * time.Second)

// KeepAlive is the MQTT keep alive that goes with a heartbeat policy: the
// interval, rounded up to whole seconds, so that a server which cuts after 1.5
// times as much waits at least half an interval for a late heartbeat. It is zero
// (none) without a heartbeat, and for intervals above 18h12m15s, which MQTT
// cannot express.
func KeepAlive(s heartbeat.Spec) units.Duration {
	const second = units.Duration(time.Second)
	interval := s.WithDefaults().Interval
	if interval > MaxKeepAlive {
		return 0
	}
	return (interval + second - 1) / second * second
}

const (
	// memoryLimit is where a process collects its garbage at the latest, whose client
	// holds one connection: there may be thousands on a machine.
	memoryLimit = 32 << 20
	// memoryPerClient is as much again for each further client of the process, which
	// takes 24 KiB.
	memoryPerClient = 128 << 10
)

// LimitMemory makes this process, in which so many clients are to run, collect its
// garbage before it takes much more memory than they need.
func LimitMemory(clients int) {
	debug.SetMemoryLimit(memoryLimit + int64(clients-1)*memoryPerClient)
}

// Main runs a client until the context ends. Its one argument is a Config as
// JSON, and its log goes to stdout. It is made for sandbox.RegisterProgram.
func Main(ctx context.Context, args []string) error {
	var config Config
	if err := wire.ReadConfig(args, &config); err != nil {
		return fmt.Errorf("starting the client: %w", err)
	}
	LimitMemory(1)
	return Run(ctx, config, os.Stdout)
}
