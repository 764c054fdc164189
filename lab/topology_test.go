package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"outlive/lab/labtest"
)

// build builds a topology for a test and takes it apart after it.
func build(tb testing.TB, spec TopologySpec) *Topology {
	tb.Helper()
	t, err := Build(tb.Context(), spec)
	labtest.SkipUnsupported(tb, err)
	tb.Cleanup(func() {
		if err := t.Close(); err != nil {
			tb.Error(err)
		}
	})
	return t
}

// routeBack gives a host a route to a network behind a router, so that plain
// forwarding suffices where a lab has a NAT.
func routeBack(tb testing.TB, h *Host, network string, via netip.Addr) {
	tb.Helper()
	_, dst, err := net.ParseCIDR(network)
	if err != nil {
		tb.Fatal(err)
	}
	if err := h.NS.Netlink().RouteAdd(&netlink.Route{Dst: dst, Gw: via.AsSlice()}); err != nil {
		tb.Fatal(err)
	}
}

// serve accepts connections at an address of the host and gives them out.
func serve(tb testing.TB, h *Host, address string) <-chan net.Conn {
	tb.Helper()
	l, err := h.NS.Listen(tb.Context(), "tcp", address)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	conns := make(chan net.Conn, 8)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns <- c
		}
	}()
	return conns
}

// dial connects and gives both ends.
func dial(tb testing.TB, from *Host, address string, accepted <-chan net.Conn) (client, server net.Conn) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 5*time.Second)
	defer cancel()
	client, err := from.NS.Dial(ctx, "tcp", address)
	if err != nil {
		tb.Fatal(err)
	}
	server = <-accepted
	tb.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// say sends a line and waits for it at the other end.
func say(tb testing.TB, from, to net.Conn, line string) {
	tb.Helper()
	if _, err := io.WriteString(from, line); err != nil {
		tb.Fatal(err)
	}
	hear(tb, to, line)
}

func hear(tb testing.TB, c net.Conn, line string) {
	tb.Helper()
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		tb.Fatal(err)
	}
	got := make([]byte, len(line))
	if _, err := io.ReadFull(c, got); err != nil {
		tb.Fatalf("waiting for %q: %v", line, err)
	}
	if diff := cmp.Diff(line, string(got)); diff != "" {
		tb.Fatalf("heard (-want +got):\n%s", diff)
	}
}

// TestReachServer reaches the server by every uplink, with routers in place of NATs:
//
//	phone ─┬─ wifi ── lan0 [wifi] wan0 ──────────────────────── wifi ─┐
//	tablet ┘                                                          [server] 198.51.100.1
//	phone ─── cell ── lan0 [cell.1] wan0 ── lan0 [cell.2] wan0 ─ cell ─┘
func TestReachServer(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		topology := build(t, twoUplinks)
		server := topology.Server()
		routeBack(t, server, "10.64.0.0/16", netip.MustParseAddr("203.0.113.2"))
		routeBack(t, server, "10.65.0.0/16", netip.MustParseAddr("203.0.113.6"))
		routeBack(t, topology.Host("cell.2"), "10.65.0.0/16", netip.MustParseAddr("100.64.1.2"))
		address := netip.AddrPortFrom(topology.ServerAddr(), 443).String()
		accepted := serve(t, server, address)

		for _, tt := range []struct{ device, uplink, from string }{
			{"phone", "wifi", "10.64.0.2"},
			{"tablet", "wifi", "10.64.0.3"},
			{"phone", "cell", "10.65.0.2"},
		} {
			if tt.uplink == "cell" {
				// The phone prefers Wi-Fi until that is gone.
				link := topology.Interface("phone:wifi").link()
				if err := topology.Host("phone").NS.Netlink().LinkSetDown(link); err != nil {
					t.Fatal(err)
				}
			}
			start := time.Now()
			client, conn := dial(t, topology.Host(tt.device), address, accepted)
			// A SYN that was lost because a link was not ready takes 1 s to repeat.
			if took := time.Since(start); took > 900*time.Millisecond {
				t.Errorf("connecting from %s by %s took %v: the first packet was lost", tt.device, tt.uplink, took)
			}
			if diff := cmp.Diff(tt.from, netip.MustParseAddrPort(conn.RemoteAddr().String()).Addr().String()); diff != "" {
				t.Errorf("address that the server sees (-want +got):\n%s", diff)
			}
			say(t, client, conn, "up\n")
			say(t, conn, client, "down\n")
		}
	})
}

