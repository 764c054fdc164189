package image

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"outlive/lab/feature"
	"outlive/lab/labtest"
)

// craftKernel makes a folder with a kernel that nobody can boot. Another salt makes
// another kernel.
func craftKernel(t testing.TB, salt string) string {
	t.Helper()
	dir := t.TempDir()
	image := make([]byte, 0x1000)
	copy(image[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(image[0x20e:], 0x400)
	copy(image[0x600:], "6.9.9-test (somebody) #1 SMP Debian 6.9.9-1 (today) "+salt+"\x00")
	write(t, dir+"/boot/vmlinuz-6.9.9-test", image)
	for _, name := range wantedModules[1:] {
		write(t, dir+"/lib/modules/6.9.9-test/kernel/"+strings.ReplaceAll(name, "_", "-")+".ko", craftModule("", true))
	}
	write(t, dir+"/lib/modules/6.9.9-test/modules.builtin", []byte("kernel/drivers/net/"+wantedModules[0]+".ko\n"))
	return dir
}

// ownCache gives the test a cache of its own.
func ownCache(t testing.TB) string {
	t.Helper()
	base := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", base)
	return filepath.Join(base, "outlive")
}

func built(t testing.TB, o Options) *Image {
	t.Helper()
	i, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.Close() })
	return i
}

// wholeCache fails unless everything in the cache is whole, and nothing unfinished is there.
func wholeCache(t testing.TB) State {
	t.Helper()
	s, err := Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range s.Entries {
		if e.Broken != nil {
			t.Errorf("%s is broken: %v", e.Path, e.Broken)
		}
	}
	left, err := folders(s.Dir, temporaryPrefix)
	if err != nil || len(left) > 0 {
		t.Errorf("unfinished folders are left: %v, %v", left, err)
	}
	return s
}

func TestBuild(t *testing.T) {
	cache := ownCache(t)
	var told []string
	options := Options{Kernel: craftKernel(t, "a"), Progress: func(what string) { told = append(told, what) }}
	first := built(t, options)
	if first.Kernel != "6.9.9-test (Debian 6.9.9-1)" || first.Substitute || filepath.Dir(first.Dir) != cache {
		t.Errorf("the image is %+v", first)
	}
	if len(told) == 0 {
		t.Error("nothing was told about the building")
	}
	initrd, err := os.ReadFile(first.Initrd)
	if err != nil {
		t.Fatal(err)
	}
	told = nil
	again := built(t, options)
	if again.Key != first.Key || len(told) > 0 {
		t.Errorf("the second one is made anew: %q, %q", again.Key, told)
	}
	if s := wholeCache(t); len(s.Entries) != 1 || !s.Entries[0].InUse || s.Entries[0].Kernel != first.Kernel || s.Entries[0].Size < int64(len(initrd)) {
		t.Errorf("the state of the cache is %+v", s)
	}
	if other := built(t, Options{Kernel: craftKernel(t, "b")}); other.Key == first.Key {
		t.Error("another kernel has the same key")
	}

	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	ownCache(t)
	elsewhere := built(t, options)
	second, err := os.ReadFile(elsewhere.Initrd)
	if err != nil {
		t.Fatal(err)
	}
	if elsewhere.Key != first.Key || !bytes.Equal(initrd, second) {
		t.Error("made elsewhere with another umask it is another image")
	}
}

func TestBuildErrors(t *testing.T) {
	ownCache(t)
	several := craftKernel(t, "a")
	write(t, several+"/boot/vmlinuz-6.1.1-test", []byte("x"))
	other := craftKernel(t, "a")
	write(t, other+"/boot/vmlinuz-6.9.9-test", []byte("no kernel"))
	silent := craftKernel(t, "a")
	image := make([]byte, 0x300)
	copy(image[0x202:], "HdrS")
	write(t, silent+"/boot/vmlinuz-6.9.9-test", image)
	bare := craftKernel(t, "a")
	if err := os.RemoveAll(bare + "/lib"); err != nil {
		t.Fatal(err)
	}
	poor := craftKernel(t, "a")
	if err := os.Remove(poor + "/lib/modules/6.9.9-test/kernel/erofs.ko"); err != nil {
		t.Fatal(err)
	}
	for dir, message := range map[string]string{
		t.TempDir() + "/nosuch": "no such file", t.TempDir(): "has no vmlinuz", several: "several kernels", other: "is not a Linux kernel",
		silent: "does not say which kernel", bare: "modules of kernel 6.9.9-test", poor: "kernel modules erofs",
	} {
		_, err := Build(t.Context(), Options{Kernel: dir})
		if err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("got %v, without %q", err, message)
		}
		if errors.Is(err, errors.ErrUnsupported) != (dir == poor) {
			t.Errorf("it is taken for something that the machine lacks, or not: %v", err)
		}
	}
	wholeCache(t)
}

