package flow

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"outlive/lab/units"
)

// TCP flags, as in the thirteenth byte of the header.
const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	flagPSH
	flagACK
)

// observation is one packet of a connection with the server, seen at one point.
type observation struct {
	at       units.Seconds
	number   int32 // in the capture, from 1
	conn     int32 // index of its connection, -1 if not known
	prev     int32 // the same packet at the position that it came from, -1 if it was first seen here
	next     int32 // the same packet at the position that it went to, -1 if it was not seen there
	older    int32 // another observation that waits under the same key, -1 if none
	seq, ack uint32
	ts       uint32
	tuple    tuple
	window   uint16
	id       uint16
	length   uint16 // of the payload
	ipLength uint16
	point    uint16 // index in reading.points
	path     uint16
	position uint8
	d        direction
	flags    uint8
	sender   sender
	kind     kind
	// foreign says that the tuple is not the one by which this level knows the connection.
	foreign bool
	// off is where the payload begins in its direction's stream of bytes.
	off     int64
	payload []byte // kept only where it is read
}

// hops grows along the way of a packet.
func (o *observation) hops() int {
	if o.d == toServer {
		return int(o.position)
	}
	return -int(o.position)
}

// reading is a capture read.
type reading struct {
	seen []observation
	// points are the names of the capture's interfaces, and places where they
	// lie by family; those that are not the lab's have no path.
	points  []string
	places  []spot
	addrs   *addresses
	packets int
	// captured counts the packets by point.
	captured map[string]int
	arena    []byte
	// problems are those of the capture itself.
	problems []string
}

// clockSlack is how far stamps may run backwards in a file. Kernels stamp a packet
// before they queue it for the reader, so neighbours may swap; a step of the clock is more.
const clockSlack = 100 * time.Millisecond

// read reads a pcapng stream into observations, in order of time.
func read(r io.Reader, truth *Truth, spots map[string]spot) (*reading, error) {
	in := &reading{addrs: newAddresses(), captured: map[string]int{}}
	guard := newBlocks(r)
	ng, err := pcapgo.NewNgReader(guard, pcapgo.NgReaderOptions{WantMixedLinkType: true, StatisticsCallback: in.drops})
	if err != nil {
		if broken := guard.broken(); broken != nil {
			err = broken
		} else if errors.Is(err, io.EOF) {
			err = errors.New("the capture is empty")
		}
		return nil, fmt.Errorf("reading the capture: %w", err)
	}
	x := newExtractor(truth.Server, truth.Server6)
	captured := map[string]bool{}
	interfaces := func() {
		for len(in.places) < ng.NInterfaces() {
			i, err := ng.Interface(len(in.places))
			if err != nil {
				return
			}
			at := spot{}
			if i.LinkType == layers.LinkTypeEthernet {
				at = spots[i.Name]
			}
			for _, p := range at {
				if p.path != nil {
					p.path.capture(p.position)
					captured[i.Name] = true
				}
			}
			in.places = append(in.places, at)
			in.points = append(in.points, i.Name)
		}
	}
	last := units.Seconds(math.MinInt64)
	sorted, cut := true, 0
	for {
		data, ci, err := ng.ZeroCopyReadPacketData()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = guard.broken()
			}
			if err != nil {
				in.problem("%v; what follows is not known", err)
			}
			break
		}
		in.packets++
		interfaces()
		in.captured[in.points[ci.InterfaceIndex]]++
		at := units.Seconds(ci.Timestamp.Sub(truth.Start))
		if in.packets > 1 && at < last-units.Seconds(clockSlack) {
			in.problem("the clock of the capture ran backwards: packet %d is %v older than the one before", in.packets, (last - at).D())
		}
		sorted = sorted && at > last
		last = at
		if ci.CaptureLength < ci.Length {
			cut++
		}
		in.packet(x, data, ci, at)
	}
	interfaces()
	for _, p := range truth.Points {
		if !captured[p.Name] {
			in.problem("the capture has nothing of %s", p.Name)
		}
	}
	if cut > 0 {
		in.problem("%d packets of the capture are not there in full length", cut)
	}
	if !sorted {
		// Of equal stamps the order is that of the way.
		slices.SortStableFunc(in.seen, func(a, b observation) int {
			return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.d, b.d), cmp.Compare((&a).hops(), (&b).hops()))
		})
	}
	return in, nil
}

func (in *reading) problem(format string, args ...any) {
	in.problems = append(in.problems, fmt.Sprintf(format, args...))
}

func (in *reading) drops(i int, s pcapgo.NgInterfaceStatistics) {
	if s.PacketsDropped > 0 && s.PacketsDropped != pcapgo.NgNoValue64 {
		name := fmt.Sprintf("interface %d", i)
		if i < len(in.points) {
			name = in.points[i]
		}
		in.problem("the capture lost %d packets at %s", s.PacketsDropped, name)
	}
}

