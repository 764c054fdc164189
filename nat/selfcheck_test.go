package nat

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/labtest"
	"outlive/lab/units"
)

// A NAT as it was installed passes its check, whether its own timeout is proven or
// a twin's.
//
//	phone ── cell ── server
//	          ├ lan9 ── probe (LAN)        cell/twin ┬ lan9 ── probe (LAN)
//	          └ wan9 ── probe (WAN)                  └ wan9 ── probe (WAN)
func TestSelfCheckPasses(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		for _, late := range combinations() {
			for _, mode := range []struct {
				name    string
				timeout time.Duration
				window  time.Duration
				proven  time.Duration
			}{
				{"direct", 1 * time.Second, time.Minute, time.Second},
				{"twin", 300 * time.Second, 0, twinTimeout},
			} {
				t.Run(mode.name+"/"+string(late.LAN)+"-"+string(late.WAN), func(t *testing.T) {
					t.Parallel()
					l := build(t, profile(mode.timeout, late.LAN, late.WAN))
					r := SelfCheck(within(t, time.Minute), l.Topology, l.NAT, mode.window)
					t.Logf("proven %.3f: last alive %.3f, first dead %.3f, took %.2f s, %d rounds",
						r.Proven.D().Seconds(), r.LastAlive.D().Seconds(), r.FirstDead.D().Seconds(), r.Took.D().Seconds(), r.Rounds)
					want := CheckResult{
						NAT: "cell", OK: true, Twin: mode.name == "twin", Want: late, Seen: late,
						Timeout: units.Seconds(mode.timeout), Proven: units.Seconds(mode.proven),
						At: r.At, Took: r.Took, LastAlive: r.LastAlive, FirstDead: r.FirstDead, Rounds: r.Rounds,
						TCP: theNature(late), UDP: theNature(late), Words: theNature(late).String(),
					}
					want.TCP.IgnoreACK = new(false)
					if diff := cmp.Diff(want, r); diff != "" {
						t.Fatalf("the check (-want +got):\n%s", diff)
					}
					if r.LastAlive.D() <= mode.proven-time.Second || r.LastAlive.D() >= mode.proven ||
						r.FirstDead.D() <= mode.proven || r.FirstDead.D() >= mode.proven+time.Second {
						t.Errorf("last alive after %s, first dead after %s: that does not tell %s from its neighbours",
							r.LastAlive.D(), r.FirstDead.D(), mode.proven)
					}
				})
			}
		}
	})
}

// Every type of NAT and every profile of the catalogue passes its check.
func TestSelfCheckTypes(t *testing.T) {
	var all []Profile
	for _, mapping := range []Behaviour{EndpointIndependent, AddressDependent, AddressAndPortDependent} {
		for _, filtering := range []Behaviour{EndpointIndependent, AddressDependent, AddressAndPortDependent} {
			all = append(all,
				Profile{Mapping: mapping, Filtering: filtering},
				Profile{Mapping: mapping, Filtering: filtering, Ports: Ports{Allocation: PortRandom}, Refresh: Refresh{Direction: RefreshOutbound}},
				Profile{Mapping: mapping, Filtering: filtering, Hairpin: true, Refresh: Refresh{IgnoreACK: true}},
			)
		}
	}
	all = append(all,
		Profile{Ports: Ports{Range: PortRange{2000, 2999}}},
		Profile{Ports: Ports{Range: PortRange{2000, 2999}, Block: 16}},
		Profile{Ports: Ports{Allocation: PortRandom, Range: PortRange{2000, 2009}, Block: 10}},
		Profile{Ports: Ports{Allocation: PortRandom, Block: 512}, Filtering: EndpointIndependent},
		Profile{Ports: Ports{Block: 2048}},
		Profile{Pool: Pool{Addresses: 4}, Filtering: EndpointIndependent},
		Profile{Pool: Pool{Addresses: 4, Paired: true}},
		Profile{Limits: Limits{Subscriber: 4}},
		Profile{Limits: Limits{Mappings: 20}},
		Profile{Limits: Limits{Mappings: 50, WhenFull: EvictOldest}},
		Profile{Refresh: Refresh{Direction: RefreshOutbound, IgnoreACK: true}},
	)
	try := func(name string, p Profile) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			labtest.Run(t, func(t *testing.T) {
				l := build(t, p)
				r := SelfCheck(within(t, time.Minute), l.Topology, l.NAT, 0)
				t.Logf("took %.2f s, %d rounds: %s", r.Took.D().Seconds(), r.Rounds, r.Words)
				if !r.OK {
					t.Errorf("not OK: %s", r.Why)
				}
			})
		})
	}
	for _, n := range Profiles() {
		try(n.Profile.Name, n.Profile)
	}
	for _, p := range all {
		for _, late := range []Late{{LANDrop, WANDrop}, {LANReset, WANReset}, {LANRevive, WANDrop}, {LANRemap, WANDrop}} {
			p.Late, p.Timeouts = late, Timeouts{TCPEstablished: units.Duration(300 * time.Second)}
			if problems := p.Check(); len(problems) > 0 {
				continue
			}
			try(describe(p.Complete()), p)
		}
	}
}

