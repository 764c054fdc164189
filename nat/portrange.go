package nat

import (
	"fmt"
	"strconv"
	"strings"

	"outlive/lab/units"
)

// PortRange is a range of ports, both ends in it, written "2000-2999". The zero
// value is no range.
type PortRange struct{ First, Last uint16 }

// ParsePortRange reads a range; a single port is written "2000-2000". The error is
// a *units.ParseError.
func ParsePortRange(text string) (PortRange, error) {
	fail := func(problem, suggestion string) (PortRange, error) {
		return PortRange{}, &units.ParseError{Kind: "range of ports", Text: text, Problem: problem, Suggestion: suggestion}
	}
	first, last, found := strings.Cut(text, "-")
	if !found {
		if _, err := strconv.ParseUint(text, 10, 16); err == nil {
			return fail("it has only one end", text+"-"+text)
		}
		return fail(`ranges look like "2000-2999"`, "")
	}
	var ends [2]uint16
	for i, end := range []string{first, last} {
		n, err := strconv.ParseUint(end, 10, 16)
		if err != nil || n == 0 || end[0] == '0' {
			return fail(fmt.Sprintf(`%q is not a port from 1 to 65535; ranges look like "2000-2999"`, end), "")
		}
		ends[i] = uint16(n)
	}
	if ends[0] > ends[1] {
		return fail("it ends before it begins", last+"-"+first)
	}
	return PortRange{ends[0], ends[1]}, nil
}

// String writes the range as ParsePortRange reads it; no range is empty.
func (r PortRange) String() string {
	if r == (PortRange{}) {
		return ""
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// Ports is how many ports are in the range; none in no range.
func (r PortRange) Ports() int {
	if r == (PortRange{}) {
		return 0
	}
	return int(r.Last) - int(r.First) + 1
}

// MarshalText writes what String writes.
func (r PortRange) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what ParsePortRange reads.
func (r *PortRange) UnmarshalText(text []byte) error {
	v, err := ParsePortRange(string(text))
	if err != nil {
		return err
	}
	*r = v
	return nil
}
