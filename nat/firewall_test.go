package nat

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"outlive/lab"
	"outlive/lab/labtest"
	"outlive/lab/units"
)

// buildFirewall makes phone ── cell ── server with an IPv6 firewall of the given profile:
//
//	phone ── phone:cell ──── cell:lan [firewall] cell:wan ──── server:cell ── server
//	2001:db8:64::2           2001:db8:64::1      2001:db8:cb::2           2001:db8::1
func buildFirewall(t testing.TB, p Profile) *natLab {
	t.Helper()
	topology, err := lab.Build(t.Context(), lab.TopologySpec{
		Uplinks: []lab.UplinkSpec{{Name: "cell", Firewall: "cell"}},
		Devices: []lab.DeviceSpec{{Name: "phone", Uplinks: []string{"cell"}}},
	})
	labtest.SkipUnsupported(t, err)
	t.Cleanup(func() { topology.Close() })
	n, err := Install(t.Context(), topology.Host("cell"), p)
	labtest.SkipUnsupported(t, err)
	t.Cleanup(func() { n.Close() })
	return &natLab{Topology: topology, NAT: n, phone: topology.Host("phone"), server: topology.Server()}
}

// nft changes the rules of a firewall behind its back.
func (l *natLab) nft(t *testing.T, args ...string) {
	t.Helper()
	if _, err := runNFT(t.Context(), l.host.NS, "", args...); err != nil {
		t.Fatal(err)
	}
}

// firewallLates are the late-packet behaviours that a firewall can have.
func firewallLates() []Late {
	return slices.DeleteFunc(combinations(), func(l Late) bool { return l.LAN == LANRemap })
}

func TestFirewallRules(t *testing.T) {
	for _, n := range FirewallProfiles() {
		labtest.Golden(t, "testdata/firewall-"+n.Profile.Name+".golden", FirewallRules(n.Profile))
	}
	p := Profile{Filtering: AddressDependent, Late: Late{LAN: LANReset, WAN: WANReset}}
	labtest.Golden(t, "testdata/firewall-resets.golden", FirewallRules(p))
}

func TestFirewallCatalogue(t *testing.T) {
	for _, n := range firewallProfiles {
		if problems := n.Profile.CheckFirewall(); len(problems) > 0 {
			t.Errorf("%s: %v", n.Profile.Name, problems)
		}
		if n.Summary == "" || n.Family != Firewalls || len(n.Origins) == 0 {
			t.Errorf("%s is not whole", n.Profile.Name)
		}
		if _, ok := Lookup(n.Profile.Name); ok {
			t.Errorf("%s is a NAT's name too", n.Profile.Name)
		}
		found, ok := LookupFirewall(n.Profile.Name)
		if diff := cmp.Diff(n.Profile.CompleteFirewall(), found.Profile); !ok || diff != "" {
			t.Errorf("%s (-want +got):\n%s", n.Profile.Name, diff)
		}
	}
}

func TestCheckFirewall(t *testing.T) {
	p := Profile{
		Mapping: EndpointIndependent, Ports: Ports{Allocation: PortRandom}, Pool: Pool{Addresses: 2}, Hairpin: true,
		Limits: Limits{Subscriber: 3}, Late: Late{LAN: LANRemap}, Refresh: Refresh{Direction: RefreshOutbound},
	}
	got := map[string]bool{}
	for _, problem := range p.CheckFirewall() {
		got[problem.Field] = true
	}
	for _, field := range []string{"mapping", "ports", "pool", "hairpin", "limits", "late.lan", "refresh"} {
		if !got[field] {
			t.Errorf("%s was not refused; refused were %v", field, got)
		}
	}
	fine := Profile{Filtering: AddressDependent, Refresh: Refresh{Direction: RefreshBoth}, Late: Late{LAN: LANRevive, WAN: WANReset}}
	if problems := fine.CheckFirewall(); len(problems) > 0 {
		t.Errorf("refused was %v", problems)
	}
}

// TestFirewallLatePackets is TestLatePackets over IPv6. Nothing is translated, so that the
// far end sees the device's own address, also of a late packet.
func TestFirewallLatePackets(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		for _, filtering := range []Behaviour{AddressAndPortDependent, EndpointIndependent} {
			for _, late := range firewallLates() {
				t.Run(string(late.LAN)+"-"+string(late.WAN)+"-"+string(filtering), func(t *testing.T) {
					t.Parallel()
					p := profile(time.Second, late.LAN, late.WAN)
					p.Filtering = filtering
					l := buildFirewall(t, p)
					s := sniff(t, l.Topology)
					gone := watch(t, l.NAT)
					all := l.connect(t, 3)
					for _, c := range all {
						if c.lan != c.wan {
							t.Fatalf("the server sees %s of %s", c.wan, c.lan)
						}
						if e := gone.await(t, MappingGone, c.lan, 1, 5*time.Second); e.Cause != CauseExpired || e.Mapping.WAN != c.lan {
							t.Fatalf("the state of %s went because it was %s: %+v", c.lan, e.Cause, e.Mapping)
						}
					}
					start := s.mark()
					lateClient(t, s, start, late.LAN, all[0])
					lateServer(t, s, start, late.WAN, all[1])
					lateFin(t, s, start, late.LAN, all[2])
					// What was sent so far is behind a new connection that works.
					l.connect(t, 1)
				})
			}
		}
	})
}

