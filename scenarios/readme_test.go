package scenarios

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"outlive/lab/labtest"
)

// README's parts that are made from the program are held to it.
func TestReadme(t *testing.T) {
	const readme = "../README.md"
	b, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	quickstart, err := os.ReadFile("catalogue/quickstart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := replacePart(t, text, "quickstart", "```yaml\n"+string(quickstart)+"```\n")
	want = replacePart(t, want, "catalogue", catalogueTable(t))
	want = replacePart(t, want, "mistakes", "```\n"+mistakes(t)+"\n```\n")
	labtest.Golden(t, readme, want)
}

// replacePart puts text between a pair of markers.
func replacePart(t *testing.T, in, name, text string) string {
	t.Helper()
	begin, end := "<!-- begin "+name+" -->\n", "<!-- end "+name+" -->"
	head, rest, ok1 := strings.Cut(in, begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("README has no part called %s", name)
	}
	return head + begin + text + end + tail
}

func catalogueTable(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| scenario | what it shows |\n| --- | --- |\n")
	for _, src := range Catalogue() {
		s, err := Load(src, LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "| [`%s`](scenarios/catalogue/%s.yaml) | %s |\n", s.Name, s.Name, s.Summary)
	}
	return b.String()
}

// mistakes is what check says of one of the broken scenarios.
func mistakes(t *testing.T) string {
	t.Helper()
	const file = "testdata/broken/close-words.yaml"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Load(Source{Name: file, Path: filepath.Base(file), Data: data}, LoadOptions{})
	if err == nil {
		t.Fatalf("%s has no mistakes", file)
	}
	return err.Error()
}
