package nat

import (
	"fmt"
	"net/netip"
	"testing"

	"outlive/lab/labtest"
)

// behaviours are all of them.
var behaviours = []Behaviour{EndpointIndependent, AddressDependent, AddressAndPortDependent}

// wireLab is a NAT with hosts on both sides that are nothing but packets:
//
//	10.255.128.0/17 ── lan9 [NAT] wan9 ── 198.19.0.0/16
type wireLab struct {
	*natLab
	*prober
	seq uint32
}

func buildWire(t *testing.T, p Profile) *wireLab {
	t.Helper()
	l := build(t, p)
	probe, err := l.AddProbe("cell")
	labtest.SkipUnsupported(t, err)
	pr, err := newProber(l.NAT, probe)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pr.close)
	return &wireLab{natLab: l, prober: pr, seq: 1000}
}

// in and far are endpoints of inside hosts and of hosts outside.
func in(host, port int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 255, 128, byte(host)}), uint16(port))
}

func out(host, port int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 19, 0, byte(host)}), uint16(port))
}

// packet is the first packet of a flow that is like no other: a SYN or a datagram.
func (l *wireLab) packet(udp bool, from, to netip.AddrPort) segment {
	l.seq += 1000
	if udp {
		return segment{udp: true, from: from, to: to, payload: fmt.Sprintf("datagram %d", l.seq)}
	}
	return segment{from: from, to: to, flags: syn, seq: l.seq}
}

// leaves sends a packet from inside and gives it as it was seen outside, if it was.
func (l *wireLab) leaves(t *testing.T, s segment) (segment, bool) {
	t.Helper()
	saw, err := l.fromLAN(s)
	if err != nil {
		t.Fatal(err)
	}
	return seen(t, saw.wan, s)
}

// enters sends a packet from outside and gives it as it was seen inside, if it was.
func (l *wireLab) enters(t *testing.T, s segment) (segment, bool) {
	t.Helper()
	saw, err := l.fromWAN(s)
	if err != nil {
		t.Fatal(err)
	}
	return seen(t, saw.lan, s)
}

func seen(t *testing.T, all []segment, s segment) (segment, bool) {
	t.Helper()
	for _, got := range all {
		if got.same(s) {
			return got, true
		}
	}
	return segment{}, false
}

// mapped opens a flow and gives its outside endpoint.
func (l *wireLab) mapped(t *testing.T, udp bool, from, to netip.AddrPort) netip.AddrPort {
	t.Helper()
	got, ok := l.leaves(t, l.packet(udp, from, to))
	if !ok {
		t.Fatalf("the first packet from %s to %s did not leave", from, to)
	}
	if got.to != to {
		t.Fatalf("it left to %s, was sent to %s", got.to, to)
	}
	return got.from
}

func protocols(t *testing.T, f func(t *testing.T, udp bool)) {
	for _, udp := range []bool{false, true} {
		t.Run(map[bool]string{false: "tcp", true: "udp"}[udp], func(t *testing.T) { f(t, udp) })
	}
}

// Which far ends an inside endpoint meets under the same outside endpoint (RFC 4787
// §4.1, as RFC 5780 §4.3 tests it).
//
//	10.255.128.1:5000 ──▶ 198.19.0.1:80, 198.19.0.1:81, 198.19.0.2:80
func TestMapping(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		for _, mapping := range behaviours {
			for _, allocation := range []PortAllocation{PortPreserve, PortRandom} {
				t.Run(string(mapping)+"/"+string(allocation), func(t *testing.T) {
					t.Parallel()
					p := Profile{Mapping: mapping, Filtering: EndpointIndependent, Ports: Ports{Allocation: allocation}}
					l := buildWire(t, p)
					protocols(t, func(t *testing.T, udp bool) {
						first := l.mapped(t, udp, in(1, 5000), out(1, 80))
						if kept := first.Port() == 5000; kept != (allocation == PortPreserve) {
							t.Errorf("the first outside endpoint is %s", first)
						}
						otherPort := l.mapped(t, udp, in(1, 5000), out(1, 81))
						otherAddr := l.mapped(t, udp, in(1, 5000), out(2, 80))
						again := l.mapped(t, udp, in(1, 5000), out(1, 80))
						if same := otherPort == first; same != (mapping != AddressAndPortDependent) {
							t.Errorf("%s towards one port, %s towards another", first, otherPort)
						}
						if same := otherAddr == first; same != (mapping == EndpointIndependent) {
							t.Errorf("%s towards one address, %s towards another", first, otherAddr)
						}
						if again != first {
							t.Errorf("%s towards the first again, was %s", again, first)
						}
						// Another host with the same port: its own is taken.
						other := l.mapped(t, udp, in(2, 5000), out(3, 80))
						if other == first || other == otherPort || other == otherAddr {
							t.Errorf("two inside endpoints have the outside endpoint %s", other)
						}
					})
				})
			}
		}
	})
}

// Who gets through to an inside endpoint that has sent to one far endpoint (RFC 4787 §5).
//
//	10.255.128.1:5000 ──▶ 198.19.0.1:80
//	                  ◀── 198.19.0.1:80, 198.19.0.1:81, 198.19.0.2:80
func TestFiltering(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		for _, mapping := range behaviours {
			for _, filtering := range behaviours {
				for _, late := range []LateWAN{WANDrop, WANReset} {
					p := Profile{Mapping: mapping, Filtering: filtering, Late: Late{WAN: late}}
					if p.Backend() != BackendNFTables {
						continue
					}
					t.Run(string(mapping)+"/"+string(filtering)+"/"+string(late), func(t *testing.T) {
						t.Parallel()
						l := buildWire(t, p)
						protocols(t, func(t *testing.T, udp bool) {
							outside := l.mapped(t, udp, in(1, 5000), out(1, 80))
							for _, c := range []struct {
								from  netip.AddrPort
								enter bool
							}{
								{out(1, 81), filtering != AddressAndPortDependent},
								{out(2, 80), filtering == EndpointIndependent},
							} {
								s := l.packet(udp, c.from, outside)
								saw, err := l.fromWAN(s)
								if err != nil {
									t.Fatal(err)
								}
								got, entered := seen(t, saw.lan, s)
								if entered != c.enter || entered && got.to != in(1, 5000) {
									t.Errorf("a packet from %s entered: %v, to %s", c.from, entered, got.to)
								}
								resets := 0
								for _, a := range saw.wan {
									if a.flags&rst != 0 && a.to == c.from {
										resets++
									}
								}
								if want := !c.enter && late == WANReset && !udp; (resets == 1) != want {
									t.Errorf("%s was sent %d resets", c.from, resets)
								}
							}
							if !udp {
								return
							}
							if _, ok := l.enters(t, l.packet(udp, out(1, 80), outside)); !ok {
								t.Errorf("the far end that was sent to did not get through")
							}
						})
					})
				}
			}
		}
	})
}