func TestNoCache(t *testing.T) {
	file := write(t, t.TempDir()+"/file", nil)
	for _, c := range []struct{ home, cache string }{{"", ""}, {"", "relative"}, {"/home", file}, {file, ""}, {"/home", "/proc"}} {
		t.Setenv("HOME", c.home)
		t.Setenv("XDG_CACHE_HOME", c.cache)
		_, err := Build(t.Context(), Options{})
		if err == nil || !strings.Contains(err.Error(), "XDG_CACHE_HOME") || errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%+v gives %v", c, err)
		}
		for _, check := range Checks() {
			if _, err := check.Try(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("%+v: the check %q gives %v", c, check.Name, err)
			}
		}
	}
}

func TestBrokenImage(t *testing.T) {
	kernel := craftKernel(t, "a")
	for name, hurt := range map[string]func(i *Image) error{
		"short":          func(i *Image) error { return os.Truncate(i.Initrd, 1000) },
		"no kernel":      func(i *Image) error { return os.Remove(i.Vmlinuz) },
		"kernel":         func(i *Image) error { return flip(i.Vmlinuz) },
		"no manifest":    func(i *Image) error { return os.Remove(filepath.Join(i.Dir, manifestFile)) },
		"manifest":       func(i *Image) error { return os.Truncate(filepath.Join(i.Dir, manifestFile), 20) },
		"empty manifest": func(i *Image) error { return os.WriteFile(filepath.Join(i.Dir, manifestFile), []byte("{}"), 0o600) },
		"foreign manifest": func(i *Image) error {
			return os.WriteFile(filepath.Join(i.Dir, manifestFile), []byte(`{"files":{"../x":{}}}`), 0o600)
		},
		"initramfs": func(i *Image) error { return flip(i.Initrd) },
		"a file":    func(i *Image) error { return errors.Join(os.RemoveAll(i.Dir), os.WriteFile(i.Dir, nil, 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			ownCache(t)
			first := built(t, Options{Kernel: kernel})
			want, err := os.ReadFile(first.Initrd)
			if err != nil {
				t.Fatal(err)
			}
			if err := hurt(first); err != nil {
				t.Fatal(err)
			}
			if s, err := Status(t.Context()); err != nil || len(s.Entries) > 0 && s.Entries[0].Broken == nil {
				t.Errorf("the status does not say so: %+v, %v", s, err)
			}
			// A great file's contents are looked at on demand only.
			again := built(t, Options{Kernel: kernel, Contents: name == "initramfs"})
			got, err := os.ReadFile(again.Initrd)
			if err != nil || again.Key != first.Key || !bytes.Equal(got, want) {
				t.Errorf("it was not mended: %v", err)
			}
			wholeCache(t)
		})
	}
}

// flip changes one bit of a file.
func flip(name string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	data[len(data)/2] ^= 1
	return os.WriteFile(name, data, 0o600)
}

func TestPrune(t *testing.T) {
	ownCache(t)
	oldest := built(t, Options{Kernel: craftKernel(t, "oldest")})
	var dirs []string
	for _, salt := range []string{"a", "b", "c", "d"} {
		i := built(t, Options{Kernel: craftKernel(t, salt)})
		dirs = append(dirs, i.Dir)
		// The clock of the file system is coarser than this test.
		long := time.Now().Add(-time.Duration(10-len(dirs)) * time.Hour)
		if err := errors.Join(i.Close(), os.Chtimes(filepath.Join(i.Dir, useLock), long, long)); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-100 * time.Hour)
	if err := os.Chtimes(filepath.Join(oldest.Dir, useLock), long, long); err != nil {
		t.Fatal(err)
	}
	last := built(t, Options{Kernel: craftKernel(t, "last")})
	for dir, want := range map[string]bool{oldest.Dir: true, dirs[0]: false, dirs[1]: false, dirs[2]: true, dirs[3]: true, last.Dir: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s: kept is %v", dir, err == nil)
		}
	}
	wholeCache(t)

	if err := oldest.Close(); err != nil {
		t.Fatal(err)
	}
	freed, kept, err := Clean(t.Context())
	if err != nil || freed == 0 || !slices.Equal(kept, []string{last.Dir}) {
		t.Errorf("cleaning freed %d and kept %v: %v", freed, kept, err)
	}
	if s := wholeCache(t); len(s.Entries) != 1 {
		t.Errorf("after cleaning the cache holds %+v", s)
	}
}

