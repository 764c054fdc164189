package nat

import (
	"testing"
	"time"

	"outlive/lab/labtest"
)

// With limits of so many connections, the next one is refused in silence.
//
//	10.255.128.1, 10.255.128.2 ──▶ 198.19.0.1
func TestLimits(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		for _, mapping := range behaviours {
			t.Run(string(mapping), func(t *testing.T) {
				t.Parallel()
				protocols(t, func(t *testing.T, udp bool) {
					// The test's markers are a connection too.
					l := buildWire(t, Profile{Mapping: mapping, Limits: Limits{Mappings: 8, Subscriber: 5}})
					for n := range 5 {
						l.mapped(t, udp, in(1, 5000+n), out(1, 80))
					}
					if got, ok := l.leaves(t, l.packet(udp, in(1, 6000), out(1, 80))); ok {
						t.Errorf("the sixth connection of a host got %s", got.from)
					}
					for n := range 2 {
						l.mapped(t, udp, in(2, 5000+n), out(1, 80))
					}
					if got, ok := l.leaves(t, l.packet(udp, in(3, 6000), out(1, 80))); ok {
						t.Errorf("the ninth connection got %s", got.from)
					}
					// Those that are there go on.
					if _, ok := l.leaves(t, l.packet(udp, in(1, 5000), out(1, 80))); !ok {
						t.Errorf("a connection that was there before did not go on")
					}
				})
			})
		}
	})
}

// With evict-oldest the connection that has been idle for the longest time makes room:
// its mapping goes, late packets of it are late, and the new one is there.
//
//	phone ── [NAT] ── server, four connections of which three may be
func TestEvictOldest(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		for name, p := range map[string]Profile{
			"table":      {Limits: Limits{Mappings: 3, WhenFull: EvictOldest}},
			"subscriber": {Mapping: AddressAndPortDependent, Filtering: EndpointIndependent, Limits: Limits{Subscriber: 3, WhenFull: EvictOldest}},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				l := build(t, p)
				s := sniff(t, l.Topology)
				seen := watch(t, l.NAT)
				first := l.connect(t, 3)
				// The second is now the oldest, by more than the second to which idle times are known.
				time.Sleep(1100 * time.Millisecond)
				for _, c := range []*connection{first[0], first[2]} {
					if _, err := c.client.Write([]byte("x")); err != nil {
						t.Fatal(err)
					}
					readBack(t, c.server, "x")
				}
				l.connect(t, 1)
				gone := seen.await(t, MappingGone, first[1].lan, 1, 5*time.Second)
				if gone.Cause != CauseEvicted {
					t.Errorf("the oldest went because it was %s", gone.Cause)
				}
				start := s.mark()
				lateClient(t, s, start, LANDrop, first[1])
				mappings, err := l.Mappings()
				if err != nil || len(mappings) != 3 {
					t.Errorf("there are %d mappings, %v; want 3", len(mappings), err)
				}
				for _, m := range mappings {
					// The new connection may have its port: it goes to another far end.
					if m.LAN == first[1].lan && m.Remote == gone.Mapping.Remote {
						t.Errorf("the oldest is still there: %+v", m)
					}
				}
				if p.Backend() != BackendNFTables {
					return
				}
				m := gone.Mapping
				if _, ok, err := l.elements.left(nftMapped+m.Protocol, l.mappedKey(m)); ok || err != nil {
					t.Errorf("the rules still have the mapping that was evicted: %v, %v", ok, err)
				}
				m = mappings[0]
				if _, ok, err := l.elements.left(nftMapped+m.Protocol, l.mappedKey(m)); !ok || err != nil {
					t.Errorf("the rules do not have mapping %+v: %v, %v", m, ok, err)
				}
			})
		}
	})
}
