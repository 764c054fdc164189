package nat

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// endpoints makes outside endpoints of one NAT from their ports.
func endpoints(ports ...uint16) []netip.AddrPort {
	all := make([]netip.AddrPort, len(ports))
	for i, p := range ports {
		all[i] = netip.AddrPortFrom(netip.MustParseAddr("198.18.0.2"), p)
	}
	return all
}

// What RFC 5780's tests mean, and patterns that have no name, which are not to get one.
func TestClassify(t *testing.T) {
	for _, c := range []struct {
		name  string
		ports []uint16 // towards address 1 port 1, 1 2, 2 1, 2 2
		want  Behaviour
	}{
		{"one for all", []uint16{7, 7, 7, 7}, EndpointIndependent},
		{"one for each address", []uint16{7, 7, 8, 8}, AddressDependent},
		{"one for each endpoint", []uint16{7, 8, 9, 10}, AddressAndPortDependent},
		{"one for each port", []uint16{7, 8, 7, 8}, ""},
		{"another one for the last", []uint16{7, 7, 7, 8}, ""},
		{"another one for the second", []uint16{7, 8, 7, 7}, ""},
		{"crossed", []uint16{7, 8, 8, 7}, ""},
		{"by address, then not", []uint16{7, 7, 8, 9}, ""},
	} {
		e := endpoints(c.ports...)
		v := &view{mapped: [2][2]netip.AddrPort{{e[0], e[1]}, {e[2], e[3]}}}
		if got, ok := v.mapping(); got != c.want || ok != (c.want != "") {
			t.Errorf("mapping %s: %q, %v; want %q", c.name, got, ok, c.want)
		}
	}
	for _, c := range []struct {
		name     string
		answered [2][2]bool
		want     Behaviour
	}{
		{"everybody", [2][2]bool{{true, true}, {true, true}}, EndpointIndependent},
		{"the address", [2][2]bool{{true, true}, {false, false}}, AddressDependent},
		{"the endpoint", [2][2]bool{{true, false}, {false, false}}, AddressAndPortDependent},
		{"nobody", [2][2]bool{}, ""},
		{"everybody else", [2][2]bool{{false, true}, {true, true}}, ""},
		{"the port", [2][2]bool{{true, false}, {true, false}}, ""},
		{"all but one", [2][2]bool{{true, true}, {true, false}}, ""},
	} {
		v := &view{answered: c.answered}
		if got, ok := v.filtering(); got != c.want || ok != (c.want != "") {
			t.Errorf("filtering, let in was %s: %q, %v; want %q", c.name, got, ok, c.want)
		}
	}
	for _, c := range []struct {
		name            string
		inside, outside []uint16
		want            PortAllocation
	}{
		{"kept", []uint16{5, 6, 7}, []uint16{5, 6, 7}, PortPreserve},
		{"drawn", []uint16{5, 6, 7}, []uint16{900, 40, 1200}, PortRandom},
		{"one kept by chance", []uint16{5, 6, 7}, []uint16{900, 6, 1200}, PortRandom},
		{"most kept", []uint16{5, 6, 7}, []uint16{5, 6, 1200}, ""},
		{"one after the other", []uint16{5, 6, 7}, []uint16{900, 901, 902}, ""},
		{"one flow only", []uint16{5}, []uint16{900}, ""},
		{"no flow", nil, nil, ""},
	} {
		v := &view{}
		for i, e := range endpoints(c.outside...) {
			v.given = append(v.given, given{netip.AddrPortFrom(netip.MustParseAddr("10.255.128.1"), c.inside[i]), e})
		}
		if got, ok := v.allocation(); got != c.want || ok != (c.want != "") {
			t.Errorf("ports %s: %q, %v; want %q", c.name, got, ok, c.want)
		}
	}
}

// seenOf makes the view of a NAT of this profile, as it should be.
func seenOf(p Profile) *view {
	v := &view{hairpinned: p.Hairpin}
	e := endpoints(2001, 2001, 2001, 2001)
	v.mapped = [2][2]netip.AddrPort{{e[0], e[1]}, {e[2], e[3]}}
	v.answered[0][0] = true
	host := netip.MustParseAddr("10.255.128.1")
	for i, e := range endpoints(2002, 2003, 2004, 2005) {
		v.given = append(v.given, given{netip.AddrPortFrom(host, 2002+uint16(i)), e})
	}
	return v
}

