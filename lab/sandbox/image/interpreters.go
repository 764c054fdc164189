package image

import (
	"os"
	"path"
	"regexp"
	"strings"
)

var pythonName = regexp.MustCompile(`^python[23](\.[0-9]+)?$`)

// Parts of interpreters that nothing needs while a program runs, by name. They are
// more than half of a Java home.
var (
	leaveOfJava   = []string{"jmods", "src.zip", "ct.sym", "man", "legal", "docs", "demo", "sample", "include"}
	leaveOfPython = []string{"test", "tests", "idlelib", "lib2to3", "turtledemo", "ensurepip", "pydoc_data"}
	leaveOfErlang = []string{"src", "doc", "man", "examples", "include"}
)

// addInterpreter takes the data of an interpreter, if the program is one that is
// known: the modules that it loads are named nowhere. file is the path by which it
// is executed, real the one without links.
func (h *host) addInterpreter(file, real string) error {
	name, above := path.Base(real), path.Dir(path.Dir(real))
	switch {
	case name == "node" || name == "nodejs":
		// Where Debian's node looks for modules of its packages.
		return h.addFolders(whole{libraries: true}, "/usr/share/nodejs", "/usr/lib/nodejs", "/usr/share/node_modules", above+"/lib/node")
	case pythonName.MatchString(name):
		// Python compares the time of a source with that in the compiled file, and
		// compiles anew, which takes seconds in virtual time, where they differ.
		how := whole{leave: leaveOfPython, libraries: true, times: true}
		if err := h.addVirtualEnvironment(file, how); err != nil {
			return err
		}
		if !strings.Contains(name, ".") {
			return nil
		}
		folders := []string{above + "/lib/" + name}
		if above == "/usr" {
			folders = append(folders, "/usr/lib/python3", "/usr/local/lib/"+name)
			h.addIfThere("/etc/python3/debian_config", "/etc/"+name+"/sitecustomize.py")
		}
		return h.addFolders(how, folders...)
	case name == "java":
		return h.addFolders(whole{leave: leaveOfJava, libraries: true}, above)
	case name == "erl" || name == "escript":
		return h.addFolders(whole{leave: leaveOfErlang, libraries: true}, above)
	}
	return nil
}

// addVirtualEnvironment takes the environment that a python belongs to (PEP 405),
// if it belongs to one.
func (h *host) addVirtualEnvironment(file string, how whole) error {
	dir := path.Dir(path.Dir(file))
	if _, err := h.stat(dir + "/pyvenv.cfg"); err != nil {
		return nil
	}
	h.addIfThere(dir + "/pyvenv.cfg")
	return h.addFolders(how, dir+"/lib")
}

// addFolders takes those of the folders that are there.
func (h *host) addFolders(how whole, names ...string) error {
	for _, name := range names {
		if info, err := h.stat(name); err != nil || !info.IsDir() {
			continue
		}
		if err := h.addFolder(name, how); err != nil && !os.IsPermission(err) {
			return err
		}
	}
	return nil
}
