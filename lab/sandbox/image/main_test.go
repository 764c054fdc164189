package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"testing"

	"outlive/lab/sandbox"
)

// What the test binary is started as, beside being a test: a builder to be killed, or
// the init of a virtual machine.
const (
	builderVariable = "OUTLIVE_TEST_BUILD"
	guestVariable   = "OUTLIVE_TEST_GUEST"
)

func TestMain(m *testing.M) {
	// The race detector sleeps for a second at the end of every process.
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	sandbox.Main()
	if os.Getenv(guestVariable) != "" && os.Getpid() == 1 {
		beGuest()
	}
	if kernel := os.Getenv(builderVariable); kernel != "" {
		i, err := Build(context.Background(), Options{Kernel: kernel})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(i.Key)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// builderProcess is a process that builds an image from a kernel's folder.
func builderProcess(kernel string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), builderVariable+"="+kernel)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	return cmd, &out
}

// describe lists what is in a tree: a line for each path with its mode and its
// contents' sum, or the link's target.
func describe(t tree) (string, error) {
	var b bytes.Buffer
	for _, name := range t.names() {
		n := t[name]
		if n.mode&fs.ModeSymlink != 0 {
			line(&b, name, n.mode, n.link)
			continue
		}
		if !n.mode.IsRegular() {
			line(&b, name, n.mode, "")
			continue
		}
		r, err := n.open()
		if err != nil {
			return "", err
		}
		sum, err := digest(r)
		_ = r.Close()
		if err != nil {
			return "", err
		}
		line(&b, name, n.mode, sum)
	}
	return b.String(), nil
}

// describeFolder is describe for a folder of a file system.
func describeFolder(dir string) (string, error) {
	var b bytes.Buffer
	err := filepath.WalkDir(dir, func(full string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		what := ""
		switch d.Type() {
		case fs.ModeSymlink:
			what, err = os.Readlink(full)
		case 0:
			var f *os.File
			if f, err = os.Open(full); err == nil {
				what, err = digest(f)
				_ = f.Close()
			}
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, full)
		line(&b, rel, info.Mode(), what)
		return err
	})
	return b.String(), err
}

func line(to io.Writer, name string, mode fs.FileMode, what string) {
	_, _ = fmt.Fprintf(to, "%s %s %s\n", path.Clean(name), mode, what)
}

func digest(r io.Reader) (string, error) {
	hash := sha256.New()
	_, err := io.Copy(hash, r)
	return hex.EncodeToString(hash.Sum(nil))[:16], err
}
