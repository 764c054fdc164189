package scenarios

import (
	"errors"
	"io/fs"
	"path"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"outlive/lab/units"
	"outlive/nat"
)

// profileFile is a NAT profile in a file of its own: the keys of a NAT in a scenario,
// and a summary.
type profileFile struct {
	// One sentence on what the profile stands for.
	Summary string `yaml:"summary,omitempty"`
	keys    natKeys
}

// profilePath is the path, relative to the scenario, of the profile file that the name
// of a profile means, if it means one: it has a slash in it or ends in .yaml.
func profilePath(name string) (string, bool) {
	if !strings.Contains(name, "/") && path.Ext(name) != ".yaml" && path.Ext(name) != ".yml" {
		return "", false
	}
	return path.Clean(name), true
}

// profileName is what a scenario as resolved calls a profile file: so that it is taken
// for nothing else.
func profileName(clean string) string { return "./" + clean }

// LoadProfile reads a NAT profile from a file, as strictly as Load reads a scenario.
// What it changes of the profile that it is based on has the file as its origin; the
// rest has the origins of that one. Its error is a *LoadError.
func LoadProfile(src Source) (nat.Named, error) {
	l := &loader{src: src}
	p := l.decodeProfile(newText(src.Path, "the profile", strings.TrimPrefix(string(src.Data), "\ufeff")), src.Data)
	if len(l.err.Problems) > 0 {
		l.err.sort(src.Path)
		return nat.Named{}, &l.err
	}
	named := nat.Named{Profile: p.keys.Complete(), Summary: p.Summary}
	named.Profile.Name = src.Name
	base, based := nat.Lookup(p.keys.Base)
	standard := nat.Default().Fields()
	for i, f := range named.Profile.Fields() {
		switch {
		case based && base.Profile.Fields()[i] == f:
			o := base.Origin(f.Name)
			o.Fields = []string{f.Name}
			named.Origins = append(named.Origins, o)
		case based || standard[i] != f:
			named.Origins = append(named.Origins, nat.Origin{Fields: []string{f.Name}, Sure: "set here", Source: "The file " + src.Name + "."})
		}
	}
	return named, nil
}

// IsProfile says whether a file that was found is a NAT profile rather than a scenario:
// it has keys of one and none of the other's.
func IsProfile(src Source) bool {
	l := &loader{src: src}
	return looksLikeProfile(l.parse(newText("", "", string(src.Data)), src.Data, 1))
}

func looksLikeProfile(root *node) bool {
	if root == nil || root.kind != mapping {
		return false
	}
	for _, key := range fieldNames(reflect.TypeFor[file]()) {
		// Whoever writes a profile may well begin it like a scenario.
		if key != "name" && key != "summary" && root.get(key) != nil {
			return false
		}
	}
	for _, key := range fieldNames(reflect.TypeFor[natKeys]()) {
		if root.get(key) != nil {
			return true
		}
	}
	return false
}

// profileFile reads a profile from a file beside the scenario, once however many NATs
// have it. It returns nil where something is wrong, which has been reported: with the
// file at n, with what is in it at its place there.
func (l *loader) profileFile(n *node, clean string) *profileFile {
	if p, ok := l.profiles[clean]; ok {
		n.spoilt = n.spoilt || p == nil
		return p
	}
	p := l.readProfile(n, clean)
	if l.profiles == nil {
		l.profiles = map[string]*profileFile{}
	}
	l.profiles[clean] = p
	n.spoilt = n.spoilt || p == nil
	return p
}

func (l *loader) readProfile(n *node, clean string) *profileFile {
	switch {
	case strings.ContainsFunc(clean, unicode.IsControl):
		l.report(n, "", "the name of a profile file cannot hold %q", clip(clean))
		return nil
	case !fs.ValidPath(clean) || clean == ".":
		l.report(n, "", "a profile file lies beside or below the scenario and is named relative to it; %q does not", clip(n.text))
		return nil
	case l.src.FS == nil:
		l.report(n, "", "the profile file %q cannot be read: nothing is known of the files beside the scenario", clip(clean))
		return nil
	}
	info, err := fs.Stat(l.src.FS, clean)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		suggestion := l.similarFile(clean)
		if suggestion != "" {
			suggestion = profileName(suggestion)
		}
		l.report(n, suggestion, "there is no file %q beside the scenario", clip(clean))
		return nil
	case err == nil && info.IsDir():
		l.report(n, "", "%q is a folder, and no profile file", clip(clean))
		return nil
	case err == nil && info.Size() > maxSize:
		l.report(n, "", "the file %q is larger than 1 MiB: that is no profile", clip(clean))
		return nil
	}
	var data []byte
	if err == nil {
		data, err = fs.ReadFile(l.src.FS, clean)
	}
	if err != nil {
		l.report(n, "", "reading the profile file %q: %v", clip(clean), pathless(err))
		return nil
	}
	name := path.Join(path.Dir(l.src.Path), clean)
	return l.decodeProfile(newText(name, "the profile", strings.TrimPrefix(string(data), "\ufeff")), data)
}

// decodeProfile makes a profile of a file's text. It returns nil where something is
// wrong, which has been reported.
func (l *loader) decodeProfile(t *text, data []byte) *profileFile {
	before := len(l.err.Problems) + l.err.More
	root := l.parse(t, []byte(strings.TrimPrefix(string(data), "\ufeff")), 1)
	if root == nil {
		return nil
	}
	p := &profileFile{keys: natKeys{at: root}}
	p.keys.Profile = nat.Default()
	switch {
	case root.kind != mapping:
		l.report(root, "", "a NAT profile must be a mapping with %s", units.List(fieldNames(reflect.TypeFor[natKeys]())))
		return nil
	case len(root.pairs) == 0 && !root.torn:
		l.report(root, "", "the profile says nothing: name the profile that it starts from, or what it changes")
		return nil
	}
	if base := root.get("profile"); base != nil && base.kind == scalar && !base.empty && !base.spoilt {
		if _, isFile := profilePath(base.text); isFile {
			l.report(base, "", "a profile in a file starts from one of the catalogue, not from another file")
		} else {
			p.keys.lookup(l, base, base.text)
		}
	}
	l.decodeFields(root, "the profile", reflect.ValueOf(p).Elem(), reflect.ValueOf(&p.keys).Elem())
	if strings.ContainsAny(strings.TrimSpace(p.Summary), "\n\x00") {
		l.report(root.get("summary"), "", "the summary must be one sentence on one line")
	}
	p.Summary = strings.TrimSpace(p.Summary)
	l.problems(root, p.keys.Check())
	if len(l.err.Problems)+l.err.More > before {
		return nil
	}
	return p
}

// profileFiles are the files of the scenario's NAT profiles. One that the scenario
// changes is not among them: as resolved, the scenario has that one whole.
func (s *Scenario) profileFiles() []string {
	var out []string
	for _, u := range s.Uplinks {
		for _, n := range u.NATs {
			if clean, ok := profilePath(n.Profile.Name); ok && !slices.Contains(out, clean) {
				out = append(out, clean)
			}
		}
	}
	return out
}
