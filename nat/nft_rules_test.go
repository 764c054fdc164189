package nat

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/feature"
	"outlive/lab/labtest"
	"outlive/lab/netns"
	"outlive/lab/units"
)

// nftSamples are profiles that between them use every part of a ruleset.
var nftSamples = map[string]Profile{
	"open": {Filtering: EndpointIndependent, Hairpin: true},
	"block": {
		Mapping: AddressDependent, Ports: Ports{Range: PortRange{2000, 9999}, Block: 1000}, Pool: Pool{Addresses: 2, Paired: true},
		Limits: Limits{Mappings: 100, Subscriber: 50}, Late: Late{LAN: LANReset, WAN: WANReset},
	},
	"outbound": {
		Mapping: AddressAndPortDependent, Filtering: AddressDependent, Ports: Ports{Allocation: PortRandom}, Pool: Pool{Addresses: 4},
		Hairpin: true, Refresh: Refresh{Direction: RefreshOutbound, IgnoreACK: true}, Late: Late{LAN: LANReset, WAN: WANReset},
	},
}

func TestNFTRulesGolden(t *testing.T) {
	for name, p := range nftSamples {
		labtest.Golden(t, "testdata/nft-"+name+".golden", Rules(p))
	}
}

// What is read back of two namespaces with the same ruleset is the same, and a change
// behind the NAT's back is not.
func TestNFTReadBack(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		for name, p := range nftSamples {
			t.Run(name, func(t *testing.T) {
				l := build(t, p)
				reference, err := netns.New()
				if err != nil {
					t.Fatal(err)
				}
				defer reference.Close()
				if err := l.load(t.Context(), reference); err != nil {
					t.Fatal(err)
				}
				l.connect(t, 2)
				list := func(ns *netns.NS) string {
					text, err := l.listing(t.Context(), ns, false)
					if err != nil {
						t.Fatal(err)
					}
					return text
				}
				if diff := compareRules(list(reference), list(l.host.NS)); len(diff) > 0 {
					t.Errorf("the NAT differs from what was asked for: %q", diff)
				}
				const more = "add rule ip nat forward counter drop\n"
				if err := loadNFT(t.Context(), l.host.NS, more); err != nil {
					t.Fatal(err)
				}
				if diff := compareRules(list(reference), list(l.host.NS)); len(diff) == 0 {
					t.Error("a rule that was added does not show")
				}
			})
		}
	})
}

// A ruleset that nft refuses is our mistake, and not for want of anything on the machine.
func TestNFTRefused(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		l := build(t, nftSamples["open"])
		reference, err := netns.New()
		if err != nil {
			t.Fatal(err)
		}
		defer reference.Close()
		err = l.apply(t.Context(), reference, "table ip nat {\n\tnonsense\n}\n")
		var refused *RuleError
		var lacking *feature.Unsupported
		if !errors.As(err, &refused) || errors.As(err, &lacking) {
			t.Errorf("nonsense gave %v", err)
		}
	})
}

// Deleting a mapping and restarting the NAT reach the rules' maps too.
func TestNFTForgets(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		for name, p := range nftSamples {
			t.Run(name, func(t *testing.T) {
				l := build(t, p)
				all := l.connect(t, 2)
				there := func(m Mapping) bool {
					_, mapped, err := l.elements.left(nftMapped+m.Protocol, l.mappedKey(m))
					_, taken, err2 := l.elements.left(nftTaken, keyOf(m.Protocol, m.WAN))
					if err := errors.Join(err, err2); err != nil || mapped != taken {
						t.Fatalf("mapping %s: mapped %v, taken %v, %v", m.WAN, mapped, taken, err)
					}
					return mapped
				}
				mappings, err := l.Mappings()
				if err != nil || len(mappings) != 2 {
					t.Fatalf("%d mappings, %v; want 2", len(mappings), err)
				}
				for _, m := range mappings {
					if !there(m) {
						t.Errorf("the rules do not have %+v", m)
					}
				}
				if n, err := l.Expire(func(m Mapping) bool { return m.LAN == all[0].lan }); n != 1 || err != nil {
					t.Errorf("deleted %d, %v; want 1", n, err)
				}
				for _, m := range mappings {
					if got, want := there(m), m.LAN != all[0].lan; got != want {
						t.Errorf("after the deletion of one the rules have %s: %v", m.LAN, got)
					}
				}
				if err := l.Flush(); err != nil {
					t.Fatal(err)
				}
				for _, m := range mappings {
					if there(m) {
						t.Errorf("after a flush the rules have %s", m.LAN)
					}
				}
				// And the NAT goes on.
				l.connect(t, 1)
			})
		}
	})
}