func TestBuildAtOnce(t *testing.T) {
	ownCache(t)
	kernel := craftKernel(t, "a")
	var building sync.WaitGroup
	outs := make([]string, 4)
	for n := range outs {
		building.Go(func() {
			cmd, out := builderProcess(kernel)
			if err := cmd.Run(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
			outs[n] = out.String()
		})
	}
	building.Wait()
	key := built(t, Options{Kernel: kernel}).Key + "\n"
	for _, out := range outs {
		if out != key {
			t.Errorf("one says %q instead of %q", out, key)
		}
	}
	if s := wholeCache(t); len(s.Entries) != 1 {
		t.Errorf("the cache holds %+v", s)
	}
}

// TestBuildKilled kills builders at random moments; what they leave must neither be
// taken for an image nor stay.
func TestBuildKilled(t *testing.T) {
	ownCache(t)
	kernel := craftKernel(t, "a")
	begin := time.Now()
	cmd, out := builderProcess(kernel)
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	took := time.Since(begin)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	killed := 0
	for range 20 {
		if _, _, err := Clean(t.Context()); err != nil {
			t.Fatal(err)
		}
		cmd, _ := builderProcess(kernel)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(random.Int64N(int64(took))))
		_ = cmd.Process.Kill()
		if cmd.Wait() != nil {
			killed++
		}
		i, err := Build(t.Context(), Options{Kernel: kernel})
		if err != nil {
			t.Fatal(err)
		}
		if err := i.Close(); err != nil {
			t.Fatal(err)
		}
		s, err := Status(t.Context())
		if err != nil || len(s.Entries) != 1 || s.Entries[0].Broken != nil {
			t.Fatalf("the cache is not whole: %+v, %v", s, err)
		}
	}
	t.Logf("%d of 20 builders were killed before they were done", killed)
	// A build that had nothing to do has nothing to tidy; the next that has does.
	built(t, Options{Kernel: craftKernel(t, "b")})
	wholeCache(t)
}

func TestBuildCancelled(t *testing.T) {
	cache := ownCache(t)
	if _, err := Cache(); err != nil {
		t.Fatal(err)
	}
	other, err := lock(filepath.Join(cache, buildLock), unix.LOCK_EX)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	ctx, cancel := context.WithCancel(t.Context())
	_, err = Build(ctx, Options{Kernel: craftKernel(t, "a"), Progress: func(what string) {
		if strings.Contains(what, "waiting") {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestDiskFull(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		kernel := craftKernel(t, "a")
		disk := t.TempDir()
		if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=3m"); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Unmount(disk, unix.MNT_DETACH) }()
		t.Setenv("XDG_CACHE_HOME", disk)
		_, err := Build(t.Context(), Options{Kernel: kernel})
		if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "make room") {
			t.Errorf("got %v", err)
		}
		if _, err := tryCache(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("the check gives %v", err)
		}
		wholeCache(t)
		if err := unix.Mount("", disk, "", unix.MS_REMOUNT, "size=200m"); err != nil {
			t.Fatal(err)
		}
		built(t, Options{Kernel: kernel})
		wholeCache(t)
	})
}

func TestCompressedModules(t *testing.T) {
	ownCache(t)
	plain := craftKernel(t, "a")
	want := built(t, Options{Kernel: plain})
	for _, tool := range []string{"gzip", "xz", "zstd"} {
		t.Run(tool, func(t *testing.T) {
			if _, err := exec.LookPath(tool); err != nil {
				labtest.SkipUnsupported(t, &feature.Unsupported{Feature: tool, Needs: "its package", Err: err})
			}
			packed := craftKernel(t, "a")
			files, err := filepath.Glob(packed + "/lib/modules/*/kernel/*.ko")
			if err != nil {
				t.Fatal(err)
			}
			args := []string{"-q"}
			if tool == "zstd" {
				args = append(args, "--rm")
			}
			if out, err := exec.Command(tool, append(args, files...)...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if got := built(t, Options{Kernel: packed}); got.Key != want.Key {
				t.Error("compressed modules make another image")
			}
		})
	}
}

func TestChecks(t *testing.T) {
	labtest.Checks(t, Checks())
}