// describe names a test by what is not usual about the profile.
func describe(p Profile) string {
	name := fmt.Sprintf("%s,%s,%s,late %s %s", p.Mapping, p.Filtering, p.Ports.Allocation, p.Late.LAN, p.Late.WAN)
	for _, x := range []struct {
		is   bool
		word any
	}{
		{p.Hairpin, "hairpin"}, {p.Ports.Range != PortRange{}, p.Ports.Range}, {p.Ports.Block > 0, p.Ports.Block},
		{p.Pool.Addresses > 1, p.Pool}, {p.Refresh != Refresh{Direction: RefreshBoth}, p.Refresh}, {p.Limits != Limits{WhenFull: RefuseNew}, p.Limits},
	} {
		if x.is {
			name += fmt.Sprintf(",%v", x.word)
		}
	}
	return name
}

// A NAT whose rules were exchanged for those of another profile never passes, and the
// check says in what it differs.
func TestSelfCheckExchanged(t *testing.T) {
	ports := func(first, last uint16, block int) Ports { return Ports{Range: PortRange{first, last}, Block: block} }
	for _, c := range []struct {
		name       string
		asked, had Profile
		want       []string
	}{
		{
			"everybody may answer, or only an address", Profile{Filtering: EndpointIndependent}, Profile{Filtering: AddressDependent},
			[]string{"TCP: asked for was endpoint-independent filtering, seen was address-dependent filtering",
				"UDP: asked for was endpoint-independent filtering, seen was address-dependent filtering"},
		},
		{
			"an address may answer, or everybody", Profile{Filtering: AddressDependent}, Profile{Filtering: EndpointIndependent},
			[]string{"TCP: asked for was address-dependent filtering, seen was endpoint-independent filtering",
				"UDP: asked for was address-dependent filtering, seen was endpoint-independent filtering"},
		},
		{
			"an endpoint may answer, or an address", Profile{Mapping: AddressDependent}, Profile{Mapping: AddressDependent, Filtering: AddressDependent},
			[]string{"TCP: asked for was address-and-port-dependent filtering, seen was address-dependent filtering"},
		},
		{
			"a mapping for each address, or each endpoint", Profile{Mapping: AddressDependent}, Profile{Mapping: AddressAndPortDependent},
			[]string{"TCP: asked for was address-dependent mapping, seen was address-and-port-dependent mapping",
				"UDP: asked for was address-dependent mapping, seen was address-and-port-dependent mapping"},
		},
		{
			"a mapping for each endpoint, or one for all", Profile{Mapping: AddressAndPortDependent}, Profile{Filtering: AddressDependent},
			[]string{"TCP: asked for was address-and-port-dependent mapping, seen was endpoint-independent mapping"},
		},
		{
			"ports kept, or drawn", Profile{Filtering: EndpointIndependent}, Profile{Filtering: EndpointIndependent, Ports: Ports{Allocation: PortRandom}},
			[]string{"TCP: asked for was port preservation, seen was random ports", "UDP: asked for was port preservation, seen was random ports"},
		},
		{
			"a range of ports, or another", Profile{Ports: ports(2000, 2999, 0)}, Profile{Ports: ports(3000, 3999, 0)},
			[]string{"TCP: asked for were the ports 2000-2999, seen was port 3", "UDP: asked for were the ports 2000-2999, seen was port 3"},
		},
		{
			"a block, or the whole range", Profile{Ports: ports(2000, 2999, 16)}, Profile{Ports: ports(2000, 2999, 0)},
			[]string{"TCP: asked for were blocks of 16 ports; one inside host had ", "UDP: asked for were blocks of 16 ports; one inside host had "},
		},
		{
			"a block, or a smaller one", Profile{Ports: Ports{Allocation: PortRandom, Range: PortRange{2000, 2999}, Block: 16}},
			Profile{Ports: Ports{Allocation: PortRandom, Range: PortRange{2000, 2999}, Block: 8}},
			[]string{"TCP: the first packet of a new flow from 10.255.128.", "did not leave on the WAN side"},
		},
		{
			"four addresses, or two", Profile{Pool: Pool{Addresses: 4, Paired: true}}, Profile{Pool: Pool{Addresses: 2, Paired: true}},
			[]string{"TCP: asked for were 4 outside addresses, seen were 2", "UDP: asked for were 4 outside addresses, seen were 2"},
		},
		{
			"paired, or not", Profile{Pool: Pool{Addresses: 4, Paired: true}}, Profile{Pool: Pool{Addresses: 4}},
			[]string{"TCP: asked for was paired pooling, seen was arbitrary pooling", "UDP: asked for was paired pooling, seen was arbitrary pooling"},
		},
		{
			"not paired, or so", Profile{Pool: Pool{Addresses: 4}}, Profile{Pool: Pool{Addresses: 4, Paired: true}},
			[]string{"TCP: asked for was arbitrary pooling, seen was paired pooling"},
		},
		{
			"hairpins, or none", Profile{Hairpin: true}, Profile{Filtering: AddressDependent},
			[]string{"TCP: asked for was hairpinning, seen was no hairpinning", "UDP: asked for was hairpinning, seen was no hairpinning"},
		},
		{
			"outbound refresh, or both", Profile{Refresh: Refresh{Direction: RefreshOutbound}}, Profile{Filtering: AddressDependent},
			[]string{"a packet from the WAN side refreshed the mapping of a connection; asked for was refresh by outbound packets only",
				"a datagram from the WAN side refreshed the mapping of a flow of datagrams; asked for was refresh by outbound packets only"},
		},
		{
			"refresh by both, or outbound", Profile{Hairpin: true}, Profile{Hairpin: true, Refresh: Refresh{Direction: RefreshOutbound}},
			[]string{"a packet from the WAN side did not refresh the mapping of a connection, as it should",
				"a datagram from the WAN side did not refresh the mapping of a flow of datagrams, as it should"},
		},
		{
			"bare acknowledgements refresh, or not", Profile{Refresh: Refresh{IgnoreACK: true}}, Profile{Filtering: AddressDependent},
			[]string{"a TCP keepalive probe from the LAN side refreshed the mapping of a connection; asked for was refresh by packets of both directions, not by bare acknowledgements"},
		},
		{
			"they do not, or do", Profile{Hairpin: true}, Profile{Hairpin: true, Refresh: Refresh{IgnoreACK: true}},
			[]string{"a packet from the LAN side did not refresh the mapping of a connection, as it should"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			labtest.Run(t, func(t *testing.T) {
				times := Timeouts{TCPEstablished: 2 * second, UDP: 2 * second, UDPStream: 2 * second}
				c.asked.Timeouts, c.had.Timeouts = times, times
				l := build(t, c.asked)
				l.exchange(t, c.had)
				r := SelfCheck(within(t, time.Minute), l.Topology, l.NAT, time.Minute)
				t.Logf("took %.1f s, %d rounds: %s", r.Took.D().Seconds(), r.Rounds, r.Why)
				if r.OK {
					t.Error("the check passed")
				}
				for _, words := range append(c.want, "the rule ") {
					if !strings.Contains(r.Why, words) {
						t.Errorf("the check does not say %q", words)
					}
				}
			})
		})
	}
}

