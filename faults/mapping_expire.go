package faults

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"time"

	"outlive/lab"
	"outlive/lab/units"
	"outlive/nat"
)

var mappingExpire = Kind{
	Name:    "mapping-expire",
	Summary: "The NAT, or the IPv6 firewall, forgets the mappings of one device now, before their time; other devices keep theirs.",
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
	uplink, _, _ := strings.Cut(on, ".")
	e := expiry{Lab: l, device: f.Device, host: host, on: on}
	// An uplink with both families has two ways, and a device is on one of them.
	for _, way := range l.ways(uplink) {
		if err := e.along(way); err != nil {
			return Effect{}, fmt.Errorf("expiring the mappings of %s: %w", f.Device, err)
		}
	}
	if len(e.done) == 0 {
		return Effect{}, fmt.Errorf("expiring the mappings of %s: %s has none that leads to that device", f.Device, strings.Join(e.without, ", "))
	}
	return Effect{At: time.Now(), Text: strings.Join(e.done, ", ")}, nil
}

// ways are the NATs of an uplink in order, and its firewall.
func (l Lab) ways(uplink string) [][]string {
	var nats, firewalls []string
	for _, name := range l.natsOn(uplink) {
		if l.NATs[name].Firewall() {
			firewalls = append(firewalls, name)
		} else {
			nats = append(nats, name)
		}
	}
	return [][]string{nats, firewalls}
}

// expiry is a mapping-expire under way.
type expiry struct {
	Lab
	device string
	host   *lab.Host
	on     string
	// done says what was forgotten, and without are those that had nothing to forget.
	done, without []string
}

// along goes through the NATs of one way. Behind the first one a device is known by what
// that NAT made of it, so the names by which it goes are carried along the chain.
func (e *expiry) along(way []string) error {
	own := map[netip.AddrPort]bool{}
	for order, name := range way {
		n := e.NATs[name]
		inside := own
		mine := func(m nat.Mapping) bool { return inside[m.LAN] }
		if order == 0 {
			mine = func(m nat.Mapping) bool { return e.has(m.LAN.Addr()) }
		}
		mappings, err := n.Mappings()
		if err != nil {
			return err
		}
		next := map[netip.AddrPort]bool{}
		found := 0
		for _, m := range mappings {
			if mine(m) {
				next[m.WAN] = true
				found++
			}
		}
		own = next
		if uplink, _, _ := strings.Cut(name, "."); name != e.on && uplink != e.on {
			continue
		}
		if found == 0 && order > 0 && len(e.done) > 0 {
			return fmt.Errorf("%s has none that leads to that device through the NATs before it", n)
		}
		if found == 0 {
			e.without = append(e.without, n.String())
			continue
		}
		gone, err := n.Expire(mine)
		if err != nil {
			return err
		}
		if gone == 0 {
			return fmt.Errorf("%s deleted none of %d", n, found)
		}
		e.done = append(e.done, fmt.Sprintf("%s forgot %s of %s", n, countMappings(n, gone), e.device))
	}
	return nil
}

// has says whether an address is the device's.
func (e *expiry) has(a netip.Addr) bool {
	return slices.ContainsFunc(e.host.Interfaces, func(i *lab.Interface) bool { return i.Addr.Addr() == a || i.Addr6.Addr() == a })
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
