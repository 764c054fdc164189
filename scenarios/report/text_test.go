package report

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"outlive/lab/labtest"
)

func TestWriteText(t *testing.T) {
	for _, r := range results(t) {
		t.Run(r.Scenario, func(t *testing.T) {
			var b bytes.Buffer
			if err := WriteText(&b, r, TextOptions{}); err != nil {
				t.Fatal(err)
			}
			labtest.Golden(t, filepath.Join("testdata", r.Scenario+".txt"), b.String())
			for line := range strings.Lines(b.String()) {
				if n := columns(strings.TrimSuffix(line, "\n")); n > 80 {
					t.Errorf("%d columns: %s", n, line)
				}
			}
		})
	}
}

func TestWriteTextInColour(t *testing.T) {
	var plain, coloured bytes.Buffer
	r := result(t, "forgotten", truth(), died(), nil, theExpectations...)
	if err := errors.Join(WriteText(&plain, r, TextOptions{Width: 100}), WriteText(&coloured, r, TextOptions{Width: 100, Colour: true})); err != nil {
		t.Fatal(err)
	}
	labtest.Golden(t, filepath.Join("testdata", "forgotten-colour.txt"), coloured.String())
	uncoloured := strings.NewReplacer("\x1b[1m", "", "\x1b[1;31m", "", "\x1b[1;32m", "", "\x1b[1;33m", "", "\x1b[0m", "").Replace(coloured.String())
	if uncoloured != plain.String() {
		t.Errorf("colour changes more than colours:\n%s", uncoloured)
	}
}

func TestWriteQuietAndSummary(t *testing.T) {
	var b bytes.Buffer
	all := results(t)
	for _, r := range all {
		if err := WriteQuiet(&b, r); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Count(b.String(), "\n"); got != len(all) {
		t.Errorf("%d lines for %d scenarios", got, len(all))
	}
	if err := errors.Join(WriteSummary(&b, all, len(all)+2), WriteSummary(&b, all[:1], 1)); err != nil {
		t.Fatal(err)
	}
	labtest.Golden(t, filepath.Join("testdata", "quiet.txt"), b.String())
}

// What a program under test had to say may not drive the terminal.
func TestTextIsSafe(t *testing.T) {
	var b bytes.Buffer
	r := nasty(t)
	if err := errors.Join(WriteText(&b, r, TextOptions{}), WriteQuiet(&b, r), WriteSummary(&b, []Result{r}, 1)); err != nil {
		t.Fatal(err)
	}
	for _, c := range b.String() {
		if c != '\n' && (unicode.IsControl(c) || unicode.Is(unicode.Cf, c)) {
			t.Fatalf("the text holds %q:\n%s", c, b.String())
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestWriteErrors(t *testing.T) {
	r := results(t)[1]
	for name, err := range map[string]error{
		"text":    WriteText(full{}, r, TextOptions{}),
		"quiet":   WriteQuiet(full{}, r),
		"summary": WriteSummary(full{}, []Result{r}, 1),
		"JUnit":   WriteJUnit(full{}, []Result{r}),
		"GitHub":  WriteGitHub(full{}, []Result{r}),
		"JSON":    WriteJSON(full{}, []Result{r}),
		"result":  Write(full{}, r),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "writing the result") {
			t.Errorf("%s on a full disk: %v", name, err)
		}
	}
}
