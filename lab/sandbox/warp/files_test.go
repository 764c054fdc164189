package warp_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"outlive/lab/feature"
	"outlive/lab/labtest"
	"outlive/lab/sandbox/warp"
)

// contents lists what is below a folder: permissions and contents of files, permissions
// of folders.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		what := info.Mode().String()
		if info.Mode().IsRegular() {
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				return err
			}
			if len(text) > 100 {
				text = fmt.Appendf(nil, "%d bytes", len(text))
			}
			what = strings.TrimRight(what+" "+string(text), " ")
		}
		found[name] = what
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// pattern is a file's contents that are nowhere the same.
func pattern(size int) []byte {
	b := make([]byte, size)
	for i := 0; i < size; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], uint64(i))
	}
	return b
}

const bigSize = 8 << 20

var scribe = job("scribe", func(_ context.Context, _ []byte, report io.Writer) error {
	text, err := os.ReadFile("in/read")
	if err != nil {
		return err
	}
	say(report, string(text))
	info, err := os.Stat("in/run.sh")
	if err != nil {
		return err
	}
	say(report, info.Mode())
	if target, err := os.Readlink("in/link"); err != nil || target != "read" {
		return fmt.Errorf("the link leads to %q: %w", target, err)
	}
	return errors.Join(
		os.WriteFile("in/changed", []byte("by the job"), 0o600),
		os.WriteFile("in/grown", []byte("longer than it was"), 0o644),
		os.MkdirAll("out/deep", 0o755),
		os.Chmod("out/deep", 0o750),
		os.WriteFile("out/deep/new", []byte("made by the job"), 0o644),
		os.WriteFile("out/tool", []byte("#!/bin/sh\n"), 0o755),
		os.Chmod("out/tool", 0o755),
		os.WriteFile("out/empty", nil, 0o644),
		os.WriteFile("out/big", pattern(bigSize), 0o644),
		os.WriteFile("out/sparse", nil, 0o644),
		os.Truncate("out/sparse", 1<<30),
		os.Symlink("big", "out/link"),
		unix.Mkfifo("out/pipe", 0o644),
	)
})

// The job finds a copy of the folder, and what it has changed or made comes back: no
// more than that.
func TestFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"read": "as it was", "untouched": "as it was", "changed": "as it was", "grown": "short", "run.sh": ""} {
		write(t, filepath.Join(dir, "in", name), text)
	}
	if err := errors.Join(os.Chmod(dir+"/in/run.sh", 0o755), os.Symlink("read", dir+"/in/link")); err != nil {
		t.Fatal(err)
	}
	// What the guest has not touched is not written again: this is not what it knows.
	r := newReport()
	g := started(t, warp.Spec{Job: scribe, Dir: dir, Report: r.line})
	write(t, dir+"/in/untouched", "since the start")
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"as it was", "-rwxr-xr-x"}, r.rest()); diff != "" {
		t.Errorf("unexpected report (-want +got):\n%s", diff)
	}
	if info, err := os.Stat(dir + "/out/sparse"); err != nil || info.Size() != 1<<30 {
		t.Errorf("the large file with nothing in it is %v, %v", info, err)
	} else if err := os.Remove(dir + "/out/sparse"); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"in": "drwxr-xr-x", "in/read": "-rw-r--r-- as it was", "in/untouched": "-rw-r--r-- since the start",
		"in/changed": "-rw-r--r-- by the job", "in/grown": "-rw-r--r-- longer than it was", "in/run.sh": "-rwxr-xr-x", "in/link": "Lrwxrwxrwx",
		"out": "drwxr-xr-x", "out/deep": "drwxr-x---", "out/deep/new": "-rw-r--r-- made by the job", "out/tool": "-rwxr-xr-x #!/bin/sh\n",
		"out/empty": "-rw-r--r--", "out/big": fmt.Sprintf("-rw-r--r-- %d bytes", bigSize),
	}
	if diff := cmp.Diff(want, contents(t, dir)); diff != "" {
		t.Errorf("unexpected files (-want +got):\n%s", diff)
	}
	if big, err := os.ReadFile(dir + "/out/big"); err != nil || !bytes.Equal(big, pattern(bigSize)) {
		t.Errorf("the contents of the large file are not what was written: %v", err)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A host that has no room for the files says so, and has what there was room for.
func TestFullHost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		labtest.SkipUnsupported(t, &feature.Unsupported{Feature: "a small file system", Needs: "the right to mount (root)", Err: err})
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	for _, name := range []string{"read", "changed", "run.sh"} {
		write(t, filepath.Join(dir, "in", name), "as it was")
	}
	if err := os.Symlink("read", dir+"/in/link"); err != nil {
		t.Fatal(err)
	}
	r := newReport()
	err := started(t, warp.Spec{Job: scribe, Dir: dir, Report: r.line}).Wait()
	failure, ok := errors.AsType[*warp.Failure](err)
	if !ok || failure.What != "what the guest has left is not complete" || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Wait returned %v", err)
	}
	if len(r.rest()) != 2 {
		t.Errorf("it reported %q", r.all)
	}
	if got := contents(t, dir)["in/changed"]; got != "-rw-r--r-- by the job" {
		t.Errorf("the first file is %q", got)
	}
}

var glutton = job("glutton", func(_ context.Context, _ []byte, report io.Writer) error {
	err := takeAll("endless")
	say(report, err)
	return errors.Join(err, os.Remove("endless"), os.WriteFile("evidence", []byte("there is room again"), 0o644))
})

// takeAll makes a file grow as long as there is room.
func takeAll(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	at, piece := int64(0), make([]byte, 1<<20)
	// To reserve room is faster than to fill it.
	for unix.Fallocate(int(f.Fd()), 0, at, int64(len(piece))) == nil {
		at += int64(len(piece))
	}
	_, err = f.WriteAt(piece, at)
	return err
}

// A job that fills the guest's result folder gets the error that a full disk gives,
// before the guest's memory has run out.
func TestFullGuest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lines, err := finished(t, warp.Spec{Job: glutton, Dir: dir})
	const want = "write endless: no space left on device"
	if diff := cmp.Diff([]string{want}, lines); diff != "" {
		t.Errorf("unexpected report (-want +got):\n%s", diff)
	}
	if err == nil || err.Error() != want {
		t.Errorf("Wait returned %v", err)
	}
	if diff := cmp.Diff(map[string]string{"evidence": "-rw-r--r-- there is room again"}, contents(t, dir)); diff != "" {
		t.Errorf("unexpected files (-want +got):\n%s", diff)
	}
}
