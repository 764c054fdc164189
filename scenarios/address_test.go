package scenarios

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"outlive/probes/socket"
)

func TestReplaceAddr(t *testing.T) {
	six, four := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("198.51.100.1")
	for _, test := range []struct {
		word string
		addr netip.Addr
		want string
	}{
		{"{server}", six, "2001:db8::1"},
		{"{server}:{port}", six, "[2001:db8::1]:{port}"},
		{"--at={server}", six, "--at=2001:db8::1"},
		{"ws://{server}/push", six, "ws://[2001:db8::1]/push"},
		{"mqtt://me@{server}", six, "mqtt://me@[2001:db8::1]"},
		{"{server},{server}:1", six, "2001:db8::1,[2001:db8::1]:1"},
		{"ws://{server}:{port}", four, "ws://198.51.100.1:{port}"},
	} {
		if diff := cmp.Diff([]string{test.want}, replaceAddr([]string{test.word}, "{server}", test.addr)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.word, diff)
		}
	}
}

// loadText loads a scenario of two devices on the given network.
func loadText(t *testing.T, network, devices string) *Scenario {
	t.Helper()
	data := "name: families\nduration: 20s\nnetwork: " + network + "\ndevices: " + devices + "\nexpect: [count(death) == 0]\n"
	s, err := Load(Source{Name: "families.yaml", Path: "families.yaml", Data: []byte(data)}, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestFamilies: which boxes an uplink has, what they are called, and by which version of IP
// a device goes; a scenario without firewalls says nothing of it when resolved.
func TestFamilies(t *testing.T) {
	for _, test := range []struct {
		name, network, devices string
		families               socket.Families
		boxes, ips             string
		says                   bool
	}{
		{"IPv4", "{cell: {nat: carrier}}", "{a: {}}", socket.IPv4, "cell", "a 4", false},
		{"IPv4 as asked for", "{cell: {nat: carrier}}", "{a: {ip: 4}}", socket.IPv4, "cell", "a 4", true},
		{"IPv6", "{cell: {firewall: rfc6092}}", "{a: {}}", socket.IPv6, "cell", "a 6", true},
		{"both", "{cell: {nat: carrier, firewall: rfc6092}}", "{a: {}, b: {ip: 4}}", socket.IPv4 | socket.IPv6, "cell.nat cell.firewall", "a 6 b 4", true},
		{"both, with two NATs", "{cell: {nat: [linux, carrier], firewall: rfc6092}}", "{a: {}}", socket.IPv4 | socket.IPv6, "cell.1 cell.2 cell.firewall", "a 6", true},
		{"one each", "{old: {nat: carrier}, new: {firewall: rfc6092}}", "{a: {}, b: {uplinks: [new, old]}}", socket.IPv4 | socket.IPv6, "old new", "a 4 b 6", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := loadText(t, test.network, test.devices)
			var boxes, ips []string
			for _, u := range s.Uplinks {
				for _, b := range u.boxes() {
					boxes = append(boxes, b.Name)
				}
			}
			for _, d := range s.Devices {
				ips = append(ips, d.Name, map[int]string{4: "4", 6: "6"}[d.IP])
			}
			if s.families() != test.families || strings.Join(boxes, " ") != test.boxes || strings.Join(ips, " ") != test.ips {
				t.Errorf("families %b, boxes %v, devices %v", s.families(), boxes, ips)
			}
			if says := strings.Contains(string(s.Resolved), "ip: "); says != test.says {
				t.Errorf("resolved it speaks of versions of IP: %v; want %v:\n%s", says, test.says, s.Resolved)
			}
			again, err := Load(Source{Name: "families.yaml", Path: "families.yaml", Data: s.Resolved}, LoadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(s.Resolved), string(again.Resolved)); diff != "" {
				t.Errorf("resolved again (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(s.Uplinks, again.Uplinks); diff != "" {
				t.Errorf("uplinks when loaded again (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTCPEnds6(t *testing.T) {
	from, to := netip.MustParseAddrPort("[2001:db8:64::2]:40000"), netip.MustParseAddrPort("[2001:db8::1]:7000")
	frame := func(next layers.IPProtocol, extension []byte) []byte {
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: next, SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice()}
		tcp := &layers.TCP{SrcPort: layers.TCPPort(from.Port()), DstPort: layers.TCPPort(to.Port()), RST: true, ACK: true}
		if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		b := gopacket.NewSerializeBuffer()
		ethernet := &layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv6}
		err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ethernet, ip, gopacket.Payload(extension), tcp)
		if err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	options := []byte{6, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	for _, test := range []struct {
		name  string
		frame []byte
		want  bool
	}{
		{"plain", frame(layers.IPProtocolTCP, nil), true},
		{"destination options of 16 bytes", frame(layers.IPProtocolIPv6Destination, options), true},
		{"a fragment", frame(layers.IPProtocolIPv6Fragment, []byte{6, 0, 0, 1, 0, 0, 0, 7}), false},
		{"cut", frame(layers.IPProtocolTCP, nil)[:60], false},
		{"options beyond the end", frame(layers.IPProtocolIPv6Destination, []byte{6, 200, 0, 0, 0, 0, 0, 0}), false},
		{"UDP", frame(layers.IPProtocolUDP, nil), false},
	} {
		src, dst, flags, ok := tcpEnds(test.frame)
		if ok != test.want || ok && (src != from || dst != to || flags != 0x14) {
			t.Errorf("%s: got %s to %s, flags %#x, %v", test.name, src, dst, flags, ok)
		}
	}
}
