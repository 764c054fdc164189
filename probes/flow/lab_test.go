package flow

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"outlive/lab/units"
	"outlive/nat"
)

// testLab makes captures as a lab would: it moves packets from point to point,
// with a simple model of the NATs between, and writes what each point sees. What
// its NATs do to mappings is in its truth.
//
//	phone ──(phone:cell)── lan NAT cell wan ──(server:cell)── server
type testLab struct {
	t      testing.TB
	truth  Truth
	frames []testFrame
	nats   []*testNAT
	id     uint16
	hidden map[string]bool // points that the capture has not got
	// unplugged is when the server's cable is pulled; zero means never. Without NATs it does nothing.
	unplugged units.Seconds
	cut       int // bytes to cut off the end of the file
}

type testFrame struct {
	at    units.Seconds
	point int
	data  []byte
}

type testNAT struct {
	NAT
	lab      *testLab
	byLAN    map[netip.AddrPort]*testMapping
	byWAN    map[netip.AddrPort]*testMapping
	ids      uint32
	nextPort uint16
	silent   bool // tells nothing of its mappings
	deaf     bool // drops everything
}

type testMapping struct {
	nat.Mapping
	expires units.Seconds
}

var (
	testServer = netip.MustParseAddrPort("198.51.100.1:7000")
	testStart  = time.Unix(1_700_000_000, 0).UTC()
)

const hopTime = units.Seconds(20 * time.Microsecond)

// seconds is an instant of scenario time, without what a float64 adds.
func seconds(s float64) units.Seconds {
	return units.Seconds(units.Seconds(s * 1e9).D().Round(time.Microsecond))
}

// profile is a NAT with an idle timeout of 10 s and the given late-packet behaviour.
func profile(lan nat.LateLAN, wan nat.LateWAN) nat.Profile {
	return nat.Profile{
		Timeouts: nat.Timeouts{TCPEstablished: units.Duration(10 * time.Second), TCPFinWait: units.Duration(20 * time.Second)},
		Late:     nat.Late{LAN: lan, WAN: wan},
	}.Complete()
}

// newLab has the devices "phone", "phone-2" … behind NATs in a row, and ends at 100 s.
func newLab(t testing.TB, devices int, profiles ...nat.Profile) *testLab {
	l := &testLab{t: t, hidden: map[string]bool{}}
	l.truth = Truth{Start: testStart, End: seconds(100), Server: testServer, Protocol: "line"}
	addr := netip.MustParseAddr("10.64.0.2")
	for i := range devices {
		name := "phone"
		if i > 0 {
			name = fmt.Sprintf("phone-%d", i+1)
		}
		l.truth.Devices = append(l.truth.Devices, Device{Name: name, Addrs: map[string]netip.Addr{"cell": addr}})
		l.truth.Points = append(l.truth.Points, Point{Name: name + ":cell", Host: name, Side: "device", Uplink: "cell", Addr: addr})
		addr = addr.Next()
	}
	for k, p := range profiles {
		name := "cell"
		if len(profiles) > 1 {
			name = fmt.Sprintf("cell.%d", k+1)
		}
		n := NAT{Name: name, Uplink: "cell", Order: k, Profile: p, WAN: netip.AddrFrom4([4]byte{203, 0, 113, byte(2 + k)})}
		l.truth.NATs = append(l.truth.NATs, n)
		l.nats = append(l.nats, &testNAT{NAT: n, lab: l, byLAN: map[netip.AddrPort]*testMapping{}, byWAN: map[netip.AddrPort]*testMapping{}, nextPort: 50000})
		for _, side := range []string{"lan", "wan"} {
			l.truth.Points = append(l.truth.Points, Point{Name: name + ":" + side, Host: name, Side: side, Uplink: "cell"})
		}
	}
	l.truth.Points = append(l.truth.Points, Point{Name: "server:cell", Host: "server", Side: "server", Uplink: "cell"})
	return l
}

// packet is a packet on its way. Its client is as the present level has it.
type packet struct {
	at       units.Seconds
	d        direction
	client   netip.AddrPort
	device   string
	seq, ack uint32
	flags    uint8
	payload  string
	window   uint16
	id       uint16
}

func (l *testLab) point(p *packet, position int) int {
	want := "server:cell"
	switch {
	case position == 0:
		want = p.device + ":cell"
	case position <= 2*len(l.nats):
		want = l.nats[(position-1)/2].Name + ":" + [...]string{"wan", "lan"}[position%2]
	}
	return slices.IndexFunc(l.truth.Points, func(x Point) bool { return x.Name == want })
}

