package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"outlive/lab/sandbox"
	"outlive/lab/sandbox/parcel"
)

// Input is what goes into a run.
type Input struct {
	// Order is what the guest is to do. Its Path is set by Pack.
	Order parcel.Order
	// Dir is the result folder on this machine, as far as it is prepared. In the
	// guest it is parcel.Dir.
	Dir string
	// Programs are the commands that the scenario runs. Each is taken along with the
	// libraries, interpreters and modules that it needs, and with the programs that
	// its arguments or, where it is a script, its text name.
	Programs []Program
	// Files are further files and folders of this machine, absolute; they are at the
	// same path in the guest.
	Files []string
	// Root is a folder that becomes the guest's root, for example an unpacked
	// container image: Programs and Files are then those in it. It must have
	// iptables-restore. Empty means a root made of what the programs need.
	Root string
}

// Pack writes the file system of a run, an erofs image, to a file that has parcel.InSize
// and is otherwise empty. The bytes depend on the input alone: not on the time, the
// umask, or who runs it. An *Unrunnable says that a program cannot run in the machine.
func Pack(ctx context.Context, in Input, to *os.File) error {
	t, err := plan(in)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := writeErofs(to, t, parcel.InSize); err != nil {
		if errors.Is(err, errTooBig) {
			return fmt.Errorf("packing the programs and files of the run: %w; "+
				"leave out large folders beside the scenario, or run it live", err)
		}
		return fmt.Errorf("packing the programs and files of the run: %w", err)
	}
	return nil
}

// plan is what the image of a run will hold.
func plan(in Input) (tree, error) {
	t := newTree()
	t.folder(parcel.LabFolder, 0o755)
	t.folder(parcel.RootFolder, 0o755)

	lab, err := "", error(nil)
	if in.Dir != "" {
		if lab, err = realPath(in.Dir); err != nil {
			return nil, fmt.Errorf("packing the result folder: %w", err)
		}
		if err := addResults(t, lab); err != nil {
			return nil, fmt.Errorf("packing the result folder: %w", err)
		}
	}
	root := ""
	if in.Root != "" {
		if root, err = realPath(in.Root); err != nil {
			return nil, fmt.Errorf("packing the root folder: %w", err)
		}
	}
	h := newHost(root, t, parcel.RootFolder)
	h.lab = lab
	if err := h.fill(in); err != nil {
		return nil, err
	}
	in.Order.Path = strings.Join(h.path(), ":")
	order, err := json.Marshal(in.Order)
	if err != nil {
		return nil, fmt.Errorf("writing the order of the run: %w", err)
	}
	t.file(parcel.OrderFile, order)
	return t, nil
}

func (h *host) fill(in Input) error {
	if h.root != "" {
		if err := h.addFolder("/", whole{strict: true}); err != nil {
			return fmt.Errorf("packing the root folder: %w", err)
		}
	} else if err := h.addSystem(); err != nil {
		return err
	}
	for _, p := range in.Programs {
		if p.Dir != "" {
			dir, err := realPath(p.Dir)
			if err != nil {
				return fmt.Errorf("packing the programs: %w", err)
			}
			p.Dir = dir
		}
		if err := h.addProgram(p); err != nil {
			return err
		}
	}
	for _, name := range in.Files {
		if err := h.addNamed(name); err != nil {
			return fmt.Errorf("packing %s: %w", name, err)
		}
	}
	if err := h.addFirewall(); err != nil {
		return err
	}
	if h.root == "" {
		h.tree.file(inside(h.base, "/etc/ld.so.cache"), h.loaderCache())
	}
	return nil
}

// addNamed takes a file or folder that the user has named.
func (h *host) addNamed(name string) error {
	if !filepath.IsAbs(name) {
		return errors.New("its path must be absolute, as it has the same one in the virtual machine")
	}
	if sandbox.Hides(filepath.Clean(name)) {
		return errors.New("it lies in a folder that the lab replaces by an empty one of its own (/run, /tmp, /dev/shm)")
	}
	real, err := h.add(name)
	if err != nil {
		return err
	}
	info, err := h.stat(real)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return h.addFolder(real, whole{libraries: true, strict: true})
	}
	if info.Mode()&0o111 != 0 || isLibrary(real) {
		h.addLibraries(real)
	}
	return nil
}

// path are the folders in which the guest finds the programs.
func (h *host) path() []string {
	var dirs []string
	for _, dir := range h.places {
		if h.found[dir] || slices.Contains(standardPath, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// addResults takes the contents of the result folder. Symbolic links in it are kept,
// as they mostly lead to what is beside them.
func addResults(t tree, dir string) error {
	return filepath.WalkDir(dir, func(full string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, full)
		if err != nil || rel == "." {
			return err
		}
		name := parcel.LabFolder + "/" + filepath.ToSlash(rel)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch d.Type() {
		case fs.ModeDir:
			t.folder(name, permissions(info.Mode()))
		case fs.ModeSymlink:
			target, err := os.Readlink(full)
			if err != nil {
				return err
			}
			t.put(name, &node{mode: linkMode, link: target})
		case 0:
			t.put(name, &node{mode: permissions(info.Mode()), from: full, size: info.Size()})
		}
		return nil
	})
}

// realPath is an absolute path without symbolic links.
func realPath(name string) (string, error) {
	absolute, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(absolute)
}
