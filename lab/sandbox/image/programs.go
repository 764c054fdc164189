package image

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"outlive/lab/sandbox"
)

// Program is a command that will run in the machine.
type Program struct {
	// Argv is the program and its arguments. The program is found as package process
	// finds it: in PATH, or by its path, a relative one from Dir.
	Argv []string
	// Dir is the folder that it will run in, as a path of this machine.
	Dir string
}

// searchPath is where programs without a path are looked for: the caller's PATH and
// the folders of servers, which an ordinary user's PATH often lacks.
func searchPath() []string {
	dirs := filepath.SplitList(os.Getenv("PATH"))
	for _, dir := range standardPath {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return slices.DeleteFunc(dirs, func(dir string) bool { return !filepath.IsAbs(dir) })
}

var standardPath = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// addProgram takes a program with what it loads, and what its arguments name.
func (h *host) addProgram(p Program) error {
	if len(p.Argv) == 0 {
		return errors.New("a program without a name is to be run")
	}
	word := p.Argv[0]
	file, err := h.findProgram(word, p.Dir)
	if err != nil {
		return &Unrunnable{Program: word, Reason: "was not found", Remedy: notFoundRemedy(word), Err: err}
	}
	if err := h.addExecutable(word, file, p.Dir, true); err != nil {
		return err
	}
	for _, argument := range p.Argv[1:] {
		for _, name := range words(argument) {
			if err := h.addWord(name, p.Dir); err != nil {
				return err
			}
		}
	}
	return nil
}

func notFoundRemedy(word string) string {
	if strings.Contains(word, "/") {
		return "check the path; a relative one begins at the folder that the program runs in"
	}
	return "install the package that has it, or give the program's path"
}

// findProgram gives the path of a program.
func (h *host) findProgram(word, dir string) (string, error) {
	if strings.Contains(word, "/") {
		if !filepath.IsAbs(word) {
			word = filepath.Join(dir, word)
		}
		word = filepath.Clean(word)
		return word, h.isProgram(word)
	}
	if h.places == nil {
		h.places = searchPath()
	}
	err := error(fs.ErrNotExist)
	for _, place := range h.places {
		full := filepath.Join(place, word)
		if e := h.isProgram(full); e == nil {
			h.found[place] = true
			return full, nil
		} else if !missing(e) {
			err = fmt.Errorf("%s: %w", full, e)
		}
	}
	return "", err
}

var (
	errFolder        = errors.New("it is a folder")
	errNotExecutable = errors.New("it is not executable; chmod +x makes it so")
)

func (h *host) isProgram(full string) error {
	info, err := h.stat(full)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return errFolder
	case info.Mode()&0o111 == 0:
		return errNotExecutable
	}
	return nil
}

// addWord takes what a word of a command or of a script may mean: a program, or a
// file by its absolute path. Most words mean nothing.
func (h *host) addWord(word, dir string) error {
	if file, err := h.findProgram(word, dir); err == nil && h.runs(file) {
		return h.addExecutable(word, file, dir, true)
	}
	if filepath.IsAbs(word) && !sandbox.Hides(word) {
		if info, err := h.stat(word); err == nil && info.Mode().IsRegular() {
			h.addIfThere(word)
		}
	}
	return nil
}

// runs says whether a file begins as a program or a script does. On some machines
// every file is executable by its mode.
func (h *host) runs(file string) bool {
	f, err := h.open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	begin := make([]byte, len(elfMagic))
	n, _ := io.ReadFull(f, begin)
	return string(begin[:n]) == elfMagic || bytes.HasPrefix(begin[:n], []byte("#!"))
}

const elfMagic = "\x7fELF"

