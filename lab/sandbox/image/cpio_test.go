package image

import (
	"bytes"
	"fmt"
	"io/fs"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"outlive/lab/labtest"
)

// small is a tree with one of everything.
func small() tree {
	t := newTree()
	t.folder("tmp", 0o777|fs.ModeSticky)
	t.put("dev/console", &node{mode: fs.ModeDevice | fs.ModeCharDevice | 0o600, major: 5, minor: 1})
	t.put("init", &node{mode: 0o755, data: []byte("#!/bin/sh\n"), size: 10})
	t.file("etc/odd", []byte("odd"))
	t.file("etc/empty", nil)
	t.put("lib", &node{mode: linkMode, link: "usr/lib"})
	return t
}

func TestCpio(t *testing.T) {
	var b bytes.Buffer
	if err := writeCpio(&b, small()); err != nil {
		t.Fatal(err)
	}
	labtest.Golden(t, "testdata/small.cpio.txt", listCpio(t, b.Bytes()))
	var again bytes.Buffer
	if err := writeCpio(&again, small()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), again.Bytes()) {
		t.Error("written twice it has other bytes")
	}
	if tool, err := exec.LookPath("cpio"); err == nil {
		cmd := exec.Command(tool, "-itv", "--quiet")
		cmd.Stdin = bytes.NewReader(b.Bytes())
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "lib -> usr/lib") {
			t.Errorf("cpio reads it so: %v:\n%s", err, out)
		}
	}
}

// listCpio reads an archive as Documentation/driver-api/early-userspace/buffer-format.rst
// says.
func listCpio(t *testing.T, data []byte) string {
	t.Helper()
	var list strings.Builder
	for at := 0; ; {
		const header = 110
		if len(data)-at < header || string(data[at:at+6]) != "070701" {
			t.Fatalf("no header at byte %d", at)
		}
		var fields [13]int
		for i := range fields {
			n, err := strconv.ParseUint(string(data[at+6+8*i:at+14+8*i]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			fields[i] = int(n)
		}
		name := string(data[at+header : at+header+fields[11]])
		if !strings.HasSuffix(name, "\x00") {
			t.Fatalf("the name at byte %d does not end in a zero byte", at)
		}
		body := (at + header + fields[11] + 3) &^ 3
		fmt.Fprintf(&list, "%-14s inode %d mode %06o owner %d:%d links %d time %d device %d:%d contents %q\n", strings.TrimSuffix(name, "\x00"),
			fields[0], fields[1], fields[2], fields[3], fields[4], fields[5], fields[9], fields[10], data[body:body+fields[6]])
		at = (body + fields[6] + 3) &^ 3
		if name == "TRAILER!!!\x00" {
			if at != len(data) {
				t.Fatalf("%d bytes follow the end", len(data)-at)
			}
			return list.String()
		}
	}
}

func TestTreeCheck(t *testing.T) {
	all := small()
	all["lib/through/a/link"] = &node{mode: 0o644}
	all["init/x"] = &node{mode: 0o644}
	if err := all.check(); err == nil {
		t.Error("a file in a file passes")
	}
}