// TestInterfacesAsPlanned reads back what the kernel has.
func TestInterfacesAsPlanned(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		topology := build(t, twoUplinks)
		for _, i := range topology.Points() {
			nl := i.Host.NS.Netlink()
			link, err := nl.LinkByName(i.Name)
			if err != nil {
				t.Fatal(err)
			}
			a := link.Attrs()
			addrs, err := nl.AddrList(link, netlink.FAMILY_ALL)
			if err != nil {
				t.Fatal(err)
			}
			var held []string
			for _, addr := range addrs {
				held = append(held, addr.IPNet.String())
			}
			got := fmt.Sprintf("%d %s %v mtu %d", a.Index, a.HardwareAddr, held, a.MTU)
			want := fmt.Sprintf("%d %s [%s] mtu 1500", i.Index, i.MAC, i.Addr)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", i.Point, diff)
			}
			neighbours, err := nl.NeighList(i.Index, unix.AF_INET)
			if err != nil {
				t.Fatal(err)
			}
			permanent := make(map[string]string)
			for _, n := range neighbours {
				if n.State == netlink.NUD_PERMANENT {
					permanent[n.IP.String()] = n.HardwareAddr.String()
				}
			}
			wanted := make(map[string]string)
			for _, n := range i.neighbours {
				wanted[n.addr.String()] = n.mac.String()
			}
			if diff := cmp.Diff(wanted, permanent); diff != "" {
				t.Errorf("neighbours of %s (-want +got):\n%s", i.Point, diff)
			}
		}
		for _, tt := range []struct{ host, key, want string }{
			{"phone", "net.ipv4.ip_forward", "0"},
			{"cell.1", "net.ipv4.ip_forward", "1"},
			{"cell.2", "net.ipv4.conf.lan0.send_redirects", "0"},
			{"cell.2", "net.ipv4.conf.lan0.rp_filter", "0"},
			{"server", "net.ipv4.ip_forward", "0"},
			{"server", "net.ipv4.ip_unprivileged_port_start", "0"},
		} {
			got, err := topology.Host(tt.host).NS.Sysctl(tt.key)
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("%s of %s: got %s; want %s", tt.key, tt.host, got, tt.want)
			}
		}
	})
}

// TestSilence listens at every point of an idle network, from the moment it is
// built. IPv6 would talk within the first two seconds, ARP and bridges later.
func TestSilence(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		topology := build(t, twoUplinks)
		tap := listen(t, topology.Points()...)
		// Nothing is what is waited for, so there is no event to wait for.
		time.Sleep(3 * time.Second)
		if got := tap.all(func(frame) bool { return true }); len(got) != 0 {
			t.Errorf("%d packets that nobody caused: %+v", len(got), got)
		}
	})
}

