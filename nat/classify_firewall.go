package nat

import "net/netip"

// classifyFirewall runs the tests whose answers an IPv6 firewall's profile depends on.
func (c *classifier) classifyFirewall() error {
	for _, test := range []func() error{c.findMapping, c.findFiltering} {
		if err := test(); err != nil || c.why != nil {
			return err
		}
	}
	return nil
}

// firewallNature says in words what the view shows of a firewall, and how that differs
// from its profile. insides is where the far ends should have seen the packets come from.
func (v *view) firewallNature(p Profile, insides netip.Prefix) (n Nature, wrong []note) {
	for _, byPort := range v.mapped {
		for _, seen := range byPort {
			if !insides.Contains(seen.Addr()) || seen != v.mapped[0][0] {
				return n, []note{noteOf("a firewall translates nothing, and packets of one inside endpoint came out as %v", v.mapped)}
			}
		}
	}
	var ok bool
	if n.Filtering, ok = v.filtering(); !ok {
		wrong = append(wrong, noteOf("asked for was %s filtering; let in was %s", p.Filtering, v.whoAnswered()))
	} else if n.Filtering != p.Filtering {
		wrong = append(wrong, noteOf("asked for was %s filtering, seen was %s filtering", p.Filtering, n.Filtering))
	}
	return n, wrong
}
