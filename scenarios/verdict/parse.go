package verdict

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"outlive/lab/units"
)

// Parse reads one expectation:
//
//	expectation = term comparison value .
//	term        = metric | aggregate "(" metric ")" .
//	aggregate   = "count" | "min" | "max" | "mean" | "p50" | "p95" | "p99" .
//	metric      = a name of Metrics, as in "push.latency" .
//	comparison  = "==" | "!=" | "<" | "<=" | ">" | ">=" .
//	value       = duration | number | share .
//	duration    = as units.ParseDuration reads it: "90s", "4m30s", "250ms" .
//	number      = digit { digit } .
//	share       = as units.ParseShare reads it: "100%", "99.5%" .
//
// Blanks may stand between the parts. The aggregate must be one that the metric
// has, and the value of the term's unit: a count for count(...), else the
// metric's. A line that holds whatever happens, or never, is refused
// ("alive <= 100%"). The error is a *SyntaxError.
func Parse(text string) (Expectation, error) {
	p := parser{text: text}
	at := strings.IndexAny(text, "=!<>")
	left := text
	if at >= 0 {
		left = text[:at]
	}
	e := Expectation{Text: strings.Join(strings.Fields(text), " ")}
	m, err := p.term(span{0, len(left)}, &e)
	if err != nil {
		return Expectation{}, err
	}
	if at < 0 {
		return Expectation{}, p.fail(span{len(text), len(text)}, "",
			"nothing is compared; an expectation reads like %s", example)
	}
	end := at
	for end < len(text) && strings.IndexByte("=!<>", text[end]) >= 0 {
		end++
	}
	if err := p.comparison(span{at, end}, &e); err != nil {
		return Expectation{}, err
	}
	if err := p.value(span{end, len(text)}, m, &e); err != nil {
		return Expectation{}, err
	}
	return e, nil
}

// example is an expectation that messages show.
const example = `"max(push.latency) < 2s"`

// SyntaxError is a mistake in the text of an expectation.
type SyntaxError struct {
	// Column is where the mistake stands in the text, in characters from 1. It
	// is one past the end where something is missing there.
	Column int
	// Width is the number of characters that are wrong; zero where something is missing.
	Width int
	// Text says what is wrong and what would be right.
	Text string
	// Suggestion is what was perhaps meant in place of the wrong characters, or empty.
	Suggestion string
}

// Error reads as one sentence, with the suggestion at its end.
func (e *SyntaxError) Error() string {
	s := fmt.Sprintf("reading an expectation, column %d: %s", e.Column, e.Text)
	if e.Suggestion != "" {
		s += fmt.Sprintf("; did you mean %q?", e.Suggestion)
	}
	return s
}

// span is a part of the text, in bytes.
type span struct{ from, to int }

type parser struct{ text string }

func (p parser) get(s span) string { return p.text[s.from:s.to] }

// trim drops the blanks around a part.
func (p parser) trim(s span) span {
	part := p.get(s)
	s.to = s.from + len(strings.TrimRight(part, " \t\r\n"))
	s.from += len(part) - len(strings.TrimLeft(part, " \t\r\n"))
	s.from = min(s.from, s.to)
	return s
}

func (p parser) fail(s span, suggestion, format string, args ...any) *SyntaxError {
	return &SyntaxError{
		Column:     utf8.RuneCountInString(p.text[:s.from]) + 1,
		Width:      utf8.RuneCountInString(p.get(s)),
		Text:       fmt.Sprintf(format, args...),
		Suggestion: suggestion,
	}
}