// segment is what is common to all that is taken from a packet. The TCP header itself is the extractor's.
type segment struct {
	client       netip.AddrPort
	d            direction
	six          bool // IPv6
	ipLength, id uint16
}

// extractor takes segments between clients and one server out of frames.
type extractor struct {
	server  netip.AddrPort
	server6 netip.AddrPort
	parser  *gopacket.DecodingLayerParser
	ip4     layers.IPv4
	ip6     layers.IPv6
	tcp     layers.TCP
	decoded []gopacket.LayerType
}

// newExtractor makes one for a server with an IPv4 and an IPv6 address, of which one may be invalid.
func newExtractor(server, server6 netip.AddrPort) *extractor {
	x := &extractor{server: server, server6: server6}
	var ethernet layers.Ethernet
	var extension layers.IPv6ExtensionSkipper
	var payload gopacket.Payload
	x.parser = gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet, &ethernet, &x.ip4, &x.ip6, &extension, &x.tcp, &payload)
	x.parser.IgnoreUnsupported = true
	return x
}

// segment decodes a frame. It is false for what is not TCP between a client and the server.
func (x *extractor) segment(frame []byte) (s segment, ok bool) {
	// An error leaves the layers before it decoded, and only TCP counts.
	_ = x.parser.DecodeLayers(frame, &x.decoded)
	var src, dst netip.Addr
	tcp := false
	for _, layer := range x.decoded {
		switch layer {
		case layers.LayerTypeIPv4:
			src, _ = netip.AddrFromSlice(x.ip4.SrcIP)
			dst, _ = netip.AddrFromSlice(x.ip4.DstIP)
			s.ipLength, s.id = x.ip4.Length, x.ip4.Id
		case layers.LayerTypeIPv6:
			src, _ = netip.AddrFromSlice(x.ip6.SrcIP)
			dst, _ = netip.AddrFromSlice(x.ip6.DstIP)
			s.six, s.ipLength, s.id = true, uint16(min(40+int(x.ip6.Length), 0xffff)), 0
		case layers.LayerTypeIPv6Fragment:
			// What comes behind it need not be the beginning of a segment. The lab's links
			// all have the same MTU, so that TCP has no use for fragments.
			return s, false
		case layers.LayerTypeTCP:
			tcp = true
		}
	}
	if !tcp {
		return s, false
	}
	from, to := netip.AddrPortFrom(src, uint16(x.tcp.SrcPort)), netip.AddrPortFrom(dst, uint16(x.tcp.DstPort))
	server := x.server
	if s.six {
		server = x.server6
	}
	switch server {
	case to:
		s.client, s.d = from, toServer
	case from:
		s.client, s.d = to, toClient
	default:
		return s, false
	}
	return s, true
}

// packet takes in a frame of the capture.
func (in *reading) packet(x *extractor, frame []byte, ci gopacket.CaptureInfo, at units.Seconds) {
	s, ok := x.segment(frame)
	if !ok {
		return
	}
	where := in.places[ci.InterfaceIndex][family(s.six)]
	if where.path == nil {
		return
	}
	t := &x.tcp
	o := observation{
		at: at, number: int32(in.packets), conn: -1, prev: -1, next: -1, older: -1,
		seq: t.Seq, ack: t.Ack, ts: timestamp(t), tuple: in.addrs.tuple(s.client),
		window: t.Window, id: s.id, length: uint16(min(len(t.Payload), 0xffff)), ipLength: s.ipLength,
		point: uint16(ci.InterfaceIndex), path: uint16(where.path.index),
		position: uint8(where.position), d: s.d, flags: flagsOf(t),
	}
	if o.length > 0 && where.position == where.path.origin(s.d) {
		o.payload = in.keep(t.Payload)
	}
	in.seen = append(in.seen, o)
}

// keep copies a payload, into blocks of many.
func (in *reading) keep(b []byte) []byte {
	const block = 1 << 18
	if cap(in.arena)-len(in.arena) < len(b) {
		in.arena = make([]byte, 0, max(block, len(b)))
	}
	start := len(in.arena)
	in.arena = append(in.arena, b...)
	return in.arena[start:len(in.arena):len(in.arena)]
}

func flagsOf(t *layers.TCP) uint8 {
	var flags uint8
	for i, set := range [...]bool{t.FIN, t.SYN, t.RST, t.PSH, t.ACK} {
		if set {
			flags |= 1 << i
		}
	}
	return flags
}

// timestamp is the sender's TCP timestamp (RFC 7323), zero if it sends none.
func timestamp(t *layers.TCP) uint32 {
	for i := range t.Options {
		if o := &t.Options[i]; o.OptionType == layers.TCPOptionKindTimestamps && len(o.OptionData) == 8 {
			return uint32(o.OptionData[0])<<24 | uint32(o.OptionData[1])<<16 | uint32(o.OptionData[2])<<8 | uint32(o.OptionData[3])
		}
	}
	return 0
}
