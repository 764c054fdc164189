package scenarios

import (
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"outlive/lab/units"
)

const (
	// maxDuration is how long a scenario may run. Longer ones would pass through
	// the limits of the kernel's own clocks and counters.
	maxDuration = units.Duration(31 * 24 * time.Hour)
	// maxDevices is how many devices there may be in all: as many as one uplink's
	// addresses and the namespaces of one machine allow with room to spare.
	maxDevices = 10000
	// maxExpanded bounds what fleets make of pushes and expectations, so that a
	// short file cannot ask for more than a machine has memory.
	maxExpanded = 100000
)

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

// check finds the mistakes that types alone do not show, fills the defaults into
// the file and makes the scenario of it. The scenario is of use only if nothing
// was reported.
func (l *loader) check(f *file) *Scenario {
	c := &checker{loader: l, file: f, scenario: &Scenario{}}
	c.head()
	c.network()
	c.server()
	c.devices()
	c.guest()
	c.events()
	c.expectations()
	return c.scenario
}

// checker goes through a file part by part; each part may use what those before it found.
type checker struct {
	*loader
	file     *file
	scenario *Scenario

	// uplinks and hosts are the names that are taken, with the places that took them.
	uplinks map[string]*node
	hosts   map[string]*node
	// fleets gives the devices that a name in devices stands for.
	fleets map[string][]string
	// groups are the expectations of devices, to be checked last.
	groups []expectGroup
	// eventsFlawed and devicesFlawed say that mistakes in those parts have been
	// reported, so that not all pushes and heartbeats may be known.
	eventsFlawed, devicesFlawed bool
	// pushed and beating are the devices that get pushes, and those with which
	// heartbeats are exchanged. Nil: not looked at yet.
	pushed, beating map[string]bool
}

// missing reports a key that must be there and is not.
func (c *checker) missing(n *node, key, hint string) {
	if n.get(key) != nil {
		// It is there and wrong, which has been said.
		return
	}
	if n == c.file.root {
		c.add(n.place.text.place(1, 1), 0, "", fmt.Sprintf("%s is missing: %s", key, hint))
		return
	}
	c.report(n, "", "%s is missing: %s", key, hint)
}

// problems reports what the owner of a part found in it, but for what only
// follows from a mistake in the part that has been reported before.
func (l *loader) problems(n *node, found []units.Problem) {
	flawed := n.flawed()
	for _, p := range found {
		at, exact := n, false
		if p.Field != "" {
			at, exact = n.find(p.Field)
		}
		if flawed && !exact || at.flawed() && exact {
			continue
		}
		l.report(at, p.Suggestion, "%s", p.Text)
	}
}

// head checks what is about the scenario as a whole.
func (c *checker) head() {
	f, s, root := c.file, c.scenario, c.file.root
	s.Name, s.Summary = f.Name, f.Summary
	if f.Name == "" {
		c.missing(root, "name", "the file's name without its ending")
	} else {
		c.name(root.get("name"))
	}
	if strings.ContainsAny(strings.TrimSpace(f.Summary), "\n\x00") {
		c.report(root.get("summary"), "", "the summary must be one sentence on one line")
	}
	s.Summary = strings.TrimSpace(f.Summary)
	switch {
	case f.Duration == nil:
		c.missing(root, "duration", `how long the scenario runs, for example "duration: 30s"`)
	case *f.Duration == 0:
		c.report(root.get("duration"), "", "the duration must be more than 0s")
	case *f.Duration > maxDuration:
		c.report(root.get("duration"), "", "the duration must be at most %s", maxDuration)
	default:
		s.Duration = *f.Duration
	}
	if f.Seed == nil {
		one := uint64(1)
		f.Seed = &one
	}
	s.Seed = *f.Seed
}

func (c *checker) name(n *node) {
	name := c.file.Name
	if !nameForm.MatchString(name) {
		c.report(n, respellName(name), "a scenario's name is made of lower-case letters, digits and hyphens, at most 64, and does not begin with a hyphen")
		return
	}
	of := fileName(c.src.Path)
	if of != "" && of != name {
		suggestion := of
		if !nameForm.MatchString(of) {
			suggestion = ""
		}
		c.report(n, suggestion, "the name must be the file's: %q, not %q", clip(of), name)
	}
}

// fileName is the name that a scenario in the file must have, or "" if it may
// have any: a scenario as resolved is scenario.yaml in its result folder.
func fileName(p string) string {
	name := path.Base(filepath.ToSlash(p))
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".yaml"), ".yml")
	if p == "" || name == "scenario" {
		return ""
	}
	return name
}

// respellName gives a name in the letters that names have, or "".
func respellName(name string) string {
	spelt := strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		}
		return '-'
	}, strings.ToLower(name)), "-")
	if !nameForm.MatchString(spelt) {
		return ""
	}
	return spelt
}
