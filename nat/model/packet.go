package model

import (
	"fmt"
	"net/netip"
	"strings"
)

// Protocol is a transport protocol.
type Protocol uint8

// The protocols that a NAT of the lab translates.
const (
	TCP Protocol = iota
	UDP
)

func (p Protocol) String() string { return [...]string{"TCP", "UDP"}[p] }

// Side is a side of the NAT.
type Side uint8

// The sides: LAN is the inside, WAN the outside.
const (
	LAN Side = iota
	WAN
)

func (s Side) String() string { return [...]string{"LAN", "WAN"}[s] }

// Flags are the TCP flags on which something depends.
type Flags uint8

// The flags of TCP (RFC 9293 §3.1).
const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
)

func (f Flags) String() string {
	var names []string
	for _, flag := range []struct {
		bit  Flags
		name string
	}{{SYN, "SYN"}, {FIN, "FIN"}, {RST, "RST"}, {PSH, "PSH"}, {ACK, "ACK"}} {
		if f&flag.bit != 0 {
			names = append(names, flag.name)
		}
	}
	if names == nil {
		return "no flags"
	}
	return strings.Join(names, "+")
}

// has says whether all of the given flags are set.
func (f Flags) has(all Flags) bool { return f&all == all }

// Packet is a packet at the NAT, with the addresses that it has there.
type Packet struct {
	Protocol Protocol
	From, To netip.AddrPort
	// Flags, Seq, Ack and Window are of TCP. Window is not scaled.
	Flags    Flags
	Seq, Ack uint32
	Window   uint16
	// Length is that of the payload.
	Length int
}

func (p Packet) String() string {
	text := fmt.Sprintf("%s → %s ", p.From, p.To)
	if p.Protocol == UDP {
		return text + "UDP"
	}
	text += fmt.Sprintf("%s seq %d", p.Flags, p.Seq)
	if p.Flags&ACK != 0 {
		text += fmt.Sprintf(" ack %d", p.Ack)
	}
	if p.Length > 0 {
		text += fmt.Sprintf(" %d bytes", p.Length)
	}
	if p.Window == 0 {
		text += " window 0"
	}
	return text
}

// end is the sequence number after the packet's last: SYN and FIN take one each.
func (p Packet) end() uint32 {
	end := p.Seq + uint32(p.Length)
	if p.Flags&SYN != 0 {
		end++
	}
	if p.Flags&FIN != 0 {
		end++
	}
	return end
}

// before says that a sequence number comes before another, modulo 2³² (RFC 9293 §3.4).
func before(a, b uint32) bool { return int32(a-b) < 0 }
