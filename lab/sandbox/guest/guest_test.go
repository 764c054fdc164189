package guest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/sandbox/parcel"
)

func TestModuleNames(t *testing.T) {
	tests := map[string]struct {
		list string
		want []string
		err  string
	}{
		"none":      {},
		"in order":  {list: "veth.ko\nnf_nat.ko\n\n a.ko \nlast.ko", want: []string{"veth.ko", "nf_nat.ko", "a.ko", "last.ko"}},
		"elsewhere": {list: "veth.ko\n../evil.ko\n", err: `reading which modules to load: "../evil.ko" is not a file's name`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := moduleNames(test.list)
			if (err != nil || test.err != "") && (err == nil || err.Error() != test.err) {
				t.Fatalf("error %v, want %q", err, test.err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("modules (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMissingModules(t *testing.T) {
	dir := t.TempDir()
	if err := loadModules(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without an order: %v", err)
	}
	put(t, dir+"/order", "gone.ko\n", 0o644)
	err := loadModules(dir)
	if !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "loading the module gone.ko: ") {
		t.Errorf("without the module: %v", err)
	}
}

func TestMemoryDevices(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"pmem1", "pmem0", "pmem", "pmem0p1", "console", "pmem10"} {
		put(t, filepath.Join(dir, name), "", 0o600)
	}
	got, err := memoryDevices(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{dir + "/pmem0", dir + "/pmem1", dir + "/pmem10"}, got); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}
}

func TestIsImage(t *testing.T) {
	image := make([]byte, beginSize)
	copy(image[1024:], "\xe2\xe1\xf5\xe0")
	if !isImage(image) {
		t.Error("an erofs image is not recognised")
	}
	if parcel.IsOut(image) {
		t.Error("an erofs image passes for the way out")
	}
	for name, other := range map[string][]byte{"nothing": nil, "zeros": make([]byte, beginSize), "short": image[:1026], "shifted": image[1:]} {
		if isImage(other) {
			t.Errorf("%s pass for an erofs image", name)
		}
	}
}

func TestKilledForMemory(t *testing.T) {
	var m memoryWatch
	for _, message := range []string{
		"6,1204,10627452,-;veth0: entered promiscuous mode\n",
		"4,1300,10627440,-;oom-kill:constraint=CONSTRAINT_NONE,task=java,pid=86,uid=0\n",
		"3,1301,10627452,-;Out of memory: Killed process 86 (java) total-vm:1673352kB, UID:0 oom_score_adj:0\n SUBSYSTEM=mm\n",
		"nonsense",
		"3,1302,10627453,c;Memory cgroup out of memory: Killed process 9 (a;b) total-vm:3kB\n",
	} {
		m.note([]byte(message))
	}
	want := []string{
		"Out of memory: Killed process 86 (java) total-vm:1673352kB, UID:0 oom_score_adj:0",
		"Memory cgroup out of memory: Killed process 9 (a;b) total-vm:3kB",
	}
	if diff := cmp.Diff(want, m.killed); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func put(t *testing.T, path, data string, mode fs.FileMode) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(data), 0o600), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
}

func TestCopyTree(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	put(t, from+"/scenario.yaml", "name: x\n", 0o644)
	put(t, from+"/work/server/run.sh", "#!/bin/sh\n", 0o777)
	put(t, from+"/work/key", "secret", 0o400)
	if err := errors.Join(os.Chmod(from+"/work", 0o711), os.Symlink("server", from+"/work/current"), os.Mkdir(from+"/work/empty", 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := copyTree(from, to); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	err := filepath.WalkDir(to, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == to {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		data, _ := os.ReadFile(path)
		got[strings.TrimPrefix(path, to+"/")] = info.Mode().String() + " " + string(data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"scenario.yaml": "-rw-r--r-- name: x\n", "work": "drwx--x--x ", "work/server": "drwxr-xr-x ", "work/server/run.sh": "-rwxrwxrwx #!/bin/sh\n",
		"work/key": "-r-------- secret", "work/current": "Lrwxrwxrwx ", "work/empty": "drwxr-xr-x ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("copied (-want +got):\n%s", diff)
	}
	if err := copyTree(from+"/gone", to); err != nil {
		t.Errorf("copying a folder that is not there: %v", err)
	}
	if err := syscall.Mkfifo(from+"/pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	if err := copyTree(from, t.TempDir()); err == nil {
		t.Error("a pipe is copied")
	}
}

func TestChanged(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"kept", "longer", "same length", "mode", "replaced", "removed", "work/kept", "old/kept"} {
		put(t, filepath.Join(dir, name), "before", 0o644)
	}
	before, err := take(dir)
	if err != nil {
		t.Fatal(err)
	}
	// The time of a change has the clock tick's precision.
	for early := (unchanged{dir: dir}); early.again(t); {
	}
	put(t, dir+"/longer", "before and after", 0o644)
	put(t, dir+"/same length", "behind", 0o644)
	put(t, dir+"/new/deep/file", "new", 0o644)
	put(t, dir+"/work/new", "new", 0o644)
	err = errors.Join(
		os.Chmod(dir+"/mode", 0o600),
		os.Rename(dir+"/removed", dir+"/replaced"),
		os.Symlink("kept", dir+"/link"),
		syscall.Mkfifo(dir+"/pipe", 0o600),
		os.Mkdir(dir+"/empty", 0o755),
	)
	if err != nil {
		t.Fatal(err)
	}
	got, err := before.changed(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"empty", "longer", "mode", "new", "new/deep", "new/deep/file", "replaced", "same length", "work", "work/new"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changed (-want +got):\n%s", diff)
	}
}

// unchanged waits for the clock of a file system to go on.
type unchanged struct {
	dir   string
	first state
}

func (u *unchanged) again(t *testing.T) bool {
	t.Helper()
	put(t, u.dir+"/clock", "", 0o644)
	s, err := take(u.dir)
	if err == nil {
		err = os.Remove(u.dir + "/clock")
	}
	if err != nil {
		t.Fatal(err)
	}
	now := state{changed: s["clock"].changed}
	if u.first == (state{}) {
		u.first = now
	}
	return u.first == now
}
