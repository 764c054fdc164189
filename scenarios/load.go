package scenarios

import (
	"fmt"
	"path"
	"reflect"
	"strings"
)

// maxSize is how large a scenario file may be: 1 MiB. The largest sensible one,
// with thousands of events, is a tenth of that.
const maxSize = 1 << 20

// LoadOptions say how a scenario is to be loaded. The zero value loads it as it stands.
type LoadOptions struct {
	// Set are changes, each "path=value": "devices.phone.heartbeat.interval=8s",
	// "events.0.at=3s". The path is made of keys, and of numbers from 0 in lists; the value
	// is YAML. They are applied in order, before anything is checked.
	Set []string
}

// Load reads a scenario strictly, applies the changes asked for, fills in the
// defaults and checks everything that can be known without a lab. Its error is a *LoadError with
// every mistake found: only a text that is no YAML at all hides the mistakes behind the first.
func Load(src Source, opts LoadOptions) (*Scenario, error) {
	l := &loader{src: src}
	s := l.load(opts)
	if len(l.err.Problems) > 0 {
		l.err.sort(src.Path)
		return nil, &l.err
	}
	return s, nil
}

// loader is one call of Load: it collects the mistakes.
type loader struct {
	src Source
	err LoadError
	// profiles are the profile files that were read, by their paths; nil is one with mistakes.
	profiles map[string]*profileFile
}

func (l *loader) load(opts LoadOptions) *Scenario {
	data := l.src.Data
	if len(data) > maxSize {
		l.add(newText(l.src.Path, "the file", "").place(1, 1), 0, "", "the file is larger than 1 MiB: that is no scenario")
		return nil
	}
	// A byte order mark is no mistake of the author's; editors on other systems add it.
	content := strings.TrimPrefix(string(data), "\ufeff")
	root := l.parse(newText(l.src.Path, "the file", content), []byte(content), 1)
	for _, arg := range opts.Set {
		l.set(root, arg)
	}
	if root == nil {
		return nil
	}
	f := file{root: root}
	if root.kind != mapping {
		l.mistyped(root, reflect.TypeFor[file](), "the scenario")
		return nil
	}
	if looksLikeProfile(root) {
		l.add(root.place.text.place(1, 1), 0, "", fmt.Sprintf("this is a NAT profile and no scenario: a scenario beside it takes it with \"nat: %s\"", profileName(path.Base(l.src.Path))))
		return nil
	}
	l.decodeFields(root, "the scenario", reflect.ValueOf(&f).Elem())
	s := l.check(&f)
	if len(l.err.Problems) > 0 {
		return nil
	}
	s.Source = l.src
	resolved, err := toYAML(&f)
	if err != nil {
		// The file holds only what was read from YAML, so this is a mistake of
		// ours; the user gets it with the rest.
		l.report(root, "", "writing the scenario as resolved: %v", err)
		return nil
	}
	s.Resolved = resolved
	return s
}

// report adds a mistake in a node.
func (l *loader) report(n *node, suggestion, format string, args ...any) {
	n.spoilt = true
	if l.full() {
		// Finding a width means walking along the line.
		l.err.More++
		return
	}
	n = n.pointer()
	l.add(n.place, n.width(), suggestion, fmt.Sprintf(format, args...))
}

// full says that no more mistakes are kept, so that nothing needs to be found out
// about further ones.
func (l *loader) full() bool { return len(l.err.Problems) == maxProblems }

// add adds a mistake at a place. The width is cut to the line.
func (l *loader) add(p place, width int, suggestion, said string) {
	if l.full() {
		l.err.More++
		return
	}
	if width > 0 {
		width = max(1, min(width, p.text.widths[p.line-1]-p.column+1))
	}
	l.err.Problems = append(l.err.Problems, Problem{
		File: p.text.name, Line: p.line, Column: p.column, Width: width,
		Text: clipTo(said, maxText), Suggestion: suggestion, SourceLine: p.source(),
	})
}
