package report

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"outlive/scenarios/verdict"
)

// printer writes lines and keeps the first error.
type printer struct {
	w      io.Writer
	colour bool
	width  int
	err    error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

func (p *printer) blank() { p.line("") }

func (p *printer) end(what string) error {
	if p.err != nil {
		return fmt.Errorf("writing the result as %s: %w", what, p.err)
	}
	return nil
}

// wrap writes a text in lines of the printer's width, the first one behind lead
// and the others behind indent. A word that is too long gets a line of its own.
func (p *printer) wrap(lead, indent, text string) {
	line, at := lead, columns(lead)
	empty := true
	for _, word := range strings.Fields(clean(text)) {
		n := columns(word)
		if !empty && at+1+n > p.width {
			p.line("%s", line)
			line, at, empty = indent, columns(indent), true
		}
		if !empty {
			line, at = line+" ", at+1
		}
		line, at, empty = line+word, at+n, false
	}
	p.line("%s", line)
}

// columns counts the characters of a text; every one that we write is one column wide.
func columns(s string) int { return utf8.RuneCountInString(s) }

// clean replaces what would drive a terminal or break a line: names and reasons
// may come from a program under test.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case unicode.IsControl(r) || r == utf8.RuneError || unicode.Is(unicode.Cf, r):
			return '\uFFFD'
		}
		return r
	}, s)
}

// oneLine is a clean text without line breaks and with single blanks.
func oneLine(s string) string { return strings.Join(strings.Fields(clean(s)), " ") }

var colours = map[verdict.Verdict]string{verdict.Pass: "32", verdict.Fail: "31", verdict.Inconclusive: "33"}

// paint gives a text the colour of a verdict.
func (p *printer) paint(v verdict.Verdict, text string) string {
	if !p.colour {
		return text
	}
	return "\x1b[1;" + colours[v] + "m" + text + "\x1b[0m"
}

func (p *printer) bold(text string) string {
	if !p.colour {
		return text
	}
	return "\x1b[1m" + text + "\x1b[0m"
}