// see writes what a point sees of the packet.
func (l *testLab) see(p *packet, position int) {
	if p.client.Addr().Is6() {
		l.see6(p, position)
		return
	}
	src, dst := p.client, testServer
	if p.d == toClient {
		src, dst = dst, src
	}
	ip := &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Id: p.id, Protocol: layers.IPProtocolTCP, SrcIP: src.Addr().AsSlice(), DstIP: dst.Addr().AsSlice()}
	tcp := &layers.TCP{
		SrcPort: layers.TCPPort(src.Port()), DstPort: layers.TCPPort(dst.Port()), Seq: p.seq, Ack: p.ack, Window: p.window,
		FIN: p.flags&flagFIN != 0, SYN: p.flags&flagSYN != 0, RST: p.flags&flagRST != 0, ACK: p.flags&flagACK != 0,
	}
	if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
		l.t.Fatal(err)
	}
	b := gopacket.NewSerializeBuffer()
	ethernet := &layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv4}
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ethernet, ip, tcp, gopacket.Payload(p.payload))
	if err != nil {
		l.t.Fatal(err)
	}
	l.frames = append(l.frames, testFrame{p.at, l.point(p, position), b.Bytes()})
}

// move takes a packet from a position to where it ends and says whether it arrived.
func (l *testLab) move(p packet, position int) bool {
	if p.id == 0 {
		l.id++
		p.id = l.id
	}
	last, step := 2*len(l.nats)+1, 1
	if p.d == toClient {
		last, step = 0, -1
	}
	for ; ; position += step {
		if position >= 1 && position <= 2*len(l.nats) && (position%2 == 0) == (p.d == toServer) {
			// It is to come out of a NAT.
			if !l.nats[(position-1)/2].pass(&p, position) {
				return false
			}
		}
		if position == 2*len(l.nats) && p.d == toServer && l.unplugged > 0 && p.at >= l.unplugged {
			// An interface without a carrier sends nothing, and so captures nothing.
			return false
		}
		l.see(&p, position)
		if position == last {
			return true
		}
		p.at += hopTime
	}
}

// pass is what the NAT does to a packet that is to leave at a position.
func (n *testNAT) pass(p *packet, position int) bool {
	if n.deaf {
		return false
	}
	m := n.byLAN[p.client]
	if p.d == toClient {
		m = n.byWAN[p.client]
	}
	if m != nil && p.at > m.expires {
		n.forget(m, m.expires+seconds(0.002), nat.CauseExpired)
		m = nil
	}
	if m == nil {
		first := p.flags&(flagSYN|flagACK) == flagSYN
		late := n.Profile.Late
		switch {
		case p.d == toClient && late.WAN == nat.WANReset && p.flags&flagRST == 0:
			n.reset(p, position+1)
			return false
		case p.d == toClient:
			return false
		case first, late.LAN == nat.LANRevive && p.flags&(flagFIN|flagRST) == 0:
			m = n.make(p, p.client.Port())
		case late.LAN == nat.LANRemap && p.flags&(flagFIN|flagRST) == 0:
			n.nextPort++
			m = n.make(p, n.nextPort)
		case late.LAN == nat.LANReset && p.flags&flagRST == 0:
			n.reset(p, position-1)
			return false
		default:
			return false
		}
	}
	timeout := n.Profile.Timeouts.TCPEstablished
	if p.flags&flagFIN != 0 {
		timeout = n.Profile.Timeouts.TCPFinWait
	}
	if p.flags&flagRST != 0 {
		timeout = n.Profile.Timeouts.TCPClose
	}
	silent := p.payload == "" && p.flags&(flagSYN|flagFIN|flagRST) == 0
	if r := n.Profile.Refresh; (r.Direction != nat.RefreshOutbound || p.d == toServer) && (!r.IgnoreACK || !silent) {
		// The kernel starts the clock when the packet comes in.
		m.expires = p.at - hopTime + units.Seconds(timeout)
	}
	p.client = m.WAN
	if p.d == toClient {
		p.client = m.LAN
	}
	return true
}

func (n *testNAT) make(p *packet, port uint16) *testMapping {
	wan, remote := netip.AddrPortFrom(n.WAN, port), testServer
	if n.Firewall() {
		wan, remote = p.client, testServer6
	}
	for n.byWAN[wan] != nil && n.byWAN[wan].expires > p.at {
		n.nextPort++
		wan = netip.AddrPortFrom(n.WAN, n.nextPort)
	}
	n.ids++
	m := &testMapping{Mapping: nat.Mapping{ID: n.ids, Protocol: "tcp", LAN: p.client, WAN: wan, Remote: remote}}
	n.byLAN[p.client], n.byWAN[wan] = m, m
	n.tell(p.at+seconds(0.0005), nat.MappingNew, m, "", 0)
	return m
}