// TestFirewallRefusesStrangers: a connection from outside meets silence, or a reset, and
// never the device.
func TestFirewallRefusesStrangers(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		for _, wan := range []LateWAN{WANDrop, WANReset} {
			t.Run(string(wan), func(t *testing.T) {
				t.Parallel()
				l := buildFirewall(t, profile(time.Minute, LANDrop, wan))
				s := sniff(t, l.Topology)
				phone := netip.AddrPortFrom(l.Interface("phone:cell").Addr6.Addr(), 5000)
				listener, err := l.phone.NS.Listen(t.Context(), "tcp", phone.String())
				if err != nil {
					t.Fatal(err)
				}
				defer listener.Close()
				_, err = l.server.NS.Dial(within(t, 500*time.Millisecond), "tcp", phone.String())
				if err == nil {
					t.Fatal("the server reached the phone")
				}
				if refused := strings.Contains(err.Error(), unix.ECONNREFUSED.Error()); refused != (wan == WANReset) {
					t.Errorf("dialling the phone: %v; asked for was %s", err, wan)
				}
				if seen := s.find(0, func(p sniffed) bool { return p.point == "phone:cell" || p.point == "cell:lan" }); len(seen) > 0 {
					t.Errorf("the phone's side saw %v", seen)
				}
			})
		}
	})
}

// TestFirewallFlush: nat-reboot and mapping-expire find state records as they find mappings,
// and close what was open to others.
func TestFirewallFlush(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		for _, filtering := range []Behaviour{AddressAndPortDependent, AddressDependent, EndpointIndependent} {
			t.Run(string(filtering), func(t *testing.T) {
				t.Parallel()
				p := profile(time.Hour, LANDrop, WANDrop)
				p.Filtering = filtering
				l := buildFirewall(t, p)
				e := watch(t, l.NAT)
				all := l.connect(t, 3)
				n, err := l.Expire(func(m Mapping) bool { return m.LAN == all[0].lan })
				if err != nil || n != 1 {
					t.Fatalf("deleted %d, %v; want 1", n, err)
				}
				if gone := e.await(t, MappingGone, all[0].lan, 1, 5*time.Second); gone.Cause != CauseDeleted {
					t.Errorf("gone because it was %s", gone.Cause)
				}
				open := func() string {
					text, err := runNFT(t.Context(), l.host.NS, "", "list", "ruleset")
					if err != nil {
						t.Fatal(err)
					}
					return text
				}
				for i, c := range all {
					is := strings.Contains(open(), ". "+netip.AddrPort(c.lan).Addr().String()+" . "+portText(c.lan))
					if want := filtering != AddressAndPortDependent && i > 0; is != want {
						t.Errorf("endpoint %s is open: %v; want %v", c.lan, is, want)
					}
				}
				if err := l.Flush(); err != nil {
					t.Fatal(err)
				}
				for _, c := range all[1:] {
					if gone := e.await(t, MappingGone, c.lan, 1, 5*time.Second); gone.Cause != CauseDeleted {
						t.Errorf("gone because it was %s", gone.Cause)
					}
				}
				if left, err := l.Mappings(); err != nil || len(left) != 0 {
					t.Errorf("after the flush there are %v, %v", left, err)
				}
				if strings.Contains(open(), "elements") {
					t.Errorf("after the flush endpoints are open:\n%s", open())
				}
			})
		}
	})
}

func portText(a netip.AddrPort) string {
	return strings.TrimPrefix(a.String(), "["+a.Addr().String()+"]:")
}

// TestFirewallSelfCheck: it passes for every behaviour, directly and by a twin.
func TestFirewallSelfCheck(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		for _, filtering := range []Behaviour{AddressAndPortDependent, AddressDependent, EndpointIndependent} {
			for _, late := range firewallLates() {
				for _, mode := range []struct {
					name    string
					timeout time.Duration
					window  time.Duration
				}{{"direct", time.Second, time.Minute}, {"twin", 300 * time.Second, 0}} {
					t.Run(mode.name+"/"+string(late.LAN)+"-"+string(late.WAN)+"-"+string(filtering), func(t *testing.T) {
						t.Parallel()
						p := profile(mode.timeout, late.LAN, late.WAN)
						p.Filtering = filtering
						l := buildFirewall(t, p)
						e := watch(t, l.NAT)
						r := SelfCheck(within(t, time.Minute), l.Topology, l.NAT, mode.window)
						t.Logf("proven %.3f: last alive %.3f, first dead %.3f, took %.2f s, %d rounds",
							r.Proven.D().Seconds(), r.LastAlive.D().Seconds(), r.FirstDead.D().Seconds(), r.Took.D().Seconds(), r.Rounds)
						if !r.OK || r.Seen != late || r.TCP.Filtering != filtering || r.UDP.Filtering != filtering || r.TCP.Mapping != "" {
							t.Errorf("seen was %+v, TCP %+v, UDP %+v: %s", r.Seen, r.TCP, r.UDP, r.Why)
						}
						e.mu.Lock()
						defer e.mu.Unlock()
						if len(e.all) > 0 {
							t.Errorf("the probes' state was told as the scenario's: %+v", e.all[0])
						}
					})
				}
			}
		}
	})
}

