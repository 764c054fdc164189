package nat

import (
	"net/netip"
	"testing"

	"outlive/lab/labtest"
)

// A range of ten ports holds ten mappings of each protocol, all in the range, and an
// eleventh is refused in silence: whatever the far end, and however ports are chosen.
//
//	10.255.128.1:1999… ──▶ 198.19.0.1:80, 198.19.0.2:80, …
func TestPortRange(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		for _, allocation := range []PortAllocation{PortPreserve, PortRandom} {
			for _, mapping := range behaviours {
				t.Run(string(allocation)+"/"+string(mapping), func(t *testing.T) {
					t.Parallel()
					ports := PortRange{2000, 2010} // one for the markers of the test
					l := buildWire(t, Profile{Mapping: mapping, Ports: Ports{Allocation: allocation, Range: ports}})
					l.mapped(t, true, netip.AddrPortFrom(l.lan.addr, markerPort), netip.AddrPortFrom(l.wan.addr, probePort))
					protocols(t, func(t *testing.T, udp bool) {
						seen := map[uint16]bool{}
						room := 11
						if udp {
							room = 10
						}
						for n := range room {
							m := l.mapped(t, udp, in(1, 1999+n), out(n, 80))
							if m.Port() < ports.First || m.Port() > ports.Last || seen[m.Port()] {
								t.Errorf("mapping %d has %s, taken before: %v", n, m, seen[m.Port()])
							}
							if kept := m.Port() == uint16(1999+n); allocation == PortPreserve && n > 0 && !udp && !kept && !seen[uint16(1999+n)] {
								t.Errorf("port %d was free and not kept: got %s", 1999+n, m)
							}
							seen[m.Port()] = true
						}
						if got, ok := l.leaves(t, l.packet(udp, in(1, 3000), out(99, 80))); ok {
							t.Errorf("one more than there are ports got %s", got.from)
						}
					})
				})
			}
		}
	})
}

// A block of ten ports for each inside address: an eleventh mapping of one is refused,
// and that of another is not.
//
//	10.255.128.1, 10.255.128.2 ──▶ 198.19.0.0/16
func TestPortBlock(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		for _, allocation := range []PortAllocation{PortPreserve, PortRandom} {
			t.Run(string(allocation), func(t *testing.T) {
				t.Parallel()
				p := Profile{Mapping: EndpointIndependent, Ports: Ports{Allocation: allocation, Range: PortRange{2000, 2999}, Block: 10}}
				l := buildWire(t, p)
				protocols(t, func(t *testing.T, udp bool) {
					for host := 1; host <= 2; host++ {
						block := -1
						for n := range 10 {
							m := l.mapped(t, udp, in(host, 5000+n), out(n, 80))
							if n == 0 {
								block = int(m.Port()) / 10
							}
							if int(m.Port())/10 != block {
								t.Errorf("mapping %d of host %d has %s, its block is that of %d", n, host, m, 10*block)
							}
						}
						if got, ok := l.leaves(t, l.packet(udp, in(host, 6000), out(99, 80))); ok {
							t.Errorf("the eleventh mapping of host %d got %s", host, got.from)
						}
						if allocation == PortPreserve {
							want := uint16(2000 + 10*(host+2+1))
							if m := l.mapped(t, udp, in(host+2, int(want)), out(1, 80)); m.Port() != want {
								t.Errorf("port %d is of its block and was not kept: got %s", want, m)
							}
						}
					}
				})
			})
		}
	})
}

// Several outside addresses: paired, all mappings of one host have the same; else
// they are drawn, and one host sees several.
//
//	10.255.128.1… ──▶ 198.19.0.1:80
func TestPool(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		for _, paired := range []bool{true, false} {
			t.Run(map[bool]string{true: "paired", false: "arbitrary"}[paired], func(t *testing.T) {
				t.Parallel()
				l := buildWire(t, Profile{Pool: Pool{Addresses: 4, Paired: paired}})
				pool := netip.PrefixFrom(l.NAT.host.ProbePool().Addr(), 30)
				protocols(t, func(t *testing.T, udp bool) {
					all := map[netip.Addr]bool{}
					for host := range 16 {
						own := map[netip.Addr]bool{}
						for n := range 8 {
							m := l.mapped(t, udp, in(host+1, 5000+n), out(1, 80))
							if !pool.Contains(m.Addr()) {
								t.Errorf("%s is not of the pool %s", m, pool)
							}
							own[m.Addr()], all[m.Addr()] = true, true
						}
						// Eight draws of four are all the same once in 16384 times.
						if paired && len(own) != 1 {
							t.Errorf("host %d has %d addresses", host, len(own))
						}
					}
					if len(all) != 4 {
						t.Errorf("%d of the four addresses are used", len(all))
					}
				})
			})
		}
	})
}

// The scenario's own traffic with a pool, with the kernel's TCP at both ends: the way
// back is there.
//
//	phone ── cell:lan [NAT] cell:wan ── server
//	10.64.0.2               192.0.2.0/30  198.51.100.1
func TestPoolIsRouted(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		l := build(t, Profile{Pool: Pool{Addresses: 4}})
		for _, c := range l.connect(t, 8) {
			if !l.host.Pool().Contains(c.wan.Addr()) {
				t.Errorf("the server sees %s, which is not of %s", c.wan, l.host.Pool())
			}
		}
	})
}
