// Package wire has what the built-in clients and servers share: the formats that
// they speak, the settings of their sockets, and the form of their logs.
package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"

	"outlive/probes/heartbeat"
)

// Dial connects to an address. The kernel's own keepalive probes are off: Go
// switches them on by default, every 15 s, and they would refresh NAT mappings
// behind the back of the heartbeat policy. TCP_NODELAY is on, and multipath TCP off.
func Dial(ctx context.Context, server netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{KeepAlive: -1}
	d.SetMultipathTCP(false)
	return d.DialContext(ctx, "tcp", server.String())
}

// Listen listens at an address. Accepted connections have the settings that
// Dial gives its own.
func Listen(ctx context.Context, at netip.AddrPort) (net.Listener, error) {
	l := net.ListenConfig{KeepAlive: -1}
	// Go listens for multipath TCP by default, and such sockets look different to the socket watchers.
	l.SetMultipathTCP(false)
	return l.Listen(ctx, "tcp", at.String())
}

// Close closes a connection in order: when it returns the FIN has been handed to
// the interface, so the SYN of a connection opened afterwards comes behind it.
// Where something that came in has not been read, the kernel sends a RST behind
// the FIN; a plain Close would send the RST alone.
func Close(conn net.Conn) {
	if c, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite() // fails where the connection is over already
	}
	_ = conn.Close()
}

// Cause sorts the error that ended a connection.
func Cause(err error) heartbeat.Cause {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return heartbeat.Closed
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return heartbeat.Reset
	case errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, os.ErrDeadlineExceeded):
		return heartbeat.TimedOut
	}
	return heartbeat.Failed
}
