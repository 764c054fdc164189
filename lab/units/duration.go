package units

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time that is never negative, written as people write
// it in scenario files: "250ms", "90s", "4m", "1h30m", "2d". A day is 24 hours.
// The zero value is no time at all and is written "0s".
type Duration time.Duration

// durationUnits are the units from the longest to the shortest, the order in
// which they must come.
var durationUnits = []struct {
	name string
	size time.Duration
}{
	{"d", 24 * time.Hour},
	{"h", time.Hour},
	{"m", time.Minute},
	{"s", time.Second},
	{"ms", time.Millisecond},
	{"us", time.Microsecond},
	{"ns", time.Nanosecond},
}

// ParseDuration reads one or more numbers, each with its unit (d, h, m, s, ms,
// us, ns), from the longest unit to the shortest and without spaces. A number may
// have decimals ("1.5s") but must come to whole nanoseconds. "0" needs no unit.
// Bare numbers and negative ones are refused, and so is anything above about 292
// years. The error is a *ParseError.
func ParseDuration(text string) (Duration, error) {
	fail := func(problem, suggestion string) (Duration, error) {
		return 0, &ParseError{Kind: "duration", Text: text, Problem: problem, Suggestion: suggestion}
	}
	switch {
	case text == "":
		return fail(`it is empty; durations look like "90s", "4m", "1h30m"`, "")
	case text == "0":
		return 0, nil
	case text[0] == '-':
		return fail("a duration cannot be negative", "")
	case isNumber(text):
		suggestion := text + "s"
		if _, err := ParseDuration(suggestion); err != nil {
			suggestion = ""
		}
		return fail("it has no unit", suggestion)
	}

	total := new(big.Rat)
	next := 0 // the longest unit that may still come
	for rest := text; rest != ""; {
		number, unit, after := cutQuantity(rest)
		if !isNumber(number) || unit == "" {
			return fail(`it is not a number followed by a unit; durations look like "90s", "4m", "1h30m"`, respell(text))
		}
		at := unitIndex(unit)
		if at < 0 {
			return fail(`"`+unit+`" is not a unit of time (d, h, m, s, ms, us, ns)`, respell(text))
		}
		if at < next {
			return fail("its units must go from the longest to the shortest, each once", "")
		}
		next = at + 1
		value, ok := new(big.Rat).SetString(number)
		if !ok {
			return fail(`"`+number+`" is not a number`, "")
		}
		total.Add(total, value.Mul(value, new(big.Rat).SetInt64(int64(durationUnits[at].size))))
		rest = after
	}
	if !total.IsInt() {
		return fail("it is not a whole number of nanoseconds", "")
	}
	if n := total.Num(); n.IsInt64() {
		return Duration(n.Int64()), nil
	}
	return fail("it is longer than "+Duration(math.MaxInt64).String(), "")
}

// cutQuantity splits off the leading number and the unit after it.
func cutQuantity(s string) (number, unit, rest string) {
	n := 0
	for n < len(s) && numeric(s[n]) {
		n++
	}
	u := n
	for u < len(s) && !numeric(s[u]) {
		u++
	}
	return s[:n], s[n:u], s[u:]
}

func numeric(c byte) bool { return c >= '0' && c <= '9' || c == '.' }

// isNumber says whether s is decimal digits with at most one point inside. It
// bounds the length, so that no text can make the arithmetic slow.
func isNumber(s string) bool {
	if s == "" || len(s) > 40 || s[0] == '.' || s[len(s)-1] == '.' || strings.Count(s, ".") > 1 {
		return false
	}
	return strings.Trim(s, "0123456789.") == ""
}

func unitIndex(name string) int {
	for i, u := range durationUnits {
		if u.name == name {
			return i
		}
	}
	return -1
}

// spellings are the ways in which people write units elsewhere.
var spellings = strings.NewReplacer(
	" ", "", "µs", "us", "μs", "us",
	"days", "d", "day", "d",
	"hours", "h", "hour", "h", "hrs", "h", "hr", "h",
	"minutes", "m", "minute", "m", "mins", "m", "min", "m",
	"milliseconds", "ms", "msec", "ms",
	"seconds", "s", "second", "s", "secs", "s", "sec", "s",
)

// respell gives the text in our spelling if that makes it a duration, or "".
func respell(text string) string {
	s := spellings.Replace(strings.ToLower(text))
	if s == text {
		return ""
	}
	if _, err := ParseDuration(s); err != nil {
		return ""
	}
	return s
}

// D is the same value as a time.Duration.
func (d Duration) D() time.Duration { return time.Duration(d) }

// String writes the duration so that ParseDuration reads the same value, with
// the fewest units: "4m", "1h30m", "2d", "1.5s", "250ms".
func (d Duration) String() string {
	if d < 0 {
		// Only arithmetic can make one; a message that prints it should show it as it is.
		return time.Duration(d).String()
	}
	if d == 0 {
		return "0s"
	}
	var b strings.Builder
	left := time.Duration(d)
	for _, u := range durationUnits {
		whole := u.size >= time.Minute
		// After a longer unit the rest is always in seconds: "1h0.5s", not "1h500ms".
		if left < u.size && (b.Len() == 0 || u.size != time.Second) || left == 0 {
			continue
		}
		b.WriteString(strconv.FormatInt(int64(left/u.size), 10))
		left %= u.size
		if !whole && left > 0 {
			// The leading 1 keeps the zeros behind the point.
			digits := strconv.FormatInt(int64(u.size+left), 10)[1:]
			b.WriteString("." + strings.TrimRight(digits, "0"))
			left = 0
		}
		b.WriteString(u.name)
	}
	return b.String()
}

// MarshalText writes what String writes.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := ParseDuration(string(text))
	if err != nil {
		return err
	}
	*d = v
	return nil
}
