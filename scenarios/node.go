package scenarios

import (
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// text is something that places lie in: a scenario file, or one --set argument.
type text struct {
	// name is what messages call it, and what says what it holds ("the file").
	name, what string
	lines      []string
	// widths are the lines' lengths in characters.
	widths []int
}

// newText splits a text into lines, at every line break that YAML knows and that
// parser.legible lets through.
func newText(name, what, content string) *text {
	content = strings.ReplaceAll(content, "\r\n", "\n")
	content = strings.ReplaceAll(content, "\r", "\n")
	t := &text{name: name, what: what, lines: strings.Split(content, "\n")}
	for _, line := range t.lines {
		t.widths = append(t.widths, utf8.RuneCountInString(line))
	}
	return t
}

// place is a point in a text. Line and column count from 1, in characters.
type place struct {
	text         *text
	line, column int
}

// place is always inside the text or just behind the end of one of its lines,
// whatever it is asked for.
func (t *text) place(line, column int) place {
	if line > len(t.lines) {
		line, column = len(t.lines), math.MaxInt
	}
	line = max(1, line)
	column = min(max(1, column), t.widths[line-1]+1)
	return place{t, line, column}
}

// source is the line that the place is in.
func (p place) source() string { return p.text.lines[p.line-1] }

// rest is the line from the place on.
func (p place) rest() string {
	line := p.source()
	for i := 1; i < p.column; i++ {
		_, size := utf8.DecodeRuneInString(line)
		line = line[size:]
	}
	return line
}

type kind int

const (
	scalar kind = iota
	list
	mapping
)

// node is one value of a YAML text, with its place.
type node struct {
	place
	kind kind
	// label is the key that it stands under; nil at the top and in lists.
	label *node

	// text and quote are of a scalar: what it says, and how it is quoted ('"',
	// '\'', '|' for a block, 0 for not at all).
	text  string
	quote byte
	// empty is a scalar that says nothing: "key:", "~" or "null".
	empty bool

	// flow is a list or mapping in brackets.
	flow  bool
	items []*node
	pairs []pair

	// spoilt is a node about which something has been reported already; torn is
	// a mapping of which some entries have been left out for that.
	spoilt, torn bool
}

// flawed says whether something has been reported about the node or in it. What
// follows from that would only be noise. It may be asked of nil.
func (n *node) flawed() bool {
	if n == nil {
		return false
	}
	if n.spoilt || n.torn {
		return true
	}
	for _, item := range n.items {
		if item.flawed() {
			return true
		}
	}
	for _, p := range n.pairs {
		if p.key.flawed() || p.value.flawed() {
			return true
		}
	}
	return false
}

// pair is a key of a mapping and its value.
type pair struct{ key, value *node }

// get is the value of a key, nil if it is not there. It may be asked of nil and
// of what is no mapping.
func (n *node) get(key string) *node {
	if n == nil {
		return nil
	}
	for _, p := range n.pairs {
		if p.key.text == key {
			return p.value
		}
	}
	return nil
}

// find follows a path of keys ("timeouts.udp") as far as there is something, and
// says whether that was to its end.
func (n *node) find(path string) (*node, bool) {
	for _, key := range strings.Split(path, ".") {
		next := n.get(key)
		if next == nil {
			return n, false
		}
		n = next
	}
	return n, true
}

// item is one entry of a list; nil if there is no such one.
func (n *node) item(i int) *node {
	if n == nil || i < 0 || i >= len(n.items) {
		return nil
	}
	return n.items[i]
}

// pointer is the node to point at for a mistake in n. A mapping is named by its
// key, and so is a value that is not there.
func (n *node) pointer() *node {
	if n.label != nil && (n.empty || n.kind == mapping || n.kind == list && !n.flow) {
		return n.label
	}
	return n
}

// keyNode is the key that the node stands under, to point at where the key itself
// is the mistake.
func (n *node) keyNode() *node {
	if n.label != nil {
		return n.label
	}
	return n
}

// only is a mapping with just some of its keys.
func (n *node) only(keys ...string) *node {
	out := *n
	out.pairs = nil
	for _, p := range n.pairs {
		if slices.Contains(keys, p.key.text) {
			out.pairs = append(out.pairs, p)
		}
	}
	return &out
}

// width is the number of characters of the node in its first line.
func (n *node) width() int {
	rest := n.rest()
	switch {
	case n.kind == list && n.flow, n.kind == mapping && n.flow:
		return bracketWidth(rest)
	case n.kind == list:
		return 1
	case n.kind == mapping && len(n.pairs) > 0:
		return n.pairs[0].key.width()
	case n.quote == '"' || n.quote == '\'':
		return quotedWidth(rest, n.quote)
	case n.quote == '|':
		return 1
	case strings.HasPrefix(rest, n.text):
		return utf8.RuneCountInString(n.text)
	}
	// A plain text over several lines.
	return utf8.RuneCountInString(strings.TrimRight(rest, " \t"))
}

// quotedWidth is the width of the quoted text that s begins with, up to its
// closing quote or the end of the line.
func quotedWidth(s string, quote byte) int {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quote == '"':
			i++
		case s[i] == quote && quote == '\'' && i+1 < len(s) && s[i+1] == quote:
			i++
		case s[i] == quote:
			return utf8.RuneCountInString(s[:i+1])
		}
	}
	return utf8.RuneCountInString(s)
}

// bracketWidth is the width up to the bracket that closes the one s begins with,
// or to the end of the line.
func bracketWidth(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '[', '{':
			depth++
		case ']', '}':
			if depth--; depth <= 0 {
				return utf8.RuneCountInString(s[:i+1])
			}
		}
	}
	return utf8.RuneCountInString(strings.TrimRight(s, " \t"))
}

// textColumn is the place of the nth character (from 1) of a scalar's text, or
// the scalar's own where its spelling in the file differs from what it says.
func (n *node) textColumn(column int) (place, bool) {
	skip := 0
	rest := n.rest()
	if n.quote == '"' || n.quote == '\'' {
		skip, rest = 1, rest[min(1, len(rest)):]
	}
	if n.kind != scalar || n.quote == '|' || !strings.HasPrefix(rest, n.text) {
		return n.place, false
	}
	return n.place.text.place(n.line, n.column+skip+column-1), true
}
