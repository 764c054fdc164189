package capture

import (
	"encoding/binary"
	"net"
)

// This file writes pcapng (draft-ietf-opsawg-pcapng): little endian, one section,
// time stamps in nanoseconds. gopacket's writer is not used because it cannot
// give a packet its direction.

// Block types.
const (
	blockSection   = 0x0a0d0d0a
	blockInterface = 1
	blockStats     = 5
	blockPacket    = 6
)

// Options. Their numbers are counted per type of block.
const (
	optEnd = 0

	optSectionApplication = 4

	optInterfaceName        = 2
	optInterfaceDescription = 3
	optInterfaceMAC         = 6
	optInterfaceResolution  = 9

	optPacketFlags = 2

	optStatsStart    = 2
	optStatsEnd      = 3
	optStatsReceived = 4
	optStatsDropped  = 5
)

// Values of optPacketFlags: the direction is in the lowest two bits.
const (
	flagInbound  = 1
	flagOutbound = 2
)

const (
	byteOrderMagic   = 0x1a2b3c4d
	linkTypeEthernet = 1
	nanoseconds      = 9 // optInterfaceResolution: stamps count 10^-9 s
)

// Fixed lengths, in bytes. A block begins with its type and length and ends with
// its length again.
const (
	blockOverhead = 12
	// packetHeader is from the start of a packet block to the packet's bytes.
	packetHeader = 28
	// interfaceAt is where a packet or statistics block has its interface's number.
	interfaceAt = 8
)

// beginBlock appends the head of a block. endBlock completes it; start is the
// length that b had before.
func beginBlock(b []byte, kind uint32) []byte {
	b = binary.LittleEndian.AppendUint32(b, kind)
	return append(b, 0, 0, 0, 0)
}

func endBlock(b []byte, start int) []byte {
	length := uint32(len(b) - start + 4)
	binary.LittleEndian.PutUint32(b[start+4:], length)
	return binary.LittleEndian.AppendUint32(b, length)
}

// appendOption appends an option, filled up to a multiple of four bytes.
func appendOption(b []byte, code uint16, value []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, code)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
	return pad(append(b, value...), len(value))
}

func appendOption64(b []byte, code uint16, value uint64) []byte {
	return appendOption(b, code, binary.LittleEndian.AppendUint64(nil, value))
}

func endOptions(b []byte) []byte { return append(b, optEnd, 0, 0, 0) }

var zeros [4]byte

func pad(b []byte, length int) []byte { return append(b, zeros[:-length&3]...) }

// appendSection appends a section header.
func appendSection(b []byte) []byte {
	start := len(b)
	b = beginBlock(b, blockSection)
	b = binary.LittleEndian.AppendUint32(b, byteOrderMagic)
	b = binary.LittleEndian.AppendUint32(b, 1) // version 1.0
	b = binary.LittleEndian.AppendUint64(b, ^uint64(0))
	b = appendOption(b, optSectionApplication, []byte("outlive"))
	return endBlock(endOptions(b), start)
}

// appendInterface appends the description of a point.
func appendInterface(b []byte, name, description string, mac net.HardwareAddr) []byte {
	start := len(b)
	b = beginBlock(b, blockInterface)
	b = binary.LittleEndian.AppendUint32(b, linkTypeEthernet)
	b = binary.LittleEndian.AppendUint32(b, 0) // no limit to a packet's length
	b = appendOption(b, optInterfaceName, []byte(name))
	if description != "" {
		b = appendOption(b, optInterfaceDescription, []byte(description))
	}
	if len(mac) == 6 {
		b = appendOption(b, optInterfaceMAC, mac)
	}
	b = appendOption(b, optInterfaceResolution, []byte{nanoseconds})
	return endBlock(endOptions(b), start)
}

// appendStamp appends a time stamp, high half first.
func appendStamp(b []byte, stamp int64) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(uint64(stamp)>>32))
	return binary.LittleEndian.AppendUint32(b, uint32(stamp))
}

// appendPacket appends a packet. stamp is in nanoseconds since 1970.
func appendPacket(b []byte, point uint32, stamp int64, out bool, data []byte, length uint32) []byte {
	start := len(b)
	b = beginBlock(b, blockPacket)
	b = binary.LittleEndian.AppendUint32(b, point)
	b = appendStamp(b, stamp)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	b = binary.LittleEndian.AppendUint32(b, length)
	b = pad(append(b, data...), len(data))
	flags := byte(flagInbound)
	if out {
		flags = flagOutbound
	}
	b = append(b, optPacketFlags, 0, 4, 0, flags, 0, 0, 0)
	return endBlock(endOptions(b), start)
}

// counts are what a statistics block tells of a point.
type counts struct {
	start, end        int64 // nanoseconds since 1970
	received, dropped uint64
}

// appendStats appends what the kernel counted at a point.
func appendStats(b []byte, point uint32, c counts) []byte {
	start := len(b)
	b = beginBlock(b, blockStats)
	b = binary.LittleEndian.AppendUint32(b, point)
	b = appendStamp(b, c.end)
	b = appendOption(b, optStatsStart, appendStamp(nil, c.start))
	b = appendOption(b, optStatsEnd, appendStamp(nil, c.end))
	b = appendOption64(b, optStatsReceived, c.received)
	b = appendOption64(b, optStatsDropped, c.dropped)
	return endBlock(endOptions(b), start)
}
