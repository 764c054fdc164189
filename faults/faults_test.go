package faults_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outlive/faults"
	"outlive/lab/units"
	"outlive/nat"
)

var world = faults.World{
	Uplinks: map[string][]string{"cell": {"cell"}, "home": {"home.1", "home.2"}},
	Devices: map[string][]string{"phone": {"cell"}, "pad": {"home", "cell"}},
	Profiles: map[string]nat.Profile{
		"cell": {}, "home.1": {}, "home.2": {Limits: nat.Limits{Mappings: 100}},
	},
}

func TestCheck(t *testing.T) {
	tests := []struct {
		name  string
		fault faults.Fault
		want  []units.Problem
	}{
		{"reboot of an uplink", &faults.NATReboot{On: "home"}, nil},
		{"reboot of one NAT of a chain", &faults.NATReboot{On: "home.2"}, nil},
		{"reboot of nothing", &faults.NATReboot{}, []units.Problem{{Text: "this fault needs `on`, the uplink or NAT that it happens to: cell, home, home.1, home.2"}}},
		{"reboot of an unknown NAT", &faults.NATReboot{On: "home.3"}, []units.Problem{{Field: "on", Text: `no uplink or NAT is called "home.3"; known: cell, home, home.1, home.2`}}},
		{"expiry for a device with one uplink", &faults.MappingExpire{Device: "phone"}, nil},
		{"expiry for an unknown device", &faults.MappingExpire{Device: "fone"}, []units.Problem{{Field: "device", Text: `no device is called "fone"; known: pad, phone`}}},
		{"expiry that does not say whose NAT", &faults.MappingExpire{Device: "pad"}, []units.Problem{{Text: "device pad has several uplinks: say with `on` whose NAT forgets (home, cell)"}}},
		{"expiry on an uplink that the device lacks", &faults.MappingExpire{Device: "phone", On: "home"}, []units.Problem{{Field: "on", Text: "device phone has no uplink home; it has cell"}}},
		{"expiry at one NAT of a chain", &faults.MappingExpire{Device: "pad", On: "home.2"}, nil},
		{"pressure on an uplink of which one NAT is limited", &faults.MappingPressure{On: "home", Mappings: 200, For: units.Duration(time.Minute)}, nil},
		{"pressure on the limited one", &faults.MappingPressure{On: "home.2", Mappings: faults.MaxPressure}, nil},
		{"pressure on the one before it, by which it gets there", &faults.MappingPressure{On: "home.1", Mappings: 1}, nil},
		{"pressure where nobody feels it", &faults.MappingPressure{On: "cell", Mappings: 200}, []units.Problem{
			{Field: "on", Text: "cell takes as many mappings as there are ports, so that nobody would feel the pressure: limit it, for example {profile: carrier, limits: {mappings: 100}}"},
		}},
		{"pressure on nothing, of nothing", &faults.MappingPressure{On: "wifi", For: -1}, []units.Problem{
			{Field: "on", Text: `no uplink or NAT is called "wifi"; known: cell, home, home.1, home.2`},
			{Text: "this fault needs `mappings`, how many the neighbour opens"},
			{Field: "for", Text: "a length of time cannot be negative"},
		}},
		{"more pressure than there are ports", &faults.MappingPressure{On: "home", Mappings: faults.MaxPressure + 1}, []units.Problem{
			{Field: "mappings", Text: "a neighbour can open 1 to 64512 mappings"},
		}},
		{"server", &faults.ServerKill{}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.fault.Check(world)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRegistry(t *testing.T) {
	for _, k := range faults.Kinds() {
		found, ok := faults.Lookup(k.Name)
		if !ok || found.Summary == "" || found.New() == nil {
			t.Errorf("fault %q is not whole", k.Name)
		}
	}
	if _, ok := faults.Lookup("nat-rebot"); ok {
		t.Error("a fault that does not exist was found")
	}
}