func TestBackend(t *testing.T) {
	gated := Refresh{Direction: RefreshOutbound}
	for _, c := range []struct {
		name  string
		p     Profile
		want  string
		gated bool
	}{
		{name: "nothing set", want: BackendIPTables},
		{name: "remap", p: Profile{Late: Late{LAN: LANRemap}}, want: BackendIPTables},
		{name: "a complete one with remap", p: func() Profile { p := Default(); p.Late.LAN = LANRemap; return p }(), want: BackendIPTables},
		{name: "symmetric, random", p: Profile{Mapping: AddressAndPortDependent, Ports: Ports{Allocation: PortRandom}}, want: BackendIPTables},
		{name: "symmetric, preserving", p: Profile{Mapping: AddressAndPortDependent}, want: BackendNFTables},
		{name: "endpoint-independent, random", p: Profile{Ports: Ports{Allocation: PortRandom}}, want: BackendNFTables},
		{name: "open", p: Profile{Filtering: AddressDependent}, want: BackendNFTables},
		{name: "range", p: Profile{Ports: Ports{Range: PortRange{1, 2}}}, want: BackendNFTables},
		{name: "limit", p: Profile{Limits: Limits{Mappings: 1}}, want: BackendNFTables},
		{name: "refresh", p: Profile{Refresh: gated}, want: BackendNFTables, gated: true},
		{name: "no ACKs", p: Profile{Refresh: Refresh{IgnoreACK: true}}, want: BackendNFTables, gated: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.p.Backend(); got != c.want || c.p.Gated() != c.gated {
				t.Errorf("backend %s, gated %v; want %s, %v", got, c.p.Gated(), c.want, c.gated)
			}
		})
	}
}

func TestCheckTogether(t *testing.T) {
	for _, c := range []struct {
		name string
		p    Profile
		want []string
	}{
		{name: "samples", p: nftSamples["outbound"]},
		{name: "words", p: Profile{Mapping: "symmetric", Filtering: "endpoint", Ports: Ports{Allocation: "keep"}, Refresh: Refresh{Direction: "out"}, Limits: Limits{WhenFull: "drop"}},
			want: []string{"mapping", "filtering", "ports.allocation", "refresh.direction", "limits.when_full"}},
		{name: "negative", p: Profile{Ports: Ports{Block: -1}, Limits: Limits{Mappings: -1, Subscriber: -1}, Pool: Pool{Addresses: -1}},
			want: []string{"ports.block", "limits.mappings", "limits.subscriber", "pool.addresses"}},
		{name: "a block larger than the range", p: Profile{Ports: Ports{Range: PortRange{2000, 2009}, Block: 11}}, want: []string{"ports.block"}},
		{name: "a range the wrong way round", p: Profile{Ports: Ports{Range: PortRange{2, 1}}}, want: []string{"ports.range"}},
		{name: "too many addresses", p: Profile{Pool: Pool{Addresses: MaxPool + 1}}, want: []string{"pool.addresses"}},
		{name: "paired with one address", p: Profile{Pool: Pool{Paired: true}}, want: []string{"pool.paired"}},
		{name: "remap with a refresh rule", p: Profile{Late: Late{LAN: LANRemap}, Refresh: Refresh{Direction: RefreshOutbound}}, want: []string{"late.lan"}},
		{name: "revive with a refresh rule", p: Profile{Late: Late{LAN: LANRevive}, Refresh: Refresh{IgnoreACK: true}}, want: []string{"late.lan"}},
		{name: "revive with random ports", p: Profile{Late: Late{LAN: LANRevive}, Ports: Ports{Allocation: PortRandom}}, want: []string{"late.lan"}},
		{name: "revive with an arbitrary pool", p: Profile{Late: Late{LAN: LANRevive}, Pool: Pool{Addresses: 2}}, want: []string{"late.lan"}},
		{name: "revive with a paired pool", p: Profile{Late: Late{LAN: LANRevive}, Pool: Pool{Addresses: 2, Paired: true}}},
		{name: "evicting without a limit", p: Profile{Limits: Limits{WhenFull: EvictOldest}}, want: []string{"limits.when_full"}},
		{name: "evicting from a block", p: Profile{Ports: Ports{Block: 10}, Limits: Limits{Subscriber: 10, WhenFull: EvictOldest}}, want: []string{"limits.when_full"}},
		{name: "evicting before the block is full", p: Profile{Ports: Ports{Block: 10}, Limits: Limits{Subscriber: 9, WhenFull: EvictOldest}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, problem := range c.p.Check() {
				got = append(got, problem.Field)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("fields with problems (-want +got):\n%s%v", diff, c.p.Check())
			}
		})
	}
}

func TestPortRangeText(t *testing.T) {
	for _, c := range []struct {
		text, suggestion string
		want             PortRange
	}{
		{text: "1024-65535", want: PortRange{1024, 65535}},
		{text: "80-80", want: PortRange{80, 80}},
		{text: "80", suggestion: "80-80"},
		{text: "90-80", suggestion: "80-90"},
		{text: "0-80"}, {text: "1-65536"}, {text: "a-b"}, {text: ""}, {text: "01-2"}, {text: "1 - 2"},
	} {
		got, err := ParsePortRange(c.text)
		var bad *units.ParseError
		if c.want != (PortRange{}) {
			if err != nil || got != c.want || got.String() != c.text {
				t.Errorf("%q is %s, %v", c.text, got, err)
			}
		} else if !errors.As(err, &bad) || bad.Suggestion != c.suggestion {
			t.Errorf("%q gave %s, %v", c.text, got, err)
		}
	}
}

// Every timeout that conntrack can run has a class of its own.
func TestIdleTimes(t *testing.T) {
	p := Profile{Timeouts: Timeouts{TCPEstablished: units.Duration(300 * time.Second)}}.Complete()
	seconds := func(all []units.Duration) (out []int) {
		for _, d := range all {
			out = append(out, int(d.D()/time.Second))
		}
		return out
	}
	if diff := cmp.Diff([]int{300, 120, 60, 30, 10}, seconds(p.idleTimes("tcp"))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]int{120, 30}, seconds(p.idleTimes("udp"))); diff != "" {
		t.Error(diff)
	}
}
