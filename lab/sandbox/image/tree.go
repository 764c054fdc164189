package image

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

// tree is a file system to be written: what is at each path, without a leading
// slash; "." is its root. Everything in it belongs to root.
type tree map[string]*node

// node is a file, folder, symbolic link or device of a tree.
type node struct {
	mode fs.FileMode
	// The contents of a regular file: from a file of the host, or data.
	from string
	data []byte
	size int64
	// link is the target of a symbolic link.
	link string
	// modified is in seconds since 1970. It is 0 but where a program compares it.
	modified int64
	// major and minor are the numbers of a device.
	major, minor uint32
}

// linkMode is the mode of every symbolic link.
const linkMode = fs.ModeSymlink | 0o777

func newTree() tree { return tree{".": {mode: fs.ModeDir | 0o755}} }

// folder adds a folder and those that it is in, unless something is there.
func (t tree) folder(name string, perm fs.FileMode) {
	if _, there := t[name]; there {
		return
	}
	if dir := path.Dir(name); dir != name {
		t.folder(dir, 0o755)
	}
	t[name] = &node{mode: fs.ModeDir | perm}
}

// put adds anything, and the folders that it is in.
func (t tree) put(name string, n *node) {
	t.folder(path.Dir(name), 0o755)
	t[name] = n
}

// file adds a regular file with the given contents.
func (t tree) file(name string, data []byte) {
	t.put(name, &node{mode: 0o644, data: data, size: int64(len(data))})
}

// names are the paths in the order of writing: a folder before what is in it.
func (t tree) names() []string { return slices.Sorted(maps.Keys(t)) }

// check guards against a path that leads through something else than folders, and
// so to nothing.
func (t tree) check() error {
	for name := range t {
		if parent := t[path.Dir(name)]; parent == nil || !parent.mode.IsDir() {
			return fmt.Errorf("%s is in something that is not a folder", name)
		}
	}
	return nil
}

// entries lists what is in each folder, sorted by name.
func (t tree) entries() map[string][]string {
	all := make(map[string][]string)
	for name := range t {
		if name != "." {
			all[path.Dir(name)] = append(all[path.Dir(name)], path.Base(name))
		}
	}
	for _, list := range all {
		slices.Sort(list)
	}
	return all
}

// open gives the contents of a regular file, exactly n.size bytes.
func (n *node) open() (io.ReadCloser, error) {
	if n.from == "" {
		return io.NopCloser(bytes.NewReader(n.data)), nil
	}
	f, err := os.Open(n.from)
	if err != nil {
		return nil, err
	}
	return &exact{f: f, left: n.size}, nil
}

// exact reads a file that must have the size that it had when it was listed, since
// the place for it is laid out by then.
type exact struct {
	f    *os.File
	left int64
}

func (e *exact) Close() error { return e.f.Close() }

func (e *exact) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.f.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%s became shorter while it was read; do not change it during the run's preparation", e.f.Name())
	}
	return n, err
}

// permissions are those that a file or folder of the host gets in an image: whether
// it may be executed, and whether everyone may write to it. The rest depends on the
// user and his umask, and everything belongs to root in the machine.
func permissions(mode fs.FileMode) fs.FileMode {
	perm := fs.FileMode(0o644)
	if mode.IsDir() || mode&0o111 != 0 {
		perm = 0o755
	}
	if mode&0o002 != 0 {
		perm |= 0o022
		if mode&fs.ModeSticky != 0 {
			perm |= fs.ModeSticky
		}
	}
	return perm
}

// unixMode is a mode in the form of stat(2), with the type of the file.
func unixMode(mode fs.FileMode) uint32 {
	m := uint32(mode.Perm())
	if mode&fs.ModeSticky != 0 {
		m |= 0o1000
	}
	switch mode.Type() {
	case fs.ModeDir:
		m |= 0o040000
	case fs.ModeSymlink:
		m |= 0o120000
	case fs.ModeDevice | fs.ModeCharDevice:
		m |= 0o020000
	default:
		m |= 0o100000
	}
	return m
}

// inside is an absolute path as the name of a tree's node below base.
func inside(base, absolute string) string {
	return path.Join(base, strings.TrimPrefix(absolute, "/"))
}
