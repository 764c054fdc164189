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

// incoming is what the reader of a connection hands to its loop: a line, or the
// error that ended the connection.
type incoming struct {
	line wire.Line
	err  error
}

// lineConn is one connection to the line server.
type lineConn struct {
	conn net.Conn
	log  *slog.Logger
	end  context.CancelCauseFunc // ends it from outside, with the reason

	writing sync.Mutex // lines come from the connection's own loop and from publishers
}

func (c *lineConn) write(l wire.Line) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	_ = c.conn.SetWriteDeadline(time.Now().Add(writeLimit))
	return wire.WriteLine(c.conn, l)
}

// hold serves a device until its connection is over, and says why it is.
func (c *lineConn) hold(ctx context.Context, in <-chan incoming, policy heartbeat.Policy, idle time.Duration) error {
	heard := time.Now()
	var beats uint64
	take := func(m incoming) error {
		if m.err != nil {
			return m.err
		}
		heard = time.Now()
		kind := heartbeat.Received
		switch m.line.Word {
		case wire.Ping:
			if err := c.write(wire.Line{Word: wire.Pong, Number: m.line.Number}); err != nil {
				return err
			}
			c.log.Info("ping")
		case wire.Pong:
			if m.line.Number == beats {
				kind = heartbeat.Answered
			}
			c.log.Info("answer")
		case wire.Ack:
			c.log.Info("ack", "id", m.line.ID)
		default:
			return unexpected(m.line)
		}
		policy.Observe(heartbeat.Event{At: heard, Kind: kind})
		return nil
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		due, do := next(policy.Next(), heard, idle)
		timer.Stop()
		if do != nothing {
			timer.Reset(time.Until(due))
		}
		select {
		case <-ctx.Done():
			return ended(ctx)
		case m := <-in:
			if err := take(m); err != nil {
				return err
			}
			continue
		case <-timer.C:
		}
		// Select chooses at random; a line that is here already must not be overlooked.
		select {
		case m := <-in:
			if err := take(m); err != nil {
				return err
			}
			continue
		default:
		}
		switch do {
		case closeIdle:
			return errIdle
		case closeUnanswered:
			return errUnanswered
		case beat:
			beats++
			policy.Observe(heartbeat.Event{At: time.Now(), Kind: heartbeat.Sent})
			if err := c.write(wire.Line{Word: wire.Ping, Number: beats}); err != nil {
				return err
			}
			c.log.Info("beat")
		}
	}
}

// ended is why a connection's context is over.
func ended(ctx context.Context) error {
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return errStopped
}

// deed is what a device's loop does when its timer fires.
type deed int

const (
	nothing deed = iota
	beat
	closeUnanswered
	closeIdle
)

// next is the earlier of what the policy wants and the end of the idle timeout.
// Where both come together the timeout wins: a heartbeat could not save the connection.
func next(action heartbeat.Action, heard time.Time, idle time.Duration) (time.Time, deed) {
	due, do := action.At, nothing
	switch action.Do {
	case heartbeat.Beat:
		do = beat
	case heartbeat.GiveUp:
		do = closeUnanswered
	}
	if ends := heard.Add(idle); idle > 0 && (do == nothing || !ends.After(due)) {
		due, do = ends, closeIdle
	}
	return due, do
}

// cause sorts the end of a connection for the log.
func (c *lineConn) cause(err error) string {
	switch {
	case errors.Is(err, errReplaced):
		return "replaced"
	case errors.Is(err, errIdle):
		return "idle"
	case errors.Is(err, errUnanswered):
		return string(heartbeat.Unanswered)
	case errors.Is(err, errStopped):
		return "stopped"
	}
	return string(wire.Cause(err))
}

func unexpected(l wire.Line) error {
	return fmt.Errorf("the client sent %q, which does not belong here", l)
}
