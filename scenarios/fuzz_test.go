package scenarios

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// many repeats a line with its number in it.
func many(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// FuzzLoad: no text makes Load panic; an error is a *LoadError whose places are
// in the text; and a scenario that loads, loads again as resolved.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(least), "seed=3")
	f.Add([]byte(whole), "devices.tablet.heartbeat.interval=8s")
	files, err := filepath.Glob("testdata/broken/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		set := "duration=1m"
		if sets := setLines(data); len(sets) > 0 {
			set = sets[0]
		}
		f.Add(data, set)
	}
	for _, src := range Catalogue() {
		f.Add(src.Data, "network.cell.nat.late={lan: reset}")
	}
	f.Fuzz(func(t *testing.T, data []byte, set string) {
		for _, sets := range [][]string{nil, {set}} {
			s, err := Load(Source{Path: "scenario.yaml", FS: wholeFiles(), Data: data}, LoadOptions{Set: sets})
			if err == nil {
				again, err := Load(Source{Path: "scenario.yaml", FS: wholeFiles(), Data: s.Resolved}, LoadOptions{})
				if err != nil {
					t.Fatalf("as resolved it does not load: %v\n%s", err, s.Resolved)
				}
				if string(again.Resolved) != string(s.Resolved) {
					t.Fatalf("resolved twice it differs:\n%s\n%s", s.Resolved, again.Resolved)
				}
				continue
			}
			var bad *LoadError
			if !errors.As(err, &bad) || len(bad.Problems) == 0 {
				t.Fatalf("not a *LoadError with problems: %v", err)
			}
			for _, p := range bad.Problems {
				inText(t, p, data, set)
			}
		}
	})
}

// inText fails if a problem does not point into the text that it is about.
func inText(t *testing.T, p Problem, data []byte, set string) {
	t.Helper()
	text := strings.TrimPrefix(string(data), "\ufeff")
	if strings.HasPrefix(p.File, "--set ") {
		text = set
	} else if p.File != "scenario.yaml" {
		t.Fatalf("%+v: in which file?", p)
	}
	if len(data) > maxSize {
		return
	}
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text), "\n")
	if p.Line < 1 || p.Line > len(lines) {
		t.Fatalf("%+v: there are %d lines", p, len(lines))
	}
	if line := lines[p.Line-1]; line != p.SourceLine {
		t.Fatalf("%+v: line %d is %q", p, p.Line, line)
	}
	width := utf8.RuneCountInString(p.SourceLine)
	// Just behind the end is where something is missing.
	if p.Column < 1 || p.Column > width+1 || p.Width < 0 || p.Column+p.Width > width+2 {
		t.Fatalf("%+v: the line has %d characters", p, width)
	}
	if p.Text == "" || !utf8.ValidString(p.String()) || strings.ContainsAny(p.String(), "\x00\x1b\t") {
		t.Fatalf("%+v: not fit to print: %q", p, p.String())
	}
}
