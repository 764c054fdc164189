package faults

import (
	"context"
	"fmt"
	"net/netip"
	"sort"
	"strings"
	"time"

	"outlive/lab/units"
	"outlive/nat"
)

var mappingExpire = Kind{
	Name:    "mapping-expire",
	Summary: "The NAT forgets the mappings of one device now, before their time; other devices keep theirs.",
	New:     func() Fault { return &MappingExpire{} },
}

// MappingExpire deletes one device's mappings from the NATs of an uplink.
type MappingExpire struct {
	// Device is the device whose mappings go.
	Device string `yaml:"device" json:"device"`
	// On is the uplink, or one NAT of it ("cell.2"); it may be left out where the device has one uplink.
	On string `yaml:"on,omitempty" json:"on,omitempty"`
}

// Check wants a known device and an uplink that it has.
func (f *MappingExpire) Check(w World) []units.Problem {
	uplinks, ok := w.Devices[f.Device]
	if !ok {
		return []units.Problem{{Field: "device", Text: fmt.Sprintf("no device is called %q; known: %s", f.Device, strings.Join(sortedKeys(w.Devices), ", "))}}
	}
	if f.On == "" {
		if len(uplinks) > 1 {
			return []units.Problem{{Text: fmt.Sprintf("device %s has several uplinks: say with `on` whose NAT forgets (%s)", f.Device, strings.Join(uplinks, ", "))}}
		}
		return nil
	}
	if problems := w.checkOn(f.On); problems != nil {
		return problems
	}
	uplink, _, _ := strings.Cut(f.On, ".")
	for _, u := range uplinks {
		if u == uplink {
			return nil
		}
	}
	return []units.Problem{{Field: "on", Text: fmt.Sprintf("device %s has no uplink %s; it has %s", f.Device, uplink, strings.Join(uplinks, ", "))}}
}

// Inject deletes the entries and asserts that they are gone. That there was none
// to delete is an error: such a fault could not have hurt anyone.
func (f *MappingExpire) Inject(ctx context.Context, l Lab) (Effect, error) {
	host := l.Topology.Host(f.Device)
	if host == nil {
		return Effect{}, fmt.Errorf("expiring the mappings of %s: no such device in this lab", f.Device)
	}
	on := f.On
	if on == "" {
		on = host.Interfaces[0].Uplink
	}
	// Behind the first NAT a device is known by what that NAT made of it, so
	// the names by which it goes are carried along the chain.
	own := map[netip.AddrPort]bool{}
	uplink, _, _ := strings.Cut(on, ".")
	first := true
	var done []string
	for _, name := range l.natsOn(uplink) {
		mine := func(m nat.Mapping) bool { return own[m.LAN] }
		if first {
			mine = func(m nat.Mapping) bool {
				for _, i := range host.Interfaces {
					if i.Addr.Addr() == m.LAN.Addr() {
						return true
					}
				}
				return false
			}
			first = false
		}
		mappings, err := l.NATs[name].Mappings()
		if err != nil {
			return Effect{}, fmt.Errorf("expiring the mappings of %s: listing those of NAT %s: %w", f.Device, name, err)
		}
		next := map[netip.AddrPort]bool{}
		found := 0
		for _, m := range mappings {
			if mine(m) {
				next[m.WAN] = true
				found++
			}
		}
		if name == on || uplink == on {
			if found == 0 {
				return Effect{}, fmt.Errorf("expiring the mappings of %s: NAT %s has none that leads to that device through the NATs before it", f.Device, name)
			}
			gone, err := l.NATs[name].Expire(mine)
			if err != nil {
				return Effect{}, fmt.Errorf("expiring the mappings of %s at NAT %s: %w", f.Device, name, err)
			}
			if gone == 0 {
				return Effect{}, fmt.Errorf("expiring the mappings of %s: NAT %s deleted none of %d", f.Device, name, found)
			}
			done = append(done, fmt.Sprintf("NAT %s forgot %s of %s", name, units.Count(gone, "mapping", "mappings"), f.Device))
		}
		own = next
	}
	return Effect{At: time.Now(), Text: strings.Join(done, ", ")}, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
