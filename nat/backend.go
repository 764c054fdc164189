package nat

// The tools that make a NAT.
const (
	// BackendIPTables is the kernel's own translation: conntrack decides what a
	// mapping is, how long it lives and which port it has.
	BackendIPTables = "iptables"
	// BackendNFTables is a ruleset with maps of its own, in which the mappings are.
	BackendNFTables = "nftables"
)

// Backend says what makes a NAT of this profile: BackendIPTables for what
// conntrack's own translation can do, BackendNFTables for everything else.
func (p Profile) Backend() string {
	p = p.Complete()
	own := p.Mapping == EndpointIndependent && p.Ports.Allocation == PortPreserve ||
		p.Mapping == AddressAndPortDependent && p.Ports.Allocation == PortRandom
	if own && p.Filtering == AddressAndPortDependent && p.Ports.Range == (PortRange{}) && p.Ports.Block == 0 &&
		p.Pool.Addresses == 1 && !p.Hairpin && !p.Gated() && p.Limits.Mappings == 0 && p.Limits.Subscriber == 0 {
		return BackendIPTables
	}
	return BackendNFTables
}

// Gated says whether the idle time of a mapping is measured by the rules and not
// by conntrack, which refreshes on every packet of both directions. It is so if
// Refresh asks for anything else.
func (p Profile) Gated() bool {
	p = p.Complete()
	return p.Refresh.Direction != RefreshBoth || p.Refresh.IgnoreACK
}
