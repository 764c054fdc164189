// Package faults is what happens to a lab: one file per fault, each with its own
// parameters, all behind one small interface, and a registry by which scenario
// files, the schema, the check and the documents know them.
package faults

import (
	"context"
	"time"

	"outlive/lab"
	"outlive/lab/process"
	"outlive/lab/units"
	"outlive/nat"
)

// Fault is one fault with its parameters, as a scenario's event asks for it. Its
// YAML keys stand beside `at` and `fault` in the event.
type Fault interface {
	// Check finds mistakes that can be known without a lab.
	Check(World) []units.Problem
	// Inject causes the fault, reads back that it took effect, and says what it did.
	Inject(context.Context, Lab) (Effect, error)
}

// World is the shape of a scenario's network, for Check.
type World struct {
	// Uplinks gives the NAT names of each uplink, device side first.
	Uplinks map[string][]string
	// Devices gives the uplinks of each device, by name.
	Devices map[string][]string
	// Profiles gives what each NAT is to be, by name.
	Profiles map[string]nat.Profile
}

// Lab is the running lab, as far as faults may touch it.
type Lab struct {
	Topology *lab.Topology
	NATs     map[string]*nat.NAT
	Server   *process.Process
	// Go runs what a fault goes on doing after Inject has returned. Its context ends with
	// the scenario, and its error is a reason for which the run cannot be judged.
	Go func(func(context.Context) error)
}

// Effect is what a fault did.
type Effect struct {
	// At is the instant at which it took effect.
	At time.Time `json:"-"`
	// Text says what was done, for people: "flushed 3 mappings of NAT cell".
	Text string `json:"text"`
	// Host is the host that can no longer take part from At on, or empty. What
	// happens to mappings is seen by watching them and not said here.
	Host string `json:"host,omitempty"`
}

// Kind is an entry of the registry.
type Kind struct {
	// Name is the word in scenario files: "nat-reboot".
	Name string
	// Summary is one sentence.
	Summary string
	// New makes the fault's zero value, a pointer to a struct with yaml tags, for
	// the loader to decode into.
	New func() Fault
}
