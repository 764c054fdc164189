package scenarios

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"outlive/lab/units"
)

//go:embed catalogue
var catalogue embed.FS

// Source is a scenario file that has been read and not yet looked at.
type Source struct {
	// Name is how the user calls it: a path, or a name in the catalogue.
	Name string
	// Path is where it is, for messages. Its last part must be the scenario's name with ".yaml",
	// or "scenario.yaml", which may have any name; empty means the same.
	Path string
	// FS is the folder that the file is in, for the files that belong to the
	// scenario. Nil means that there are none to look at, and then it is not
	// checked whether those that the scenario names exist.
	FS fs.FS
	// Host is the root of the machine that the scenario is to run on, for the files of
	// its guest. Nil means that it is not looked at, as with a result that may have
	// come from elsewhere.
	Host fs.FS
	// Data is what the file holds.
	Data []byte
}

// Catalogue is the scenarios that come with the program, by name.
func Catalogue() []Source {
	folder, err := fs.Sub(catalogue, "catalogue")
	if err != nil {
		panic(err) // the name above is a valid path
	}
	var out []Source
	entries, err := fs.ReadDir(folder, ".")
	if err != nil {
		panic(err) // it is embedded
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".yaml")
		if !ok || e.IsDir() {
			continue
		}
		data, err := fs.ReadFile(folder, e.Name())
		if err != nil {
			panic(err) // it is embedded
		}
		out = append(out, Source{Name: name, Path: "catalogue/" + e.Name(), FS: folder, Data: data})
	}
	return out
}

// Find reads the scenarios that the arguments of a command mean: files, folders
// with everything below them that ends in .yaml or .yml, names of the catalogue,
// and "catalogue" for all of it. A plain
// word is looked up in the catalogue first; a file of that name is written ./NAME.
// The order is that of the arguments, within a folder that of the names; what is meant twice
// comes once. The error names every argument that means nothing.
func Find(args []string) ([]Source, error) {
	known := map[string]Source{}
	var names []string
	for _, s := range Catalogue() {
		known[s.Name] = s
		names = append(names, s.Name)
	}
	var out []Source
	var errs []error
	seen := map[string]bool{}
	add := func(key string, s Source) {
		if !seen[key] {
			seen[key] = true
			out = append(out, s)
		}
	}
	for _, arg := range args {
		if arg == "catalogue" {
			for _, s := range Catalogue() {
				add("catalogue/"+s.Name, s)
			}
			continue
		}
		if s, ok := known[arg]; ok {
			add("catalogue/"+arg, s)
			continue
		}
		found, err := findPath(arg, names)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, s := range found {
			key, err := filepath.Abs(s.Path)
			if err != nil {
				key = s.Path
			}
			add(key, s)
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return out, nil
}

// findPath reads the scenarios that a path means.
func findPath(arg string, names []string) ([]Source, error) {
	info, err := os.Stat(arg)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		hint := ""
		if meant := units.Closest(arg, names); meant != "" {
			hint = fmt.Sprintf("; did you mean %q?", meant)
		}
		return nil, fmt.Errorf("finding %s: no such file or folder, and no scenario of the catalogue has that name%s", arg, hint)
	case err != nil:
		return nil, fmt.Errorf("finding %s: %w", arg, err)
	case info.IsDir():
		return findFolder(arg)
	}
	s, err := read(arg)
	if err != nil {
		return nil, err
	}
	return []Source{s}, nil
}

// findFolder reads the scenarios in a folder and below it. YAML files that one of them
// needs, for its programs or as a NAT profile, are not scenarios themselves, and neither
// is a NAT profile that none of them needs.
func findFolder(folder string) ([]Source, error) {
	var found []Source
	needed := map[string]bool{}
	err := filepath.WalkDir(folder, func(p string, d fs.DirEntry, err error) error {
		hidden := strings.HasPrefix(d.Name(), ".") && p != folder
		switch {
		case err != nil:
			return err
		case d.IsDir() && hidden:
			return fs.SkipDir
		case d.IsDir(), hidden, filepath.Ext(p) != ".yaml" && filepath.Ext(p) != ".yml":
			return nil
		}
		s, err := read(p)
		if err != nil {
			return err
		}
		for _, name := range neededFiles(s.Data) {
			needed[filepath.Join(filepath.Dir(p), filepath.FromSlash(name))] = true
		}
		if !IsProfile(s) {
			found = append(found, s)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for scenarios in %s: %w", folder, err)
	}
	var out []Source
	for _, s := range found {
		if !within(needed, s.Path) {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("looking for scenarios in %s: no file in it ends in .yaml", folder)
	}
	return out, nil
}

// within says whether a path or a folder above it is in a set.
func within(set map[string]bool, p string) bool {
	for {
		if set[p] {
			return true
		}
		up := filepath.Dir(p)
		if up == p {
			return false
		}
		p = up
	}
}

// neededFiles are the files that a scenario needs for its programs, and its NAT
// profiles, as far as the text of it can be read.
func neededFiles(data []byte) []string {
	l := &loader{}
	root := l.parse(newText("", "", string(data)), data, 1)
	if root == nil {
		return nil
	}
	var out []string
	if network := root.get("network"); network != nil {
		for _, p := range network.pairs {
			out = append(out, profileFiles(p.value.get("nat"))...)
		}
	}
	programs := []*node{root.get("server")}
	if devices := root.get("devices"); devices != nil {
		for _, p := range devices.pairs {
			programs = append(programs, p.value)
		}
	}
	for _, program := range programs {
		for _, key := range []string{"run", "files"} {
			if words := program.get(key); words != nil {
				for _, word := range words.items {
					if name := fileArgument(word.text); name != "" {
						out = append(out, name)
					}
				}
			}
		}
	}
	return out
}

// profileFiles are the profile files that a NAT or a row of them names.
func profileFiles(n *node) []string {
	if n == nil {
		return nil
	}
	var out []string
	for _, one := range append([]*node{n}, n.items...) {
		if one.kind == mapping {
			one = one.get("profile")
		}
		if one == nil || one.kind != scalar {
			continue
		}
		if clean, ok := profilePath(one.text); ok {
			out = append(out, clean)
		}
	}
	return out
}

// read reads one file, not much more of it than a scenario may have.
func read(name string) (Source, error) {
	f, err := os.Open(name)
	if err != nil {
		return Source{}, fmt.Errorf("reading scenario %s: %w", name, pathless(err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return Source{}, fmt.Errorf("reading scenario %s: %w", name, pathless(err))
	}
	return Source{
		Name: name, Path: path.Clean(filepath.ToSlash(name)), FS: os.DirFS(filepath.Dir(name)), Host: os.DirFS("/"), Data: data,
	}, nil
}

// pathless takes the operation and path out of an error that is to be wrapped
// with them.
func pathless(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
