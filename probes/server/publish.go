package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// publishLimit bounds how long a server may take to accept a push or a publisher.
const publishLimit = 10 * time.Second

// Outcome is what a server said about a push.
type Outcome string

// The outcomes of a push.
const (
	// Accepted: the server took the push and knows a connection for it.
	Accepted Outcome = "accepted"
	// NoConnection: the server knows no connection of the device.
	NoConnection Outcome = "no connection"
)

// Receipt says when a push was handed over and what the server said.
type Receipt struct {
	// At is the instant just before the push was written to the server.
	At time.Time
	// Outcome is empty where Publish gave an error.
	Outcome Outcome
}

var errVersion = errors.New("the server does not speak this version of the protocol")

// DialFunc connects to an address, as net.Dialer.DialContext and netns.NS.Dial do.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Publisher hands pushes to a push server over a connection that stays open
// from push to push, so that a push costs the lab no handshake. It may be used by
// several goroutines; their pushes go one after the other.
type Publisher struct {
	open []openFunc
	dial func(context.Context) (net.Conn, error)

	mu   sync.Mutex
	conn net.Conn // nil if there is none
	hand handFunc
}

// openFunc starts a protocol's publisher on a new connection. It gives
// errVersion where the server does not speak its version, and the next one of
// the protocol is then tried on another connection.
type openFunc func(net.Conn) (handFunc, error)

// handFunc hands over one push and waits for what the server says.
type handFunc func(device, id string) (Outcome, error)

// OpenPublisher connects to the server of a protocol. The connection should be
// one that the network of the scenario does not carry: over the loopback of the
// server's namespace. The caller closes the publisher.
func OpenPublisher(ctx context.Context, dial DialFunc, protocol, address string) (*Publisher, error) {
	known, err := protocolNamed(protocol)
	if err != nil {
		return nil, fmt.Errorf("opening a publisher: %w", err)
	}
	p := &Publisher{
		open: known.publish,
		dial: func(ctx context.Context) (net.Conn, error) { return dial(ctx, "tcp", address) },
	}
	if err := p.connect(ctx); err != nil {
		return nil, fmt.Errorf("opening a publisher at %s: %w", address, err)
	}
	return p, nil
}

// Publish hands a push for a device to the server and waits, for at most 10 s,
// until the server has accepted it. That the server has no connection for it is
// no error but an Outcome. After an error the connection is given up, and the
// next Publish opens another. At is set in any case.
func (p *Publisher) Publish(ctx context.Context, device, id string) (Receipt, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	receipt := Receipt{At: time.Now()}
	var err error
	if p.conn == nil || stale(p.conn) {
		p.drop()
		err = p.connect(ctx)
	}
	if err == nil {
		err = p.do(ctx, func() (err error) {
			receipt.At = time.Now()
			receipt.Outcome, err = p.hand(device, id)
			return err
		})
	}
	if err != nil {
		return receipt, fmt.Errorf("handing push %s for device %s to the server: %w", id, device, err)
	}
	return receipt, nil
}

// Close closes the connection. Publish may still be called and opens another.
func (p *Publisher) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop()
	return nil
}

// connect opens a connection, with the newest version of the protocol that the server speaks.
func (p *Publisher) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, publishLimit)
	defer cancel()
	err := errVersion
	for _, open := range p.open {
		conn, dialErr := p.dial(ctx)
		if dialErr != nil {
			return dialErr
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			// Probes would be noise in the server's namespace.
			_ = tcp.SetKeepAlive(false)
		}
		p.conn = conn
		err = p.do(ctx, func() (err error) {
			p.hand, err = open(conn)
			return err
		})
		if !errors.Is(err, errVersion) {
			break
		}
	}
	return err
}

// do does something on the connection within the limit, and drops the connection if that fails.
func (p *Publisher) do(ctx context.Context, what func() error) error {
	ctx, cancel := context.WithTimeout(ctx, publishLimit)
	defer cancel()
	conn := p.conn
	_ = conn.SetDeadline(time.Time{})
	// Reads and writes do not know the context; a deadline in the past ends them.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	err := what()
	if err == nil {
		return nil
	}
	p.drop()
	if ctx.Err() != nil {
		return fmt.Errorf("%w (%w)", context.Cause(ctx), err)
	}
	return err
}

// stale says whether the server has ended a connection on which it has nothing
// to say: a push written to it would be lost although the server may be back.
func stale(conn net.Conn) bool {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	quiet := false
	err = raw.Read(func(fd uintptr) bool {
		_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		quiet = errors.Is(err, unix.EAGAIN)
		return true
	})
	return err != nil || !quiet
}

func (p *Publisher) drop() {
	if p.conn != nil {
		_ = p.conn.Close()
	}
	p.conn, p.hand = nil, nil
}
