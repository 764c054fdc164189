package scenarios

import (
	"net/netip"
	"strings"

	"outlive/probes/socket"
)

// families are the versions of IP that the scenario's uplinks have.
func (s *Scenario) families() socket.Families {
	var all socket.Families
	for _, u := range s.Uplinks {
		if len(u.NATs) > 0 {
			all |= socket.IPv4
		}
		if u.Firewall != nil {
			all |= socket.IPv6
		}
	}
	return all
}

// serverAddrs are where clients find the server over IPv4 and over IPv6; one that no
// uplink has is invalid.
func (l *labRun) serverAddrs() (four, six netip.AddrPort) {
	families, port := l.scenario.families(), l.scenario.Server.Port
	if families&socket.IPv4 != 0 {
		four = netip.AddrPortFrom(l.topology.ServerAddr(), port)
	}
	if families&socket.IPv6 != 0 {
		six = netip.AddrPortFrom(l.topology.ServerAddr6(), port)
	}
	return four, six
}

// serverOf is where the client of a device finds the server.
func (l *labRun) serverOf(d Device) netip.AddrPort {
	four, six := l.serverAddrs()
	if d.IP == 6 {
		return six
	}
	return four
}

// anyAddr is the address at which a server takes connections of whatever the uplinks have.
func (l *labRun) anyAddr() netip.Addr {
	if l.scenario.families()&socket.IPv6 != 0 {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

// listenAddr is what a server's command is told as the address to listen at: the
// server's own one, or where it has two that which takes both.
func (l *labRun) listenAddr() netip.Addr {
	four, six := l.serverAddrs()
	switch {
	case !six.IsValid():
		return four.Addr()
	case !four.IsValid():
		return six.Addr()
	}
	return l.anyAddr()
}

// publishTo is where the publisher, which is on the server's host, finds the server.
func (l *labRun) publishTo() string {
	four, six := l.serverAddrs()
	if four.IsValid() {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), four.Port()).String()
	}
	return six.String()
}

// replaceAddr replaces a placeholder by an address. One of IPv6 is put into brackets
// where a port follows it, and in a URL, as RFC 3986 wants it.
func replaceAddr(argv []string, placeholder string, addr netip.Addr) []string {
	plain := addr.String()
	if addr.Is4() {
		return replaceAll(argv, map[string]string{placeholder: plain})
	}
	out := make([]string, len(argv))
	for i, word := range argv {
		var b strings.Builder
		for {
			before, after, found := strings.Cut(word, placeholder)
			b.WriteString(before)
			if !found {
				break
			}
			text := plain
			if strings.HasPrefix(after, ":") || strings.HasSuffix(before, "://") || strings.Contains(before, "://") && strings.HasSuffix(before, "@") {
				text = "[" + plain + "]"
			}
			b.WriteString(text)
			word = after
		}
		out[i] = b.String()
	}
	return out
}
