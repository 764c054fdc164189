package nat

import (
	"testing"

	"outlive/lab/labtest"
)

// An inside host sends to the outside endpoint of another one (RFC 4787 REQ-9). It
// gets there, from the sender's outside endpoint, if the other one's filtering lets
// that in; without hairpinning it gets nowhere.
//
//	10.255.128.1:5000 ──▶ [NAT] ──▶ 10.255.128.2:6000
//	   as 198.18.0.2:5000       was sent to 198.18.0.2:6000
func TestHairpin(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		for _, mapping := range behaviours {
			for _, filtering := range behaviours {
				for _, hairpin := range []bool{true, false} {
					p := Profile{Mapping: mapping, Filtering: filtering, Hairpin: hairpin, Ports: Ports{Range: PortRange{1024, 65000}}}
					name := string(mapping) + "/" + string(filtering) + map[bool]string{true: "", false: "/without"}[hairpin]
					t.Run(name, func(t *testing.T) {
						t.Parallel()
						l := buildWire(t, p)
						protocols(t, func(t *testing.T, udp bool) {
							target := l.mapped(t, udp, in(2, 6000), out(1, 80))
							source := l.mapped(t, udp, in(1, 5000), out(1, 80))
							s := l.packet(udp, in(1, 5000), target)
							got, ok := l.hairpins(t, s)
							if want := hairpin && filtering == EndpointIndependent; ok != want {
								t.Fatalf("a packet to %s came back inside: %v", target, ok)
							}
							if ok && (got.to != in(2, 6000) || got.from.Addr() != source.Addr() || mapping == EndpointIndependent && got.from != source) {
								t.Errorf("it came back as %s, want it from %s", got, source)
							}
							if !hairpin || mapping != EndpointIndependent || filtering == EndpointIndependent {
								return
							}
							// Once the other one has sent to the sender's outside endpoint, it may.
							if _, ok := l.hairpins(t, l.packet(udp, in(2, 6000), source)); !ok {
								t.Errorf("the answer to a filtered packet did not come back inside, though the sender had sent there")
							}
							if !udp {
								return
							}
							if _, ok := l.hairpins(t, l.packet(udp, in(1, 5000), target)); !ok {
								t.Errorf("after that a packet to %s did not come back inside", target)
							}
						})
					})
				}
			}
		}
	})
}

// hairpins sends a packet from inside and gives it as it came back there.
func (l *wireLab) hairpins(t *testing.T, s segment) (segment, bool) {
	t.Helper()
	saw, err := l.fromLAN(s)
	if err != nil {
		t.Fatal(err)
	}
	if left, ok := seen(t, saw.wan, s); ok {
		t.Errorf("a packet to an outside endpoint left the NAT: %s", left)
	}
	return seen(t, saw.lan, s)
}
