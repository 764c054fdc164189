package main_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "outlive"

// root is the folder of go.mod, as seen from this test.
const root = "../.."

// layers are the floors of the house, the lowest first. A package is on the floor
// of the longest path here that it lies in. It may import what is on lower floors,
// and of its own floor what lies in the same path.
var layers = [][]string{
	{"lab/feature", "lab/units"},
	{"lab/netns", "lab/sandbox"},
	{"lab/process"},
	{"lab"},
	{"nat"},
	{"faults", "probes"},
	{"scenarios/verdict"},
	{"scenarios/report"},
	{"scenarios"},
	{"cmd"},
}

// TestImportsPointDown proves the layers from what the compiler sees, whatever the
// linter is told.
func TestImportsPointDown(t *testing.T) {
	for _, p := range packages(t) {
		if !ours(p.ImportPath) {
			continue
		}
		floor, in := floorOf(t, p.ImportPath)
		for _, imported := range p.Imports {
			if !ours(imported) {
				continue
			}
			below, other := floorOf(t, imported)
			if below > floor || below == floor && other != in {
				t.Errorf("%s imports %s, which does not lie below it", p.ImportPath, imported)
			}
		}
	}
}

// floorOf finds the floor of one of our packages, and the path that puts it there.
func floorOf(t *testing.T, importPath string) (floor int, in string) {
	t.Helper()
	for n, paths := range layers {
		for _, path := range paths {
			if lies(importPath, path) && len(path) > len(in) {
				floor, in = n, path
			}
		}
	}
	if in == "" {
		t.Fatalf("%s has no place in the house", importPath)
	}
	return floor, in
}

// lies says whether a package is, or is below, one of these paths of ours.
func lies(importPath string, paths ...string) bool {
	return slices.ContainsFunc(paths, func(path string) bool {
		return importPath == module+"/"+path || strings.HasPrefix(importPath, module+"/"+path+"/")
	})
}

func ours(importPath string) bool {
	return importPath == module || strings.HasPrefix(importPath, module+"/")
}

// TestForbiddenImports proves what is about single packages.
func TestForbiddenImports(t *testing.T) {
	outside := []string{"io/fs", "net", "net/http", "os", "os/exec", "os/signal", "syscall", "golang.org/x/sys/unix"}
	rules := []struct {
		name      string
		forbidden []string
		applies   func(importPath string) bool
	}{
		{"values in, values out", outside, func(p string) bool {
			return lies(p, "scenarios/verdict", "scenarios/report", "probes/flow", "probes/heartbeat")
		}},
		{"only lab/netns changes namespaces", []string{"github.com/vishvananda/netns"}, func(p string) bool {
			return ours(p) && !lies(p, "lab/netns")
		}},
		{"helpers of tests are for tests", []string{"testing", module + "/lab/labtest"}, func(p string) bool {
			return ours(p) && !lies(p, "lab/labtest")
		}},
	}
	all := packages(t)
	for _, r := range rules {
		applied := false
		for _, p := range all {
			if !r.applies(p.ImportPath) {
				continue
			}
			applied = true
			for _, imported := range p.Imports {
				if slices.Contains(r.forbidden, imported) {
					t.Errorf("%s: %s imports %s", r.name, p.ImportPath, imported)
				}
			}
		}
		if !applied {
			t.Errorf("%s: no package is left that this is about", r.name)
		}
	}
}

// TestTopLevel keeps the first thing that a visitor sees short.
func TestTopLevel(t *testing.T) {
	want := []string{
		"LICENSE", "Makefile", "README.md", "Vagrantfile", "bench", "cmd", "docs", "faults",
		"go.mod", "go.sum", "lab", "nat", "probes", "scenarios",
	}
	ignored, err := os.ReadFile(filepath.Join(root, ".gitignore"))
	if err != nil {
		t.Fatal(err)
	}
	var products []string
	for line := range strings.Lines(string(ignored)) {
		products = append(products, strings.Trim(strings.TrimSpace(line), "/"))
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(products, e.Name()) {
			got = append(got, e.Name())
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the top level is not what docs and visitors expect (-want +got):\n%s", diff)
	}
}

// listed is a package as go list tells of it.
type listed struct {
	ImportPath string
	Imports    []string
}

// packages lists ours with all that they depend on, without their tests.
func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		exit := (*exec.ExitError)(nil)
		if errors.As(err, &exit) {
			t.Fatalf("listing packages: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var all []listed
	for in := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := in.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("reading the list of packages: %v", err)
		}
		all = append(all, p)
	}
}
