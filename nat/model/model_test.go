package model

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/units"
	"outlive/nat"
)

var (
	phone  = netip.MustParseAddrPort("10.64.0.2:5000")
	other  = netip.MustParseAddrPort("10.64.0.3:5000")
	server = netip.MustParseAddrPort("198.51.100.1:443")
	second = netip.MustParseAddrPort("198.51.100.1:8443")
	third  = netip.MustParseAddrPort("198.51.100.2:443")
	public = netip.MustParseAddrPort("203.0.113.2:5000")
	place  = Place{Pool: []netip.Addr{public.Addr()}, Inside: []netip.Addr{phone.Addr(), other.Addr()}}
)

// at is a packet, when it comes, and what must happen.
type at struct {
	time   time.Duration
	side   Side
	packet Packet
	// want is the verdict, and as the source of a forwarded packet.
	want Verdict
	as   netip.AddrPort
}

func tcpPacket(from, to netip.AddrPort, flags Flags, seq, ack uint32, length int) Packet {
	return Packet{Protocol: TCP, From: from, To: to, Flags: flags, Seq: seq, Ack: ack, Window: 64000, Length: length}
}

func datagram(from, to netip.AddrPort) Packet {
	return Packet{Protocol: UDP, From: from, To: to, Length: 1}
}

// handshake opens a connection in the first instant.
var handshake = []at{
	{0, LAN, tcpPacket(phone, server, SYN, 100, 0, 0), Forward, public},
	{0, WAN, tcpPacket(server, public, SYN|ACK, 900, 101, 0), Forward, server},
	{0, LAN, tcpPacket(phone, server, ACK, 101, 901, 0), Forward, public},
}

func connected(more ...at) []at { return append(append([]at{}, handshake...), more...) }

func lateLAN(lan nat.LateLAN) nat.Profile { return nat.Profile{Late: nat.Late{LAN: lan}} }

func keeps(d time.Duration) nat.Timeouts { return nat.Timeouts{TCPEstablished: units.Duration(d)} }

const day = 24 * time.Hour