// How a view differs from a profile, in words.
func TestNature(t *testing.T) {
	addr := netip.MustParseAddr
	for _, c := range []struct {
		name    string
		profile Profile
		change  func(*view)
		want    []string
	}{
		{name: "as asked for"},
		{
			name: "another mapping",
			change: func(v *view) {
				v.mapped[0][1], v.mapped[1][0], v.mapped[1][1] = endpoints(1)[0], endpoints(2)[0], endpoints(3)[0]
			},
			want: []string{"asked for was endpoint-independent mapping, seen was address-and-port-dependent mapping"},
		},
		{
			name:   "no mapping with a name",
			change: func(v *view) { v.mapped[1][1] = endpoints(3)[0] },
			want: []string{"asked for was endpoint-independent mapping; seen was another outside endpoint now and then, by no rule: " +
				"[[198.18.0.2:2001 198.18.0.2:2001] [198.18.0.2:2001 198.18.0.2:3]]"},
		},
		{
			name:   "another filtering",
			change: func(v *view) { v.answered = [2][2]bool{{true, true}, {true, true}} },
			want:   []string{"asked for was address-and-port-dependent filtering, seen was endpoint-independent filtering"},
		},
		{
			name:   "no filtering with a name",
			change: func(v *view) { v.answered = [2][2]bool{} },
			want:   []string{"asked for was address-and-port-dependent filtering; let in was nobody, not even the endpoint spoken to"},
		},
		{
			name:    "outside the range",
			profile: Profile{Ports: Ports{Range: PortRange{2000, 2004}}},
			want:    []string{"asked for were the ports 2000-2004, seen was port 2005"},
		},
		{
			name:    "in the range",
			profile: Profile{Ports: Ports{Range: PortRange{2000, 2005}}},
		},
		{
			name:    "no block",
			profile: Profile{Ports: Ports{Range: PortRange{2000, 2999}, Block: 100}},
			want:    []string{"an inside host that was to have a block of ports got none"},
		},
		{
			name:    "ports of two blocks",
			profile: Profile{Ports: Ports{Range: PortRange{2000, 2999}, Block: 2}},
			change:  func(v *view) { v.block = endpoints(2001, 2002) },
			want:    []string{"asked for were blocks of 2 ports; one inside host had the ports 2001 and 2002"},
		},
		{
			name:    "a block without a limit",
			profile: Profile{Ports: Ports{Range: PortRange{2000, 2999}, Block: 2}},
			change:  func(v *view) { v.block, v.fill, v.beside = endpoints(2001, 2000, 2001), 2, endpoints(2003)[0] },
			want:    []string{"asked for were blocks of 2 ports; one inside host had 3 mappings at once"},
		},
		{
			name:    "a block for two",
			profile: Profile{Ports: Ports{Range: PortRange{2000, 2999}, Block: 2}},
			change:  func(v *view) { v.block, v.beside = endpoints(2002, 2003), endpoints(2002)[0] },
			want:    []string{"asked for were blocks of 2 ports; two inside hosts had ports of the same one, 2002-2003"},
		},
		{
			name:    "a block",
			profile: Profile{Ports: Ports{Range: PortRange{2000, 2999}, Block: 2}},
			change:  func(v *view) { v.block, v.fill, v.beside = endpoints(2002, 2003), 2, endpoints(2004)[0] },
		},
		{
			name:    "one address of two",
			profile: Profile{Pool: Pool{Addresses: 2, Paired: true}},
			want:    []string{"asked for were 2 outside addresses, seen were 1: [198.18.0.2]"},
		},
		{
			name:    "paired, but not so",
			profile: Profile{Pool: Pool{Addresses: 2, Paired: true}},
			change:  func(v *view) { v.perHost = [][]netip.Addr{{addr("198.18.0.2"), addr("198.18.0.3")}} },
			want:    []string{"asked for was paired pooling, seen was arbitrary pooling"},
		},
		{
			name:    "arbitrary, but not so",
			profile: Profile{Pool: Pool{Addresses: 2}},
			change: func(v *view) {
				v.perHost = [][]netip.Addr{{addr("198.18.0.2"), addr("198.18.0.2")}, {addr("198.18.0.3"), addr("198.18.0.3")}}
			},
			want: []string{"asked for was arbitrary pooling, seen was paired pooling"},
		},
		{
			name:   "a hairpin that was not asked for",
			change: func(v *view) { v.hairpinned, v.unmasked = true, true },
			want:   []string{"asked for was no hairpinning, seen was hairpinning"},
		},
		{
			name:    "a hairpin that shows the inside",
			profile: Profile{Hairpin: true},
			change:  func(v *view) { v.unmasked = true },
			want:    []string{"a hairpinned packet came from an inside address"},
		},
		{
			name: "nothing translated",
			change: func(v *view) {
				v.mapped[0][0] = netip.MustParseAddrPort("10.255.128.1:2001")
				v.given[0].outside = v.mapped[0][0]
			},
			want: []string{"a new flow left on the WAN side with its private address"},
		},
	} {
		p := c.profile.Complete()
		v := seenOf(p)
		if c.change != nil {
			c.change(v)
		}
		_, wrong := v.nature(p)
		var got []string
		for _, w := range wrong {
			got = append(got, w.text)
		}
		if !cmp.Equal(c.want, got) {
			t.Errorf("%s (-want +got):\n%s", c.name, cmp.Diff(c.want, got))
		}
	}
}

// The words of a report.
func TestNatureWords(t *testing.T) {
	plain := Nature{
		Mapping: EndpointIndependent, Filtering: AddressAndPortDependent, Ports: PortPreserve, Addresses: 1,
		Hairpin: new(false), Refresh: RefreshOutbound,
	}
	withACK := plain
	withACK.IgnoreACK = new(false)
	carrier := Nature{
		Mapping: AddressDependent, Filtering: EndpointIndependent, Ports: PortRandom, Range: PortRange{2000, 2999}, Block: 100,
		Addresses: 4, Paired: true, Hairpin: new(true), Refresh: RefreshBoth, IgnoreACK: new(true),
	}
	const plainWords = "endpoint-independent mapping, address-and-port-dependent filtering, port preservation, no hairpinning, refresh by outbound packets only"
	const carrierWords = "address-dependent mapping, endpoint-independent filtering, random ports, ports 2000-2999, a block of 100 ports for each inside address, " +
		"4 outside addresses with paired pooling, hairpinning, refresh by packets of both directions, no refresh by bare acknowledgements"
	for _, c := range []struct {
		tcp, udp Nature
		want     string
	}{
		{withACK, plain, plainWords},
		{plain, Nature{}, plainWords},
		{carrier, plain, "TCP: " + carrierWords + "; UDP: " + plainWords},
		{Nature{}, Nature{}, ""},
	} {
		if diff := cmp.Diff(c.want, natures(c.tcp, c.udp)); diff != "" {
			t.Errorf("words (-want +got):\n%s", diff)
		}
	}
}