// TestFramesAreThoseOfAWire sends in bulk both ways and looks at every frame at
// every point. The devices share a bridge:
//
//	phone ──┬── lan0 [wifi] wan0 ── [server]
//	tablet ─┘
func TestFramesAreThoseOfAWire(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		topology := build(t, TopologySpec{
			Uplinks: []UplinkSpec{{Name: "wifi", NATs: []string{"wifi"}}},
			Devices: []DeviceSpec{{Name: "phone", Uplinks: []string{"wifi"}}, {Name: "tablet", Uplinks: []string{"wifi"}}},
		})
		routeBack(t, topology.Server(), "10.64.0.0/16", netip.MustParseAddr("203.0.113.2"))
		tap := listen(t, topology.Points()...)
		accepted := serve(t, topology.Server(), "198.51.100.1:443")
		client, server := dial(t, topology.Host("phone"), "198.51.100.1:443", accepted)
		const size = 2 << 20
		for _, way := range []struct{ from, to net.Conn }{{client, server}, {server, client}} {
			sent := make(chan error, 1)
			go func() {
				_, err := io.CopyN(way.from, zeros{}, size)
				sent <- err
			}()
			if err := way.to.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if n, err := io.CopyN(io.Discard, way.to, size); err != nil {
				t.Fatalf("%d of %d bytes arrived: %v", n, size, err)
			}
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
		}
		full := tap.await(t, 100, func(f frame) bool { return f.length == 1514 })
		t.Logf("%d full frames", len(full))
		if bad := tap.all(func(f frame) bool { return f.length > 1514 || f.unfinished }); len(bad) > 0 {
			t.Errorf("%d frames that no wire carries, such as %+v", len(bad), bad[0])
		}
		// The bridge knows where the phone is without having heard of it.
		if stray := tap.all(func(f frame) bool { return f.at == "tablet:wifi" }); len(stray) > 0 {
			t.Errorf("%d frames of the phone at the tablet, such as %+v", len(stray), stray[0])
		}
	})
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// TestDevicesReachEachOther: the bridge passes packets between devices, and their
// ARP works for addresses that the lab did not enter.
func TestDevicesReachEachOther(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		topology := build(t, twoUplinks)
		accepted := serve(t, topology.Host("tablet"), "10.64.0.3:5000")
		client, server := dial(t, topology.Host("phone"), "10.64.0.3:5000", accepted)
		say(t, client, server, "hello\n")
	})
}

// TestCloseLeavesNothing builds a hundred labs at once; after Close every one of
// their namespaces goes.
func TestCloseLeavesNothing(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		keeper := newKeeper(t)
		labs, err := buildTogether(t.Context(), 100, oneNAT)
		labtest.SkipUnsupported(t, err)
		for _, l := range labs {
			keeper.watch(t, l)
		}
		for _, l := range labs {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			if err := l.Close(); err != nil {
				t.Errorf("closing again: %v", err)
			}
		}
		keeper.awaitGone(t)
	})
}

// TestPrepare: it is called for each NAT, and its failure is that of Build.
func TestPrepare(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		var mu sync.Mutex
		var got []string
		spec := twoUplinks
		spec.Prepare = func(_ context.Context, nat *Host) error {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, nat.Name)
			return nil
		}
		build(t, spec)
		slices.Sort(got)
		if diff := cmp.Diff([]string{"cell.1", "cell.2", "wifi"}, got); diff != "" {
			t.Errorf("hosts that were prepared (-want +got):\n%s", diff)
		}

		failed := errors.New("no rules today")
		ended := make(chan error, 3)
		spec.Prepare = func(ctx context.Context, nat *Host) error {
			if nat.Name == "wifi" {
				return failed
			}
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return nil
		}
		_, err := Build(t.Context(), spec)
		if !errors.Is(err, failed) {
			t.Errorf("got %v; want the error of Prepare", err)
		}
		for len(ended) > 0 {
			if err := <-ended; !errors.Is(err, failed) {
				t.Errorf("the others were ended by %v; want the error of Prepare", err)
			}
		}
	})
}

// TestBuildCancelled: what was begun is given back.
func TestBuildCancelled(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(fmt.Errorf("the user has gone"))
		_, err := Build(ctx, oneNAT)
		if err == nil || !strings.Contains(err.Error(), "the user has gone") {
			t.Errorf("got %v; want the cause of the cancellation", err)
		}
	})
}

func TestChecksPassWhereTheLabWorks(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		labtest.Checks(t, Checks())
	})
}
