package nat

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"outlive/lab/units"
)

// Check finds what is wrong with the profile: timeouts that conntrack cannot
// hold, and words for late packets that do not exist. Fields are named by their
// YAML keys. What is not set is right.
func (p Profile) Check() []units.Problem {
	var problems []units.Problem
	for _, t := range timers {
		d := t.of(&p.Timeouts).D()
		problem := units.Problem{Field: "timeouts." + t.key}
		switch {
		case d < 0:
			problem.Text = "a timeout cannot be negative"
		case d > longestTimeout:
			problem.Text = fmt.Sprintf("%s is too long: the kernel takes at most %s", units.Duration(d), units.Duration(longestTimeout))
		case d%time.Second != 0:
			problem.Text = fmt.Sprintf("%s is not a whole number of seconds; the kernel's idle timeouts are", units.Duration(d))
			problem.Suggestion = units.Duration(max(d.Round(time.Second), time.Second)).String()
		default:
			continue
		}
		problems = append(problems, problem)
	}
	if p.Late.LAN != "" {
		problems = append(problems, checkWord("late.lan", "the LAN side", string(p.Late.LAN),
			string(LANDrop), string(LANReset), string(LANRevive), string(LANRemap))...)
	}
	if p.Late.WAN != "" {
		problems = append(problems, checkWord("late.wan", "the WAN side", string(p.Late.WAN),
			string(WANDrop), string(WANReset))...)
	}
	return problems
}

func checkWord(field, side, word string, known ...string) []units.Problem {
	if slices.Contains(known, word) {
		return nil
	}
	meant := units.Closest(word, known)
	if strings.EqualFold(word, "rst") {
		meant = "reset"
	}
	return []units.Problem{{
		Field:      field,
		Text:       fmt.Sprintf("%q is not something that happens to a late packet from %s; it is one of %s", word, side, strings.Join(known, ", ")),
		Suggestion: meant,
	}}
}
