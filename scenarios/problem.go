package scenarios

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
	"unicode"
)

// Problem is one mistake in a scenario, with its place.
type Problem struct {
	// File is the file as the user called it, or "--set KEY" for a mistake in such an argument.
	File string
	// Line and Column say where it begins, both from 1, the column in characters.
	Line, Column int
	// Width is the number of characters that are wrong. Zero means that the
	// mistake is about the file as a whole and there is nothing to point at.
	Width int
	// Text says what is wrong and what would be right.
	Text string
	// Suggestion is what was perhaps meant, or empty.
	Suggestion string
	// SourceLine is the line as it stands in the file.
	SourceLine string
}

// String writes the problem the way compilers do: place and text on the first
// line, then the source line with a caret under the mistake, then what was
// perhaps meant. It does not end in a line break.
func (p Problem) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: %s", printable(p.File), p.Line, p.Column, printable(p.Text))
	number := strconv.Itoa(p.Line)
	margin := strings.Repeat(" ", max(5, len(number)))
	if p.Width > 0 {
		line, column, width := excerpt(p.SourceLine, p.Column, p.Width)
		fmt.Fprintf(&b, "\n%s | %s", margin[len(number):]+number, line)
		fmt.Fprintf(&b, "\n%s | %s%s", margin, strings.Repeat(" ", column-1), strings.Repeat("^", width))
	}
	if p.Suggestion != "" {
		fmt.Fprintf(&b, "\n%s did you mean %s?", margin, strconv.Quote(p.Suggestion))
	}
	return b.String()
}

// excerptWidth is how many characters of a source line are shown.
const excerptWidth = 110

// printable replaces what a terminal would not show as one column, or would obey.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return '�'
		}
		return r
	}, s)
}

// excerpt cuts a long line around the mistake.
func excerpt(line string, column, width int) (string, int, int) {
	runes := []rune(printable(line))
	from := 0
	if len(runes) > excerptWidth && column > excerptWidth/2 {
		from = min(column-excerptWidth/2, len(runes)-excerptWidth/2)
	}
	to := min(from+excerptWidth, len(runes))
	shown := append([]rune(nil), runes[from:to]...)
	if from > 0 {
		shown[0] = '…'
	}
	if to < len(runes) {
		shown[len(shown)-1] = '…'
	}
	column -= from
	return string(shown), column, max(1, min(width, len(shown)-column+1))
}

// maxProblems bounds how many mistakes are kept. Whoever has a hundred will not
// read on, and a file made to be bad must not cost more than its size.
const maxProblems = 100

// maxText bounds what is said of one mistake: the names of ten thousand devices help nobody.
const maxText = 600

// LoadError is what Load returns: every mistake in the scenario, in the order of the file.
type LoadError struct {
	// Problems are the mistakes, the first hundred of them.
	Problems []Problem
	// More counts the mistakes beyond those, as far as they were still looked for.
	More int
}

// Error is all problems, each as Problem.String has it, a line break between them.
func (e *LoadError) Error() string {
	var b strings.Builder
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.String())
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "\nand %d more", e.More)
	}
	return b.String()
}

// sort puts the problems into the order of the text: the file first, then each --set.
func (e *LoadError) sort(file string) {
	sort.SliceStable(e.Problems, func(i, j int) bool {
		a, b := e.Problems[i], e.Problems[j]
		if a.File != b.File {
			return a.File == file || b.File != file && a.File < b.File
		}
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Column < b.Column
	})
}
