package scenarios

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestProblemString: how mistakes look, at the edges of what lines can hold.
func TestProblemString(t *testing.T) {
	long := strings.Repeat("a", 100) + "WRONG" + strings.Repeat("b", 100)
	for _, c := range []struct {
		name string
		p    Problem
		want []string
	}{
		{"plain", Problem{File: "f.yaml", Line: 12, Column: 5, Width: 3, Text: "no", SourceLine: "key: abc"}, []string{
			"f.yaml:12:5: no",
			"   12 | key: abc",
			"      |     ^^^",
		}},
		{"with what was meant", Problem{File: "f.yaml", Line: 1, Column: 1, Width: 3, Text: "no", Suggestion: "kay", SourceLine: "key: abc"}, []string{
			"f.yaml:1:1: no",
			"    1 | key: abc",
			"      | ^^^",
			`      did you mean "kay"?`,
		}},
		{"about the file", Problem{File: "f.yaml", Line: 1, Column: 1, Text: "no", SourceLine: "key: abc"}, []string{
			"f.yaml:1:1: no",
		}},
		{"behind the end", Problem{File: "f.yaml", Line: 1, Column: 9, Width: 1, Text: "no", SourceLine: "key: abc"}, []string{
			"f.yaml:1:9: no",
			"    1 | key: abc",
			"      |         ^",
		}},
		{"a line number of six digits", Problem{File: "f.yaml", Line: 123456, Column: 1, Width: 1, Text: "no", SourceLine: "k"}, []string{
			"f.yaml:123456:1: no",
			"123456 | k",
			"       | ^",
		}},
		{"characters, not bytes", Problem{File: "f.yaml", Line: 1, Column: 5, Width: 2, Text: "no", SourceLine: "é→ü xy"}, []string{
			"f.yaml:1:5: no",
			"    1 | é→ü xy",
			"      |     ^^",
		}},
		{"what a terminal would obey", Problem{File: "f\x1b.yaml", Line: 1, Column: 2, Width: 1, Text: "no\x1b", SourceLine: "\tx\x1b[31m"}, []string{
			"f�.yaml:1:2: no�",
			"    1 |  x�[31m",
			"      |  ^",
		}},
		{"a long line", Problem{File: "f.yaml", Line: 1, Column: 101, Width: 5, Text: "no", SourceLine: long}, []string{
			"f.yaml:1:101: no",
			"    1 | …" + strings.Repeat("a", 53) + "WRONG" + strings.Repeat("b", 50) + "…",
			"      | " + strings.Repeat(" ", 54) + "^^^^^",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(strings.Join(c.want, "\n"), c.p.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
