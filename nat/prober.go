package nat

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"outlive/lab"
)

const (
	// probePort is where the far end of every probe connection is, and markerPort
	// where the near end of the markers is.
	probePort  = 443
	markerPort = 19999
)

// prober speaks for both ends of probe connections through one NAT. It makes its
// packets itself, so that no TCP of the kernel repeats, acknowledges or resets
// anything: what is seen comes from the NAT. It can be any host of the networks
// behind its two, so that no NAT counts its connections as those of one host. It is
// used by one goroutine.
type prober struct {
	nat      *NAT
	lan, wan *wireEnd
	// outside are the addresses that the NAT has towards the prober; a firewall has none.
	outside []netip.Addr
	// insides and outsides are where its other hosts have their addresses.
	insides, outsides netip.Prefix
	// host is the inside host whose turn it is, and flows is how many flows it has.
	host  netip.Addr
	flows int
	// taken and used are how many hosts and flows there have been since all were
	// deleted, and filled says of TCP and UDP whether the spare host's block was filled.
	taken, used int
	filled      [2]bool
	// port is the last inside port in use, and packets counts what was sent.
	port    uint16
	packets int
}

func newProber(n *NAT, p *lab.Probe) (*prober, error) {
	lan, err := openEnd("LAN", p.LAN)
	if err != nil {
		return nil, err
	}
	wan, err := openEnd("WAN", p.WAN)
	if err != nil {
		lan.close()
		return nil, err
	}
	prober := &prober{
		nat: n, lan: lan, wan: wan, insides: p.Insides, outsides: p.Outsides,
		host: p.Insides.Addr(), port: markerPort,
	}
	if !n.Firewall() {
		prober.outside = []netip.Addr{wan.near}
		if n.profile.Pool.Addresses > 1 {
			prober.outside = siteOf(n.host, n.profile).sides[1].outside
		}
	}
	return prober, nil
}

// translated says whether an inside endpoint is to be seen from outside under this
// address: one of the NAT's, or its own where a firewall translates nothing.
func (p *prober) translated(inside netip.AddrPort, seen netip.Addr) bool {
	if p.nat.Firewall() {
		return seen == inside.Addr()
	}
	return slices.Contains(p.outside, seen)
}

// outsideWords says under which addresses.
func (p *prober) outsideWords(inside netip.AddrPort) string {
	if p.nat.Firewall() {
		return inside.Addr().String()
	}
	words := make([]string, len(p.outside))
	for i, a := range p.outside {
		words[i] = a.String()
	}
	return strings.Join(words, " or ")
}

// takeProber gives the NAT's prober, made at the first self-check and kept, so
// that no port is used twice. The caller holds and releases n.checking.
func (n *NAT) takeProber(t *lab.Topology) (*prober, error) {
	if !n.checking.TryLock() {
		return nil, fmt.Errorf("another check of NAT %s is running", n.host.Name)
	}
	if n.prober == nil {
		probe, err := t.AddProbe(n.host.Name)
		if err == nil {
			n.prober, err = newProber(n, probe)
		}
		if err != nil {
			n.checking.Unlock()
			return nil, err
		}
	}
	return n.prober, nil
}

func (p *prober) close() {
	p.lan.close()
	p.wan.close()
}

// sighting is what both sides saw of one packet that was sent into the NAT.
type sighting struct {
	// within is when the packet was at the NAT.
	within interval
	// lan and wan are what arrived there, without the markers.
	lan, wan []segment
}

// fromLAN sends a packet from the LAN side, followed by a marker that goes to the
// WAN side and comes back, and gives what was seen on both sides until then.
func (p *prober) fromLAN(s segment) (sighting, error) {
	saw := sighting{within: interval{from: time.Now()}}
	if err := p.lan.send(s); err != nil {
		return saw, err
	}
	m, err := p.marker(&saw)
	if err != nil {
		return saw, err
	}
	saw.within.to = time.Now()
	return saw, p.markerBack(m, &saw)
}

// fromWAN does the same from the WAN side. The marker's way in is opened first.
func (p *prober) fromWAN(s segment) (sighting, error) {
	var saw sighting
	m, err := p.marker(&saw)
	if err != nil {
		return saw, err
	}
	saw.within.from = time.Now()
	if err := p.wan.send(s); err != nil {
		return saw, err
	}
	if err := p.markerBack(m, &saw); err != nil {
		return saw, err
	}
	saw.within.to = time.Now()
	// Once more out, behind any answer of the NAT to the WAN side.
	_, err = p.marker(&saw)
	return saw, err
}

// marker sends a datagram from the LAN side, which every NAT lets through, and
// waits for it at the WAN side. It gives the datagram as it arrived.
func (p *prober) marker(saw *sighting) (segment, error) {
	p.packets++
	out := segment{
		udp:     true,
		from:    p.markerEnd(),
		to:      netip.AddrPortFrom(p.wan.addr, probePort),
		payload: "marker " + strconv.Itoa(p.packets),
	}
	if err := p.lan.send(out); err != nil {
		return segment{}, err
	}
	got, all, err := p.wan.await("a new datagram", func(s segment) bool { return s.udp && s.payload == out.payload })
	saw.wan = append(saw.wan, withoutMarkers(all)...)
	return got, err
}

// markerBack answers a marker from the WAN side and waits at the LAN side.
func (p *prober) markerBack(m segment, saw *sighting) error {
	back := segment{udp: true, from: m.to, to: m.from, payload: m.payload + " back"}
	if err := p.wan.send(back); err != nil {
		return err
	}
	_, all, err := p.lan.await("the answer to a datagram", func(s segment) bool { return s.udp && s.payload == back.payload })
	saw.lan = append(saw.lan, withoutMarkers(all)...)
	if err != nil {
		return err
	}
	// The LAN side's answers of the NAT came before the marker; the WAN side may
	// have got one since it was last read.
	late, err := p.wan.receive()
	saw.wan = append(saw.wan, withoutMarkers(late)...)
	return err
}

func withoutMarkers(all []segment) []segment {
	var rest []segment
	for _, s := range all {
		if !s.udp || !strings.HasPrefix(s.payload, "marker ") {
			rest = append(rest, s)
		}
	}
	return rest
}
