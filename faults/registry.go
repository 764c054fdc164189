package faults

import (
	"fmt"
	"reflect"
	"sort"
	"strings"

	"outlive/lab/units"
	"outlive/nat"
)

// kinds is the registry: a new fault is one file and one line here.
var kinds = []Kind{
	natReboot,
	mappingExpire,
	mappingPressure,
	serverKill,
	serverPowerOff,
}

// Kinds lists every fault, by name.
func Kinds() []Kind {
	out := append([]Kind(nil), kinds...)
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// Lookup finds a fault by its name.
func Lookup(name string) (Kind, bool) {
	for _, k := range kinds {
		if k.Name == name {
			return k, true
		}
	}
	return Kind{}, false
}

// natNames resolves what a scenario wrote after `on`: an uplink stands for all
// of its NATs, "cell.2" for one of them. It is empty if there is no such thing.
func (w World) natNames(on string) []string {
	if names, ok := w.Uplinks[on]; ok {
		return names
	}
	for _, names := range w.Uplinks {
		for _, name := range names {
			if name == on {
				return []string{name}
			}
		}
	}
	return nil
}

// checkOn reports an `on` that names no uplink and no NAT.
func (w World) checkOn(on string) []units.Problem {
	if len(w.natNames(on)) > 0 {
		return nil
	}
	var known []string
	for uplink, names := range w.Uplinks {
		known = append(known, uplink)
		if len(names) > 1 {
			known = append(known, names...)
		}
	}
	sort.Strings(known)
	if on == "" {
		return []units.Problem{{Text: "this fault needs `on`, the uplink or NAT that it happens to: " + strings.Join(known, ", ")}}
	}
	return []units.Problem{{Field: "on", Text: fmt.Sprintf("no uplink or NAT is called %q; known: %s", on, strings.Join(known, ", "))}}
}

// Parameters lists the YAML keys of a fault's own parameters, in their order.
func Parameters(k Kind) []string {
	t := reflect.TypeOf(k.New()).Elem()
	var names []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		names = append(names, name)
	}
	return names
}

// countMappings says how many mappings, or of a firewall state records, something is about.
func countMappings(n *nat.NAT, count int) string {
	if n.Firewall() {
		return units.Count(count, "state record", "state records")
	}
	return units.Count(count, "mapping", "mappings")
}
