package nat

import (
	"context"
	"net/netip"

	"outlive/lab"
)

// InstallEdited is Install for inside hosts that the topology does not have, with
// the text of the rules changed before they are loaded. It gives the outside addresses, too.
func InstallEdited(ctx context.Context, host *lab.Host, p Profile, inside []netip.Addr, edit func(rules string) string) (*NAT, []netip.Addr, error) {
	s := siteOf(host, p)
	s.sides[0].inside = inside
	n := &NAT{host: host, profile: p.Complete(), rules: edit(rulesFor(p, s))}
	if err := n.install(ctx); err != nil {
		return nil, nil, err
	}
	return n, s.sides[0].outside, nil
}