func TestNAT(t *testing.T) {
	data := func(when time.Duration, want Verdict, as netip.AddrPort) at {
		return at{when, LAN, tcpPacket(phone, server, ACK|PSH, 101, 901, 10), want, as}
	}
	push := func(when time.Duration, want Verdict) at {
		return at{when, WAN, tcpPacket(server, public, ACK|PSH, 901, 101, 10), want, server}
	}
	outbound := nat.Profile{Timeouts: keeps(time.Minute), Refresh: nat.Refresh{Direction: nat.RefreshOutbound}}
	for _, tt := range []struct {
		name    string
		profile nat.Profile
		packets []at
	}{
		{"the last moment of 5 days", nat.Profile{}, connected(data(5*day-1, Forward, public))},
		{"the moment after", nat.Profile{}, connected(data(5*day, Drop, public))},
		{"late, from inside, answered", lateLAN(nat.LANReset), connected(data(5*day, Reset, public))},
		{"late, from inside, taken up", lateLAN(nat.LANRevive), connected(data(5*day, Forward, public))},
		{"late, from outside", nat.Profile{}, connected(push(5*day, Drop))},
		{"late, from outside, answered", nat.Profile{Late: nat.Late{WAN: nat.WANReset}}, connected(push(5*day, Reset))},
		{"data that nobody acknowledges has 5 minutes", nat.Profile{}, connected(
			data(0, Forward, public), push(299*time.Second, Forward), data(599*time.Second, Drop, public))},
		{"a SYN has 2 minutes, and a second one changes nothing", nat.Profile{}, []at{
			{0, LAN, tcpPacket(phone, server, SYN, 100, 0, 0), Forward, public},
			{119 * time.Second, LAN, tcpPacket(phone, server, SYN, 100, 0, 0), Forward, public},
			{120 * time.Second, WAN, tcpPacket(server, public, SYN|ACK, 900, 101, 0), Drop, server}}},
		{"a reset leaves 10 seconds", nat.Profile{}, connected(
			at{0, LAN, tcpPacket(phone, server, RST, 101, 0, 0), Forward, public}, push(9*time.Second, Forward), push(20*time.Second, Drop))},
		{"a reset as the only answer leaves nothing", nat.Profile{}, []at{
			{0, LAN, tcpPacket(phone, server, SYN, 100, 0, 0), Forward, public},
			{0, WAN, tcpPacket(server, public, RST|ACK, 0, 101, 0), Forward, server},
			{0, WAN, tcpPacket(server, public, RST|ACK, 0, 101, 0), Drop, server}}},
		{"a datagram has 30 seconds", nat.Profile{}, []at{
			{0, LAN, datagram(phone, server), Forward, public},
			{29 * time.Second, WAN, datagram(server, public), Forward, server},
			{59 * time.Second, WAN, datagram(server, public), Drop, server}}},
		{"a stream of datagrams has 120", nat.Profile{}, []at{
			{0, LAN, datagram(phone, server), Forward, public},
			{0, WAN, datagram(server, public), Forward, server},
			{3 * time.Second, LAN, datagram(phone, server), Forward, public},
			{122 * time.Second, WAN, datagram(server, public), Forward, server}}},
		{"packets from outside refresh", nat.Profile{Timeouts: keeps(time.Minute)}, connected(
			push(50*time.Second, Forward), push(100*time.Second, Forward))},
		{"or not", outbound, connected(push(50*time.Second, Forward), push(61*time.Second, Drop))},
		{"a bare ACK refreshes", nat.Profile{Timeouts: keeps(time.Minute)}, connected(
			at{50 * time.Second, LAN, tcpPacket(phone, server, ACK, 101, 901, 0), Forward, public}, push(100*time.Second, Forward))},
		{"or not", nat.Profile{Timeouts: keeps(time.Minute), Refresh: nat.Refresh{IgnoreACK: true}}, connected(
			data(0, Forward, public),
			at{0, WAN, tcpPacket(server, public, ACK|PSH, 901, 111, 10), Forward, server},
			at{50 * time.Second, LAN, tcpPacket(phone, server, ACK, 111, 911, 0), Forward, public}, push(61*time.Second, Drop))},
		{"a full cone", nat.Profile{Mapping: nat.EndpointIndependent, Filtering: nat.EndpointIndependent}, []at{
			{0, LAN, datagram(phone, server), Forward, public}, {0, WAN, datagram(third, public), Forward, third}}},
		{"a restricted one: the same address", nat.Profile{Filtering: nat.AddressDependent}, []at{
			{0, LAN, datagram(phone, server), Forward, public}, {0, WAN, datagram(second, public), Forward, second}}},
		{"a restricted one: another address", nat.Profile{Filtering: nat.AddressDependent}, []at{
			{0, LAN, datagram(phone, server), Forward, public}, {0, WAN, datagram(third, public), Drop, third}}},
		{"a port-restricted one", nat.Profile{}, []at{
			{0, LAN, datagram(phone, server), Forward, public}, {0, WAN, datagram(second, public), Drop, second}}},
		{"hairpinning", nat.Profile{Filtering: nat.EndpointIndependent, Hairpin: true}, []at{
			{0, LAN, datagram(phone, server), Forward, public},
			{0, LAN, datagram(other, public), Forward, netip.MustParseAddrPort("203.0.113.2:1024")},
			{0, LAN, datagram(phone, netip.MustParseAddrPort("203.0.113.2:1024")), Forward, public}}},
		{"no hairpinning", nat.Profile{}, []at{
			{0, LAN, datagram(phone, server), Forward, public}, {0, LAN, datagram(other, public), Keep, public}}},
		{"a port that is taken", nat.Profile{Filtering: nat.EndpointIndependent}, []at{
			{0, LAN, datagram(phone, server), Forward, public},
			{0, LAN, datagram(other, third), Forward, netip.MustParseAddrPort("203.0.113.2:65535")}}},
		{"a port that serves two, by conntrack's own translation", nat.Profile{}, []at{
			{0, LAN, datagram(phone, server), Forward, public}, {0, LAN, datagram(other, third), Forward, public}}},
		{"a limit", nat.Profile{Limits: nat.Limits{Subscriber: 1}}, []at{
			{0, LAN, datagram(phone, server), Forward, public},
			{0, LAN, datagram(netip.AddrPortFrom(phone.Addr(), 6000), server), Drop, public},
			{0, LAN, datagram(netip.AddrPortFrom(other.Addr(), 6000), server), Forward, netip.AddrPortFrom(public.Addr(), 6000)}}},
		{"a block of one port", nat.Profile{Ports: nat.Ports{Allocation: nat.PortRandom, Range: nat.PortRange{First: 2000, Last: 2001}, Block: 1}}, []at{
			{0, LAN, datagram(other, server), Forward, netip.MustParseAddrPort("203.0.113.2:2001")},
			{0, LAN, datagram(netip.AddrPortFrom(other.Addr(), 6000), server), Drop, public}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := New(tt.profile, place)
			for i, step := range tt.packets {
				branches := n.Packet(At(step.time), step.side, step.packet)
				if len(branches) != 1 {
					t.Fatalf("packet %d: %d branches, want 1", i+1, len(branches))
				}
				b := branches[0]
				if diff := cmp.Diff(step.want.String(), b.Verdict.String()); diff != "" {
					t.Fatalf("packet %d, %s: unexpected verdict (%s) (-want +got):\n%s", i+1, step.packet, b.Why, diff)
				}
				next, ok := b.Next(step.as)
				if !ok {
					t.Fatalf("packet %d: the source is %s, want %s", i+1, b.From, step.as)
				}
				n = next
			}
		})
	}
}

