package faults

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"

	"outlive/lab/units"
)

var natReboot = Kind{
	Name:    "nat-reboot",
	Summary: "The NAT restarts, and the IPv6 firewall beside it: every mapping is gone at once, and all state. Addresses and rules come back as they were, within the same instant.",
	New:     func() Fault { return &NATReboot{} },
}

// NATReboot empties the mapping tables of an uplink's NATs and of its firewall, as a restart does.
type NATReboot struct {
	// On is the uplink whose NATs and firewall restart, or the name of one of them ("cell.2", "cell.firewall").
	On string `yaml:"on" json:"on"`
}

// Check wants a known uplink or NAT.
func (f *NATReboot) Check(w World) []units.Problem { return w.checkOn(f.On) }

// Inject flushes the tables and asserts that nothing of before is left in them.
func (f *NATReboot) Inject(ctx context.Context, l Lab) (Effect, error) {
	var done []string
	for _, name := range l.natsOn(f.On) {
		n := l.NATs[name]
		before, err := n.Mappings()
		if err != nil {
			return Effect{}, fmt.Errorf("rebooting %s: listing its mappings: %w", n, err)
		}
		if err := n.Flush(); err != nil {
			return Effect{}, fmt.Errorf("rebooting %s: %w", n, err)
		}
		after, err := n.Mappings()
		if err != nil {
			return Effect{}, fmt.Errorf("rebooting %s: reading back its mappings: %w", n, err)
		}
		old := make(map[uint32]bool, len(before))
		for _, m := range before {
			old[m.ID] = true
		}
		for _, m := range after {
			if old[m.ID] {
				return Effect{}, fmt.Errorf("rebooting %s: mapping %s of %s outlived the flush", n, m.WAN, m.LAN)
			}
		}
		done = append(done, fmt.Sprintf("%s forgot %s", n, countMappings(n, len(before))))
	}
	return Effect{At: time.Now(), Text: strings.Join(done, ", ")}, nil
}

// natsOn gives the names of the NATs that `on` stands for, in order.
func (l Lab) natsOn(on string) []string {
	var names []string
	for name := range l.NATs {
		if name == on || strings.HasPrefix(name, on+".") {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}
