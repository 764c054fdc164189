package nat

import (
	"slices"
	"time"

	"outlive/lab/units"
)

// Named is a profile of the catalogue.
type Named struct {
	Profile Profile
	// Family is the kind of box that it stands for.
	Family Family
	// Summary says in one sentence what it stands for.
	Summary string
	// Origins say where the figures are from, each for one or more of the profile's
	// fields. Origin gives that of any field.
	Origins []Origin
}

// Family is a kind of box that translates addresses, or only keeps state as if it did.
type Family string

// The families, in the order of the catalogue.
const (
	Standards     Family = "the standards"
	HomeRouters   Family = "home routers"
	Mobile        Family = "mobile carriers"
	CarrierGrade  Family = "carrier-grade NATs"
	Clouds        Family = "clouds"
	Boxes         Family = "routers and firewalls"
	LoadBalancers Family = "load balancers"
)

// catalogue is the registry: a new profile is one more value in one of these lists.
var catalogue = slices.Concat(standardProfiles, homeProfiles, mobileProfiles, carrierGradeProfiles,
	cloudProfiles, boxProfiles, balancerProfiles)

// Profiles gives the catalogue, a family after the other, in the order in which it is
// to be read. Its profiles are complete and have their names.
func Profiles() []Named {
	all := make([]Named, len(catalogue))
	for i, n := range catalogue {
		n.Profile = n.Profile.Complete()
		all[i] = n
	}
	return all
}

// Lookup finds a profile of the catalogue by its name.
func Lookup(name string) (Named, bool) {
	i := slices.IndexFunc(catalogue, func(n Named) bool { return n.Profile.Name == name })
	if i < 0 {
		return Named{}, false
	}
	n := catalogue[i]
	n.Profile = n.Profile.Complete()
	return n, true
}

const (
	second = units.Duration(time.Second)
	minute = units.Duration(time.Minute)
	hour   = units.Duration(time.Hour)
)
