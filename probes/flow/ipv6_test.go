package flow

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"outlive/lab/units"
	"outlive/nat"
	"outlive/probes/socket"
)

var testServer6 = netip.MustParseAddrPort("[2001:db8::1]:7000")

// newLab6 is newLab with IPv6 and a firewall in place of the NAT:
//
//	phone ──(phone:cell)── lan firewall cell wan ──(server:cell)── server
func newLab6(t testing.TB, devices int, p nat.Profile) *testLab {
	l := newLab(t, devices, p)
	truth := &l.truth
	truth.Server, truth.Server6 = netip.AddrPort{}, testServer6
	addr := netip.MustParseAddr("2001:db8:64::2")
	for i := range truth.Devices {
		truth.Devices[i].Addrs, truth.Devices[i].Addrs6 = nil, map[string]netip.Addr{"cell": addr}
		addr = addr.Next()
	}
	for i := range truth.Points {
		truth.Points[i].Addr, truth.Points[i].Addr6 = netip.Addr{}, netip.MustParseAddr("2001:db8:ff::1")
	}
	n := &truth.NATs[0]
	n.LAN, n.WAN = netip.MustParseAddr("2001:db8:64::1"), netip.MustParseAddr("2001:db8:cb::2")
	l.nats[0].NAT = *n
	return l
}

func (l *testLab) addrOf(d Device) netip.Addr {
	if a, ok := d.Addrs["cell"]; ok {
		return a
	}
	return d.Addrs6["cell"]
}

// see6 writes what a point sees of the packet, over IPv6. What identifies packets of
// IPv4 has no counterpart, and so no two are told apart by it.
func (l *testLab) see6(p *packet, position int) {
	src, dst := p.client, testServer6
	if p.d == toClient {
		src, dst = dst, src
	}
	l.frames = append(l.frames, testFrame{p.at, l.point(p, position), frame6(l.t, src, dst, p)})
}

// frame6 is a TCP segment, behind the given extension headers.
func frame6(t testing.TB, src, dst netip.AddrPort, p *packet, extensions ...gopacket.SerializableLayer) []byte {
	ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: src.Addr().AsSlice(), DstIP: dst.Addr().AsSlice()}
	tcp := &layers.TCP{
		SrcPort: layers.TCPPort(src.Port()), DstPort: layers.TCPPort(dst.Port()), Seq: p.seq, Ack: p.ack, Window: p.window,
		FIN: p.flags&flagFIN != 0, SYN: p.flags&flagSYN != 0, RST: p.flags&flagRST != 0, ACK: p.flags&flagACK != 0,
	}
	if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	ethernet := &layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv6}
	all := append([]gopacket.SerializableLayer{ethernet, ip}, extensions...)
	for _, e := range extensions {
		ip.NextHeader = e.(*extension6).kind
	}
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, append(all, tcp, gopacket.Payload(p.payload))...)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// extension6 is an extension header of the shortest kind, followed by TCP.
type extension6 struct {
	kind layers.IPProtocol
	rest [7]byte
}

func (e *extension6) LayerType() gopacket.LayerType { return gopacket.LayerTypePayload }
func (e *extension6) SerializeTo(b gopacket.SerializeBuffer, _ gopacket.SerializeOptions) error {
	bytes, err := b.PrependBytes(8)
	copy(bytes, append([]byte{byte(layers.IPProtocolTCP)}, e.rest[:]...))
	return err
}

func TestStateExpiresAtAFirewall(t *testing.T) {
	l := newLab6(t, 1, profile(nat.LANDrop, nat.WANDrop))
	c := l.dial(0.01, "phone", 40000).hello(0.1)
	c.socket(0.02, toServer, socket.Opened, "")
	l.push(20, "p1")
	c.say(20, toClient, "PUSH p1 x\n")
	c.say(30, toServer, "PING 1\n")
	c.socket(32, toServer, socket.Closed, "")
	a := l.analyze()
	if len(a.Problems) > 0 {
		t.Fatalf("problems: %q", a.Problems)
	}
	got := a.Connections[0]
	if got.Died == nil || got.Cause != "state expired at firewall cell" || got.CauseKind != "mapping-expired" {
		t.Fatalf("died %v of %q (%s)", got.Died, got.Cause, got.CauseKind)
	}
	// Of a side without a packet only its socket can tell.
	if got.ClientSide.NoticedAt == nil || *got.ClientSide.NoticedAt != seconds(32) || got.ClientSide.NoticedBy != "close" {
		t.Errorf("the client noticed %v by %q", got.ClientSide.NoticedAt, got.ClientSide.NoticedBy)
	}
	// The last packet of the greeting came in at 0.102 s, and one hop later at the firewall.
	want := seconds(0.102) + hopTime + units.Seconds(10*time.Second)
	if diff := cmp.Diff(want, *got.Died); diff != "" {
		t.Errorf("death (-want +got):\n%s", diff)
	}
	ends := fmt.Sprint(got.Client, got.Server, got.Mapped)
	if diff := cmp.Diff("[2001:db8:64::2]:40000 [2001:db8::1]:7000 []", ends); diff != "" {
		t.Errorf("ends (-want +got):\n%s", diff)
	}
	var fates []string
	for _, m := range got.Marks {
		if m.Fate != "" {
			fates = append(fates, m.Kind+" "+m.Fate)
		}
	}
	if diff := cmp.Diff([]string{"push dropped at firewall cell", "ping dropped at firewall cell"}, fates); diff != "" {
		t.Errorf("fates (-want +got):\n%s", diff)
	}
	if a.Pushes[0].Left == nil || a.Pushes[0].Arrived != nil {
		t.Errorf("the push left %v and arrived %v", a.Pushes[0].Left, a.Pushes[0].Arrived)
	}
}

