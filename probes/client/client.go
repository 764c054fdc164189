package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"outlive/lab/units"
	"outlive/probes/heartbeat"
	"outlive/probes/wire"
)

const (
	// greetingLimit bounds an attempt to connect, from the SYN to the end of the
	// protocol's greeting. Push clients wait from 10 s to 90 s; the short end
	// suits scenarios of minutes.
	greetingLimit = 10 * time.Second
	// writeLimit bounds every write. It is only reached where the kernel's send
	// buffer is full, which no client of this package brings about by itself.
	writeLimit = 10 * time.Second
)

// Run runs a client until the context ends, and then takes leave of the server.
// It connects at once, and again whenever the connection is lost. The error says
// that the configuration is wrong: what happens on the network is no error but
// goes to the log.
func Run(ctx context.Context, config Config, log io.Writer) error {
	return RunFrom(ctx, config, log, wire.Dial)
}

// DialFunc opens a connection to the server, with the settings of wire.Dial.
type DialFunc func(ctx context.Context, server netip.AddrPort) (net.Conn, error)

// RunFrom is Run for a client whose connections are opened elsewhere than in the
// network namespace of this process, by dial.
func RunFrom(ctx context.Context, config Config, log io.Writer, dial DialFunc) error {
	fail := func(err error) error {
		return fmt.Errorf("configuring the client of device %q: %w", config.Device, err)
	}
	protocol, err := protocolOf(config)
	if err != nil {
		return fail(err)
	}
	policy, err := heartbeat.New(config.Heartbeat)
	if err != nil {
		return fail(err)
	}
	backoff, err := heartbeat.NewBackoff(config.Reconnect, config.Seed)
	if err != nil {
		return fail(err)
	}
	c := &client{config: config, protocol: protocol, policy: policy, log: wire.NewLog(log), dial: dial}
	for {
		if conn, session := c.connect(ctx); conn != nil {
			backoff.Connected(time.Now())
			c.hold(ctx, conn, session)
		}
		now := time.Now()
		next := backoff.Failed(now)
		if ctx.Err() == nil {
			c.log.Info("retry", "in_s", units.Seconds(next.Sub(now)))
		}
		if !waitUntil(ctx, next) {
			c.log.Info("ended")
			return nil
		}
	}
}

// waitUntil waits and says whether the context still holds.
func waitUntil(ctx context.Context, at time.Time) bool {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}

type client struct {
	config   Config
	protocol Protocol
	policy   heartbeat.Policy
	log      *slog.Logger
	dial     DialFunc
}

// connect makes one attempt. It gives nil where that fails.
func (c *client) connect(ctx context.Context) (net.Conn, session) {
	ctx, cancel := context.WithTimeoutCause(ctx, greetingLimit, errGreeting)
	defer cancel()
	c.log.Info("connecting")
	conn, err := c.dial(ctx, c.config.Server)
	if err != nil {
		c.log.Info("failed", "error", err.Error())
		return nil, nil
	}
	c.log.Info("connected", "local", conn.LocalAddr().String(), "remote", conn.RemoteAddr().String())
	// Greeting reads and writes do not know the context; a deadline in the past ends them.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	session := c.protocol.open(conn, c.config)
	notes, err := session.greet()
	if !stop() {
		// The context ended first, which says more than the failed read or write that it caused.
		err = context.Cause(ctx)
	}
	if err != nil {
		c.log.Info("failed", "error", err.Error())
		wire.Close(conn)
		return nil, nil
	}
	c.log.Info("ready", notes...)
	return conn, session
}

// incoming is what the reader of a connection hands to the loop: a message, or
// the error that ended the connection.
type incoming struct {
	message message
	err     error
}

// hold keeps a ready connection until it is lost or the context ends, and closes it.
func (c *client) hold(ctx context.Context, conn net.Conn, s session) {
	in := make(chan incoming)
	go func() {
		defer close(in)
		for {
			m, err := s.read()
			in <- incoming{m, err}
			if err != nil {
				return
			}
		}
	}()
	c.policy.Observe(heartbeat.Event{At: time.Now(), Kind: heartbeat.Connected})
	err := c.loop(ctx, conn, s, in)
	if errors.Is(err, errWrite) {
		// What the kernel tells a reader (reset, timed out) says more than what it tells a writer (broken pipe).
		_ = conn.SetReadDeadline(time.Unix(1, 0))
		for m := range in {
			if m.err != nil && !errors.Is(m.err, os.ErrDeadlineExceeded) {
				err = m.err
			}
		}
	}
	if errors.Is(err, errStopped) {
		_ = conn.SetWriteDeadline(time.Now().Add(writeLimit))
		_ = s.leave() // a courtesy: the connection is closed either way
	}
	wire.Close(conn)
	for range in {
		// Until the reader has ended, so that nothing of this connection goes on beside the next.
	}
	cause := wire.Cause(err)
	switch {
	case errors.Is(err, errStopped):
		return
	case errors.Is(err, errUnanswered):
		cause = heartbeat.Unanswered
	}
	c.policy.Observe(heartbeat.Event{At: time.Now(), Kind: heartbeat.Lost, Cause: cause})
	c.log.Info("lost", "cause", cause, "error", err.Error())
}

var (
	errGreeting   = fmt.Errorf("no greeting within %v", greetingLimit)
	errUnanswered = errors.New("no answer to the heartbeat within the deadline")
	errStopped    = errors.New("told to stop")
	errWrite      = errors.New("writing")
)

// loop drives the policy until the connection is over, and says why.
func (c *client) loop(ctx context.Context, conn net.Conn, s session, in <-chan incoming) error {
	write := func(do func() error) error {
		_ = conn.SetWriteDeadline(time.Now().Add(writeLimit))
		if err := do(); err != nil {
			return fmt.Errorf("%w: %w", errWrite, err)
		}
		return nil
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		action := c.policy.Next()
		timer.Stop()
		if action.Do != heartbeat.Wait {
			timer.Reset(time.Until(action.At))
		}
		select {
		case <-ctx.Done():
			return errStopped
		case m := <-in:
			if err := c.take(m, s, write); err != nil {
				return err
			}
			continue
		case <-timer.C:
		}
		// Select chooses at random; an answer that is here already must not be overlooked.
		select {
		case m := <-in:
			if err := c.take(m, s, write); err != nil {
				return err
			}
			continue
		default:
		}
		if action.Do == heartbeat.GiveUp {
			return errUnanswered
		}
		c.policy.Observe(heartbeat.Event{At: time.Now(), Kind: heartbeat.Sent})
		if err := write(s.beat); err != nil {
			return err
		}
		c.log.Info("beat")
	}
}

// take handles what came in.
func (c *client) take(in incoming, s session, write func(func() error) error) error {
	if in.err != nil {
		return in.err
	}
	kind := heartbeat.Received
	if in.message.kind == answer {
		kind = heartbeat.Answered
	}
	c.policy.Observe(heartbeat.Event{At: time.Now(), Kind: kind})
	if err := write(func() error { return s.reply(in.message) }); err != nil {
		return err
	}
	switch in.message.kind {
	case answer:
		c.log.Info("answer")
	case push:
		c.log.Info("push", "id", in.message.id)
	case ping:
		c.log.Info("ping")
	}
	return nil
}
