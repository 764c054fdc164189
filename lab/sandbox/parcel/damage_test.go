package parcel_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"outlive/lab/labtest"
	"outlive/lab/sandbox"
	"outlive/lab/sandbox/parcel"
)

func TestMain(m *testing.M) {
	sandbox.Main()
	os.Exit(m.Run())
}

func TestNoEnd(t *testing.T) {
	f := device(t)
	w := writer(t, f)
	if err := w.Tick(1); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := parcel.NewReader(f).Finish(dir); !errors.Is(err, parcel.ErrNoEnd) {
		t.Errorf("the end of a guest that told none: %v", err)
	}
	short, err := os.Create(filepath.Join(t.TempDir(), "short"))
	if err != nil {
		t.Fatal(err)
	}
	defer short.Close()
	if _, err := parcel.NewReader(short).Finish(dir); err == nil || errors.Is(err, parcel.ErrNoEnd) {
		t.Errorf("the end on a file that is no device: %v", err)
	}
	if _, _, err := parcel.NewReader(short).Next(); err == nil {
		t.Error("a file that is no device gives lines")
	}
}

// Any byte that changes is found: the file concerned is not left by half, and the end
// is still told.
func TestDamage(t *testing.T) {
	from := t.TempDir()
	put(t, from+"/a", strings.Repeat("a", 1000), 0o644)
	put(t, from+"/b", strings.Repeat("b", 1000), 0o644)
	f := device(t)
	finish(t, writer(t, f), parcel.End{Elapsed: 7}, from, "a", "b")
	flip := func(at int64) {
		var b [1]byte
		if _, err := f.ReadAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 0x80
		if _, err := f.WriteAt(b[:], at); err != nil {
			t.Fatal(err)
		}
	}
	for at := parcel.FilesAt + 1100; at < parcel.FilesAt+2050; at += 13 {
		dir := t.TempDir()
		flip(at)
		end, err := parcel.NewReader(f).Finish(dir)
		flip(at)
		if err == nil || end.Elapsed != 7 {
			t.Fatalf("damage at %d: error %v, end %+v", at, err, end)
		}
		got := tree(t, dir)
		if len(got) != 1 || got["a"] != "-rw-r--r-- "+strings.Repeat("a", 1000) {
			t.Fatalf("damage at %d leaves %d files", at, len(got))
		}
	}
	for _, at := range []int64{parcel.SlotAt, parcel.SlotAt + 9, parcel.SlotAt + 13, parcel.SlotAt + 21, parcel.EndAt + 3} {
		flip(at)
		if _, err := parcel.NewReader(f).Finish(t.TempDir()); !errors.Is(err, parcel.ErrNoEnd) {
			t.Errorf("damage at %d: %v", at, err)
		}
		flip(at)
	}
}

// entry encodes an entry of the stream of files.
func entry(what byte, numbers []any, rest string) []byte {
	b := []byte{what}
	for _, n := range numbers {
		switch n := n.(type) {
		case uint32:
			b = binary.LittleEndian.AppendUint32(b, n)
		case uint64:
			b = binary.LittleEndian.AppendUint64(b, n)
		}
	}
	return append(b, rest...)
}

func folder(name string) []byte { return entry(1, []any{uint32(0o755)}, name) }
func file(name string, size uint64) []byte {
	return entry(2, []any{uint32(0o644), size}, name)
}
func piece(at uint64, data string) []byte { return entry(3, []any{at}, data) }

