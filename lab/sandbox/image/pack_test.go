package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"outlive/lab/feature"
	"outlive/lab/labtest"
	"outlive/lab/sandbox/parcel"
)

// planned is plan for a test that the machine may lack programs for.
func planned(t testing.TB, in Input) tree {
	t.Helper()
	got, err := plan(in)
	labtest.SkipUnsupported(t, err)
	return got
}

// installed says whether the machine has a program that the lab itself does without: an
// interpreter that a scenario may use. What the gate installs is tried everywhere.
func installed(t testing.TB, name string) bool {
	_, err := newHost("", newTree(), ".").findProgram(name, "/")
	if err != nil {
		t.Logf("not tried: %v", err)
	}
	return err == nil
}

// interpreters are what installed is about.
var interpreters = []string{"/usr/bin/python3", "node", "java", "erl"}

// needs skips where the machine has no such program.
func needs(t testing.TB, name string) {
	t.Helper()
	if _, err := newHost("", newTree(), ".").findProgram(name, "/"); err != nil {
		labtest.SkipUnsupported(t, &feature.Unsupported{Feature: name, Needs: "its package", Err: err})
	}
}

func TestPlan(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/work/server/start.sh", []byte("#!/bin/sh\n# neither this: mkfs\nsort data | ./own --config=/etc/services\nexec grep x\n"))
	write(t, dir+"/work/server/own", crafted{}.bytes())
	write(t, dir+"/work/server/env.sh", []byte("#!/usr/bin/env sh\n"))
	order := parcel.Order{Job: "scenario", Data: []byte("{}"), Seed: 7, Deadline: time.Hour}
	in := Input{Order: order, Dir: dir, Programs: []Program{
		{Argv: []string{"./start.sh"}, Dir: dir + "/work/server"},
		{Argv: []string{"./env.sh", "-f", "/etc/hostname"}, Dir: dir + "/work/server"},
		{Argv: []string{"sh", "-c", "cat x | uniq"}, Dir: dir + "/work/server"},
	}}
	got := planned(t, in)

	var read parcel.Order
	if err := json.Unmarshal(got[parcel.OrderFile].data, &read); err != nil {
		t.Fatal(err)
	}
	if read.Path == "" {
		t.Error("the order says nothing of where programs are")
	}
	order.Path = read.Path
	if diff := cmp.Diff(order, read); diff != "" {
		t.Errorf("the order is another one (-want +got):\n%s", diff)
	}
	has := func(name string) bool {
		h := newHost("", newTree(), ".")
		full, err := h.findProgram(name, "/")
		if err != nil {
			t.Fatal(err)
		}
		real, err := h.resolve(full)
		return err == nil && got[inside(parcel.RootFolder, real)] != nil
	}
	for _, name := range []string{"sh", "sort", "grep", "env", "cat", "uniq", "iptables-restore", "iptables-save"} {
		if !has(name) {
			t.Errorf("%s is not taken", name)
		}
	}
	if has("tac") {
		t.Error("a program is taken that nothing names")
	}
	for name, mode := range map[string]string{
		"lab/work/server/start.sh": "-rwxr-xr-x", "lab/work": "drwxr-xr-x", "root/etc/services": "-rw-r--r--", "root/etc/hostname": "",
		"root/etc/passwd": "-rw-r--r--", "root/etc/ld.so.cache": "-rw-r--r--",
	} {
		if n := got[name]; n == nil || mode != "" && n.mode.String() != mode {
			t.Errorf("%s is %+v, not %s", name, n, mode)
		}
	}
	if n := got["root/usr/sbin/iptables-restore"]; n == nil || !strings.HasSuffix(n.link, "/iptables-nft-restore") {
		t.Errorf("iptables-restore is %+v", n)
	}
	for _, person := range []string{":1000:", "/home/"} {
		if bytes.Contains(got["root/etc/passwd"].data, []byte(person)) {
			t.Errorf("people of this machine are in the image: %s", got["root/etc/passwd"].data)
		}
	}
}

