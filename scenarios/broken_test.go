package scenarios

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"outlive/lab/labtest"
)

// TestBroken holds every broken scenario of testdata/broken against the exact
// messages in the .txt file beside it. A line "# --set path=value" at the top of
// a scenario is applied as such.
func TestBroken(t *testing.T) {
	files, err := filepath.Glob("testdata/broken/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 45 {
		t.Errorf("only %d broken scenarios", len(files))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			src := Source{Name: file, Path: filepath.Base(file), FS: os.DirFS(filepath.Dir(file)), Host: host, Data: data}
			_, err = Load(src, LoadOptions{Set: setLines(data)})
			var bad *LoadError
			if !errors.As(err, &bad) {
				t.Fatalf("Load gives %v, want a *LoadError", err)
			}
			labtest.Golden(t, strings.TrimSuffix(file, ".yaml")+".txt", bad.Error()+"\n")
		})
	}
}

// host is the machine on which broken scenarios are looked at.
var host = fstest.MapFS{"opt/tool": {}, "opt/rootfs/etc/passwd": {}}

// setLines are the --set arguments that a test scenario asks for.
func setLines(data []byte) []string {
	var sets []string
	for _, line := range strings.Split(string(data), "\n") {
		set, ok := strings.CutPrefix(line, "# --set ")
		if !ok {
			break
		}
		sets = append(sets, set)
	}
	return sets
}
