package heartbeat

import "outlive/lab/units"

var noneKind = Kind{
	Name:     "none",
	Summary:  "No heartbeat at all: the connection is used until the other side or the kernel ends it.",
	defaults: func(s Spec) Spec { return s },
	check:    func(Spec) []units.Problem { return nil },
	build:    func(Spec) Policy { return none{} },
}

type none struct{}

func (none) Observe(Event) {}
func (none) Next() Action  { return Action{} }