// A guest that lies is not believed, and gets nowhere.
func TestLies(t *testing.T) {
	tests := map[string][][]byte{
		"up":                {file("../up", 1), piece(0, "x")},
		"inner up":          {file("a/../../up", 1)},
		"absolute":          {file("/tmp/up", 1)},
		"the folder itself": {folder(".")},
		"no name":           {file("", 1)},
		"unclean":           {file("a//b", 1)},
		"folder up":         {folder("..")},
		"long name":         {file(strings.Repeat("n/", 4096)+"n", 1)},
		"zero in name":      {file("a\x00b", 1)},
		"size":              {file("a", 1<<50)},
		"largest size":      {file("a", 1<<64-1)},
		"piece behind":      {file("a", 10), piece(8, "xyz")},
		"piece far":         {file("a", 10), piece(1<<64-2, "xyz")},
		"piece of nothing":  {piece(0, "x")},
		"unknown":           {entry(9, nil, "x")},
		"bare":              {entry(2, nil, "")},
		"through a link":    {file("link/passwd", 1), piece(0, "x")},
		"folder in a link":  {folder("link/sub")},
	}
	for name, entries := range tests {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			dir, elsewhere := parent+"/result", parent+"/elsewhere"
			if err := errors.Join(os.Mkdir(dir, 0o755), os.Mkdir(elsewhere, 0o755), os.Symlink(elsewhere, dir+"/link")); err != nil {
				t.Fatal(err)
			}
			f := device(t)
			if err := parcel.WriteEntries(f, parcel.End{Elapsed: 7}, entries...); err != nil {
				t.Fatal(err)
			}
			end, err := parcel.NewReader(f).Finish(dir)
			if err == nil || end.Elapsed != 7 {
				t.Errorf("error %v, end %+v", err, end)
			}
			got := tree(t, parent)
			delete(got, "result/a") // made, and removed unless nothing came after it
			if len(got) != 3 {
				t.Errorf("it made %q", got)
			}
		})
	}
}

// fullDiskJob unpacks into a file system that is too small, which anyone can mount in
// a sandbox, and says what went wrong.
const fullDiskJob = "parcel test: full disk"

func init() {
	sandbox.Register(fullDiskJob, func(context.Context, []byte, io.Writer) error {
		const dir, from = "/tmp", "/run/outlive"
		err := errors.Join(
			unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"),
			os.WriteFile(from+"/fits", []byte("fits"), 0o600),
			os.WriteFile(from+"/large", bytes.Repeat([]byte("large"), 1<<20), 0o600),
		)
		if err != nil {
			return err
		}
		f, err := os.Create("/dev/shm/device")
		if err != nil {
			return err
		}
		if err := parcel.Format(f); err != nil {
			return err
		}
		w, err := parcel.NewWriter(f)
		if err != nil {
			return err
		}
		if err := w.Finish(parcel.End{Elapsed: 7}, from, []string{"fits", "large"}); err != nil {
			return err
		}
		end, err := parcel.NewReader(f).Finish(dir)
		if !errors.Is(err, unix.ENOSPC) || end.Elapsed != 7 {
			return fmt.Errorf("error %w, end %+v", err, end)
		}
		left, err := os.ReadDir(dir)
		if err != nil || len(left) != 1 || left[0].Name() != "fits" {
			return fmt.Errorf("left is %v (%w)", left, err)
		}
		return nil
	})
}

// A full disk is an error that says so, and no file is there by half.
func TestFullDisk(t *testing.T) {
	s, err := sandbox.Start(t.Context(), sandbox.Spec{Job: fullDiskJob})
	labtest.SkipUnsupported(t, err)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(); err != nil {
		t.Error(err)
	}
}

// Whatever the guest writes, the host reads on, and writes nothing but below the folder.
func FuzzReader(f *testing.F) {
	f.Add([]byte{}, []byte{}, []byte{})
	f.Add([]byte(`{"elapsed":7}`), file("a", 3), piece(0, "abc"))
	f.Add([]byte(`{"job":{"text":"x","exit":{"signal":9}}}`), folder("../x"), file("x/y", 1<<40))
	f.Add([]byte(`{"lost":null}`), file("link/x", 1), piece(0, "z"))
	f.Fuzz(func(t *testing.T, end, first, second []byte) {
		parent := t.TempDir()
		dir := parent + "/result"
		if err := errors.Join(os.Mkdir(dir, 0o755), os.Symlink("..", dir+"/link")); err != nil {
			t.Fatal(err)
		}
		dev := device(t)
		if err := parcel.WriteRaw(dev, end, first, second); err != nil {
			t.Fatal(err)
		}
		for _, at := range []int64{4096, 8 << 20} {
			if _, err := dev.WriteAt(first, at); err != nil {
				t.Fatal(err)
			}
		}
		r := parcel.NewReader(dev)
		drain(t, r)
		got, err := r.Finish(dir)
		if err == nil {
			_ = got.Err()
		}
		entries, err := os.ReadDir(parent)
		if err != nil || len(entries) != 1 {
			t.Errorf("beside the folder there is %v (%v)", entries, err)
		}
	})
}
