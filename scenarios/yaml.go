package scenarios

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// This file is the only one that knows the YAML library. It turns a text into
// nodes that remember their places, refuses the parts of YAML that the language
// does without (anchors, aliases, tags, several documents), and writes values
// back as YAML.

// maxDepth is how deep values may be nested. The language itself needs six.
const maxDepth = 20

// parse reads one YAML document. Column counts from firstColumn in the first
// line of data, for a text that is only a part of a line. It returns nil if there
// is nothing to go on with; what is wrong has then been reported.
func (l *loader) parse(t *text, data []byte, firstColumn int) *node {
	p := parser{loader: l, text: t, shift: firstColumn - 1}
	if !p.legible(data) {
		return nil
	}
	reader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		p.report(1, 1, 0, "", "reading YAML: %v", err)
		return nil
	}
	var document, second yaml.Node
	if err := reader.Load(&document); err != nil {
		if errors.Is(err, io.EOF) {
			p.report(1, 1, 0, "", "%s is empty", t.what)
			return nil
		}
		p.syntax(err)
		return nil
	}
	switch err := reader.Load(&second); {
	case err == nil:
		p.report(second.Line, second.Column, 3, "", "a second document begins here; a file holds only one")
		return nil
	case !errors.Is(err, io.EOF):
		p.syntax(err)
		return nil
	}
	if len(document.Content) != 1 {
		p.report(1, 1, 0, "", "%s is empty", t.what)
		return nil
	}
	return p.build(document.Content[0], nil, 0)
}

type parser struct {
	*loader
	text  *text
	shift int
}

func (p *parser) place(line, column int) place {
	if line <= 1 {
		column += p.shift
	}
	return p.text.place(line, column)
}

func (p *parser) report(line, column, width int, suggestion, format string, args ...any) {
	p.add(p.place(line, column), width, suggestion, fmt.Sprintf(format, args...))
}

// legible reports what makes a text none at all: bytes that are not UTF-8, and
// characters that YAML forbids or that would be line breaks to nobody else.
func (p *parser) legible(data []byte) bool {
	line, column := 1, 1
	for rest := data; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		switch {
		case r == utf8.RuneError && size == 1:
			p.report(line, column, 1, "", "byte 0x%02x is not UTF-8: save the file as UTF-8", rest[0])
			return false
		case r == '\n' || r == '\r' && !bytes.HasPrefix(rest, []byte("\r\n")):
			line, column = line+1, 0
		case r < ' ' && r != '\t' && r != '\r',
			r >= 0x7f && r < 0xa0, r == 0x2028, r == 0x2029, r == 0xfeff, r == 0xfffe, r == 0xffff:
			p.report(line, column, 1, "", "the invisible character U+%04X is not allowed", r)
			return false
		}
		rest = rest[size:]
		column++
	}
	return true
}

// syntax reports what the library says about a text that is not YAML, in words
// that say what to do.
func (p *parser) syntax(err error) {
	var all *yaml.LoadErrors
	var e *yaml.LoadError
	if errors.As(err, &all) && len(all.Errors) > 0 {
		e = all.Errors[0]
	} else if !errors.As(err, &e) {
		p.report(1, 1, 0, "", "this is not YAML: %v", err)
		return
	}
	at := e.Mark
	opened := e.ContextMark.Line
	said := "this is not YAML: " + e.Message
	switch next := p.place(at.Line, at.Column).rest(); {
	case e.Stage == yaml.ComposerStage && strings.Contains(e.Message, "anchor"):
		said = "anchors and aliases (&, *) are not part of the language: write the value out"
	case strings.Contains(e.Message, "tab character"), strings.HasPrefix(next, "\t"):
		said = "a tab in the indentation: YAML wants spaces"
	case strings.Contains(e.Message, "cannot start any token") && next != "":
		r, _ := utf8.DecodeRuneInString(next)
		said = fmt.Sprintf("a value cannot begin with %q: write it in quotes", string(r))
	case strings.Contains(e.Message, "mapping values are not allowed"):
		said = `": " is not allowed here: indent the key like its neighbours, or put a text that contains ": " in quotes`
	case strings.Contains(e.Message, "expected ',' or ']'"):
		said = fmt.Sprintf(`expected "," or "]" in the list that begins in line %d`, opened)
	case strings.Contains(e.Message, "expected ',' or '}'"):
		said = fmt.Sprintf(`expected "," or "}" in the mapping that begins in line %d`, opened)
	case strings.Contains(e.Message, "expected '-' indicator"):
		said = fmt.Sprintf(`expected "- ": this line stands in the list that begins in line %d`, opened)
	case strings.Contains(e.Message, "expected key"):
		said = "expected a key here: indent it like its neighbours, or put a text with special characters in quotes"
	case strings.Contains(e.Message, "expected <document start>"):
		said = "this line is indented less than the first one: indent all keys of the scenario alike"
	case strings.Contains(e.Message, "unexpected end of stream") && strings.Contains(e.ContextMsg, "quoted"):
		at, said = e.ContextMark, "the quote that opens here is never closed"
	case strings.Contains(e.Message, "max depth"):
		said = fmt.Sprintf("values are nested more than %d deep", maxDepth)
	}
	p.report(max(1, at.Line), max(1, at.Column), 1, "", "%s", said)
}

