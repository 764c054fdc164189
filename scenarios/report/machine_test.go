package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"outlive/lab/labtest"
	"outlive/scenarios/verdict"
)

func TestWriteJUnit(t *testing.T) {
	var b bytes.Buffer
	if err := WriteJUnit(&b, results(t)); err != nil {
		t.Fatal(err)
	}
	labtest.Golden(t, filepath.Join("testdata", "junit.xml"), b.String())
}

// Whatever a result holds, the file is well-formed, and nothing inconclusive is green.
func TestJUnitOfAnything(t *testing.T) {
	all := append(results(t), nasty(t))
	var b bytes.Buffer
	if err := WriteJUnit(&b, all); err != nil {
		t.Fatal(err)
	}
	var read junitSuites
	if err := xml.Unmarshal(b.Bytes(), &read); err != nil {
		t.Fatalf("%v in\n%s", err, b.String())
	}
	if len(read.Suites) != len(all) {
		t.Fatalf("%d suites for %d scenarios", len(read.Suites), len(all))
	}
	for i, s := range read.Suites {
		green := s.Failures == 0 && s.Errors == 0
		if green != (all[i].Verdict == verdict.Pass) {
			t.Errorf("%s is %s, with %d failures and %d errors", s.Name, all[i].Verdict, s.Failures, s.Errors)
		}
		if s.Tests == 0 || s.Tests != len(s.Cases) {
			t.Errorf("%s counts %d tests and has %d", s.Name, s.Tests, len(s.Cases))
		}
	}
}

func TestWriteGitHub(t *testing.T) {
	var b bytes.Buffer
	if err := WriteGitHub(&b, results(t)); err != nil {
		t.Fatal(err)
	}
	labtest.Golden(t, filepath.Join("testdata", "github.txt"), b.String())
}

// Nothing in a result can end an annotation or begin another one.
func TestGitHubIsSafe(t *testing.T) {
	var b bytes.Buffer
	if err := WriteGitHub(&b, []Result{nasty(t)}); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if strings.HasPrefix(line, "::") && !strings.HasPrefix(line, "::error file=]]>") {
			t.Errorf("an annotation of its own: %s", line)
		}
	}
	if got := strings.Count(b.String(), "\n::"); got != 3 {
		t.Errorf("%d annotations, want one for each of 3 expectations that did not pass:\n%s", got, b.String())
	}
}

func TestWriteJSON(t *testing.T) {
	var b bytes.Buffer
	r := results(t)[1]
	if err := Write(&b, r); err != nil {
		t.Fatal(err)
	}
	labtest.Golden(t, filepath.Join("testdata", "result.json"), b.String())
	var read Result
	if err := json.Unmarshal(b.Bytes(), &read); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r, read, cmpopts.EquateComparable(netip.AddrPort{}), cmp.Comparer(sameJSON)); d != "" {
		t.Errorf("read back (-written +read):\n%s", d)
	}
	b.Reset()
	if err := WriteJSON(&b, nil); err != nil || b.String() != "[]\n" {
		t.Errorf("no results are written as %q (%v)", b.String(), err)
	}
}

// sameJSON says whether two values are the same but for their white space.
func sameJSON(a, b json.RawMessage) bool {
	var x, y bytes.Buffer
	return len(a) == 0 && len(b) == 0 || json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && x.String() == y.String()
}
