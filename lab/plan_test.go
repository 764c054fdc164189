package lab

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// twoUplinks has every shape that a topology can have:
//
//	phone ─┬─ wifi ── lan0 [wifi] wan0 ───────────────────────────── wifi ─┐
//	tablet ┘                                                               [server]
//	phone ─── cell ── lan0 [cell.1] wan0 ── lan0 [cell.2] wan0 ───── cell ─┘
var twoUplinks = TopologySpec{
	Uplinks: []UplinkSpec{
		{Name: "wifi", NATs: []string{"wifi"}},
		{Name: "cell", NATs: []string{"cell.1", "cell.2"}},
	},
	Devices: []DeviceSpec{
		{Name: "phone", Uplinks: []string{"wifi", "cell"}},
		{Name: "tablet", Uplinks: []string{"wifi"}},
	},
}

func TestPlan(t *testing.T) {
	topology, err := plan(twoUplinks)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, i := range topology.Points() {
		line := fmt.Sprintf("%s %s on %s, %s %s %s", i.Point, i.Name, i.Host.Name, i.Side, i.Addr, i.MAC)
		if i.gateway.IsValid() {
			line += fmt.Sprintf(" via %s metric %d", i.gateway, i.metric)
		}
		for _, n := range i.neighbours {
			line += fmt.Sprintf(" [%s %s]", n.addr, n.mac)
		}
		got = append(got, line)
	}
	for _, w := range topology.wires {
		got = append(got, strings.TrimSpace(fmt.Sprintf("wire %s to %s %s", w.near.Point, w.far.Point, w.port)))
	}
	want := []string{
		"phone:wifi wifi on phone, device 10.64.0.2/16 02:00:0a:40:00:02 via 10.64.0.1 metric 100 [10.64.0.1 02:00:0a:40:00:01]",
		"phone:cell cell on phone, device 10.65.0.2/16 02:00:0a:41:00:02 via 10.65.0.1 metric 200 [10.65.0.1 02:00:0a:41:00:01]",
		"tablet:wifi wifi on tablet, device 10.64.0.3/16 02:00:0a:40:00:03 via 10.64.0.1 metric 100 [10.64.0.1 02:00:0a:40:00:01]",
		"wifi:lan lan0 on wifi, lan 10.64.0.1/16 02:00:0a:40:00:01 [10.64.0.2 02:00:0a:40:00:02] [10.64.0.3 02:00:0a:40:00:03]",
		"wifi:wan wan0 on wifi, wan 203.0.113.2/30 02:00:cb:00:71:02 via 203.0.113.1 metric 0 [203.0.113.1 02:00:cb:00:71:01]",
		"cell.1:lan lan0 on cell.1, lan 10.65.0.1/16 02:00:0a:41:00:01 [10.65.0.2 02:00:0a:41:00:02]",
		"cell.1:wan wan0 on cell.1, wan 100.64.1.2/30 02:00:64:40:01:02 via 100.64.1.1 metric 0 [100.64.1.1 02:00:64:40:01:01]",
		"cell.2:lan lan0 on cell.2, lan 100.64.1.1/30 02:00:64:40:01:01 [100.64.1.2 02:00:64:40:01:02]",
		"cell.2:wan wan0 on cell.2, wan 203.0.113.6/30 02:00:cb:00:71:06 via 203.0.113.5 metric 0 [203.0.113.5 02:00:cb:00:71:05]",
		"server:wifi wifi on server, server 203.0.113.1/30 02:00:cb:00:71:01 [203.0.113.2 02:00:cb:00:71:02]",
		"server:cell cell on server, server 203.0.113.5/30 02:00:cb:00:71:05 [203.0.113.6 02:00:cb:00:71:06]",
		"wire cell.1:wan to cell.2:lan",
		"wire wifi:wan to server:wifi",
		"wire cell.2:wan to server:cell",
		"wire phone:wifi to wifi:lan port1",
		"wire phone:cell to cell.1:lan",
		"wire tablet:wifi to wifi:lan port2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := topology.DeviceAddr("phone", "cell").String(); got != "10.65.0.2" {
		t.Errorf("address of phone on cell: got %s; want 10.65.0.2", got)
	}
	if got := topology.DeviceAddr("tablet", "cell"); got.IsValid() {
		t.Errorf("address of tablet on cell, to which it is not attached: got %s; want none", got)
	}
	if got := topology.DeviceAddr("cell.1", "lan"); got.IsValid() {
		t.Errorf("address of a NAT as a device: got %s; want none", got)
	}
}

