package faults_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"outlive/faults"
	"outlive/lab"
	"outlive/lab/labtest"
	"outlive/lab/units"
	"outlive/nat"
)

// pressed is a phone with one idle connection behind a NAT with a small table.
type pressed struct {
	faults.Lab
	client, server net.Conn
	listener       net.Listener
	phone          *lab.Host
}

// press makes phone ── cell ── server and a connection, with room in the NAT's table for
// that and limits.Mappings − 1 more.
func press(t *testing.T, limits nat.Limits) *pressed {
	t.Helper()
	topology, err := lab.Build(t.Context(), lab.TopologySpec{
		Uplinks: []lab.UplinkSpec{{Name: "cell", NATs: []string{"cell"}}},
		Devices: []lab.DeviceSpec{{Name: "phone", Uplinks: []string{"cell"}}},
	})
	labtest.SkipUnsupported(t, err)
	t.Cleanup(func() { topology.Close() })
	n, err := nat.Install(t.Context(), topology.Host("cell"), nat.Profile{
		Timeouts: nat.Timeouts{TCPSynSent: units.Duration(3 * time.Second)}, Limits: limits,
	})
	labtest.SkipUnsupported(t, err)
	t.Cleanup(func() { n.Close() })
	p := &pressed{phone: topology.Host("phone")}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	p.Lab = faults.Lab{Topology: topology, NATs: map[string]*nat.NAT{"cell": n}, Go: func(f func(context.Context) error) {
		done := make(chan error, 1)
		go func() { done <- f(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}}
	if p.listener, err = topology.Server().NS.Listen(t.Context(), "tcp4", "198.51.100.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.listener.Close() })
	if p.client, err = p.dial(t); err != nil {
		t.Fatal(err)
	}
	if p.server, err = p.listener.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.client.Close(); p.server.Close() })
	return p
}

func (p *pressed) dial(t *testing.T) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	return p.phone.NS.Dial(ctx, "tcp4", p.listener.Addr().String())
}

// passes says whether what one end says arrives at the other within a while.
func passes(t *testing.T, from, to net.Conn) bool {
	t.Helper()
	if _, err := from.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	_ = to.SetReadDeadline(time.Now().Add(1500 * time.Millisecond))
	_, err := io.ReadFull(to, make([]byte, 1))
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return err == nil
}

func (p *pressed) inject(t *testing.T, f *faults.MappingPressure) {
	t.Helper()
	effect, err := f.Inject(t.Context(), p.Lab)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(effect.Text)
}

// A table that refuses: the connection that has a mapping keeps it, and no other is let
// in, until what the neighbour began has expired.
//
//	phone ───── lan0 [cell] wan0 ── server
//	bystander ─ lan8
func TestPressureRefuses(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		p := press(t, nat.Limits{Mappings: 10})
		p.inject(t, &faults.MappingPressure{On: "cell", Mappings: 30})
		if n, err := p.NATs["cell"].Strangers(); err != nil || n != 9 {
			t.Errorf("strangers have %d mappings, %v; want 9", n, err)
		}
		if c, err := p.dial(t); err == nil {
			c.Close()
			t.Error("a new connection was let in")
		}
		if !passes(t, p.client, p.server) || !passes(t, p.server, p.client) {
			t.Error("the old connection does not pass")
		}
		for limit := time.Now().Add(10 * time.Second); ; {
			c, err := p.dial(t)
			if err == nil {
				c.Close()
				return
			}
			if time.Now().After(limit) {
				t.Fatalf("long after the neighbour's mappings have expired: %v", err)
			}
		}
	})
}

// A neighbour that goes on begins again what has expired.
func TestPressureGoesOn(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		p := press(t, nat.Limits{Mappings: 10})
		p.inject(t, &faults.MappingPressure{On: "cell", Mappings: 30, For: units.Duration(time.Minute)})
		// Twice as long as a mapping of the neighbour's lives, and half.
		<-time.After(7500 * time.Millisecond)
		if n, err := p.NATs["cell"].Strangers(); err != nil || n != 9 {
			t.Errorf("strangers have %d mappings, %v; want 9", n, err)
		}
		if !passes(t, p.client, p.server) || !passes(t, p.server, p.client) {
			t.Error("the old connection does not pass")
		}
	})
}

// A table that evicts: the connection that has been idle for longest loses its
// mapping, and neither end is told. A client that does nothing about it is deaf for good.
func TestPressureEvicts(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		p := press(t, nat.Limits{Mappings: 10, WhenFull: nat.EvictOldest})
		gone := make(chan nat.MappingEvent, 100)
		ctx, cancel := context.WithCancel(t.Context())
		watched := make(chan error, 1)
		go func() {
			watched <- p.NATs["cell"].Watch(ctx, func(e nat.MappingEvent) {
				if e.Kind == nat.MappingGone {
					gone <- e
				}
			})
		}()
		defer func() {
			cancel()
			if err := <-watched; err != nil {
				t.Error(err)
			}
		}()
		// Idle for longer than the neighbour's, by the kernel's count of whole seconds.
		<-time.After(2 * time.Second)
		p.inject(t, &faults.MappingPressure{On: "cell", Mappings: 30})
		select {
		case e := <-gone:
			if e.Cause != nat.CauseEvicted || e.Mapping.LAN.String() != p.client.LocalAddr().String() {
				t.Errorf("the first to go: %+v", e)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("nothing was evicted")
		}
		if passes(t, p.server, p.client) || passes(t, p.client, p.server) {
			t.Error("the connection passes without a mapping")
		}
		if c, err := p.dial(t); err != nil {
			t.Errorf("a new connection was not let in: %v", err)
		} else {
			c.Close()
		}
	})
}

// Where the NAT gives the neighbour nothing, the fault has not happened.
func TestPressureOfNothing(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		p := press(t, nat.Limits{Mappings: 1})
		if _, err := (&faults.MappingPressure{On: "cell", Mappings: 30}).Inject(t.Context(), p.Lab); err == nil || !strings.Contains(err.Error(), "no mapping at all") {
			t.Errorf("got %v", err)
		}
	})
}