func TestPackErrors(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/plain", []byte("hello"))
	write(t, dir+"/empty", nil)
	write(t, dir+"/noperl", []byte("#!/usr/bin/nosuch\n"))
	write(t, dir+"/noenv", []byte("#!/usr/bin/env nosuch\n"))
	write(t, dir+"/arm", crafted{machine: 183}.bytes())
	write(t, dir+"/byscript", []byte("#!/bin/sh\nexec ./arm\n"))
	write(t, dir+"/shims/python3", []byte("#!/bin/sh\nexec pyenv\n"))
	if err := os.WriteFile(dir+"/data", []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	hidden, err := os.MkdirTemp("/tmp", "outlive-image-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(hidden) })
	write(t, hidden+"/server", crafted{}.bytes())

	for _, c := range []struct {
		argv    []string
		message string
	}{
		{[]string{"nosuchprogram"}, "it was not found"},
		{[]string{"./nosuch"}, "check the path"},
		{[]string{"./data"}, "chmod +x"},
		{[]string{"."}, "folder"},
		{[]string{"./shims"}, "folder"},
		{[]string{"./plain"}, "neither a Linux program nor a script"},
		{[]string{"./empty"}, "is empty"},
		{[]string{"./noperl"}, "needs the interpreter /usr/bin/nosuch"},
		{[]string{"./noenv"}, "needs the interpreter nosuch"},
		{[]string{"./arm"}, "arm64"},
		{[]string{"./byscript"}, "arm64"},
		{[]string{"sh", "-c", "true; ./arm"}, "arm64"},
		{[]string{"./shims/python3"}, "shim of a version manager"},
		{[]string{hidden + "/server"}, "beside the scenario"},
	} {
		_, err := plan(Input{Dir: dir, Programs: []Program{{Argv: c.argv, Dir: dir}}})
		var u *Unrunnable
		if !errors.As(err, &u) || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%q gives %v, without %q", c.argv, err, c.message)
		}
	}
	if _, err := plan(Input{Programs: []Program{{}}}); err == nil {
		t.Error("a program without a name is taken")
	}
	for _, in := range []Input{{Dir: dir + "/nosuch"}, {Root: dir + "/nosuch"}, {Files: []string{"relative"}}, {Files: []string{"/nosuch"}}, {Files: []string{"/tmp"}}} {
		if _, err := plan(in); err == nil || errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%+v gives %v", in, err)
		}
	}
}

func TestPackTooBig(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(dir + "/big")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(2*parcel.InSize), f.Close()); err != nil {
		t.Fatal(err)
	}
	planned(t, Input{})
	err = Pack(t.Context(), Input{Dir: dir}, nil)
	if !errors.Is(err, errTooBig) || !strings.Contains(err.Error(), "of the 1024 MiB") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Pack(ctx, Input{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled, got %v", err)
	}
}

// TestFileShrinks changes a file between its being listed and its being read.
func TestFileShrinks(t *testing.T) {
	dir := t.TempDir()
	name := write(t, dir+"/file", bytes.Repeat([]byte("x"), 10_000))
	got := newTree()
	if err := addResults(got, dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, 5); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(t.TempDir() + "/image")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := writeErofs(out, got, parcel.InSize); err == nil || !strings.Contains(err.Error(), "became shorter") {
		t.Errorf("got %v", err)
	}
}

const sumVariable = "OUTLIVE_TEST_SUM"

// TestSameBytes packs the same input at another time, with another umask, from a copy
// made in another order, and as another user.
func TestSameBytes(t *testing.T) {
	in := Input{Order: parcel.Order{Job: "same", Seed: 3}, Programs: []Program{{Argv: []string{"sh", "-c", "sort"}, Dir: "/"}}}
	planned(t, in)
	first := contents(t, packed(t, in))
	sum, err := digest(bytes.NewReader(first))
	if err != nil {
		t.Fatal(err)
	}
	if other := os.Getenv(sumVariable); other != "" {
		if sum != other {
			t.Error("another user's image has other bytes")
		}
		return
	}

	make := func(names ...string) Input {
		copied := in
		copied.Dir = t.TempDir()
		for _, name := range names {
			write(t, filepath.Join(copied.Dir, name), []byte(name))
		}
		return copied
	}
	one := contents(t, packed(t, make("a/b", "c", "d/e/f")))
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	two := make("d/e/f", "c", "a/b")
	long := time.Unix(1_000_000_000, 0)
	if err := os.Chtimes(two.Dir+"/c", long, long); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one, contents(t, packed(t, two))) {
		t.Error("another umask, time and order give other bytes")
	}
	three := in
	three.Order.Seed++
	if bytes.Equal(first, contents(t, packed(t, three))) {
		t.Error("another seed gives the same bytes")
	}
	if os.Geteuid() == 0 {
		labtest.AsNobody(t, sumVariable+"="+sum)
	}
}

