package nat

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// segment is a packet of a probe: TCP with its flags and numbers, or UDP.
type segment struct {
	from, to netip.AddrPort
	udp      bool
	flags    tcpFlags
	seq, ack uint32
	payload  string
}

// tcpFlags are the TCP flags that matter here.
type tcpFlags uint8

const (
	syn tcpFlags = 1 << iota
	ack
	psh
	fin
	rst
)

func (f tcpFlags) String() string {
	var names []string
	for i, name := range []string{"SYN", "ACK", "PSH", "FIN", "RST"} {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "+")
}

// same says that one segment is the other, whatever addresses the NAT has given it.
func (s segment) same(other segment) bool {
	if s.udp || other.udp {
		return s.udp == other.udp && s.payload == other.payload
	}
	return s.flags == other.flags && s.seq == other.seq && s.payload == other.payload
}

func (s segment) String() string {
	what := s.flags.String()
	if s.udp {
		what = "UDP"
	}
	return fmt.Sprintf("%s → %s %s", s.from, s.to, what)
}

// frame gives the segment as it goes onto the wire.
func (s segment) frame(from, to net.HardwareAddr) ([]byte, error) {
	ether := layers.Ethernet{SrcMAC: from, DstMAC: to, EthernetType: layers.EthernetTypeIPv4}
	if s.to.Addr().Is6() {
		ether.EthernetType = layers.EthernetTypeIPv6
	}
	ip := s.network()
	var transport gopacket.SerializableLayer
	if s.udp {
		u := &layers.UDP{SrcPort: layers.UDPPort(s.from.Port()), DstPort: layers.UDPPort(s.to.Port())}
		if err := u.SetNetworkLayerForChecksum(ip); err != nil {
			return nil, err
		}
		transport = u
	} else {
		t := &layers.TCP{
			SrcPort: layers.TCPPort(s.from.Port()), DstPort: layers.TCPPort(s.to.Port()),
			Seq: s.seq, Ack: s.ack, Window: 64000,
			SYN: s.flags&syn != 0, ACK: s.flags&ack != 0, PSH: s.flags&psh != 0, FIN: s.flags&fin != 0, RST: s.flags&rst != 0,
		}
		if err := t.SetNetworkLayerForChecksum(ip); err != nil {
			return nil, err
		}
		transport = t
	}
	buffer := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&ether, ip, transport, gopacket.Payload(s.payload))
	return buffer.Bytes(), err
}

// network gives the segment's IP header.
func (s segment) network() networkLayer {
	protocol := layers.IPProtocolTCP
	if s.udp {
		protocol = layers.IPProtocolUDP
	}
	src, dst := s.from.Addr().AsSlice(), s.to.Addr().AsSlice()
	if s.to.Addr().Is6() {
		return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: protocol, SrcIP: src, DstIP: dst}
	}
	return &layers.IPv4{Version: 4, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: protocol, SrcIP: src, DstIP: dst}
}

// networkLayer is a header that can be written and that checksums can be made with.
type networkLayer interface {
	gopacket.NetworkLayer
	gopacket.SerializableLayer
}

// parse reads a frame; it is not ok if that is neither TCP nor UDP.
func parse(frame []byte) (s segment, ok bool) {
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.NoCopy)
	var from, to netip.Addr
	switch ip := p.NetworkLayer().(type) {
	case *layers.IPv4:
		from, _ = netip.AddrFromSlice(ip.SrcIP.To4())
		to, _ = netip.AddrFromSlice(ip.DstIP.To4())
	case *layers.IPv6:
		from, _ = netip.AddrFromSlice(ip.SrcIP)
		to, _ = netip.AddrFromSlice(ip.DstIP)
	default:
		return s, false
	}
	switch t := p.TransportLayer().(type) {
	case *layers.TCP:
		s.from, s.to = netip.AddrPortFrom(from, uint16(t.SrcPort)), netip.AddrPortFrom(to, uint16(t.DstPort))
		s.seq, s.ack, s.payload = t.Seq, t.Ack, string(t.Payload)
		for flag, set := range map[tcpFlags]bool{syn: t.SYN, ack: t.ACK, psh: t.PSH, fin: t.FIN, rst: t.RST} {
			if set {
				s.flags |= flag
			}
		}
	case *layers.UDP:
		s.from, s.to = netip.AddrPortFrom(from, uint16(t.SrcPort)), netip.AddrPortFrom(to, uint16(t.DstPort))
		s.udp, s.payload = true, string(t.Payload)
	default:
		return s, false
	}
	return s, true
}
