package warp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/netns"
	"outlive/lab/sandbox/image"
	"outlive/lab/sandbox/warp"
)

// runner runs a command line and reports what it prints.
var runner = job("runner", func(ctx context.Context, data []byte, report io.Writer) error {
	var argv []string
	if err := json.Unmarshal(data, &argv); err != nil {
		return err
	}
	ns, err := netns.Current()
	if err != nil {
		return err
	}
	defer ns.Close()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := ns.Start(cmd); err != nil {
		return err
	}
	err = cmd.Wait()
	_, e := report.Write(out.Bytes())
	return errors.Join(err, e)
})

// Programs of the host run inside with the libraries that they need, and so do those
// that their arguments name.
func TestPrograms(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "data"), "one\ntwo\nthree\n")
	// A file of the system that no program needs: this folder may be below /tmp, of which
	// a sandbox has its own.
	const extra = "/usr/share/common-licenses/Apache-2.0"
	script := filepath.Join(dir, "script")
	write(t, script, "#!/bin/sh\ntac \"$1\" | head -n 1\n")
	if err := os.Chmod(script, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		argv []string
		want []string
	}{
		{"pipeline", []string{"/bin/sh", "-c", "sort data | head -n 2 | tr a-z A-Z; date -u +%Y"}, []string{"ONE", "THREE", "2026"}},
		{"script", []string{"./script", "data"}, []string{"three"}},
		{"file", []string{"/bin/sh", "-c", "head -n 2 " + extra + " | tr -d ' \\n'"}, []string{"ApacheLicense"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			data, err := json.Marshal(test.argv)
			if err != nil {
				t.Fatal(err)
			}
			got := reported(t, warp.Spec{
				Job: runner, Data: data, Dir: dir, Files: []string{extra},
				Commands: []warp.Command{{Argv: test.argv, Dir: dir}},
			})
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("unexpected output (-want +got):\n%s", diff)
			}
		})
	}
}

// A program that is not there is found missing before anything is started or built.
func TestMissingProgram(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := warp.Start(t.Context(), warp.Spec{
		Job: runner, Dir: dir, Commands: []warp.Command{{Argv: []string{"no-such-program", "-v"}, Dir: dir}},
		Progress: func(text string) { t.Errorf("it began %s", text) },
	})
	missing, ok := errors.AsType[*image.Unrunnable](err)
	if !ok || missing.Program != "no-such-program" {
		t.Errorf("Start returned %v", err)
	}
}