// addExecutable takes a file that is executed, with everything that this takes.
// word is how it was asked for. Of a script that is only read for the programs it
// may name, deep is false.
func (h *host) addExecutable(word, file, dir string, deep bool) error {
	if h.done[file] {
		return nil
	}
	h.done[file] = true
	real, err := h.add(file)
	if err != nil {
		return &Unrunnable{Program: word, File: file, Reason: "cannot be read", Err: err}
	}
	if sandbox.Hides(real) && !h.inLab(real) {
		return &Unrunnable{
			Program: word, File: file, Reason: "lies in a folder that the lab replaces by an empty one of its own (/run, /tmp, /dev/shm)",
			Remedy: "keep it elsewhere, or beside the scenario",
		}
	}
	f, err := h.open(real)
	if err != nil {
		return &Unrunnable{Program: word, File: file, Reason: "cannot be read", Remedy: "chmod a+r makes it readable", Err: err}
	}
	defer f.Close()
	const longest = 1 << 20 // of a script that is searched for programs
	text := make([]byte, len(elfMagic))
	n, err := io.ReadFull(f, text)
	if text = text[:n]; err != nil && n == 0 {
		return &Unrunnable{Program: word, File: file, Reason: "is empty"}
	}
	switch {
	case bytes.HasPrefix(text, []byte(elfMagic)):
		if _, err := h.closure(word, real); err != nil {
			return err
		}
		return h.addInterpreter(file, real)
	case !bytes.HasPrefix(text, []byte("#!")):
		return &Unrunnable{
			Program: word, File: file, Reason: "is neither a Linux program nor a script",
			Remedy: "let a script begin with #! and its interpreter",
		}
	}
	rest, err := io.ReadAll(io.LimitReader(f, longest))
	if err != nil {
		return &Unrunnable{Program: word, File: file, Reason: "cannot be read", Err: err}
	}
	return h.addScript(word, file, real, dir, string(text)+string(rest), deep)
}

// addScript takes the interpreter of a script and the programs that it names.
func (h *host) addScript(word, file, real, dir, text string, deep bool) error {
	if path.Base(path.Dir(real)) == "shims" {
		return &Unrunnable{
			Program: word, File: file, Reason: "is a shim of a version manager, which chooses a program by the user's settings",
			Remedy: "give the path of the program itself (pyenv which " + path.Base(word) + " prints it, for example)",
		}
	}
	first, _, _ := strings.Cut(text, "\n")
	interpreter, arguments, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(first, "#!")), " ")
	if err := h.isProgram(interpreter); err != nil {
		return &Unrunnable{Program: word, File: file, Reason: "needs the interpreter " + interpreter, Remedy: "install it", Err: err}
	}
	if err := h.addExecutable(word, interpreter, dir, deep); err != nil {
		return err
	}
	if path.Base(interpreter) == "env" {
		name := envProgram(arguments)
		found, err := h.findProgram(name, dir)
		if err != nil {
			return &Unrunnable{Program: word, File: file, Reason: "needs the interpreter " + name, Remedy: "install it", Err: err}
		}
		interpreter = found
		if err := h.addExecutable(word, found, dir, deep); err != nil {
			return err
		}
	}
	if err := h.addInterpreter(file, real); err != nil {
		return err
	}
	shell := shells[path.Base(interpreter)]
	names := quoted(text)
	if shell {
		names = words(withoutComments(text))
	}
	for _, name := range names {
		err := h.addWord(name, dir)
		// In other languages a string that is a program's name by chance is likelier
		// than a program that cannot run.
		if err != nil && shell && deep {
			return err
		}
	}
	return nil
}

var shells = map[string]bool{"sh": true, "bash": true, "dash": true, "ash": true, "ksh": true, "zsh": true, "busybox": true}

// envProgram is what env(1) is to execute, from the first line of a script.
func envProgram(arguments string) string {
	for word := range strings.FieldsSeq(arguments) {
		if !strings.HasPrefix(word, "-") && !strings.Contains(word, "=") {
			return word
		}
	}
	return ""
}

var (
	wordPattern   = regexp.MustCompile(`[A-Za-z0-9_./+-]+`)
	quotedPattern = regexp.MustCompile(`["']([A-Za-z0-9_./+-]+)["']`)
)

// words are the parts of a command line or shell script that may be names of
// programs or files, each once.
func words(text string) []string { return unique(wordPattern.FindAllString(text, -1)) }

// quoted are the strings of a program's text that may be such names.
func quoted(text string) []string {
	var all []string
	for _, m := range quotedPattern.FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return unique(all)
}

func unique(all []string) []string {
	slices.Sort(all)
	return slices.Compact(all)
}

// withoutComments drops the lines of a shell script that are comments.
func withoutComments(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			b.WriteString(line)
		}
	}
	return b.String()
}