// term reads what is observed: a metric, or an aggregate of one.
func (p parser) term(s span, e *Expectation) (Metric, error) {
	s = p.trim(s)
	if s.from == s.to {
		return Metric{}, p.fail(s, "", "a metric is missing; an expectation reads like %s", example)
	}
	name := s
	if open := strings.IndexByte(p.get(s), '('); open >= 0 {
		word := p.trim(span{s.from, s.from + open})
		name = p.trim(span{s.from + open + 1, s.to})
		inside, closed := strings.CutSuffix(p.get(name), ")")
		if !closed {
			return Metric{}, p.fail(span{s.to, s.to}, ")", "the bracket is not closed")
		}
		name = p.trim(span{name.from, name.from + len(inside)})
		e.Aggregate = Aggregate(p.get(word))
		if !slices.Contains(Aggregates(), e.Aggregate) {
			return Metric{}, p.fail(word, nearestAggregate(p.get(word)),
				"%q is not an aggregate; there are %s", p.get(word), units.List(Aggregates()))
		}
	} else if word, rest, ok := strings.Cut(p.get(s), " "); ok && slices.Contains(Aggregates(), Aggregate(word)) {
		return Metric{}, p.fail(s, word+"("+strings.TrimSpace(rest)+")", "the metric of an aggregate stands in brackets")
	}
	m, ok := metricNamed(p.get(name))
	if !ok {
		return Metric{}, p.fail(name, nearestMetric(p.get(name)),
			"%q is not a metric; there are %s", p.get(name), units.List(metricNames()))
	}
	e.Metric = m.Name
	if slices.Contains(m.Aggregates, e.Aggregate) {
		return m, nil
	}
	use := string(m.Aggregates[0])
	switch {
	case e.Aggregate == Bare && m.only(Count):
		return m, p.fail(s, "count("+m.Name+")", "%s happens or not: it is counted", m.Name)
	case e.Aggregate == Bare:
		if m.Unit == Duration {
			use = "max"
		}
		return m, p.fail(s, use+"("+m.Name+")", "%s can have many values: say which of them you mean (%s)", m.Name, units.List(m.Aggregates))
	case m.Aggregates[0] == Bare:
		return m, p.fail(s, m.Name, "%s cannot be asked of %s; %s", e.Aggregate, m.Name, m.allowed())
	}
	return m, p.fail(s, use+"("+m.Name+")", "%s cannot be asked of %s; %s", e.Aggregate, m.Name, m.allowed())
}

// comparisons that people write, and how they are written here.
var otherComparisons = map[string]Op{
	"=": Equal, "===": Equal, "=<": LessOrEqual, "=>": GreaterOrEqual, "<>": NotEqual, "!": NotEqual, "!==": NotEqual,
}

func (p parser) comparison(s span, e *Expectation) error {
	e.Op = Op(p.get(s))
	ops := []Op{Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual}
	if !slices.Contains(ops, e.Op) {
		return p.fail(s, string(otherComparisons[p.get(s)]), "%q is not a comparison; there are %s", p.get(s), units.List(ops))
	}
	return nil
}

func (p parser) value(s span, m Metric, e *Expectation) error {
	s = p.trim(s)
	unit := m.Unit
	term := m.Name
	if e.Aggregate != Bare {
		term = string(e.Aggregate) + "(" + m.Name + ")"
	}
	if e.Aggregate == Count {
		unit = Number
	}
	if s.from == s.to {
		return p.fail(s, "", "a value is missing; %s is %s", term, unitWords[unit])
	}
	n, why, suggestion := parseValue(unit, p.get(s))
	if why != "" {
		return p.fail(s, suggestion, "%s is %s, not %q: %s", term, unitWords[unit], p.get(s), why)
	}
	e.Value = Value{Unit: unit, N: n}
	// Nothing is below zero, and no share above one.
	atZero, atOne := n == 0, unit == Share && n == 1
	switch {
	case atZero && e.Op == GreaterOrEqual, atOne && e.Op == LessOrEqual:
		return p.fail(p.trim(span{0, len(p.text)}), "", "this holds whatever happens, so it says nothing")
	case atZero && e.Op == Less, atOne && e.Op == Greater:
		return p.fail(p.trim(span{0, len(p.text)}), "", "this can never hold")
	}
	return nil
}

// unitWords says what a value of the unit is and how it is written.
var unitWords = map[Unit]string{
	Duration: `a length of time, written like "4m30s"`,
	Number:   `a whole number, written like "3"`,
	Share:    `a share, written like "99.5%"`,
	Bytes:    `a number of bytes, written like "104"`,
}

// parseValue reads a value of a unit; why is not empty if it is not one.
func parseValue(unit Unit, text string) (n float64, why, suggestion string) {
	var err error
	switch unit {
	case Duration:
		var d units.Duration
		d, err = units.ParseDuration(text)
		n = float64(d)
	case Share:
		var s units.Share
		s, err = units.ParseShare(text)
		n = float64(s)
	default:
		return parseNumber(text)
	}
	if bad := (*units.ParseError)(nil); errors.As(err, &bad) {
		return 0, bad.Problem, bad.Suggestion
	}
	return n, "", ""
}

// maxNumber keeps whole numbers exact as a float64.
const maxNumber = 1e15

func parseNumber(text string) (n float64, why, suggestion string) {
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ% ")
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return 0, "only digits can stand here", ""
		}
		n = n*10 + float64(c-'0')
	}
	switch {
	case digits == "":
		return 0, "only digits can stand here", ""
	case n > maxNumber:
		return 0, "it is too large", ""
	case digits != text:
		return 0, "it has no unit", digits
	}
	return n, "", ""
}