// Where the time of a packet is not known to be before or after a timeout, either may
// have happened, and what is seen decides what follows.
func TestUncertainTime(t *testing.T) {
	n := New(nat.Profile{}, place)
	first, _ := n.Packet(At(0), LAN, datagram(phone, server))[0].Next(public)
	around := Window{29 * time.Second, 31 * time.Second}
	verdicts := map[string]*NAT{}
	for _, b := range first.Packet(around, WAN, datagram(server, public)) {
		next, ok := b.Next(server)
		if !ok {
			t.Fatalf("forwarded from %s", b.From)
		}
		verdicts[b.Verdict.String()] = next
	}
	var got []string
	for _, v := range []Verdict{Drop, Forward, Reset} {
		if verdicts[v.String()] != nil {
			got = append(got, v.String())
		}
	}
	if diff := cmp.Diff([]string{"dropped", "forwarded"}, got); diff != "" {
		t.Fatalf("unexpected verdicts (-want +got):\n%s", diff)
	}
	for verdict, want := range map[Verdict]Verdict{Drop: Drop, Forward: Forward} {
		for _, b := range verdicts[verdict.String()].Packet(At(32*time.Second), WAN, datagram(server, public)) {
			if b.Verdict != want {
				t.Errorf("after it was %s, the next one is %s", verdict, b.Verdict)
			}
		}
	}
}

// A branch is not spent by following it: the NAT that it came from stays as it was.
func TestPacketChangesNothing(t *testing.T) {
	n := New(nat.Profile{}, place)
	branch := n.Packet(At(0), LAN, datagram(phone, server))[0]
	for range 2 {
		if _, ok := branch.Next(public); !ok {
			t.Fatal("the port is not kept")
		}
		if b := n.Packet(At(0), WAN, datagram(server, public))[0]; b.Verdict != Drop {
			t.Errorf("without the first packet the second is %s", b.Verdict)
		}
	}
}
