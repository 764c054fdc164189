package process

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/labtest"
)

func TestStartErrors(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		t.Setenv("PATH", "/usr/bin")
		dir := t.TempDir()
		write := func(name, text string, mode os.FileMode) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
				t.Fatal(err)
			}
		}
		write("plain", "text", 0o644)
		write("nonsense", "\x00\x01\x02\x03", 0o755)
		write("lost", "#!/no/such/interpreter\n", 0o755)
		write("closed", "#!/bin/sh\n", 0o755)
		// Only root has programs that it may not execute without its privileges.
		severalUsers := os.Chown(filepath.Join(dir, "closed"), 1000, 1000) == nil
		if err := os.Chmod(filepath.Join(dir, "closed"), 0o700); err != nil {
			t.Fatal(err)
		}

		for _, test := range []struct {
			name string
			spec Spec
			want string // $DIR stands for the folder
		}{
			{"nothing", Spec{}, "starting server: exactly one of Argv and Cmd must say what to run"},
			{"empty name", Spec{Argv: []string{""}}, "starting server: the program's name is empty"},
			{"not in PATH", Spec{Argv: []string{"no-such-server", "-v"}},
				"starting server: no-such-server: not found in PATH; install the package that has it, or give the program's path (PATH=/usr/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin:/bin)"},
			{"no such file", Spec{Argv: []string{"./no-such"}, Dir: "/usr"},
				"starting server: /usr/no-such: no such file or directory"},
			{"below /tmp", Spec{Argv: []string{"/tmp/build/server"}},
				"starting server: /tmp/build/server: no such file or directory (the lab has a private /run, /tmp and /dev/shm; keep the file elsewhere, or beside the scenario)"},
			{"folder", Spec{Argv: []string{"/usr/bin"}}, "starting server: /usr/bin: it is a folder, not a program"},
			{"not executable", Spec{Argv: []string{"./plain"}, Dir: dir},
				"starting server: $DIR/plain: it is not executable; chmod +x makes it so"},
			{"no folder", Spec{Argv: []string{"true"}, Dir: "/no/such"},
				"starting server: entering its folder /no/such: no such file or directory"},
			{"no log", Spec{Argv: []string{"true"}, Log: "/no/such/log"},
				"starting server: opening its log: open /no/such/log: no such file or directory"},
			{"no program", Spec{Argv: []string{"./nonsense"}, Dir: dir},
				"starting server: starting ./nonsense in a network namespace: fork/exec ./nonsense: exec format error: " +
					"it is not a program for this machine, nor does it begin with #! and an interpreter"},
			{"no interpreter", Spec{Argv: []string{"./lost"}, Dir: dir},
				"starting server: starting ./lost in a network namespace: fork/exec ./lost: no such file or directory: " +
					"the interpreter that it needs is missing, see its first line (head -n 1 ./lost) or ldd"},
			{"closed", Spec{Argv: []string{"./closed"}, Dir: dir},
				"starting server: starting ./closed in a network namespace: fork/exec ./closed: permission denied: " +
					"the program or its folder $DIR is closed to ordinary users of the lab, or lies in a folder that is; " +
					"open it to all (chmod a+rx), move it, or run the program privileged"},
		} {
			if test.name == "closed" && !severalUsers {
				continue
			}
			t.Run(test.name, func(t *testing.T) {
				test.spec.Name = "server"
				p, err := Start(test.spec)
				if err == nil {
					_ = p.Kill()
					t.Fatal("it started")
				}
				got := strings.ReplaceAll(err.Error(), dir, "$DIR")
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("unexpected error (-want +got):\n%s", diff)
				}
			})
		}
		// Nothing may stay open of a program that did not start.
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			target, err := os.Readlink("/proc/self/fd/" + fd.Name())
			if err == nil && (strings.Contains(target, "ptmx") || strings.Contains(target, "/dev/pts/") || target == dir) {
				t.Errorf("descriptor %s, %s, is left open", fd.Name(), target)
			}
		}
	})
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	for _, place := range []string{"first", "second"} {
		if err := os.Mkdir(filepath.Join(dir, place), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write := func(path string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, path), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	write("first/server", 0o644)
	write("second/server", 0o755)
	write("first/locked", 0o644)
	path := ".::" + dir + "/first:" + dir + "/second"
	for _, test := range []struct{ name, program, want, err string }{
		{"the first that can be executed", "server", dir + "/second/server", ""},
		{"none that can be executed", "locked", "", dir + "/first/locked: it is not executable; chmod +x makes it so"},
		{"relative", "second/server", "second/server", ""},
		{"absolute", dir + "/second/server", dir + "/second/server", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := find(test.program, dir, path)
			var text string
			if err != nil {
				text = err.Error()
			}
			if diff := cmp.Diff([]string{test.want, test.err}, []string{got, text}); diff != "" {
				t.Errorf("unexpected result (-want +got):\n%s", diff)
			}
		})
	}
}