// theNature is that of a NAT made by conntrack's own translation.
func theNature(late Late) Nature {
	n := Nature{
		Mapping: EndpointIndependent, Filtering: AddressAndPortDependent, Ports: PortPreserve,
		Addresses: 1, Hairpin: new(false), Refresh: RefreshBoth,
	}
	if late.LAN == LANRemap {
		n.Mapping, n.Ports, n.Hairpin = AddressAndPortDependent, PortRandom, nil
	}
	return n
}

// A NAT that was tampered with never passes, and the check says in words what it
// does and what is set otherwise.
func TestSelfCheckSabotage(t *testing.T) {
	const established = "net.netfilter.nf_conntrack_tcp_timeout_established"
	sysctl := func(key, value string) func(*testing.T, *natLab) {
		return func(t *testing.T, l *natLab) {
			if err := l.host.NS.SetSysctl(key, value); err != nil {
				t.Fatal(err)
			}
		}
	}
	rule := func(args string) func(*testing.T, *natLab) {
		return func(t *testing.T, l *natLab) { l.iptables(t, strings.Fields(args)...) }
	}
	for _, c := range []struct {
		name    string
		late    Late
		do      func(*testing.T, *natLab)
		seen    Late
		direct  []string
		twin    []string
		notTwin bool // the twin's timeout is another
	}{
		{
			name: "timeout back to the kernel's",
			late: Late{LANDrop, WANDrop}, do: sysctl(established, "432000"),
			direct: []string{
				"nf_conntrack_tcp_timeout_established is 432000, asked for was 2",
				"left; asked for was a timeout of 2s",
				"a connection still had its mapping after 2.",
			},
			twin: []string{
				"nf_conntrack_tcp_timeout_established is 432000, asked for was 300",
				"left; asked for was a timeout of 5m",
			},
		},
		{
			name: "timeout a second too long",
			late: Late{LANDrop, WANDrop}, do: sysctl(established, "3"), notTwin: true,
			direct: []string{
				"nf_conntrack_tcp_timeout_established is 3, asked for was 2",
				"a connection still had its mapping after 2.",
			},
		},
		{
			name: "timeout a second too short",
			late: Late{LANDrop, WANDrop}, do: sysctl(established, "1"), notTwin: true,
			direct: []string{
				"nf_conntrack_tcp_timeout_established is 1, asked for was 2",
				"a packet from the LAN side did not pass after 1",
				"a packet from the WAN side did not pass after 1",
			},
		},
		{
			name: "a timeout that the profile did not set",
			late: Late{LANDrop, WANDrop}, do: sysctl("net.netfilter.nf_conntrack_tcp_timeout_unacknowledged", "7"),
			seen:   Late{LANDrop, WANDrop},
			direct: []string{"nf_conntrack_tcp_timeout_unacknowledged is 7, asked for was 300"},
		},
		{
			name: "INVALID let through", late: Late{LANDrop, WANDrop},
			do:   rule("-D FORWARD -m conntrack --ctstate INVALID -j DROP"),
			seen: Late{lanLeak, WANDrop},
			direct: []string{
				`the rule "-t filter -A FORWARD -m conntrack --ctstate INVALID -j DROP" is missing`,
				"a late packet from the LAN side left on the WAN side with its private address 10.255.128.",
				"a late FIN from the LAN side left on the WAN side with its private address 10.255.128.",
			},
		},
		{
			name: "INVALID let through by a NAT that revives", late: Late{LANRevive, WANDrop},
			do:     rule("-D FORWARD -m conntrack --ctstate INVALID -j DROP"),
			seen:   Late{lanLeak, WANDrop},
			direct: []string{"a late FIN from the LAN side left on the WAN side with its private address 10.255.128."},
		},
		{
			name: "everything let through first", late: Late{LANReset, WANDrop},
			do:   rule("-I FORWARD -j ACCEPT"),
			seen: Late{lanLeak, WANDrop},
			direct: []string{
				`the rule "-t filter -A FORWARD -j ACCEPT" was not asked for`,
				"a late packet from the LAN side left on the WAN side with its private address 10.255.128.",
			},
		},
		{
			name: "reset to the LAN side forgotten", late: Late{LANReset, WANDrop},
			do:   rule("-D FORWARD -i lan+ -p tcp -m conntrack --ctstate INVALID -j REJECT --reject-with tcp-reset"),
			seen: Late{LANDrop, WANDrop},
			direct: []string{
				"is missing",
				"a late packet from the LAN side: asked for was reset, seen was drop",
				"a late FIN from the LAN side: expected was reset, seen was drop",
			},
		},
		{
			name: "INPUT open", late: Late{LANDrop, WANDrop},
			do:   rule("-D INPUT -i wan+ -j DROP"),
			seen: Late{LANDrop, WANReset},
			direct: []string{
				`the rule "-t filter -A INPUT -i wan+ -j DROP" is missing`,
				"a late packet from the WAN side: asked for was drop, seen was reset",
			},
		},
		{
			name: "INPUT silent", late: Late{LANDrop, WANReset},
			do:   rule("-D INPUT -i wan+ -p tcp -j REJECT --reject-with tcp-reset"),
			seen: Late{LANDrop, WANDrop},
			direct: []string{
				"is missing",
				"a late packet from the WAN side: asked for was reset, seen was drop",
			},
		},
		{
			name: "tcp_loose on", late: Late{LANDrop, WANDrop},
			do:   sysctl("net.netfilter.nf_conntrack_tcp_loose", "1"),
			seen: Late{LANRevive, WANDrop},
			direct: []string{
				"nf_conntrack_tcp_loose is 1, asked for was 0",
				"a late packet from the LAN side: asked for was drop, seen was revive",
			},
		},
		{
			name: "tcp_loose off", late: Late{LANRevive, WANReset},
			do:   sysctl("net.netfilter.nf_conntrack_tcp_loose", "0"),
			seen: Late{LANDrop, WANReset},
			direct: []string{
				"nf_conntrack_tcp_loose is 0, asked for was 1",
				"a late packet from the LAN side: asked for was revive, seen was drop",
			},
		},
		{
			name: "ports not random", late: Late{LANRemap, WANDrop},
			do:   rule("-t nat -R POSTROUTING 1 -o wan+ -j MASQUERADE"),
			seen: Late{LANRevive, WANDrop},
			direct: []string{
				`the rule "-t nat -A POSTROUTING -o wan+ -j MASQUERADE --random-fully" is missing`,
				`the rule "-t nat -A POSTROUTING -o wan+ -j MASQUERADE" was not asked for`,
				"a late packet from the LAN side: asked for was remap, but it passed with the same port as before",
			},
		},
		{
			name: "no translation", late: Late{LANDrop, WANDrop},
			do:     rule("-t nat -F POSTROUTING"),
			direct: []string{`the rule "-t nat -A POSTROUTING -o wan+ -j MASQUERADE" is missing`, "a new connection left on the WAN side with the address 10.255.128.5, not 198.18.0.2"},
		},
		{
			name: "nothing forwarded", late: Late{LANDrop, WANDrop},
			do:     rule("-I FORWARD -j DROP"),
			direct: []string{`the rule "-t filter -A FORWARD -j DROP" was not asked for`, "the SYN of a new connection did not arrive at the WAN side within 2s"},
		},
		{
			name: "ports random", late: Late{LANDrop, WANDrop},
			do:   rule("-t nat -R POSTROUTING 1 -o wan+ -j MASQUERADE --random-fully"),
			seen: Late{LANDrop, WANDrop},
			direct: []string{
				"TCP: asked for was endpoint-independent mapping, seen was address-and-port-dependent mapping",
				"TCP: asked for was port preservation, seen was random ports",
				"UDP: asked for was endpoint-independent mapping, seen was address-and-port-dependent mapping",
				"UDP: asked for was port preservation, seen was random ports",
			},
		},
		{
			name: "datagrams with random ports", late: Late{LANDrop, WANDrop},
			do:     rule("-t nat -I POSTROUTING -o wan+ -p udp -j MASQUERADE --random-fully"),
			seen:   Late{LANDrop, WANDrop},
			direct: []string{"UDP: asked for was port preservation, seen was random ports"},
		},
		{
			name: "ports preserved", late: Late{LANRemap, WANDrop},
			do: rule("-t nat -R POSTROUTING 1 -o wan+ -j MASQUERADE"),
			direct: []string{
				"TCP: asked for was address-and-port-dependent mapping, seen was endpoint-independent mapping",
				"TCP: asked for was random ports, seen was port preservation",
				"UDP: asked for was random ports, seen was port preservation",
			},
		},
		{
			name: "everybody let in", late: Late{LANDrop, WANDrop},
			do: letIn(cone("", "", "iifname wan9")),
			direct: []string{
				"TCP: asked for was address-and-port-dependent filtering, seen was endpoint-independent filtering",
				"UDP: asked for was address-and-port-dependent filtering, seen was endpoint-independent filtering",
			},
		},
		{
			name: "an address let in", late: Late{LANDrop, WANDrop},
			do: letIn(cone("ip daddr .", "ip saddr .", "iifname wan9")),
			direct: []string{
				"TCP: asked for was address-and-port-dependent filtering, seen was address-dependent filtering",
				"UDP: asked for was address-and-port-dependent filtering, seen was address-dependent filtering",
			},
		},
		{
			name: "a hairpin", late: Late{LANDrop, WANDrop},
			do: nftables(cone("", "", "iifname lan9 ip daddr 198.18.0.2")),
			direct: []string{
				"TCP: asked for was no hairpinning, seen was hairpinning",
				"UDP: asked for was no hairpinning, seen was hairpinning",
			},
		},
		{
			name: "no refresh from outside", late: Late{LANDrop, WANDrop}, notTwin: true,
			do: nftables(`
				table ip gate {
					set alive {
						typeof ip daddr . tcp sport
						size 65535
						flags dynamic,timeout
					}
					chain in {
						type filter hook prerouting priority -300;
						iifname wan9 ip protocol tcp ip saddr . tcp dport != @alive drop
					}
					chain out {
						type filter hook postrouting priority 110;
						oifname wan9 ip protocol tcp update @alive { ip daddr . tcp sport timeout 2s }
					}
				}`),
			seen:   Late{LANDrop, WANDrop},
			direct: []string{"a packet from the WAN side did not refresh the mapping of a connection, as it should"},
		},
		{
			name: "no refresh by a keepalive probe", late: Late{LANDrop, WANDrop}, notTwin: true,
			do: nftables(`
				table ip gate {
					set alive {
						typeof ip daddr . tcp sport
						size 65535
						flags dynamic,timeout
					}
					chain in {
						type filter hook prerouting priority -300;
						iifname wan9 ip protocol tcp ip saddr . tcp dport != @alive drop
					}
					chain out {
						type filter hook postrouting priority 110;
						oifname wan9 ip protocol tcp ip length > 40 update @alive { ip daddr . tcp sport timeout 2s }
						oifname wan9 ip protocol tcp tcp flags & syn == syn update @alive { ip daddr . tcp sport timeout 2s }
					}
				}`),
			seen:   Late{LANDrop, WANDrop},
			direct: []string{"a packet from the LAN side did not refresh the mapping of a connection, as it should"},
		},
	} {
		for _, mode := range []string{"direct", "twin"} {
			if mode == "twin" && c.notTwin {
				continue
			}
			t.Run(c.name+"/"+mode, func(t *testing.T) {
				t.Parallel()
				labtest.Run(t, func(t *testing.T) {
					timeout, window, say := 2*time.Second, time.Minute, c.direct
					if mode == "twin" {
						timeout, window = 300*time.Second, 0
						if c.twin != nil {
							say = c.twin
						}
					}
					l := build(t, profile(timeout, c.late.LAN, c.late.WAN))
					c.do(t, l)
					r := SelfCheck(within(t, time.Minute), l.Topology, l.NAT, window)
					t.Logf("took %.1f s, %d rounds: %s", r.Took.D().Seconds(), r.Rounds, r.Why)
					if r.OK {
						t.Error("the check passed")
					}
					for _, words := range say {
						if !strings.Contains(r.Why, words) {
							t.Errorf("the check does not say %q", words)
						}
					}
					if c.seen != (Late{}) && r.Seen != c.seen {
						t.Errorf("seen was %+v, want %+v", r.Seen, c.seen)
					}
				})
			})
		}
	}
}

