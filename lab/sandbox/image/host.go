package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// host takes files of the machine into a tree, at the paths that they have here,
// with the symbolic links and folders on the way to them.
type host struct {
	// root is the folder that is taken for the machine's root, "" for the real one,
	// and base where its contents go in the tree.
	root string
	tree tree
	base string

	infos   map[string]fs.FileInfo
	real    map[string]string
	elfs    map[string]*executable
	dirs    []string          // where libraries are
	sonames map[string]string // how the loader found them there
	folders map[string]bool   // taken whole
	done    map[string]bool   // programs looked at
	places  []string          // the folders of PATH
	found   map[string]bool   // those of them that programs were taken from
	lab     string            // the result folder, whose contents are in the image anyway
}

func newHost(root string, t tree, base string) *host {
	return &host{
		root: root, tree: t, base: base,
		infos: make(map[string]fs.FileInfo), real: make(map[string]string), elfs: make(map[string]*executable),
		sonames: make(map[string]string), folders: make(map[string]bool), done: make(map[string]bool), found: make(map[string]bool),
	}
}

// on is the path by which this process reaches a path below the root.
func (h *host) on(name string) string {
	if h.root == "" || h.inLab(name) {
		return name
	}
	return filepath.Join(h.root, name)
}

// inLab says whether a path lies in the result folder.
func (h *host) inLab(name string) bool {
	return h.lab != "" && (name == h.lab || strings.HasPrefix(name, h.lab+"/"))
}

func (h *host) lstat(name string) (fs.FileInfo, error) {
	if info, known := h.infos[name]; known {
		return info, nil
	}
	info, err := os.Lstat(h.on(name))
	if err == nil {
		h.infos[name] = info
	}
	return info, err
}

// resolve follows symbolic links from an absolute path to what it leads to. It
// takes the links, but neither the end nor what is in the result folder.
func (h *host) resolve(name string) (string, error) {
	if h.inLab(name) {
		return filepath.EvalSymlinks(name)
	}
	if real, known := h.real[name]; known {
		return real, nil
	}
	const most = 40 // as in the kernel
	at, rest := "/", strings.TrimPrefix(path.Clean(name), "/")
	for links := 0; rest != ""; {
		var first string
		first, rest, _ = strings.Cut(rest, "/")
		if first == ".." || first == "." || first == "" {
			if first == ".." {
				at = path.Dir(at)
			}
			continue
		}
		next := path.Join(at, first)
		info, err := h.lstat(next)
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		if links++; links > most {
			return "", &fs.PathError{Op: "open", Path: name, Err: syscall.ELOOP}
		}
		target, err := os.Readlink(h.on(next))
		if err != nil {
			return "", err
		}
		h.tree.put(inside(h.base, next), &node{mode: linkMode, link: target})
		if path.IsAbs(target) {
			at = "/"
		}
		rest = strings.TrimPrefix(target, "/") + "/" + rest
	}
	h.real[name] = at
	return at, nil
}

// add takes a file, or a folder without its contents, and gives the path that it
// has without symbolic links.
func (h *host) add(name string) (string, error) {
	real, err := h.resolve(name)
	if err != nil || h.inLab(real) {
		return real, err
	}
	info, err := h.lstat(real)
	if err != nil {
		return "", err
	}
	switch {
	case info.IsDir():
		h.tree.folder(inside(h.base, real), permissions(info.Mode()))
	case info.Mode().IsRegular():
		h.regular(real, info)
	default:
		return "", fmt.Errorf("%s is neither a file nor a folder", real)
	}
	return real, nil
}

func (h *host) regular(real string, info fs.FileInfo) {
	name := inside(h.base, real)
	if _, there := h.tree[name]; !there {
		h.tree.put(name, &node{mode: permissions(info.Mode()), from: h.on(real), size: info.Size()})
	}
}

// addIfThere is add for what not every machine has, or not everyone may read.
func (h *host) addIfThere(names ...string) {
	for _, name := range names {
		if f, err := h.open(name); err == nil {
			_ = f.Close()
			// What is there and cannot be taken is missed, if ever, by the program.
			_, _ = h.add(name)
		}
	}
}

// open opens a file by a path below the root.
func (h *host) open(name string) (*os.File, error) {
	real, err := h.resolve(name)
	if err != nil {
		return nil, err
	}
	return os.Open(h.on(real))
}

// stat says what a path below the root leads to.
func (h *host) stat(name string) (fs.FileInfo, error) {
	real, err := h.resolve(name)
	if err != nil {
		return nil, err
	}
	if h.inLab(real) {
		return os.Stat(real)
	}
	return h.lstat(real)
}

// whole says how a folder is taken.
type whole struct {
	// leave names files and folders that are left out, wherever they are in it.
	leave []string
	// times keeps the times of the files.
	times bool
	// libraries takes what the ELF files in it are linked with, as far as it is there.
	libraries bool
	// strict makes what cannot be read an error; else it is left out.
	strict bool
}

// addFolder takes a folder and all that is in it.
func (h *host) addFolder(name string, how whole) error {
	real, err := h.add(name)
	if err != nil {
		return err
	}
	if h.folders[real] || h.inLab(real) {
		return nil
	}
	h.folders[real] = true
	entries, err := os.ReadDir(h.on(real))
	if err != nil {
		if how.strict {
			return err
		}
		return nil
	}
	for _, e := range entries {
		if slices.Contains(how.leave, e.Name()) {
			continue
		}
		if err := h.addEntry(path.Join(real, e.Name()), how); err != nil {
			return err
		}
	}
	return nil
}

func (h *host) addEntry(full string, how whole) error {
	info, err := h.lstat(full)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		real, err := h.add(full)
		if err != nil {
			// A link that leads nowhere is a link all the same.
			return nil
		}
		if target, err := h.lstat(real); err == nil && target.IsDir() && h.root == "" {
			return h.addFolder(real, how)
		}
		return nil
	}
	if info.IsDir() {
		return h.addFolder(full, how)
	}
	if !info.Mode().IsRegular() {
		// A socket, a pipe or a device of the host means nothing in the machine.
		return nil
	}
	if err := unix.Faccessat(unix.AT_FDCWD, h.on(full), unix.R_OK, unix.AT_EACCESS); err != nil {
		if how.strict {
			return &fs.PathError{Op: "open", Path: h.on(full), Err: err}
		}
		return nil
	}
	h.regular(full, info)
	if how.times {
		h.tree[inside(h.base, full)].modified = info.ModTime().Unix()
	}
	if how.libraries && isLibrary(full) {
		h.addLibraries(full)
	}
	return nil
}

// isLibrary says whether a name is that of a library or of a module of an
// interpreter: libx.so, libx.so.1, addon.node.
func isLibrary(name string) bool {
	name = path.Base(name)
	return strings.HasSuffix(name, ".so") || strings.Contains(name, ".so.") || strings.HasSuffix(name, ".node")
}

// missing says whether an error is about something that is not there.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}
