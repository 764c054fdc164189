package lab

import (
	"io"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"outlive/lab/labtest"
)

// chain is two NATs in a row:
//
//	phone ── cell ── lan0 [cell.1] wan0 ── lan0 [cell.2] wan0 ── cell [server]
var chain = TopologySpec{
	Uplinks: []UplinkSpec{{Name: "cell", NATs: []string{"cell.1", "cell.2"}}},
	Devices: []DeviceSpec{{Name: "phone", Uplinks: []string{"cell"}}},
}

// bridged is the same with a second device, so that cell.1's lan0 is a bridge.
var bridged = TopologySpec{
	Uplinks: chain.Uplinks,
	Devices: append(slices.Clone(chain.Devices), DeviceSpec{Name: "tablet", Uplinks: []string{"cell"}}),
}

// path is the way of the phone's packets in both.
var path = []string{"phone:cell", "cell.1:lan", "cell.1:wan", "cell.2:lan", "cell.2:wan", "server:cell"}

// TestUnplugLosesSilently pulls each cable while a connection is open over it and
// both ends write, and puts it back. In between, packets come as far as the cable
// and no further, nobody sends an ICMP message and no end gets an error; afterwards
// TCP repeats what was lost.
func TestUnplugLosesSilently(t *testing.T) {
	tests := []struct {
		name  string
		spec  TopologySpec
		point string
		// dark are the ends of the wire that is cut, where nothing passes any more.
		dark []string
	}{
		{"device", chain, "phone:cell", path[0:2]},
		{"first LAN", chain, "cell.1:lan", path[0:2]},
		{"between NATs from inside", chain, "cell.1:wan", path[2:4]},
		{"between NATs from outside", chain, "cell.2:lan", path[2:4]},
		{"last WAN", chain, "cell.2:wan", path[4:6]},
		{"server", chain, "server:cell", path[4:6]},
		// The bridge goes on for the other device.
		{"device at a bridge", bridged, "phone:cell", path[0:1]},
		{"bridge", bridged, "cell.1:lan", path[0:2]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			labtest.Run(t, func(t *testing.T) { testUnplug(t, tt.spec, tt.point, tt.dark) })
		})
	}
}

func testUnplug(t *testing.T, spec TopologySpec, point string, dark []string) {
	topology := build(t, spec)
	for _, nat := range []string{"cell.1", "cell.2"} {
		if err := restore(topology.Host(nat), findRestore(t), masquerade); err != nil {
			t.Fatal(err)
		}
	}
	accepted := serve(t, topology.Server(), "198.51.100.1:443")
	for range 2 {
		// A connection that has lost packets would hold back the next ones.
		client, server := dial(t, topology.Host("phone"), "198.51.100.1:443", accepted)
		say(t, client, server, "before\n")
		say(t, server, client, "before\n")
		if err := topology.Unplug(point); err != nil {
			t.Fatal(err)
		}
		tap := listen(t, topology.Points()...)
		if _, err := io.WriteString(client, "during, up\n"); err != nil {
			t.Errorf("client: %v", err)
		}
		if _, err := io.WriteString(server, "during, down\n"); err != nil {
			t.Errorf("server: %v", err)
		}
		// Long enough for the first repetitions; nothing else tells of a silence.
		time.Sleep(700 * time.Millisecond)
		seen := make(map[string]bool)
		for _, f := range tap.all(func(frame) bool { return true }) {
			seen[f.at] = true
			if protocol := f.head[46:48]; protocol != "06" {
				t.Errorf("a packet that is not TCP: %+v", f)
			}
		}
		for _, p := range path {
			if want := !slices.Contains(dark, p); seen[p] != want {
				t.Errorf("%s unplugged: packets seen at %s: %v; want %v", point, p, seen[p], want)
			}
		}
		for _, p := range dark {
			if is, err := carrier(topology.Interface(p)); err != nil || is {
				t.Errorf("%s has its carrier: %v, %v", p, is, err)
			}
		}
		// Again is no error and changes nothing.
		if err := topology.Unplug(point); err != nil {
			t.Error(err)
		}
		if err := topology.Replug(point); err != nil {
			t.Fatal(err)
		}
		if err := topology.Replug(point); err != nil {
			t.Error(err)
		}
		hear(t, server, "during, up\n")
		hear(t, client, "during, down\n")
		for _, i := range topology.Points() {
			if diff := cmp.Diff(len(i.neighbours), permanentNeighbours(t, i)); diff != "" {
				t.Errorf("neighbours of %s after replugging (-want +got):\n%s", i.Point, diff)
			}
		}
	}
}

func carrier(i *Interface) (bool, error) { return i.Host.hasCarrier(i.Index) }

func permanentNeighbours(t *testing.T, i *Interface) int {
	t.Helper()
	list, err := i.Host.NS.Netlink().NeighList(i.Index, unix.AF_INET)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, neighbour := range list {
		if neighbour.State == netlink.NUD_PERMANENT {
			n++
		}
	}
	return n
}

// TestUnplugOneOfTwoDevices: the other one goes on, and a LAN side that is
// unplugged and replugged does not bring back a device whose own cable is out.
//
//	phone ──┬── lan0 [cell.1] …
//	tablet ─┘
func TestUnplugOneOfTwoDevices(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		topology := build(t, bridged)
		carriers := func() (phone, tablet bool) {
			t.Helper()
			var err error
			if phone, err = carrier(topology.Interface("phone:cell")); err != nil {
				t.Fatal(err)
			}
			if tablet, err = carrier(topology.Interface("tablet:cell")); err != nil {
				t.Fatal(err)
			}
			return phone, tablet
		}
		steps := []struct {
			do            func(string) error
			point         string
			phone, tablet bool
		}{
			{topology.Unplug, "phone:cell", false, true},
			{topology.Unplug, "cell.1:lan", false, false},
			{topology.Replug, "cell.1:lan", false, true},
			{topology.Unplug, "cell.1:lan", false, false},
			{topology.Replug, "phone:cell", false, false},
			{topology.Replug, "cell.1:lan", true, true},
		}
		for n, s := range steps {
			if err := s.do(s.point); err != nil {
				t.Fatal(err)
			}
			if phone, tablet := carriers(); phone != s.phone || tablet != s.tablet {
				t.Errorf("after step %d (%s): phone has its carrier: %v, tablet: %v; want %v, %v", n, s.point, phone, tablet, s.phone, s.tablet)
			}
		}
	})
}

func TestUnplugUnknownPoint(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		topology := build(t, oneNAT)
		for _, err := range []error{topology.Unplug("phone:wifi"), topology.Replug("phone:wifi")} {
			if err == nil {
				t.Error("got no error")
			}
		}
	})
}
