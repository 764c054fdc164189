package flow

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// block is a pcapng block of a type with a body.
func block(kind uint32, body ...byte) []byte {
	length := uint32(12 + len(body))
	b := binary.LittleEndian.AppendUint32(nil, kind)
	b = binary.LittleEndian.AppendUint32(b, length)
	b = append(b, body...)
	return binary.LittleEndian.AppendUint32(b, length)
}

func TestDamagedCaptures(t *testing.T) {
	section := block(blockSection, 0x4D, 0x3C, 0x2B, 0x1A, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255)
	ethernet := []byte{1, 0, 0, 0, 0, 0, 0, 0}
	intf := func(options ...byte) []byte {
		return block(blockInterface, append(bytes.Clone(ethernet), options...)...)
	}
	enhanced := func(length byte) []byte {
		return block(blockEnhanced, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, length, 0, 0, 0, length, 0, 0, 0, 1, 2, 3, 4)
	}
	for _, test := range []struct {
		name   string
		blocks [][]byte
		want   string // empty: no damage
	}{
		{"sound", [][]byte{section, intf(9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0), enhanced(4)}, ""},
		{"blocks of no use", [][]byte{section, block(0xbad, 1, 2, 3, 4), intf(), block(blockSimple, 4, 0, 0, 0, 1, 2, 3, 4), enhanced(4)}, ""},
		{"a resolution that nobody needs", [][]byte{section, intf(9, 0, 1, 0, 40, 0, 0, 0, 0, 0, 0, 0)}, "at byte 28: a malformed block of type 1"},
		{"an empty resolution", [][]byte{section, intf(9, 0, 0, 0, 0, 0, 0, 0)}, "at byte 28: a malformed block of type 1"},
		{"an empty filter", [][]byte{section, intf(11, 0, 0, 0, 0, 0, 0, 0)}, "at byte 28: a malformed block of type 1"},
		{"a short offset", [][]byte{section, intf(14, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0)}, "at byte 28: a malformed block of type 1"},
		{"an option beyond its block", [][]byte{section, intf(2, 0, 9, 0, 'x', 0, 0, 0)}, "at byte 28: a malformed block of type 1"},
		{"half an option", [][]byte{section, block(blockInterface, append(bytes.Clone(ethernet), 2, 0)...)}, "at byte 28: a block of 22 bytes"},
		{"an end with a length", [][]byte{section, intf(0, 0, 4, 0, 0, 0, 0, 0)}, "at byte 28: a malformed block of type 1"},
		{"short statistics", [][]byte{section, intf(), block(blockStatistics, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 4, 0, 0, 0, 0, 0)}, "at byte 48: a malformed block of type 5"},
		{"a packet that is longer than its block", [][]byte{section, intf(), enhanced(5)}, "at byte 48: a malformed block of type 6"},
		{"a packet without a header", [][]byte{section, intf(), block(blockEnhanced, 0, 0, 0, 0)}, "at byte 48: a malformed block of type 6"},
		{"two lengths", [][]byte{section, append(intf()[:16], 24, 0, 0, 0)}, "at byte 28: a block whose two lengths differ"},
		{"a huge block", [][]byte{section, {1, 0, 0, 0, 0, 0, 0, 0x7f, 0, 0, 0, 0}}, "at byte 28: a block of 2130706432 bytes"},
		{"two sections", [][]byte{section, section}, "at byte 28: a second section begins; only one is read"},
		{"no byte order", [][]byte{block(blockSection, 1, 2, 3, 4)}, "at byte 0: a section without a byte order"},
	} {
		t.Run(test.name, func(t *testing.T) {
			truth := Truth{Server: testServer, Start: testStart}
			a, err := Analyze(bytes.NewReader(bytes.Join(test.blocks, nil)), truth)
			got := ""
			switch {
			case err != nil:
				got = err.Error()
			case len(a.Problems) > 0:
				got = strings.Join(a.Problems, "\n")
			}
			if test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// Captures of the other byte order are read all the same.
func TestBigEndianCapture(t *testing.T) {
	be := func(kind uint32, body ...byte) []byte {
		b := block(kind, body...)
		for _, at := range []int{0, 4, len(b) - 4} {
			binary.BigEndian.PutUint32(b[at:], binary.LittleEndian.Uint32(b[at:]))
		}
		return b
	}
	capture := bytes.Join([][]byte{
		be(blockSection, 0x1A, 0x2B, 0x3C, 0x4D, 0, 1, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255),
		be(blockInterface, 0, 1, 0, 0, 0, 0, 0, 0),
		be(blockEnhanced, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 4, 1, 2, 3, 4),
	}, nil)
	a, err := Analyze(bytes.NewReader(capture), Truth{Server: testServer, Start: testStart})
	if err != nil || a.Packets != 1 || len(a.Problems) > 0 {
		t.Errorf("got %+v, %v", a, err)
	}
}

// An interface that claims packets of 4 GiB does not cost that much memory.
func TestHugeSnapLength(t *testing.T) {
	l, _ := one(t, silent)
	capture := l.write()
	huge := bytes.Clone(capture)
	i := bytes.Index(huge, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	binary.LittleEndian.PutUint32(huge[i+4:], 0xffffffff)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Analyze(bytes.NewReader(huge), l.truth); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	allocated := after.TotalAlloc - before.TotalAlloc
	if allocated > 16<<20 {
		t.Errorf("%d bytes for a capture of %d", allocated, len(huge))
	}
}

func TestDroppedByTheCapture(t *testing.T) {
	l, c := one(t, silent)
	keep(c, 0, 101)
	capture := append(l.write(), block(blockStatistics, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 8, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)...)
	a, err := Analyze(bytes.NewReader(capture), l.truth)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"the capture lost 7 packets at cell:lan"}, a.Problems); diff != "" {
		t.Error(diff)
	}
}

func TestShortenedPackets(t *testing.T) {
	l, c := one(t, silent)
	keep(c, 0, 101)
	capture := l.write()
	// The first packet, of 60 bytes, claims to have been longer.
	capture[bytes.Index(capture, []byte{60, 0, 0, 0, 60, 0, 0, 0})+4] = 66
	a, err := Analyze(bytes.NewReader(capture), l.truth)
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Problems) == 0 || a.Problems[0] != "1 packets of the capture are not there in full length" {
		t.Errorf("got %q", a.Problems)
	}
}

func TestSegmentIPv6(t *testing.T) {
	server, client := netip.MustParseAddrPort("[2001:db8::1]:7000"), netip.MustParseAddrPort("[2001:db8:64::2]:40000")
	ip := &layers.IPv6{Version: 6, NextHeader: layers.IPProtocolTCP, HopLimit: 64, SrcIP: client.Addr().AsSlice(), DstIP: server.Addr().AsSlice()}
	tcp := &layers.TCP{
		SrcPort: layers.TCPPort(client.Port()), DstPort: layers.TCPPort(server.Port()), Seq: 5, SYN: true, Window: 1,
		Options: []layers.TCPOption{
			{OptionType: layers.TCPOptionKindNop}, {OptionType: layers.TCPOptionKindNop},
			{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: []byte{0, 1, 2, 3, 0, 0, 0, 0}},
		},
	}
	if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	b := gopacket.NewSerializeBuffer()
	ethernet := &layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv6}
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ethernet, ip, tcp, gopacket.Payload("abc")); err != nil {
		t.Fatal(err)
	}
	x := newExtractor(netip.AddrPort{}, server)
	s, ok := x.segment(b.Bytes())
	if want := (segment{client: client, d: toServer, six: true, ipLength: 40 + 32 + 3}); !ok || s != want {
		t.Errorf("got %+v %v, want %+v", s, ok, want)
	}
	if got := timestamp(&x.tcp); got != 0x010203 {
		t.Errorf("timestamp %#x", got)
	}
	for n := range b.Bytes() {
		// Cut anywhere, it is no segment or one without all its bytes, and no panic.
		x.segment(b.Bytes()[:n])
	}
}
