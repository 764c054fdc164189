package scenarios

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"outlive/lab/units"
)

// files checks the files listed for a command and gives all that it needs: those,
// and the words of the command that name a file beside the scenario.
func (c *checker) files(n *node, listed, run []string) []string {
	var out []string
	at := n.get("files")
	for i, name := range listed {
		item := at.item(i)
		clean := path.Clean(name)
		if name == "" || !fs.ValidPath(clean) || clean == "." {
			c.report(item, "", "files are named relative to the scenario and lie beside or below it; %q does not", clip(name))
			continue
		}
		out = append(out, clean)
		if c.absent(clean) {
			c.report(item, c.similarFile(clean), "there is no file %q beside the scenario", clip(clean))
		}
	}
	for i, word := range run {
		name := fileArgument(word)
		// A command without a slash is looked up in PATH.
		if name == "" || i == 0 && !strings.Contains(word, "/") || slices.Contains(out, name) || !c.present(name) {
			continue
		}
		out = append(out, name)
	}
	return out
}

// present says that a file beside the scenario is known to be there.
func (c *checker) present(name string) bool {
	if c.src.FS == nil {
		return false
	}
	_, err := fs.Stat(c.src.FS, name)
	return err == nil
}

// absent says that a file beside the scenario is known not to be there.
func (c *checker) absent(name string) bool {
	if c.src.FS == nil {
		return false
	}
	_, err := fs.Stat(c.src.FS, name)
	return errors.Is(err, fs.ErrNotExist)
}

// lacks says which file beside the scenario a word of a command means, if that
// is not there. What a program makes of its arguments cannot be known: only a relative path written with
// ./, and the bare name of a configuration file, leave no doubt.
func (c *checker) lacks(word string, first bool) (name string, lacking bool) {
	name = fileArgument(word)
	switch {
	case name == "":
		return "", false
	case strings.HasPrefix(word, "./"), first && strings.Contains(word, "/"):
	case first, !configuration[path.Ext(name)]:
		return "", false
	}
	return name, c.absent(name)
}

// configuration are endings of files that programs read and do not write.
var configuration = map[string]bool{
	".conf": true, ".cfg": true, ".cnf": true, ".ini": true, ".toml": true, ".yaml": true, ".yml": true,
}

// fileArgument is the path, relative to the scenario, that a word of a command may
// name, or "" if it cannot be one: "mosquitto.conf", "./run.sh".
func fileArgument(word string) string {
	if strings.ContainsAny(word, "{}:=*\\") || strings.HasPrefix(word, "-") {
		return ""
	}
	clean := path.Clean(word)
	if word == "" || clean == "." || !fs.ValidPath(clean) {
		return ""
	}
	return clean
}

// similarFile is the file in the same folder that was perhaps meant.
func (l *loader) similarFile(name string) string {
	entries, err := fs.ReadDir(l.src.FS, path.Dir(name))
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if meant := units.Closest(path.Base(name), names); meant != "" {
		return path.Join(path.Dir(name), meant)
	}
	return ""
}
