package scenarios

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// write makes files below a folder; what a name ends in / is a folder.
func write(t *testing.T, folder string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFind: arguments as people give them, and the sources that they mean.
func TestFind(t *testing.T) {
	t.Chdir(t.TempDir())
	served := least + "server: {run: [serve, -c, serve.yaml], files: [conf]}\n"
	write(t, ".", map[string]string{
		"good.yaml":          least,
		"quickstart":         "a file that happens to have that name",
		"all/b.yaml":         least,
		"all/a/good.yml":     least,
		"all/served.yaml":    served,
		"all/serve.yaml":     "what the server reads",
		"all/conf/more.yaml": "what the server reads too",
		"all/.hidden/c.yaml": least,
		"all/.d.yaml":        least,
		"all/notes.txt":      "no scenario",
		"none/notes.txt":     "no scenario",
	})
	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{"a file", []string{"good.yaml"}, []string{"good.yaml"}},
		{"a name of the catalogue, whatever lies here", []string{"quickstart"}, []string{"quickstart"}},
		{"a file with that name", []string{"./quickstart"}, []string{"./quickstart"}},
		{"a folder, without what its servers read", []string{"all"}, []string{"all/a/good.yml", "all/b.yaml", "all/served.yaml"}},
		{"in the order of the arguments", []string{"quickstart", "good.yaml", "all/b.yaml"}, []string{"quickstart", "good.yaml", "all/b.yaml"}},
		{"once each", []string{"all/b.yaml", "./all/b.yaml", "all", "quickstart", "quickstart"}, []string{"all/b.yaml", "all/a/good.yml", "all/served.yaml", "quickstart"}},
		{"nothing", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			found, err := Find(c.args)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range found {
				got = append(got, s.Name)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestFindNothing: every argument that means nothing is named at once.
func TestFindNothing(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, ".", map[string]string{"none/notes.txt": "no scenario"})
	_, err := Find([]string{"quickstrat", "missing.yaml", "none"})
	if err == nil {
		t.Fatal("Find found something")
	}
	want := `finding quickstrat: no such file or folder, and no scenario of the catalogue has that name; did you mean "quickstart"?
finding missing.yaml: no such file or folder, and no scenario of the catalogue has that name
looking for scenarios in none: no file in it ends in .yaml`
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
}

// TestFindReadsNoMore: of a file that is far too large only as much is read as
// shows that.
func TestFindReadsNoMore(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, ".", map[string]string{"large.yaml": least + strings.Repeat("#", 3*maxSize)})
	found, err := Find([]string{"large.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(found[0].Data); n != maxSize+1 {
		t.Errorf("%d bytes were read", n)
	}
}

// TestCatalogue: every scenario that comes with the program loads, has a summary,
// and finds its files.
func TestCatalogue(t *testing.T) {
	all := Catalogue()
	if len(all) == 0 {
		t.Fatal("the catalogue is empty")
	}
	for _, src := range all {
		t.Run(src.Name, func(t *testing.T) {
			s, err := Load(src, LoadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if s.Name != src.Name {
				t.Errorf("it is called %q", s.Name)
			}
			if s.Summary == "" {
				t.Error("it has no summary")
			}
			for _, name := range s.Server.Files {
				if _, err := fs.Stat(src.FS, name); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