func TestFirewallRevives(t *testing.T) {
	l := newLab6(t, 1, profile(nat.LANRevive, nat.WANDrop))
	c := l.dial(0.01, "phone", 40000).hello(0.1)
	c.ping(30, 1)
	a := l.analyze()
	if len(a.Problems) > 0 {
		t.Fatalf("problems: %q", a.Problems)
	}
	got := a.Connections[0]
	if len(got.Lapses) != 2 || got.Lapses[0].Until == nil || got.Died != nil {
		t.Errorf("lapses %+v, died %v; want one that was mended, one to the end, and no death", got.Lapses, got.Died)
	}
}

// TestBothFamiliesOnOneUplink: two ways that begin at the same interface, each with what
// its own box forgets.
//
//	                     ┌ lan NAT cell.nat wan ────────────(server:cell)───┐
//	phone ──(phone:cell)─┴ lan firewall cell.firewall wan ──(server:cell-6)─ server
func TestBothFamiliesOnOneUplink(t *testing.T) {
	four := newLab(t, 1, profile(nat.LANDrop, nat.WANDrop))
	long := profile(nat.LANDrop, nat.WANDrop)
	long.Timeouts.TCPEstablished = units.Duration(80 * time.Second)
	six := newLab6(t, 1, long)
	// Names first, so that what the boxes tell has them.
	rename := func(l *testLab, box, server string) {
		for i := range l.truth.Points {
			p := &l.truth.Points[i]
			if p.Host == "cell" {
				p.Name, p.Host = box+strings.TrimPrefix(p.Name, "cell"), box
			}
			if p.Host == "server" {
				p.Name = server
			}
		}
		l.truth.NATs[0].Name, l.nats[0].Name = box, box
	}
	rename(four, "cell.nat", "server:cell")
	six.truth.Points[len(six.truth.Points)-1].Name = "server:cell"
	rename(six, "cell.firewall", "server:cell")
	a := four.dial(0.01, "phone", 40000).hello(0.1)
	b := six.dial(0.02, "phone", 40000).hello(0.2)
	a.say(50, toServer, "PING 1\n")
	b.ping(50, 1)
	// One lab of the two.
	six.truth.Points[len(six.truth.Points)-1].Name = "server:cell-6"
	for i := range four.truth.Points {
		if p := &four.truth.Points[i]; p.Host == "phone" {
			p.Addr6 = netip.MustParseAddr("2001:db8:64::2")
		} else if !p.Addr.IsValid() {
			p.Addr = netip.MustParseAddr("203.0.113.9")
		}
	}
	four.truth.Devices[0].Addrs6 = six.truth.Devices[0].Addrs6
	four.truth.Server6 = testServer6
	four.truth.NATs = append(four.truth.NATs, six.truth.NATs...)
	base := len(four.truth.Points) - 1
	four.truth.Points = append(four.truth.Points, six.truth.Points[1:]...)
	for _, f := range six.frames {
		if f.point > 0 {
			f.point += base
		}
		four.frames = append(four.frames, f)
	}
	four.truth.Mappings = append(four.truth.Mappings, six.truth.Mappings...)
	got := four.analyze()
	if len(got.Problems) > 0 {
		t.Fatalf("problems: %q", got.Problems)
	}
	var all []string
	for _, c := range got.Connections {
		all = append(all, fmt.Sprintf("%s over %s from %s as %v: %s", c.Device, c.Uplink, c.Client, c.Mapped, c.Cause))
	}
	want := []string{
		"phone over cell from 10.64.0.2:40000 as [203.0.113.2:40000]: mapping expired at NAT cell.nat",
		"phone over cell from [2001:db8:64::2]:40000 as []: ",
	}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestExtensionHeaders(t *testing.T) {
	client := netip.MustParseAddrPort("[2001:db8:64::2]:40000")
	pad := [7]byte{1: 1, 2: 4} // option PadN of six bytes
	p := &packet{seq: 7, ack: 8, flags: flagACK, payload: "PING 1\n"}
	for _, test := range []struct {
		name      string
		extension []gopacket.SerializableLayer
		want      bool
	}{
		{"none", nil, true},
		{"destination options", []gopacket.SerializableLayer{&extension6{layers.IPProtocolIPv6Destination, pad}}, true},
		{"hop by hop", []gopacket.SerializableLayer{&extension6{layers.IPProtocolIPv6HopByHop, pad}}, true},
		{"a fragment", []gopacket.SerializableLayer{&extension6{layers.IPProtocolIPv6Fragment, [7]byte{2: 1, 6: 7}}}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			x := newExtractor(testServer, testServer6)
			s, ok := x.segment(frame6(t, client, testServer6, p, test.extension...))
			if ok != test.want {
				t.Fatalf("a segment: got %v; want %v", ok, test.want)
			}
			if ok && (s.client != client || !s.six || s.d != toServer || string(x.tcp.Payload) != p.payload || x.tcp.Seq != p.seq) {
				t.Errorf("got %+v with %q", s, x.tcp.Payload)
			}
		})
	}
	if _, ok := newExtractor(testServer, netip.AddrPort{}).segment(frame6(t, client, testServer6, p)); ok {
		t.Error("a segment with a server that does not exist was taken")
	}
}
