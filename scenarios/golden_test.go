package scenarios

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// update rewrites the golden files of this package with what the code makes now:
// go test ./scenarios -update
var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares with a golden file, or rewrites it.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (write it with -update, and read what it says)", err)
	}
	if !bytes.Equal(want, got) {
		t.Errorf("differs from %s (-want +got):\n%s", file, cmp.Diff(string(want), string(got)))
	}
}