// TestPlanUsesEachAddressOnce plans the largest topology and a chain as long as can be.
func TestPlanUsesEachAddressOnce(t *testing.T) {
	var spec TopologySpec
	for u := range MaxUplinks {
		up := UplinkSpec{Name: fmt.Sprintf("up%d", u)}
		for k := range 1 + (MaxNATs-1)*(u%2) {
			up.NATs = append(up.NATs, fmt.Sprintf("nat%d.%d", u, k))
		}
		spec.Uplinks = append(spec.Uplinks, up)
	}
	for d := range 600 {
		spec.Devices = append(spec.Devices, DeviceSpec{Name: fmt.Sprintf("phone-%d", d), Uplinks: []string{fmt.Sprintf("up%d", d%2)}})
	}
	topology, err := plan(spec)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]string)
	for _, i := range topology.Points() {
		a := i.Addr.Addr().String()
		if other, twice := seen[a]; twice {
			t.Errorf("%s and %s both have the address %s", other, i.Point, a)
		}
		seen[a] = i.Point
		if p := i.Peer; p != nil && i.Addr.Masked() != p.Addr.Masked() {
			t.Errorf("the ends of a wire are in different networks: %s %s and %s %s", i.Point, i.Addr, p.Point, p.Addr)
		}
	}
}

func TestPlanRefuses(t *testing.T) {
	one := []UplinkSpec{{Name: "cell", NATs: []string{"cell"}}}
	many := make([]UplinkSpec, MaxUplinks+1)
	tests := []struct {
		name string
		spec TopologySpec
		want string
	}{
		{"too many uplinks", TopologySpec{Uplinks: many},
			"planning the topology: 65 uplinks; at most 64 are possible"},
		{"no NAT", TopologySpec{Uplinks: []UplinkSpec{{Name: "cell"}}},
			`planning uplink "cell": 0 NATs in a row; there can be 1 to 64, or none beside a firewall`},
		{"long uplink", TopologySpec{Uplinks: []UplinkSpec{{Name: "a-very-long-name", NATs: []string{"n"}}}},
			`planning uplink "a-very-long-name": an interface is called after it, and the kernel allows 15 bytes`},
		{"uplink of the kernel", TopologySpec{Uplinks: []UplinkSpec{{Name: "lo", NATs: []string{"n"}}}},
			`planning uplink "lo": the kernel uses that name itself`},
		{"strange uplink", TopologySpec{Uplinks: []UplinkSpec{{Name: "c%d", NATs: []string{"n"}}}},
			`planning uplink "c%d": an interface cannot be called that; use letters, digits, "-", "_" and "."`},
		{"uplink twice", TopologySpec{Uplinks: []UplinkSpec{one[0], {Name: "cell", NATs: []string{"n"}}}},
			`planning the topology: there are two uplinks called "cell"`},
		{"device called as a NAT", TopologySpec{Uplinks: one, Devices: []DeviceSpec{{Name: "cell"}}},
			`planning the topology: there are two hosts called "cell"`},
		{"device called as the server", TopologySpec{Uplinks: one, Devices: []DeviceSpec{{Name: "server"}}},
			`planning the topology: there are two hosts called "server"`},
		{"device without a name", TopologySpec{Uplinks: one, Devices: []DeviceSpec{{}}},
			`planning the topology: "" cannot be the name of a device`},
		{"colon", TopologySpec{Uplinks: one, Devices: []DeviceSpec{{Name: "a:b"}}},
			`planning the topology: "a:b" cannot be the name of a device`},
		{"unknown uplink", TopologySpec{Uplinks: one, Devices: []DeviceSpec{{Name: "phone", Uplinks: []string{"wifi"}}}},
			`planning device "phone": there is no uplink "wifi"`},
		{"uplink named twice", TopologySpec{Uplinks: one, Devices: []DeviceSpec{{Name: "phone", Uplinks: []string{"cell", "cell"}}}},
			`planning device "phone": uplink "cell" is named twice`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := plan(tt.spec)
			if err == nil {
				t.Fatal("got no error")
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
