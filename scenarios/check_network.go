package scenarios

import (
	"fmt"
	"reflect"
	"regexp"

	"outlive/lab"
	"outlive/nat"
)

// maxNATs is how many NATs may stand in a row. The lab could build more, and no
// network has them.
const maxNATs = 8

// An uplink's name is the name of an interface, of which the kernel allows 15
// characters and a NAT's probes need a few.
var uplinkForm = regexp.MustCompile(`^[a-z][a-z0-9]{0,10}$`)

// reserved are names that the lab or the kernel uses itself.
var reserved = map[string]string{
	"server":  "the server",
	"lo":      "the loopback interface",
	"all":     "the kernel's settings for all interfaces",
	"default": "the kernel's settings for new interfaces",
}

// network checks the uplinks.
func (c *checker) network() {
	f := c.file
	c.uplinks, c.hosts = map[string]*node{}, map[string]*node{}
	n := f.root.get("network")
	switch {
	case n == nil:
		c.missing(f.root, "network", `the access networks by name, for example "network: {cell: {nat: carrier}}"`)
		return
	case n.kind == mapping && len(n.pairs) == 0 && !n.torn:
		c.report(n, "", "network is empty: it needs at least one access network, for example {cell: {nat: carrier}}")
	case len(f.Network) > lab.MaxUplinks:
		c.report(n, "", "there are %d access networks; the lab has addresses for %d", len(f.Network), lab.MaxUplinks)
	}
	for i := range f.Network {
		e := &f.Network[i]
		switch taken := reserved[e.name]; {
		case !uplinkForm.MatchString(e.name):
			c.report(e.key, "", "%q cannot be the name of an uplink: it must be at most 11 lower-case letters and digits, a letter first", clip(e.name))
		case taken != "":
			c.report(e.key, "", "an uplink cannot be called %q: that is %s", e.name, taken)
		}
		c.uplinks[e.name] = e.key
		if e.at.kind == mapping && !e.at.spoilt && e.value.NAT == nil && e.at.get("firewall") == nil {
			c.missing(e.at, "nat", "the name of a NAT profile, for example {nat: carrier}")
		}
		c.scenario.Uplinks = append(c.scenario.Uplinks, c.uplink(e))
	}
}

// uplink checks the NATs of one uplink and fills in their profiles.
func (c *checker) uplink(e *entry[uplinkKeys]) Uplink {
	u := Uplink{Name: e.name}
	chain := e.value.NAT
	if len(chain) > maxNATs {
		c.report(e.at.get("nat"), "", "there are %d NATs in a row; at most %d make sense", len(chain), maxNATs)
	}
	for i := range chain {
		k := &chain[i]
		name := e.name
		if len(chain) > 1 {
			name = fmt.Sprintf("%s.%d", e.name, i+1)
		} else if e.value.Firewall != nil {
			name += ".nat"
		}
		// Keys that change what is not known cannot be told from mistakes.
		if base := k.at.get("profile"); base == nil || !base.spoilt {
			c.problems(k.at, k.Check())
		}
		c.complete(k)
		u.NATs = append(u.NATs, NAT{Name: name, Profile: k.Profile})
	}
	if k := e.value.Firewall; k != nil {
		c.problems(k.at, k.CheckFirewall())
		k.complete()
		u.Firewall = &NAT{Name: e.name, Profile: k.Profile}
		if len(chain) > 0 {
			u.Firewall.Name += ".firewall"
		}
	}
	return u
}

// complete is the same for a firewall.
func (k *firewallKeys) complete() {
	k.Profile = k.CompleteFirewall()
	k.Name = ""
	if base, ok := nat.LookupFirewall(k.Base); ok {
		base.Profile.Name = ""
		if reflect.DeepEqual(base.Profile, k.Profile) {
			k.Name = k.Base
		}
	}
	k.Base = k.Name
}

// complete fills in the profile. It keeps the name of the profile that it is based on
// only where it is that one to the last value.
func (c *checker) complete(k *natKeys) {
	k.Profile = k.Complete()
	k.Name = ""
	if base, ok := c.base(k.Base); ok {
		base.Name = ""
		if reflect.DeepEqual(base, k.Profile) {
			k.Name = k.Base
		}
	}
	k.Base = k.Name
}

// base is the complete profile of a name: that of a file, or one of the catalogue.
func (c *checker) base(name string) (nat.Profile, bool) {
	if clean, ok := profilePath(name); ok {
		if p := c.profiles[clean]; p != nil {
			return p.keys.Complete(), true
		}
		return nat.Profile{}, false
	}
	named, ok := nat.Lookup(name)
	return named.Profile, ok
}

// natNames are the NATs of each uplink, as faults.World wants them.
func natNames(uplinks []Uplink) map[string][]string {
	out := map[string][]string{}
	for _, u := range uplinks {
		names := []string{}
		for _, n := range u.boxes() {
			names = append(names, n.Name)
		}
		out[u.Name] = names
	}
	return out
}