// While probes are left idle, the lab empties the table. That round says nothing,
// and the next one gives the answer.
func TestSelfCheckSurvivesFlush(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		l := build(t, profile(time.Second, LANDrop, WANDrop))
		ctx := within(t, time.Minute)
		time.AfterFunc(500*time.Millisecond, func() {
			if err := l.Flush(); err != nil {
				t.Error(err)
			}
		})
		r := SelfCheck(ctx, l.Topology, l.NAT, time.Minute)
		if !r.OK || r.Rounds != 2 {
			t.Errorf("OK %v after %d rounds: %s", r.OK, r.Rounds, r.Why)
		}
	})
}

// The machine stands still while probes are due: this process is stopped by a
// signal for longer than a probe may be late. Such a round proves nothing and is
// repeated; where there is no time for that, a twin gives the proof; and where the
// machine never keeps up, the check says that the lab was late.
func TestSelfCheckLate(t *testing.T) {
	for _, c := range []struct {
		name   string
		stops  int
		window time.Duration
		ok     bool
		twin   bool
		rounds int
	}{
		{"once", 1, time.Minute, true, false, 2},
		{"once, with no time left", 1, time.Second + roundExtra + 100*time.Millisecond, true, true, 3},
		{"always", 20, time.Minute, false, false, roundLimit},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			labtest.Run(t, func(t *testing.T) {
				l := build(t, profile(time.Second, LANDrop, WANDrop))
				stopper := exec.Command("sh", "-c", fmt.Sprintf(
					`i=0; while [ $i -lt %d ]; do sleep 0.4; kill -STOP $PPID; sleep 1.3; kill -CONT $PPID; i=$((i+1)); done`, c.stops))
				if err := stopper.Start(); err != nil {
					t.Fatal(err)
				}
				defer func() {
					// It may hold this process stopped at this moment, and will let it go on.
					_ = stopper.Process.Kill()
					_ = stopper.Wait()
				}()
				r := SelfCheck(within(t, time.Minute), l.Topology, l.NAT, c.window)
				t.Logf("OK %v, twin %v, %d rounds, took %.1f s: %s", r.OK, r.Twin, r.Rounds, r.Took.D().Seconds(), r.Why)
				if r.OK != c.ok || r.Twin != c.twin || r.Rounds != c.rounds {
					t.Errorf("OK %v, twin %v, %d rounds; want %v, %v, %d", r.OK, r.Twin, r.Rounds, c.ok, c.twin, c.rounds)
				}
				if !c.ok && !strings.Contains(r.Why, "the lab was late: a probe meant for ") {
					t.Errorf("the check does not say that the lab was late: %q", r.Why)
				}
			})
		})
	}
}

