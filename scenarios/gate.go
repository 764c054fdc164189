package scenarios

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"outlive/probes/client"
	"outlive/probes/wire"
)

// gate holds the built-in clients back, ready to go, until the scenario starts. A
// program takes some milliseconds to come up, and on a slow processor a third of a second:
// heartbeats would be that much later on one engine than on the other, and so would be
// whatever follows from them.
type gate struct {
	// start has nothing to read until open is closed, and then its end.
	start, open *os.File
	// arrived ends when every client has closed its copy of arrive.
	arrived, arrive *os.File
}

// The descriptors by which a client knows its gate, as os/exec numbers them.
const (
	gateStart = 3 + iota
	gateArrive
)

func newGate() (*gate, error) {
	start, open, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	arrived, arrive, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, start.Close(), open.Close())
	}
	return &gate{start, open, arrived, arrive}, nil
}

// hold makes a command that has not been started wait at the gate.
func (g *gate) hold(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{g.start, g.arrive} }

// await waits until all clients that were started have come to the gate, or have ended.
func (g *gate) await(ctx context.Context, limit time.Duration) error {
	_ = g.arrive.Close()
	if err := g.arrived.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	interrupted := context.AfterFunc(ctx, func() { _ = g.arrived.SetReadDeadline(time.Now()) })
	defer interrupted()
	_, err := io.Copy(io.Discard, g.arrived)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("they did not come up within %s", limit)
	}
	return err
}

// release lets everyone go. It may be called more than once.
func (g *gate) release() {
	for _, f := range []*os.File{g.open, g.start, g.arrive, g.arrived} {
		_ = f.Close()
	}
}

// clientMain is the built-in client: it waits at its gate first.
func clientMain(ctx context.Context, args []string) error {
	// It is read again below. What a program does for the first time takes it longest, and
	// reading JSON most of all.
	var config client.Config
	if err := wire.ReadConfig(args, &config); err != nil {
		return fmt.Errorf("starting the client: %w", err)
	}
	if err := passGate(ctx); err != nil {
		return err
	}
	return client.Main(ctx, args)
}

// passGate tells that this process has come to its gate, and returns when it opens.
func passGate(ctx context.Context) error {
	_ = os.NewFile(gateArrive, "gate").Close()
	start := os.NewFile(gateStart, "gate")
	defer start.Close()
	opened := make(chan struct{})
	go func() {
		defer close(opened)
		_, _ = io.Copy(io.Discard, start)
	}()
	select {
	case <-opened:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
