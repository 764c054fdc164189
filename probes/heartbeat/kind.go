package heartbeat

import (
	"fmt"
	"slices"
	"strings"

	"outlive/lab/units"
)

// kinds are all policies, in the order in which they are listed. A new one is a
// file with a Kind and a line here.
var kinds = []Kind{
	fixedKind,
	noneKind,
}

// Kind is a heartbeat policy that a scenario can name.
type Kind struct {
	// Name is the word in scenario files.
	Name string
	// Summary says in one sentence what the policy does.
	Summary string
	// Takes are the keys of Spec, besides policy, that have a meaning for it.
	Takes []string

	// defaults fills in what was left out, check finds mistakes in what was
	// given, build makes the policy from a complete and correct spec.
	defaults func(Spec) Spec
	check    func(Spec) []units.Problem
	build    func(Spec) Policy
}

// Policies lists all kinds of policies.
func Policies() []Kind { return slices.Clone(kinds) }

// Spec is the heartbeat key of a scenario: which policy, with which parameters.
// The zero value is no heartbeat.
type Spec struct {
	// Policy is the name of a Kind. Left out, it is "fixed" where an interval is
	// given and "none" where not.
	Policy string `yaml:"policy,omitempty" json:"policy,omitempty"`
	// Interval is the time from one heartbeat to the next, the first counted
	// from when the connection is ready.
	Interval units.Duration `yaml:"interval,omitempty" json:"interval,omitempty"`
	// Deadline is how long after a heartbeat its answer may come. After it the
	// connection is given up. Zero means half the interval, at most 10 s.
	Deadline units.Duration `yaml:"deadline,omitempty" json:"deadline,omitempty"`
}

// Check finds what is wrong with the spec, before or after WithDefaults.
func (s Spec) Check() []units.Problem {
	kind, ok := find(s.policy())
	if !ok {
		return []units.Problem{{
			Field:      "policy",
			Text:       fmt.Sprintf("%q is not a heartbeat policy; there are %s", s.Policy, strings.Join(names(), ", ")),
			Suggestion: resembling(s.Policy),
		}}
	}
	var problems []units.Problem
	for _, given := range []struct {
		key   string
		value units.Duration
	}{{"interval", s.Interval}, {"deadline", s.Deadline}} {
		if given.value != 0 && !takes(kind, given.key) {
			problems = append(problems, units.Problem{
				Field: given.key,
				Text:  fmt.Sprintf("the heartbeat policy %q has no %s", kind.Name, given.key),
			})
		}
	}
	return append(problems, kind.check(s)...)
}

// WithDefaults is the spec with everything filled in that was left out. A spec
// with an unknown policy is returned as it is.
func (s Spec) WithDefaults() Spec {
	s.Policy = s.policy()
	if kind, ok := find(s.Policy); ok {
		return kind.defaults(s)
	}
	return s
}

// New makes the policy, defaults filled in. The error names everything that
// Check found.
func New(s Spec) (Policy, error) {
	if err := problemsError("heartbeat", s.Check()); err != nil {
		return nil, err
	}
	s = s.WithDefaults()
	kind, _ := find(s.Policy)
	return kind.build(s), nil
}

// policy is the name of the policy, the default filled in.
func (s Spec) policy() string {
	switch {
	case s.Policy != "":
		return s.Policy
	case s.Interval != 0:
		return fixedKind.Name
	default:
		return noneKind.Name
	}
}

func find(name string) (Kind, bool) {
	for _, k := range kinds {
		if k.Name == name {
			return k, true
		}
	}
	return Kind{}, false
}

func names() []string {
	var all []string
	for _, k := range kinds {
		all = append(all, k.Name)
	}
	return all
}

// resembling is the policy that begins like the word, or empty. With few names,
// all of them in the message, more cleverness would not help anyone.
func resembling(word string) string {
	for _, name := range names() {
		if len(word) >= 2 && strings.EqualFold(name[:2], word[:2]) {
			return name
		}
	}
	return ""
}

func takes(k Kind, key string) bool {
	return slices.Contains(k.Takes, key)
}

// problemsError is one error for all problems of a part, or nil.
func problemsError(part string, problems []units.Problem) error {
	if len(problems) == 0 {
		return nil
	}
	var texts []string
	for _, p := range problems {
		text := p.Text
		if p.Field != "" {
			text = p.Field + ": " + text
		}
		texts = append(texts, text)
	}
	return fmt.Errorf("making the %s policy: %s", part, strings.Join(texts, "; "))
}
