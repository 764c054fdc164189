package qemu

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/sandbox/image"
)

// What was found out of an emulator holds until its file is another one.
func TestRemember(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	const elf = "\x7fELF and so on"
	put := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "qemu")
	program := &Program{Path: path, Version: "7.2.22", Machine: "pc-q35-7.2"}
	for _, test := range []struct {
		name   string
		before string
		change func()
		want   *Program
	}{
		{"nothing happened", elf, func() {}, program},
		{"written to", elf, func() { put(path, elf) }, nil},
		{"replaced", elf, func() {
			put(path+".new", elf)
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		}, nil},
		{"gone", elf, func() {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, nil},
		{"a script", "#!/bin/sh\n", func() {}, nil},
		{"broken memory", elf, func() {
			cache, err := image.Cache()
			if err != nil {
				t.Fatal(err)
			}
			put(filepath.Join(cache, rememberedFile), "{")
		}, nil},
		{"another program", elf, func() {
			put(path+"2", elf)
			remember(&Program{Path: path + "2"})
		}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			_ = os.Remove(path)
			put(path, test.before)
			remember(program)
			test.change()
			if diff := cmp.Diff(test.want, recall(path)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
