package faults

import (
	"context"
	"errors"
	"fmt"
	"time"

	"outlive/lab"
	"outlive/lab/units"
)

var serverKill = Kind{
	Name:    "server-kill",
	Summary: "The server's process is killed (kill -9). Its kernel lives on and says FIN or RST for it.",
	New:     func() Fault { return &ServerKill{} },
}

// ServerKill ends the server's program and leaves its machine running.
type ServerKill struct{}

// Check finds nothing: there is always a server.
func (f *ServerKill) Check(World) []units.Problem { return nil }

// Inject kills the program and waits until it is gone.
func (f *ServerKill) Inject(ctx context.Context, l Lab) (Effect, error) {
	at := time.Now()
	if err := killServer(ctx, l); err != nil {
		return Effect{}, err
	}
	return Effect{At: at, Host: lab.ServerName, Text: "killed the server's program"}, nil
}

// killServer kills the server's program and waits for its end. That it had ended
// before is an error: nothing would be tested.
func killServer(ctx context.Context, l Lab) error {
	select {
	case <-l.Server.Exited():
		return errors.New("killing the server: it had already ended; see server.log")
	default:
	}
	if err := l.Server.Kill(); err != nil {
		return fmt.Errorf("killing the server: %w", err)
	}
	select {
	case <-l.Server.Exited():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("killing the server: waiting for its end: %w", ctx.Err())
	}
}
