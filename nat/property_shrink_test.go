package nat_test

import (
	"fmt"
	"slices"
)

// shrinkRounds bounds how often a shorter sequence is looked for.
const shrinkRounds = 12

// shrink looks for the shortest sequence that shows a disagreement: with a step
// left out and its time kept, or left out with its time. All candidates of a round
// are played at once.
func (n *natUnderTest) shrink(d *disagreement) (*disagreement, error) {
	for range shrinkRounds {
		steps := make([]step, d.at+1)
		for i := range steps {
			steps[i] = d.trace[i].step
		}
		candidates := shorter(steps)
		traces, err := n.play(candidates, 0)
		if err != nil {
			return d, fmt.Errorf("looking for a shorter sequence: %w", err)
		}
		found := false
		for _, tr := range traces {
			c, err := compare(n.profile, n.place, tr)
			if err != nil {
				return d, err
			}
			if c != nil && c.at < d.at {
				d, found = c, true
			}
		}
		if !found {
			return d, nil
		}
	}
	return d, nil
}

// shorter gives the sequences that lack something of this one.
func shorter(steps []step) []sequence {
	var all []sequence
	for i := range steps {
		for _, keepTime := range []bool{true, false} {
			c := slices.Delete(slices.Clone(steps), i, i+1)
			if keepTime && i < len(c) {
				c[i].gap += steps[i].gap
			}
			if len(c) > 0 {
				all = append(all, sequence{c})
			}
		}
	}
	return all
}
