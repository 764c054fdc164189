package scenarios

import (
	"errors"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"outlive/lab/sandbox/parcel"
)

// guest checks what the virtual machine of the warp engine is to take along. Paths
// are written into the scenario as resolved the way the machine knows them, so that it
// runs from wherever it lies.
func (c *checker) guest() {
	k, n := &c.file.Guest, c.file.root.get("guest")
	c.guestFiles(n.get("files"), k)
	if root := n.get("root"); root != nil && k.Root != "" {
		c.guestRoot(root, k)
	}
	c.scenario.Guest = Guest{Files: k.Files, Root: k.Root}
}

func (c *checker) guestFiles(n *node, k *guestKeys) {
	if n != nil && n.kind == list && len(n.items) == 0 {
		c.report(n, "", "files is empty: name at least one, or leave it out")
	}
	seen := map[string]bool{}
	for i, name := range k.Files {
		item, clean := n.item(i), path.Clean(name)
		switch {
		case item.spoilt:
			continue
		case name == "" || strings.Contains(name, "\x00"):
			c.report(item, "", "a file of the guest is named by its absolute path, and this is none")
			continue
		case !strings.HasPrefix(name, "/"):
			c.report(item, "", "a file of the guest is named by its absolute path; what lies beside the scenario belongs into the files of the server or of a device")
		case clean == "/":
			c.report(item, "", "the whole machine does not go into a guest: name what is needed, or give it a root of its own with root")
		case replacedBySandbox(clean):
			c.report(item, "", "the lab has a /tmp and a /run of its own, which would hide this: put it elsewhere")
		case reservedInGuest(clean):
			c.report(item, "", "the guest has a %s of its own", clean)
		case seen[clean]:
			c.report(item, "", "%q is there twice", clip(clean))
		case c.missingOnHost(clean):
			c.report(item, "", "this machine has no %q", clip(clean))
		}
		seen[clean] = true
		k.Files[i] = clean
	}
}

// guestRoot checks the folder that becomes the guest's root.
func (c *checker) guestRoot(n *node, k *guestKeys) {
	given := k.Root
	if !strings.HasPrefix(given, "/") {
		full, err := filepath.Abs(filepath.Join(filepath.Dir(filepath.FromSlash(c.src.Path)), filepath.FromSlash(given)))
		if err != nil {
			c.report(n, "", "finding the folder: %v", err)
			return
		}
		k.Root = full
	}
	k.Root = path.Clean(k.Root)
	switch {
	case strings.Contains(given, "\x00"):
		c.report(n, "", "a path cannot contain the character NUL")
	case k.Root == "/":
		c.report(n, "", "the whole machine does not go into a guest: name a folder, such as an unpacked container image")
	case c.missingOnHost(k.Root):
		c.report(n, "", "there is no folder %q", clip(given))
	case c.src.Host != nil:
		if info, err := fs.Stat(c.src.Host, k.Root[1:]); err == nil && !info.IsDir() {
			c.report(n, "", "%q is not a folder", clip(given))
		}
	}
}

// reservedInGuest says whether a path lies where the guest's own kernel or lab is.
func reservedInGuest(p string) bool {
	for _, root := range []string{"/proc", "/sys", "/dev", parcel.Dir} {
		if p == root || strings.HasPrefix(p, root+"/") {
			return true
		}
	}
	return false
}

// missingOnHost says that a path of the machine is known not to be there.
func (c *checker) missingOnHost(p string) bool {
	if c.src.Host == nil {
		return false
	}
	_, err := fs.Stat(c.src.Host, strings.TrimPrefix(p, "/"))
	return errors.Is(err, fs.ErrNotExist)
}