// TestProgramsRun puts the root of a run in a folder and runs the programs there.
func TestProgramsRun(t *testing.T) {
	for _, c := range []struct {
		name string
		argv []string
		says string
	}{
		{"iptables", []string{"iptables-restore", "--version"}, "nf_tables"},
		{"mosquitto", []string{"mosquitto", "-h"}, "mosquitto version"},
		{"mosquitto_sub", []string{"mosquitto_sub", "--help"}, "mosquitto_sub"},
		{"shell", []string{"/bin/sh", "-c", "echo b a | tr ' ' '\\n' | sort"}, "a\nb\n"},
		{"python", []string{"/usr/bin/python3", "-c", "import asyncio, ctypes, json, sqlite3, ssl, socket; print('it', 'works')"}, "it works"},
		{"node", []string{"node", "-e", "require('https'); require('net'); console.log('it', 'works')"}, "it works"},
		{"java", []string{"java", "-version"}, "Runtime Environment"},
		{"erlang", []string{"erl", "-noshell", "-eval", `io:format("it works~n"), halt().`}, "it works"},
	} {
		if slices.Contains(interpreters, c.argv[0]) && !installed(t, c.argv[0]) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			labtest.Run(t, func(t *testing.T) {
				needs(t, c.argv[0])
				all := planned(t, Input{Programs: []Program{{Argv: c.argv, Dir: "/"}}})
				root := t.TempDir()
				unfold(t, all, root)
				says := inRoot(t, filepath.Join(root, parcel.RootFolder), c.argv)
				if !strings.Contains(says, c.says) {
					t.Errorf("it says %q, without %q", says, c.says)
				}
			})
		})
	}
}

// TestRoot packs a run whose root is a folder, here one made from this machine.
func TestRoot(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		all := planned(t, Input{Programs: []Program{{Argv: []string{"sh"}, Dir: "/"}}})
		dir := t.TempDir()
		unfold(t, all, dir)
		root := filepath.Join(dir, parcel.RootFolder)
		write(t, root+"/opt/mark", []byte("from the root"))
		if err := unix.Mkfifo(root+"/opt/pipe", 0o600); err != nil {
			t.Fatal(err)
		}
		got := planned(t, Input{Root: root, Programs: []Program{{Argv: []string{"sh"}, Dir: "/"}}})
		if n := got["root/opt/mark"]; n == nil || n.from != root+"/opt/mark" {
			t.Errorf("the file of the root is %+v", n)
		}
		if got["root/opt/pipe"] != nil {
			t.Error("a pipe is in the image")
		}
		for name, n := range got {
			if n.from != "" && !strings.HasPrefix(n.from, root+"/") {
				t.Errorf("%s is from %s, outside the root", name, n.from)
			}
		}
		if err := os.Remove(root + "/usr/sbin/iptables-restore"); err != nil {
			t.Fatal(err)
		}
		if _, err := plan(Input{Root: root}); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("a root without iptables-restore gives %v", err)
		}
	})
}

func BenchmarkPack(b *testing.B) {
	in := Input{Programs: []Program{{Argv: []string{"mosquitto", "-c", "mosquitto.conf"}, Dir: "/"}}}
	if _, err := plan(in); err != nil {
		labtest.SkipUnsupported(b, &feature.Unsupported{Feature: "mosquitto", Needs: "its package", Err: err})
	}
	for b.Loop() {
		_ = packed(b, in).Close()
	}
}
