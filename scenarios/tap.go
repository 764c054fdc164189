package scenarios

import (
	"encoding/binary"
	"net/netip"
	"sync"

	"outlive/lab"
	"outlive/probes/capture"
	"outlive/probes/flow"
	"outlive/probes/socket"
)

// tap looks at packets while they are captured, in the readers' threads: it tells
// the socket watchers which sockets to look at, and the timeline what the
// protocol has done. It never waits.
type tap struct {
	points   []capture.Point
	watchers []*socket.Watcher // by point; nil at NATs
	device   []string          // by point; empty elsewhere

	// mu guards live, which the readers of several points feed.
	mu   sync.Mutex
	live *flow.Live // nil where no event waits for the protocol
}

func newTap(l *labRun) *tap {
	t := &tap{}
	awaited := map[string]bool{}
	for _, name := range l.timeline.awaited() {
		awaited[name] = true
	}
	if len(awaited) == 0 {
		return t
	}
	happened := l.timeline.happened
	server, server6 := l.serverAddrs()
	t.live = flow.NewLive(l.scenario.Server.Protocol, server, server6, func(e flow.LiveEvent) {
		name := e.Device + "." + e.Name
		if awaited[name] {
			delete(awaited, name)
			happened <- occurrence{name: name, at: e.At}
		}
	})
	return t
}

// resolve finds out whose point is whose.
func (t *tap) resolve(topology *lab.Topology, watchers map[string]*socket.Watcher) {
	for _, p := range t.points {
		i := topology.Interface(p.Name)
		t.watchers = append(t.watchers, watchers[i.Host.Name])
		device := ""
		if i.Host.Role == lab.RoleDevice {
			device = i.Host.Name
		}
		t.device = append(t.device, device)
	}
}

func (t *tap) frame(f capture.Frame) {
	w := t.watchers[f.Point]
	if w == nil {
		return
	}
	src, dst, flags, ok := tcpEnds(f.Data)
	if !ok {
		return
	}
	if f.Out {
		// A RST that the host sends is its own doing and tells it nothing.
		w.Packet(src, dst, false)
	} else {
		w.Packet(dst, src, flags&tcpRST != 0)
	}
	if t.live != nil && t.device[f.Point] != "" {
		t.mu.Lock()
		t.live.Frame(t.device[f.Point], f.At, f.Out, f.Data)
		t.mu.Unlock()
	}
}

const tcpRST = 0x04

// tcpEnds reads the ends and flags of an unfragmented TCP segment in an
// Ethernet frame: a few bytes at fixed places, because it runs for every packet.
func tcpEnds(b []byte) (src, dst netip.AddrPort, flags byte, ok bool) {
	const ethernet = 14
	if len(b) > ethernet && b[12] == 0x86 && b[13] == 0xdd {
		return tcpEnds6(b[ethernet:])
	}
	if len(b) < ethernet+20 || b[12] != 0x08 || b[13] != 0x00 || b[ethernet]>>4 != 4 || b[ethernet+9] != 6 {
		return src, dst, 0, false
	}
	header := int(b[ethernet]&0x0f) * 4
	if len(b) < ethernet+header+14 || header < 20 {
		return src, dst, 0, false
	}
	ip, tcp := b[ethernet:], b[ethernet+header:]
	src = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[12:16])), binary.BigEndian.Uint16(tcp[0:]))
	dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[16:20])), binary.BigEndian.Uint16(tcp[2:]))
	return src, dst, tcp[13], true
}

// tcpEnds6 is the same for an IPv6 packet. Nothing of a lab sends TCP behind extension
// headers other than those that can be skipped.
func tcpEnds6(ip []byte) (src, dst netip.AddrPort, flags byte, ok bool) {
	const fixed = 40
	const tcp, hopByHop, routing, options = 6, 0, 43, 60
	if len(ip) < fixed {
		return src, dst, 0, false
	}
	next, rest := ip[6], ip[fixed:]
	for next == hopByHop || next == routing || next == options {
		if len(rest) < 8 || len(rest) < 8+8*int(rest[1]) {
			return src, dst, 0, false
		}
		next, rest = rest[0], rest[8+8*int(rest[1]):]
	}
	if next != tcp || len(rest) < 14 {
		return src, dst, 0, false
	}
	src = netip.AddrPortFrom(netip.AddrFrom16([16]byte(ip[8:24])), binary.BigEndian.Uint16(rest[0:]))
	dst = netip.AddrPortFrom(netip.AddrFrom16([16]byte(ip[24:40])), binary.BigEndian.Uint16(rest[2:]))
	return src, dst, rest[13], true
}
