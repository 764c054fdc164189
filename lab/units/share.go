package units

import (
	"strconv"
	"strings"
)

// Share is a part of a whole, from 0 to 1, written as a percentage: "99.5%".
// The zero value is 0%.
type Share float64

// ParseShare reads a number from 0 to 100, with decimals if need be, followed by
// a percent sign. Bare numbers are refused, because 0.5 could be half a percent
// or a half. The error is a *ParseError.
func ParseShare(text string) (Share, error) {
	fail := func(problem, suggestion string) (Share, error) {
		return 0, &ParseError{Kind: "share", Text: text, Problem: problem, Suggestion: suggestion}
	}
	number, found := strings.CutSuffix(text, "%")
	switch {
	case text == "":
		return fail(`it is empty; shares look like "1%", "99.5%"`, "")
	case !found && isNumber(text):
		suggestion := text + "%"
		if _, err := ParseShare(suggestion); err != nil {
			suggestion = ""
		}
		return fail("it has no percent sign", suggestion)
	case strings.HasPrefix(text, "-"):
		return fail("a share cannot be negative", "")
	case !isNumber(number):
		return fail(`it is not a number followed by a percent sign; shares look like "1%", "99.5%"`, "")
	}
	// The exponent moves the point exactly; dividing by 100 would round twice.
	v, err := strconv.ParseFloat(number+"e-2", 64)
	if err != nil {
		return fail("it is not a number that can be represented", "")
	}
	if v > 1 {
		return fail("a share is at most 100%", "")
	}
	return Share(v), nil
}

// String writes the share as a percentage with the fewest digits: "99.5%".
func (s Share) String() string {
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(float64(s), 'e', -1, 64), "e")
	e, err := strconv.Atoi(exponent)
	if err != nil {
		// Not a number or infinite: only arithmetic can make it.
		return mantissa + "%"
	}
	percent, _ := strconv.ParseFloat(mantissa+"e"+strconv.Itoa(e+2), 64)
	return strconv.FormatFloat(percent, 'f', -1, 64) + "%"
}

// MarshalText writes what String writes.
func (s Share) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what ParseShare reads.
func (s *Share) UnmarshalText(text []byte) error {
	v, err := ParseShare(string(text))
	if err != nil {
		return err
	}
	*s = v
	return nil
}