// A check that is cut short is not OK, ends at once, and says so.
func TestSelfCheckCancelled(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		l := build(t, profile(60*time.Second, LANDrop, WANDrop))
		ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
		defer cancel()
		r := SelfCheck(ctx, l.Topology, l.NAT, time.Hour)
		if r.OK || !strings.Contains(r.Why, "it was cut short") {
			t.Errorf("OK %v: %q", r.OK, r.Why)
		}
		if r.Took.D() > 1500*time.Millisecond {
			t.Errorf("it took %s to end", r.Took.D())
		}
	})
}

// Probes that come too late prove nothing, and the result says that the lab was late.
func TestRoundTooLate(t *testing.T) {
	r := &round{timeout: 2 * time.Second, late: Late{LANDrop, WANDrop}, aims: []aim{aliveLAN, lateWAN, lateLAN, byLAN}}
	r.prober = &prober{nat: &NAT{}}
	at := func(d time.Duration) probed {
		return probed{shot: shot{flow: &flow{}}, least: d, most: d + time.Millisecond}
	}
	alive := at(2100 * time.Millisecond)
	r.judgeAlive(alive)
	dead := at(3200 * time.Millisecond)
	dead.aim = lateWAN
	r.judgeWAN(dead, sighting{})
	early := at(1990 * time.Millisecond)
	early.aim, early.passed = lateLAN, true
	r.stillAlive(early)
	// It came when a mapping that was refreshed would have lapsed too, so its fate says nothing.
	refreshed := at(2900 * time.Millisecond)
	refreshed.aim, refreshed.most = byLAN, 2100*time.Millisecond
	r.judgeRefreshed(refreshed)
	want := []string{
		"the lab was late: a probe meant for 1.6s of silence came after 2.1s to 2.101s",
		"the lab was late: a probe meant for 2.4s of silence came after 3.2s to 3.201s",
		"the lab was late: a probe meant for 2.4s of silence came after 1.99s to 1.991s",
		"the lab was late: a probe of what refreshes a mapping came 2.9s after its making and 2.1s after the packet in question; the timeout asked for is 2s",
	}
	var got []string
	for _, n := range r.notes {
		got = append(got, n.text)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
	if got, want := summarise(r.notes), want[0]+" (and 2 more); "+want[3]; got != want {
		t.Errorf("in short %q, want %q", got, want)
	}
	if r.conclusive() || r.proven() || len(r.problems) > 0 {
		t.Errorf("conclusive %v, proven %v, problems %q", r.conclusive(), r.proven(), r.problems)
	}
}

func TestCheckResultJSON(t *testing.T) {
	want := CheckResult{
		NAT: "cell", Took: 3e9, OK: true, Twin: true, Want: Late{LANDrop, WANReset}, Seen: Late{LANDrop, WANReset},
		Timeout: 300e9, Proven: 2e9, LastAlive: 1.6e9, FirstDead: 2.4e9, Rounds: 2,
	}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	const text = `{"nat":"cell","took_s":3,"ok":true,"twin":true,"want":{"lan":"drop","wan":"reset"},"seen":{"lan":"drop","wan":"reset"},` +
		`"timeout_s":300,"proven_timeout_s":2,"last_alive_s":1.6,"first_dead_s":2.4,"rounds":2}`
	if diff := cmp.Diff(text, string(b)); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
	var got CheckResult
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
}