// build makes our node of the library's.
func (p *parser) build(y *yaml.Node, label *node, depth int) *node {
	n := &node{place: p.place(y.Line, y.Column), label: label}
	switch {
	case depth > maxDepth:
		p.report(y.Line, y.Column, 1, "", "values are nested more than %d deep", maxDepth)
		n.spoilt = true
		return n
	case y.Kind == yaml.AliasNode, y.Anchor != "":
		p.report(y.Line, y.Column, 1, "", "anchors and aliases (&, *) are not part of the language: write the value out")
		n.spoilt = true
		return n
	case y.Style&yaml.TaggedStyle != 0:
		p.report(y.Line, y.Column, len(y.Tag), "", "tags (%s) are not part of the language: leave it out", y.Tag)
		n.spoilt = true
		return n
	}
	switch y.Kind {
	case yaml.ScalarNode:
		n.kind, n.text = scalar, y.Value
		switch {
		case y.Style&yaml.DoubleQuotedStyle != 0:
			n.quote = '"'
		case y.Style&yaml.SingleQuotedStyle != 0:
			n.quote = '\''
		case y.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
			n.quote = '|'
		default:
			n.empty = y.Tag == "!!null"
		}
	case yaml.SequenceNode:
		n.kind, n.flow = list, y.Style&yaml.FlowStyle != 0
		for _, c := range y.Content {
			n.items = append(n.items, p.build(c, nil, depth+1))
		}
	case yaml.MappingNode:
		n.kind, n.flow = mapping, y.Style&yaml.FlowStyle != 0
		p.buildPairs(n, y.Content, depth)
	}
	return n
}

func (p *parser) buildPairs(n *node, content []*yaml.Node, depth int) {
	seen := map[string]*node{}
	for i := 0; i+1 < len(content); i += 2 {
		key := p.build(content[i], nil, depth+1)
		if key.spoilt {
			n.torn = true
			continue
		}
		if key.kind != scalar || key.empty && key.text == "" || key.quote == '|' {
			p.loader.report(key, "", "a key must be a single word")
			n.torn = true
			continue
		}
		if first, twice := seen[key.text]; twice {
			p.loader.report(key, "", "key %q is there twice: first in line %d", key.text, first.line)
			continue
		}
		seen[key.text] = key
		n.pairs = append(n.pairs, pair{key, p.build(content[i+1], key, depth+1)})
	}
}

// toYAML writes a value as YAML by its yaml tags.
func toYAML(v any) ([]byte, error) {
	return yaml.Dump(v, yaml.WithV4Defaults())
}

// yamlMapping writes several values as one mapping: names with their values, or
// the keys of structs one after the other.
type yamlMapping struct {
	parts []yamlPart
	// flow writes it on one line, in braces.
	flow bool
}

type yamlPart struct {
	name  string // empty: the value is a struct whose own keys are taken
	value any
}

// MarshalYAML implements yaml.Marshaler.
func (m yamlMapping) MarshalYAML() (any, error) {
	out := &yaml.Node{Kind: yaml.MappingNode}
	if m.flow {
		out.Style = yaml.FlowStyle
	}
	for _, part := range m.parts {
		value := new(yaml.Node)
		if err := value.Encode(part.value); err != nil {
			return nil, err
		}
		if part.name == "" {
			out.Content = append(out.Content, value.Content...)
			continue
		}
		key := new(yaml.Node)
		if err := key.Encode(part.name); err != nil {
			return nil, err
		}
		out.Content = append(out.Content, key, value)
	}
	return out, nil
}
