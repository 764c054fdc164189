package image

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// unfold writes a tree to a folder.
func unfold(t testing.TB, all tree, dir string) {
	t.Helper()
	for _, name := range all.names() {
		n, full := all[name], filepath.Join(dir, name)
		var err error
		switch n.mode.Type() {
		case fs.ModeDir:
			err = os.MkdirAll(full, n.mode.Perm())
		case fs.ModeSymlink:
			err = os.Symlink(n.link, full)
		case 0:
			err = unfoldFile(n, full)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func unfoldFile(n *node, full string) error {
	r, err := n.open()
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(full, os.O_WRONLY|os.O_CREATE|os.O_EXCL, n.mode.Perm())
	if err != nil {
		return err
	}
	defer w.Close()
	_, err = io.Copy(w, r)
	return err
}

// inRoot runs a program in a folder as its root and gives what it says.
func inRoot(t testing.TB, root string, argv []string) string {
	t.Helper()
	if err := os.MkdirAll(root+"/proc", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("/proc", root+"/proc", "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(root+"/proc", unix.MNT_DETACH) }()
	file, err := newHost(root, newTree(), ".").findProgram(argv[0], "/")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Cmd{
		Path: file, Args: argv, Dir: "/", Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "LANG=C.UTF-8"},
		Stdout: &out, Stderr: &out, SysProcAttr: &syscall.SysProcAttr{Chroot: root},
	}
	if err := cmd.Run(); err != nil {
		// Help ends with an error in some programs.
		t.Logf("%s: %v", argv[0], err)
	}
	return out.String()
}