// TestFirewallSabotage: a firewall that was tampered with never passes.
func TestFirewallSabotage(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		for _, c := range []struct {
			name      string
			filtering Behaviour
			late      Late
			do        func(*testing.T, *natLab)
			want      string
		}{
			{"no rules", "", Late{LANDrop, WANDrop}, func(t *testing.T, l *natLab) { l.nft(t, "flush", "ruleset") }, "is missing"},
			{"everybody comes in", "", Late{LANDrop, WANDrop}, func(t *testing.T, l *natLab) {
				l.nft(t, "insert rule ip6 firewall forward iifname wan9 accept")
			}, "filtering, seen was endpoint-independent filtering"},
			{"nobody but the one spoken to comes in", EndpointIndependent, Late{LANDrop, WANDrop}, func(t *testing.T, l *natLab) {
				l.nft(t, "insert rule ip6 firewall forward iifname wan9 ct state new drop")
			}, "seen was address-and-port-dependent filtering"},
			{"a longer timeout", "", Late{LANDrop, WANDrop}, func(t *testing.T, l *natLab) {
				if err := l.host.NS.SetSysctl("net.netfilter.nf_conntrack_tcp_timeout_established", "3"); err != nil {
					t.Fatal(err)
				}
			}, "a connection still had its mapping after 2."},
			{"it revives", "", Late{LANDrop, WANDrop}, func(t *testing.T, l *natLab) {
				if err := l.host.NS.SetSysctl("net.netfilter.nf_conntrack_tcp_loose", "1"); err != nil {
					t.Fatal(err)
				}
			}, "asked for was drop, seen was revive"},
			{"it resets", "", Late{LANDrop, WANDrop}, func(t *testing.T, l *natLab) {
				l.nft(t, "insert rule ip6 firewall forward iifname wan9 ct state invalid meta l4proto tcp reject with tcp reset")
			}, "asked for was drop, seen was reset"},
			{"it translates", "", Late{LANDrop, WANDrop}, func(t *testing.T, l *natLab) {
				if _, err := runNFT(t.Context(), l.host.NS, "table ip6 t {\n chain c {\n type nat hook postrouting priority srcnat;\n oifname wan9 masquerade\n }\n}\n", "-f", "-"); err != nil {
					t.Fatal(err)
				}
			}, "a firewall translates nothing"},
		} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				p := profile(2*time.Second, c.late.LAN, c.late.WAN)
				p.Filtering = c.filtering
				l := buildFirewall(t, p)
				c.do(t, l)
				r := SelfCheck(within(t, time.Minute), l.Topology, l.NAT, time.Minute)
				if r.OK || !strings.Contains(r.Why, c.want) {
					t.Errorf("OK is %v, because of %q; want it to say %q", r.OK, r.Why, c.want)
				}
			})
		}
	})
}

// TestFirewallWatchAfterReset is TestWatchAfterReset over IPv6: the reset is heard of there too.
func TestFirewallWatchAfterReset(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		const closed = 2 * time.Second
		p := profile(time.Minute, LANDrop, WANDrop)
		p.Timeouts.TCPClose = units.Duration(closed)
		l := buildFirewall(t, p)
		e := watch(t, l.NAT)
		s := sniff(t, l.Topology)
		c := l.connect(t, 1)[0]
		point := l.phone.Interfaces[0]
		sent := s.await(t, "a segment", 0, func(p sniffed) bool { return p.point == point.Point && p.from == c.lan && p.flags&syn == 0 })
		wild := segment{from: c.lan, to: c.remote, flags: rst, seq: sent.seq + 1<<30}
		frame, err := wild.frame(point.MAC, point.Peer.MAC)
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(500 * time.Millisecond)
		at := time.Now()
		if err := sendFrame(l.phone, frame); err != nil {
			t.Fatal(err)
		}
		gone := e.await(t, MappingGone, c.lan, 1, 10*time.Second)
		late := gone.At.Sub(at.Add(closed))
		t.Logf("reported %s after it was due, window %s", late, gone.Window.D())
		if gone.Cause != CauseExpired || late < -50*time.Millisecond || late > exact || gone.Window.D() > exact {
			t.Errorf("%s, reported %s after it was due, window %s", gone.Cause, late, gone.Window.D())
		}
	})
}
