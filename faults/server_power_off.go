package faults

import (
	"context"
	"fmt"
	"strings"
	"time"

	"outlive/lab"
	"outlive/lab/units"
)

var serverPowerOff = Kind{
	Name:    "server-power-off",
	Summary: "The server's machine loses power: the cables go dead first, then the process. Nobody is told anything.",
	New:     func() Fault { return &ServerPowerOff{} },
}

// ServerPowerOff silences the server's machine for good.
type ServerPowerOff struct{}

// Check finds nothing: there is always a server.
func (f *ServerPowerOff) Check(World) []units.Problem { return nil }

// Inject pulls every cable of the server, so that its kernel can say nothing
// any more, and then kills the program.
func (f *ServerPowerOff) Inject(ctx context.Context, l Lab) (Effect, error) {
	at := time.Now()
	var cables []string
	for _, host := range l.Topology.Hosts() {
		if host.Role != lab.RoleServer {
			continue
		}
		for _, i := range host.Interfaces {
			if err := l.Topology.Unplug(i.Point); err != nil {
				return Effect{}, fmt.Errorf("powering off the server: pulling its cable at %s: %w", i.Point, err)
			}
			cables = append(cables, i.Point)
		}
	}
	if err := killServer(ctx, l); err != nil {
		return Effect{}, err
	}
	return Effect{At: at, Host: lab.ServerName, Text: "pulled " + strings.Join(cables, ", ") + " and killed the server's program"}, nil
}
