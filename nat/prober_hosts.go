package nat

import (
	"net/netip"

	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"outlive/lab"
)

// blocks says how many blocks of ports the inside hosts share by the ends of their
// addresses: a power of two, the first of which has this number. None if there are no blocks.
func (p *prober) blocks() (shared, first int) {
	profile := p.nat.profile
	if profile.Ports.Block == 0 {
		return 0, 0
	}
	shared = (&nftRuleset{p: profile}).sharedBlocks()
	return shared, min(1, profile.blocks()-shared)
}

// blockOf is the number of the block that an inside host has.
func (p *prober) blockOf(host netip.Addr) int {
	shared, first := p.blocks()
	if host == p.lan.addr {
		return 0
	}
	all := host.AsSlice()
	return first + int(all[len(all)-1])&(shared-1)
}

// spare says whether a host has the block that is kept for findBlock.
func (p *prober) spare(host netip.Addr) bool {
	shared, first := p.blocks()
	return p.blockOf(host) == first+shared-1
}

// most is how many flows an inside host of this NAT can have; zero if there is no limit.
func (p *prober) most() int {
	most := p.nat.profile.Limits.Subscriber
	if most > 1 {
		// The kernel goes on counting a connection for a moment that has just been deleted.
		most--
	}
	if block := p.nat.profile.Ports.Block; block > 0 && (most == 0 || block < most) {
		most = block
	}
	return most
}

// ports are those that an inside host can keep; none if any.
func (p *prober) ports(host netip.Addr) PortRange {
	ports := p.nat.profile.Ports
	if ports.Block > 0 {
		first := int(usablePorts(ports).First) + p.blockOf(host)*ports.Block
		return PortRange{uint16(first), uint16(first + ports.Block - 1)}
	}
	return ports.Range
}

// room is how many flows of one protocol all inside hosts can have together, besides
// the marker; zero if there is no limit.
func (p *prober) room() int {
	profile := p.nat.profile
	room := profile.Limits.Mappings
	less := func(n int) {
		if room == 0 || n < room {
			room = n
		}
	}
	if shared, _ := p.blocks(); shared > 0 {
		less(max(shared-1, 1) * p.most())
	} else if ports := profile.Ports.Range.Ports(); ports > 0 {
		less(ports)
	}
	if room > 0 {
		// The marker, and the same moment.
		room = max(room-2, 1)
	}
	return room
}

// reserve makes room for flows that are to be open at once, of so many inside hosts
// or as many as it takes, by deleting the mappings of those before.
func (p *prober) reserve(flows, hosts int) error {
	room := p.room()
	shared, _ := p.blocks()
	if most := p.most(); most > 0 {
		hosts = max(hosts, (flows+most-1)/most)
	}
	if room == 0 || p.used+flows <= room && (shared == 0 || p.taken+hosts <= max(shared-1, 1)) {
		return nil
	}
	return p.release()
}

// endpoint gives an inside endpoint that has not been used, of a host that can have n
// more flows, if there can be any such. If the NAT is to keep its port, it can.
func (p *prober) endpoint(n int) netip.AddrPort {
	if most := p.most(); most > 0 && p.flows+n > most || p.host == p.insides.Addr() {
		p.nextHost()
	}
	p.flows++
	p.used++
	p.port++
	port := p.port
	if ports := p.ports(p.host); ports.Ports() > 0 && p.nat.profile.Ports.Allocation == PortPreserve {
		port = ports.First + uint16(int(port)%ports.Ports())
	}
	return netip.AddrPortFrom(p.host, port)
}

// nextHost gives the address of the next inside host, whose turn it then is.
func (p *prober) nextHost() netip.Addr {
	p.host = p.host.Next()
	if shared, _ := p.blocks(); shared > 1 && p.spare(p.host) {
		p.host = p.host.Next()
	}
	p.taken++
	p.flows = 0
	return p.host
}

// spareHost gives an inside host whose block nobody else has.
func (p *prober) spareHost() netip.Addr {
	host := p.insides.Addr()
	for !p.spare(host) {
		host = host.Next()
	}
	return host
}

// release deletes the mappings of the probes, but for the marker's.
func (p *prober) release() error {
	flows, err := p.nat.table.dump()
	if err != nil {
		return err
	}
	for _, f := range flows {
		from := netip.AddrPortFrom(f.TupleOrig.IP.SourceAddress, f.TupleOrig.Proto.SourcePort)
		answers := f.TupleReply.IP.SourceAddress
		if !lab.ProbeNetwork.Contains(from.Addr()) && !lab.ProbeNetwork.Contains(answers) || from == p.markerEnd() {
			continue
		}
		if _, err := p.forget(f); err != nil {
			return err
		}
	}
	p.host, p.taken, p.flows, p.used, p.filled = p.insides.Addr(), 0, 0, 0, [2]bool{}
	return nil
}

// markerEnd is the near end of the markers.
func (p *prober) markerEnd() netip.AddrPort { return netip.AddrPortFrom(p.lan.addr, markerPort) }

// forget deletes a mapping, also where the rules keep it. It is false if conntrack had
// forgotten it already.
func (p *prober) forget(f conntrack.Flow) (bool, error) {
	gone, err := p.nat.table.remove(f)
	if err != nil || p.nat.Firewall() {
		return gone, err
	}
	m := Mapping{
		Protocol: "tcp",
		LAN:      netip.AddrPortFrom(f.TupleOrig.IP.SourceAddress, f.TupleOrig.Proto.SourcePort),
		Remote:   netip.AddrPortFrom(f.TupleOrig.IP.DestinationAddress, f.TupleOrig.Proto.DestinationPort),
		WAN:      netip.AddrPortFrom(f.TupleReply.IP.DestinationAddress, f.TupleReply.Proto.DestinationPort),
	}
	if f.TupleOrig.Proto.Protocol == unix.IPPROTO_UDP {
		m.Protocol = "udp"
	}
	return gone, p.nat.shut(m)
}
