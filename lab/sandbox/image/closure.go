package image

import (
	"bufio"
	"debug/elf"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Closure lists the files that an ELF program of this machine is made of: itself,
// its loader and the libraries that it is linked with, by the paths at which the
// loader finds them, sorted. It is an *Unrunnable where one of them is missing or
// is not for the virtual machine.
func Closure(program string) ([]string, error) {
	program, err := filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	h := newHost("", newTree(), ".")
	real, err := h.add(program)
	if err != nil {
		return nil, fmt.Errorf("reading the program: %w", err)
	}
	files, err := h.closure(program, real)
	if err != nil {
		return nil, err
	}
	files = append(files, program)
	slices.Sort(files)
	return slices.Compact(files), nil
}

// library is a library that is asked for, and by whom.
type library struct {
	name string
	// by is the path of the file that is linked with it, and loaders those that led
	// to it, the program first: a RPATH is inherited.
	by      string
	loaders []string
}

// closure takes what an ELF file loads. program is the word to use in errors; real
// is the path without links. It gives the paths as the loader looks for them.
func (h *host) closure(program, real string) ([]string, error) {
	e, err := h.elf(real)
	if err != nil {
		return nil, &Unrunnable{Program: program, File: real, Reason: "is not a whole ELF program", Remedy: "build or install it again", Err: err}
	}
	if reason, remedy := e.machineProblem(); reason != "" {
		return nil, &Unrunnable{Program: program, File: real, Reason: reason, Remedy: remedy}
	}
	var files []string
	if e.interpreter != "" {
		if _, err := h.add(e.interpreter); err != nil {
			return nil, &Unrunnable{
				Program: program, File: real, Reason: "needs the loader " + e.interpreter + ", which is not there",
				Remedy: "install the C library that it was built for, or build it statically", Err: err,
			}
		}
		files = append(files, e.interpreter)
	}
	seen := make(map[string]bool)
	queue := asks(real, e, nil)
	for len(queue) > 0 {
		want := queue[0]
		queue = queue[1:]
		if seen[want.name] {
			// The loader knows a library by the name that it was first asked for by.
			continue
		}
		seen[want.name] = true
		found, other := h.find(want)
		if found == "" {
			return nil, notFound(program, want, other)
		}
		files = append(files, found)
		lib, err := h.elf(found)
		if err != nil {
			return nil, &Unrunnable{Program: program, File: found, Reason: "is not a whole library", Remedy: "install its package again", Err: err}
		}
		if reason, remedy := lib.machineProblem(); reason != "" {
			return nil, &Unrunnable{Program: program, File: found, Reason: strings.Replace(reason, "program", "library", 1), Remedy: remedy}
		}
		queue = append(queue, asks(found, lib, want.loaders)...)
	}
	return append(files, h.opened(seen)...), nil
}

// asks are the libraries that a file is linked with.
func asks(by string, e *executable, loaders []string) []library {
	chain := append(slices.Clip(loaders), by)
	var all []library
	for _, name := range e.needed {
		all = append(all, library{name: name, by: by, loaders: chain})
	}
	return all
}

// opened takes what the C library itself opens while a program runs, which no
// header says: the unwinder where a thread ends, and the sources of names.
func (h *host) opened(loaded map[string]bool) []string {
	if !loaded["libc.so.6"] {
		return nil
	}
	var files []string
	for _, name := range []string{"libgcc_s.so.1", "libnss_files.so.2", "libnss_dns.so.2"} {
		if found, _ := h.find(library{name: name}); found != "" {
			files = append(files, found)
		}
	}
	return files
}

func notFound(program string, want library, other string) *Unrunnable {
	u := &Unrunnable{
		Program: program, File: want.by, Reason: "needs " + want.name + ", which is not there",
		Remedy: "install the package that has it (apt-file search " + want.name + " names it)",
	}
	if other != "" {
		u.Reason = "needs " + want.name + ", of which there is only " + other + ", for another kind of machine"
		u.Remedy = "install its package for amd64"
	}
	return u
}

// find searches a library as the dynamic loader does, but for its variants for
// better CPUs than the emulated one. other is one for another machine, if that is
// all there is. What is found is taken.
func (h *host) find(want library) (found, other string) {
	if strings.Contains(want.name, "/") {
		if path.IsAbs(want.name) && h.suits(want.name) {
			return want.name, ""
		}
		return "", ""
	}
	for _, dir := range h.ownPaths(want) {
		if full := path.Join(dir, want.name); h.suits(full) {
			return full, ""
		}
	}
	if full, known := h.sonames[want.name]; known {
		return full, ""
	}
	if h.dirs == nil {
		h.dirs = h.libraryFolders()
	}
	for _, dir := range h.dirs {
		full := path.Join(dir, want.name)
		if h.suits(full) {
			h.sonames[want.name] = full
			return full, ""
		}
		if _, err := h.stat(full); err == nil {
			other = full
		}
	}
	return "", other
}

// suits says whether a path is that of a library for the machine, and takes it.
func (h *host) suits(name string) bool {
	if _, err := h.stat(name); err != nil {
		return false
	}
	e, err := h.elf(name)
	if err != nil || e.machine != elf.EM_X86_64 || e.class != elf.ELFCLASS64 {
		return false
	}
	_, err = h.add(name)
	return err == nil
}

// ownPaths are the folders that a file and those that led to it name for their libraries.
func (h *host) ownPaths(want library) []string {
	if want.by == "" {
		return nil
	}
	by, err := h.elf(want.by)
	if err != nil {
		return nil
	}
	if len(by.runpath) > 0 {
		return expand(by.runpath, want.by)
	}
	var dirs []string
	for _, loader := range slices.Backward(want.loaders) {
		if e, err := h.elf(loader); err == nil && len(e.runpath) == 0 {
			dirs = append(dirs, expand(e.rpath, loader)...)
		}
	}
	return dirs
}

// expand fills in what a search path leaves open.
func expand(lists []string, by string) []string {
	const lib, platform = "lib/x86_64-linux-gnu", "x86_64"
	values := strings.NewReplacer("${ORIGIN}", path.Dir(by), "$ORIGIN", path.Dir(by),
		"${LIB}", lib, "$LIB", lib, "${PLATFORM}", platform, "$PLATFORM", platform)
	var dirs []string
	for _, list := range lists {
		for dir := range strings.SplitSeq(list, ":") {
			dir = values.Replace(dir)
			// A relative one depends on where the program is started.
			if path.IsAbs(dir) {
				dirs = append(dirs, path.Clean(dir))
			}
		}
	}
	return dirs
}

// libraryFolders are where the loader looks without being told: what ld.so.conf
// names, then the places of Debian, of other distributions and of musl.
func (h *host) libraryFolders() []string {
	dirs := h.libraryConfig("/etc/ld.so.conf", 0)
	for _, dir := range []string{
		"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/local/lib", "/usr/lib",
	} {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

func (h *host) libraryConfig(file string, depth int) []string {
	const deepest = 5
	f, err := h.open(file)
	if err != nil || depth > deepest {
		return nil
	}
	defer f.Close()
	var dirs []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if pattern, ok := strings.CutPrefix(strings.TrimSpace(line), "include "); ok {
			pattern = strings.TrimSpace(pattern)
			if !path.IsAbs(pattern) {
				pattern = path.Join(path.Dir(file), pattern)
			}
			files, _ := filepath.Glob(h.on(pattern))
			for _, name := range files {
				dirs = append(dirs, h.libraryConfig(strings.TrimPrefix(name, h.root), depth+1)...)
			}
			continue
		}
		if line = strings.TrimSpace(line); path.IsAbs(line) {
			dirs = append(dirs, path.Clean(line))
		}
	}
	return dirs
}

// addLibraries takes what a library is linked with, as far as it is there: parts of
// an interpreter that no program uses may lack theirs.
func (h *host) addLibraries(file string) {
	if e, err := h.elf(file); err != nil || e.machine != elf.EM_X86_64 {
		return
	}
	_, _ = h.closure(file, file)
}

// elf reads the headers of an ELF file, once.
func (h *host) elf(name string) (*executable, error) {
	if e, known := h.elfs[name]; known {
		return e, nil
	}
	f, err := h.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	e, err := readELF(f)
	if err == nil {
		h.elfs[name] = e
	}
	return e, err
}
