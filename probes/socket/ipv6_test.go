package socket

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"outlive/lab"
	"outlive/lab/labtest"
)

// buildPath6 makes the path with IPv6 and nothing else. The firewall has no rules, and so
// lets everything through:
//
//	phone ── cell ── lan0 [firewall cell] wan0 ── cell [server]
func buildPath6(t *testing.T) *path {
	t.Helper()
	topology, err := lab.Build(t.Context(), lab.TopologySpec{
		Uplinks: []lab.UplinkSpec{{Name: "cell", Firewall: "cell"}},
		Devices: []lab.DeviceSpec{{Name: "phone", Uplinks: []string{"cell"}}},
	})
	labtest.SkipUnsupported(t, err)
	t.Cleanup(func() { topology.Close() })
	return watchPath(t, topology, eventBuffer)
}

// TestIPv6 is what the kernel and programs do to sockets of IPv6: a close in order, a reset
// that comes in, and a kernel that gives up on a silent path, of which the guard tells.
func TestIPv6(t *testing.T) {
	for _, listenOn := range []string{"[2001:db8::1]:0", "[::]:0"} {
		t.Run("closed in order, from a listener at "+listenOn, func(t *testing.T) {
			labtest.Run(t, func(t *testing.T) {
				p := buildPath6(t)
				phone, server := p.connect(listenOn)
				opened := p.phone.await(t, Opened)
				if !opened.Local.Addr().Is6() || opened.Local.Addr().Is4In6() || opened.Remote.Addr() != p.topology.ServerAddr6() {
					t.Errorf("the phone's socket is %s to %s", opened.Local, opened.Remote)
				}
				p.server.await(t, Opened)
				phone.Close()
				<-readError(server)
				server.Close()
				p.phone.await(t, Closed)
				p.server.await(t, Closed)
				p.stopBoth([]string{Opened, Closed}, []string{Opened, Closed})
			})
		})
	}
	t.Run("reset while held", func(t *testing.T) {
		labtest.Run(t, func(t *testing.T) {
			p := buildPath6(t)
			phone, server := p.connect("[::]:0")
			p.phone.await(t, Opened)
			p.server.await(t, Opened)
			throwAway(t, phone)
			known := <-readError(server)
			known.want(t, unix.ECONNRESET)
			near(t, p.server.await(t, GaveUp), known.at)
			server.Close()
			p.server.await(t, Closed)
			p.stopBoth([]string{Opened, Closed}, []string{Opened, GaveUp + " reset", Closed})
		})
	})
	t.Run("given up", func(t *testing.T) {
		labtest.Run(t, func(t *testing.T) {
			p := buildPath6(t)
			phone, _ := p.connect("[::]:0")
			err := phone.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 1})
			if err != nil {
				t.Fatal(err)
			}
			p.phone.await(t, Opened)
			p.server.await(t, Opened)
			p.cut()
			known := <-readError(phone)
			known.want(t, unix.ETIMEDOUT)
			near(t, p.phone.await(t, GaveUp), known.at)
			phone.Close()
			p.phone.await(t, Closed)
			p.stopBoth([]string{Opened, GaveUp + " keepalive", Closed}, []string{Opened})
		})
	})
}