func (n *testNAT) forget(m *testMapping, at units.Seconds, cause string) {
	if n.byLAN[m.LAN] == m {
		delete(n.byLAN, m.LAN)
	}
	if n.byWAN[m.WAN] == m {
		delete(n.byWAN, m.WAN)
	}
	window := seconds(0.005)
	if cause == nat.CauseDeleted {
		window = 0
	}
	n.tell(at, nat.MappingGone, m, cause, window)
}

func (n *testNAT) tell(at units.Seconds, kind string, m *testMapping, cause string, window units.Seconds) {
	if !n.silent {
		n.lab.truth.Mappings = append(n.lab.truth.Mappings, Mapping{At: at, MappingEvent: nat.MappingEvent{
			Kind: kind, NAT: n.Name, Mapping: m.Mapping, Cause: cause, Window: window,
		}})
	}
}

// reset answers a packet with a RST, as iptables' REJECT does.
func (n *testNAT) reset(p *packet, position int) {
	r := packet{at: p.at + hopTime, d: p.d.back(), client: p.client, device: p.device, flags: flagRST, seq: p.ack}
	n.lab.emerge(r, position)
}

// emerge starts a packet at a position that it leaves without having come in.
func (l *testLab) emerge(p packet, position int) {
	l.id++
	p.id = l.id
	l.see(&p, position)
	p.at += hopTime
	if p.d == toServer {
		l.move(p, position+1)
	} else {
		l.move(p, position-1)
	}
}

// flush deletes all mappings of the NATs with a name, as nat-reboot does.
func (l *testLab) flush(at float64, name string) {
	for _, n := range l.nats {
		if n.Name != name {
			continue
		}
		for _, m := range n.byLAN {
			if m.expires > seconds(at) {
				n.forget(m, seconds(at)+seconds(0.0003), nat.CauseDeleted)
			}
		}
	}
}

func (l *testLab) brk(at float64, host, cause string) {
	l.truth.Breaks = append(l.truth.Breaks, Break{At: seconds(at), Host: host, Cause: cause})
}

func (l *testLab) push(at float64, id string) {
	l.truth.Pushes = append(l.truth.Pushes, PushOrder{ID: id, Device: "phone", At: seconds(at)})
}

// write is the capture file. Mappings that are due expire first.
func (l *testLab) write() []byte {
	for _, n := range l.nats {
		for _, m := range slices.SortedFunc(maps.Values(n.byLAN), func(a, b *testMapping) int { return cmp.Compare(a.ID, b.ID) }) {
			if m.expires < l.truth.End {
				n.forget(m, m.expires+seconds(0.002), nat.CauseExpired)
			}
		}
	}
	slices.SortStableFunc(l.truth.Mappings, func(a, b Mapping) int { return cmp.Compare(a.At, b.At) })
	slices.SortStableFunc(l.truth.Sockets, func(a, b Socket) int { return cmp.Compare(a.At, b.At) })
	slices.SortStableFunc(l.frames, func(a, b testFrame) int { return cmp.Compare(a.at, b.at) })
	var out bytes.Buffer
	var w *pcapgo.NgWriter
	ids := map[int]int{}
	for i, p := range l.truth.Points {
		if l.hidden[p.Name] {
			continue
		}
		intf := pcapgo.NgInterface{Name: p.Name, LinkType: layers.LinkTypeEthernet, TimestampResolution: 9}
		if w == nil {
			var err error
			if w, err = pcapgo.NewNgWriterInterface(&out, intf, pcapgo.DefaultNgWriterOptions); err != nil {
				l.t.Fatal(err)
			}
			ids[i] = 0
			continue
		}
		id, err := w.AddInterface(intf)
		if err != nil {
			l.t.Fatal(err)
		}
		ids[i] = id
	}
	for _, f := range l.frames {
		id, ok := ids[f.point]
		if !ok {
			continue
		}
		ci := gopacket.CaptureInfo{Timestamp: testStart.Add(f.at.D()), CaptureLength: len(f.data), Length: len(f.data), InterfaceIndex: id}
		if err := w.WritePacket(ci, f.data); err != nil {
			l.t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		l.t.Fatal(err)
	}
	return out.Bytes()[:out.Len()-l.cut]
}

func (l *testLab) analyze() *Analysis {
	l.t.Helper()
	capture := l.write()
	a, err := Analyze(bytes.NewReader(capture), l.truth)
	if err != nil {
		l.t.Fatal(err)
	}
	return a
}
