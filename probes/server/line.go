package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"outlive/probes/heartbeat"
	"outlive/probes/wire"
)

var lineProtocol = Protocol{
	Name:    "line",
	Summary: "Text lines over TCP, with an idle timeout and a heartbeat of the server's own if asked for.",
	Port:    7000,
	check: func(c Config) error {
		if c.Idle < 0 {
			return errors.New("the idle timeout must not be negative")
		}
		_, err := heartbeat.New(c.Heartbeat)
		return err
	},
	serve:   serveLine,
	publish: []openFunc{openLinePublisher},
}

const (
	// greetingLimit is how long a new connection may take to say who it is.
	greetingLimit = 10 * time.Second
	// writeLimit bounds every write, so that a device which reads nothing cannot hold up a publisher for long.
	writeLimit = 10 * time.Second
)

// Why the server ends a connection of its own accord.
var (
	errReplaced   = errors.New("the device has a newer connection")
	errIdle       = errors.New("nothing came in for the idle timeout")
	errUnanswered = errors.New("no answer to the heartbeat within the deadline")
	errStopped    = errors.New("the server was told to stop")
)

// lineServer knows which connection each device has.
type lineServer struct {
	config Config
	log    *slog.Logger

	mu      sync.Mutex
	devices map[string]*lineConn
}

// serveLine accepts until the context ends, and then closes every connection.
func serveLine(ctx context.Context, listener net.Listener, config Config, log *slog.Logger) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	s := &lineServer{config: config, log: log, devices: map[string]*lineConn{}}
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		conn, err := listener.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				wire.Close(conn)
			}
			return nil
		case err != nil:
			_ = listener.Close()
			cancel(err)
			return err
		}
		connections.Go(func() { s.serve(ctx, conn) })
	}
}

// serve handles one connection to its end.
func (s *lineServer) serve(ctx context.Context, conn net.Conn) {
	log := s.log.With("remote", conn.RemoteAddr().String())
	log.Info("accepted")
	ctx, cancel := context.WithCancelCause(ctx)
	c := &lineConn{conn: conn, log: log, end: cancel}
	err := s.greet(ctx, c)
	wire.Close(conn)
	cancel(nil)
	c.log.Info("closed", "cause", c.cause(err), "error", err.Error())
}

// greet finds out who is calling and serves that. It returns why the connection is over.
func (s *lineServer) greet(ctx context.Context, c *lineConn) error {
	lines := wire.NewLineReader(c.conn)
	in := make(chan incoming)
	go func() {
		for {
			l, err := wire.ReadLine(lines)
			select {
			case in <- incoming{l, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	limit := time.NewTimer(greetingLimit)
	defer limit.Stop()
	select {
	case <-ctx.Done():
		return ended(ctx)
	case <-limit.C:
		return errIdle
	case first := <-in:
		switch {
		case first.err != nil:
			return first.err
		case first.line.Word == wire.Hello:
			return s.device(ctx, c, first.line.Device, in)
		case first.line.Word == wire.Publisher:
			return s.publisher(ctx, c, in)
		}
		return unexpected(first.line)
	}
}

// device serves a device's connection.
func (s *lineServer) device(ctx context.Context, c *lineConn, device string, in <-chan incoming) error {
	c.log = c.log.With("device", device)
	policy, err := heartbeat.New(s.config.Heartbeat)
	if err != nil {
		return err
	}
	s.mu.Lock()
	old := s.devices[device]
	s.devices[device] = c
	s.mu.Unlock()
	if old != nil {
		old.end(errReplaced)
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.devices[device] == c {
			delete(s.devices, device)
		}
	}()
	c.log.Info("hello")
	if err := c.write(wire.Line{Word: wire.Welcome, Device: device}); err != nil {
		return err
	}
	policy.Observe(heartbeat.Event{At: time.Now(), Kind: heartbeat.Connected})
	return c.hold(ctx, in, policy, s.config.Idle.D())
}

// publisher serves a connection on which pushes are handed in. Such a
// connection belongs to the lab, so neither idle timeout nor heartbeat apply.
func (s *lineServer) publisher(ctx context.Context, c *lineConn, in <-chan incoming) error {
	c.log.Info("publisher")
	if err := c.write(wire.Line{Word: wire.Ready}); err != nil {
		return err
	}
	for {
		var l wire.Line
		select {
		case <-ctx.Done():
			return ended(ctx)
		case m := <-in:
			if m.err != nil {
				return m.err
			}
			l = m.line
		}
		if l.Word != wire.Publish {
			return unexpected(l)
		}
		s.mu.Lock()
		to := s.devices[l.Device]
		s.mu.Unlock()
		outcome := wire.Gone
		if to != nil {
			if err := to.write(wire.Line{Word: wire.Push, ID: l.ID, Text: l.Text}); err != nil {
				// Part of the line may have left: the connection cannot be used any more.
				to.end(fmt.Errorf("writing a push: %w", err))
			} else {
				to.log.Info("push", "id", l.ID)
				outcome = wire.OK
			}
		}
		if err := c.write(wire.Line{Word: outcome, ID: l.ID}); err != nil {
			return err
		}
	}
}
