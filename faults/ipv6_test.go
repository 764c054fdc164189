package faults_test

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"outlive/faults"
	"outlive/lab"
	"outlive/lab/labtest"
	"outlive/nat"
)

// TestBothFamilies: faults of NATs reach the IPv6 firewall beside one, by the uplink's name
// or its own, and find a device on whichever way it has gone.
//
//	phone ─┬ lan0 [NAT cell.nat] wan0 ─────────── cell ───┐
//	       └ lan0 [firewall cell.firewall] wan0 ─ cell-6 ─ [server]
func TestBothFamilies(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		topology, err := lab.Build(t.Context(), lab.TopologySpec{
			Uplinks: []lab.UplinkSpec{{Name: "cell", NATs: []string{"cell.nat"}, Firewall: "cell.firewall"}},
			Devices: []lab.DeviceSpec{{Name: "phone", Uplinks: []string{"cell"}}},
		})
		labtest.SkipUnsupported(t, err)
		defer topology.Close()
		l := faults.Lab{Topology: topology, NATs: map[string]*nat.NAT{}}
		for _, name := range []string{"cell.nat", "cell.firewall"} {
			n, err := nat.Install(t.Context(), topology.Host(name), nat.Default())
			labtest.SkipUnsupported(t, err)
			defer n.Close()
			l.NATs[name] = n
		}
		connect := func(server netip.Addr) {
			t.Helper()
			listener, err := topology.Server().NS.Listen(t.Context(), "tcp", netip.AddrPortFrom(server, 0).String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { listener.Close() })
			var c net.Conn
			if c, err = topology.Host("phone").NS.Dial(t.Context(), "tcp", listener.Addr().String()); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
		}
		inject := func(f faults.Fault, want string) {
			t.Helper()
			effect, err := f.Inject(context.Background(), l)
			got := effect.Text
			if err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%T (-want +got):\n%s", f, diff)
			}
		}
		inject(&faults.MappingExpire{Device: "phone"},
			"expiring the mappings of phone: NAT cell.nat, firewall cell.firewall has none that leads to that device")
		connect(topology.ServerAddr6())
		inject(&faults.MappingExpire{Device: "phone"}, "firewall cell.firewall forgot 1 state record of phone")
		connect(topology.ServerAddr6())
		connect(topology.ServerAddr())
		inject(&faults.MappingExpire{Device: "phone", On: "cell.nat"}, "NAT cell.nat forgot 1 mapping of phone")
		connect(topology.ServerAddr())
		inject(&faults.MappingExpire{Device: "phone", On: "cell"}, "NAT cell.nat forgot 1 mapping of phone, firewall cell.firewall forgot 1 state record of phone")
		connect(topology.ServerAddr6())
		connect(topology.ServerAddr())
		inject(&faults.NATReboot{On: "cell.firewall"}, "firewall cell.firewall forgot 1 state record")
		connect(topology.ServerAddr6())
		inject(&faults.NATReboot{On: "cell"}, "firewall cell.firewall forgot 1 state record, NAT cell.nat forgot 1 mapping")
	})
}
