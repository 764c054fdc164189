package main_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"outlive/lab/labtest"
	"outlive/lab/sandbox/image"
	"outlive/lab/sandbox/warp"
)

// TestScripts runs the command line as its users do; each script says what it proves.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			// Scripts have no home, and images for virtual time are not built for each of them.
			cache, err := os.UserCacheDir()
			if err != nil {
				return err
			}
			e.Setenv("XDG_CACHE_HOME", cache)
			e.Setenv("OUTLIVE", binary)
			e.Setenv("PATH", filepath.Dir(binary)+string(filepath.ListSeparator)+e.Getenv("PATH"))
			return nil
		},
	})
}

// TestWarpScripts are those that build images: each has a cache of its own, with the pinned
// kernel in it, and the same kernel in the folder "kernel" as one that a user has made.
func TestWarpScripts(t *testing.T) {
	labtest.SkipUnsupported(t, warp.Available())
	kernel := pinnedKernel(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/warp",
		Setup: func(e *testscript.Env) error {
			cache := filepath.Join(e.WorkDir, "cache")
			e.Setenv("XDG_CACHE_HOME", cache)
			e.Setenv("PATH", filepath.Dir(binary)+string(filepath.ListSeparator)+e.Getenv("PATH"))
			if err := os.CopyFS(filepath.Join(cache, "outlive", filepath.Base(kernel.Path)), os.DirFS(kernel.Path)); err != nil {
				return err
			}
			own := filepath.Join(e.WorkDir, "kernel")
			release, _, _ := strings.Cut(kernel.Kernel, " ")
			if err := os.CopyFS(filepath.Join(own, "lib", "modules", release), os.DirFS(filepath.Join(kernel.Path, "modules"))); err != nil {
				return err
			}
			// A copy, as another outlive may take the kernel out of the cache.
			b, err := os.ReadFile(filepath.Join(kernel.Path, "vmlinuz"))
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(own, "vmlinuz"), b, 0o644)
		},
	})
}

// pinnedKernel is the kernel in the cache of whoever runs the tests, fetched if it is not
// there yet.
func pinnedKernel(t *testing.T) image.Entry {
	t.Helper()
	if got := outlive(t, binary, t.TempDir(), "image", "build"); got.code != 0 {
		t.Fatalf("exit code %d\n%s", got.code, got.stderr)
	}
	state, err := image.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(state.Entries, func(e image.Entry) bool { return !e.Image && e.Broken == nil })
	if i < 0 {
		t.Fatalf("no kernel is in the cache: %v", state)
	}
	return state.Entries[i]
}
