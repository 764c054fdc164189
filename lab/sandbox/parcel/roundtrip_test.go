package parcel_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"outlive/lab/sandbox/parcel"
)

// device is an empty device, as a file in memory.
func device(t *testing.T) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("device", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "device")
	t.Cleanup(func() { f.Close() })
	if err := parcel.Format(f); err != nil {
		t.Fatal(err)
	}
	return f
}

func writer(t *testing.T, f *os.File) *parcel.Writer {
	t.Helper()
	w, err := parcel.NewWriter(f)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// drain reads all lines that are there.
func drain(t *testing.T, r *parcel.Reader) (all []string, now time.Duration) {
	t.Helper()
	for {
		lines, now, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if len(lines) == 0 {
			return all, now
		}
		for _, line := range lines {
			all = append(all, string(line))
		}
	}
}

func finish(t *testing.T, w *parcel.Writer, end parcel.End, dir string, names ...string) {
	t.Helper()
	if err := w.Finish(end, dir, names); err != nil {
		t.Fatal(err)
	}
}

func TestFormat(t *testing.T) {
	f := device(t)
	begin := make([]byte, 4096)
	if _, err := f.ReadAt(begin, 0); err != nil {
		t.Fatal(err)
	}
	if !parcel.IsOut(begin) {
		t.Error("a formatted device does not pass for one that comes out")
	}
	for _, other := range [][]byte{nil, make([]byte, 4096), begin[:8]} {
		if parcel.IsOut(other) {
			t.Errorf("%d other bytes pass for a device that comes out", len(other))
		}
	}
	if info, err := f.Stat(); err != nil || info.Size() != parcel.OutSize {
		t.Errorf("the device has %v bytes (%v), want %d", info.Size(), err, parcel.OutSize)
	}
}

func TestReport(t *testing.T) {
	f := device(t)
	r := parcel.NewReader(f)
	if lines, now := drain(t, r); lines != nil || now != 0 {
		t.Fatalf("an empty device has the lines %q and the time %v", lines, now)
	}
	w := writer(t, f)
	// Lengths around a block's and the buffer's, and a line far longer.
	var want []string
	for i, length := range []int{1, 300, 495, 496, 497, 504, 505, 512, 4096, 65000, 65528, 65536, 70000, 3 << 20, 5} {
		line := strings.Repeat(string(rune('a'+i)), length)
		if err := w.Line([]byte(line)); err != nil {
			t.Fatal(err)
		}
		want = append(want, line)
	}
	if err := w.Line(nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Tick(90 * time.Minute); err != nil {
		t.Fatal(err)
	}
	finish(t, w, parcel.End{}, t.TempDir())
	got, now := drain(t, r)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if now != 90*time.Minute {
		t.Errorf("the time is %v, want 1h30m", now)
	}
	if again, now := drain(t, r); again != nil || now != 90*time.Minute {
		t.Errorf("the lines come twice: %q, %v", again, now)
	}
}

// The reader sees lines while more are written, each once and whole.
func TestReportMeanwhile(t *testing.T) {
	f := device(t)
	other, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	r, w := parcel.NewReader(other), writer(t, f)
	const count = 3000
	line := func(i int) string { return fmt.Sprintf("%d %s", i, strings.Repeat("x", i*7%1900)) }
	done := make(chan error, 1)
	go func() {
		for i := range count {
			if err := errors.Join(w.Line([]byte(line(i))), w.Tick(time.Duration(i+1))); err != nil {
				done <- err
				return
			}
		}
		done <- w.Finish(parcel.End{Elapsed: count}, ".", nil)
	}()
	var got []string
	var latest time.Duration
	for ended := false; !ended || len(got) < count; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			ended = true
		default:
			if _, err := r.Finish(t.TempDir()); err != nil && !errors.Is(err, parcel.ErrNoEnd) {
				t.Fatal(err)
			}
		}
		lines, now := drain(t, r)
		got = append(got, lines...)
		if now < latest {
			t.Fatalf("the time goes back from %d to %d", latest, now)
		}
		latest = now
		if ended && len(lines) == 0 {
			break
		}
	}
	if len(got) != count || latest != count {
		t.Fatalf("%d of %d lines came, the time is %d", len(got), count, latest)
	}
	for i := range got {
		if got[i] != line(i) {
			t.Fatalf("line %d is %q", i, got[i])
		}
	}
}

// A line that the guest's device has no room for is counted and does no harm.
func TestReportOverflow(t *testing.T) {
	f := device(t)
	w := writer(t, f)
	parcel.LimitReport(w, 8<<10)
	want := []string{strings.Repeat("a", 4<<10), "b", strings.Repeat("d", 3<<10)}
	for _, line := range []string{want[0], want[1], strings.Repeat("c", 17<<20), strings.Repeat("c", 5<<10), want[2], strings.Repeat("e", 2<<10)} {
		if err := w.Line([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	finish(t, w, parcel.End{}, t.TempDir())
	r := parcel.NewReader(f)
	got, _ := drain(t, r)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if end, err := r.Finish(t.TempDir()); err != nil || end.DroppedLines != 3 {
		t.Errorf("%d lines were dropped, want 3 (%v)", end.DroppedLines, err)
	}
}

// tree describes what is below dir.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, dir+"/")
		got[name] = info.Mode().String()
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			got[name] += " " + string(data)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func put(t *testing.T, path, data string, mode fs.FileMode) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(data), 0o600), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
}

func TestFiles(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	put(t, from+"/events.jsonl", "{}\n", 0o644)
	put(t, from+"/empty", "", 0o640)
	put(t, from+"/work/server/run.sh", "#!/bin/sh\n", 0o755)
	put(t, from+"/closed/secret", "s", 0o000)
	if err := os.Chmod(from+"/closed", 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(from+"/closed", 0o700) })
	if err := errors.Join(os.Symlink("/etc/passwd", from+"/link"), syscall.Mkfifo(from+"/pipe", 0o600)); err != nil {
		t.Fatal(err)
	}
	// What the host's folder has already: a file that may not be written, and a link
	// that leads elsewhere.
	outside := filepath.Join(t.TempDir(), "outside")
	put(t, outside, "mine", 0o600)
	put(t, to+"/events.jsonl", "old and longer\n", 0o444)
	put(t, to+"/kept", "kept", 0o600)
	if err := os.Symlink(outside, to+"/empty"); err != nil {
		t.Fatal(err)
	}

	f := device(t)
	names := []string{"closed", "closed/secret", "empty", "events.jsonl", "gone", "link", "pipe", "work", "work/server", "work/server/run.sh"}
	if os.Geteuid() != 0 {
		names = append(names[:1], names[2:]...)
	}
	finish(t, writer(t, f), parcel.End{Lost: []string{"x: y"}}, from, names...)
	end, err := parcel.NewReader(f).Finish(to)
	if err != nil {
		t.Fatal(err)
	}
	lost := []string{"x: y", "gone: no such file or directory", "link: too many levels of symbolic links", "pipe: neither a file nor a folder"}
	if diff := cmp.Diff(lost, end.Lost); diff != "" {
		t.Errorf("lost (-want +got):\n%s", diff)
	}
	want := map[string]string{
		"events.jsonl": "-rw-r--r-- {}\n", "empty": "-rw-r----- ", "kept": "-rw------- kept",
		"work": "drwxr-xr-x", "work/server": "drwxr-xr-x", "work/server/run.sh": "-rwxr-xr-x #!/bin/sh\n",
		"closed": "drwx------",
	}
	if os.Geteuid() == 0 {
		want["closed/secret"] = "-rw------- s"
	}
	if diff := cmp.Diff(want, tree(t, to)); diff != "" {
		t.Errorf("unpacked (-want +got):\n%s", diff)
	}
	if data, err := os.ReadFile(outside); err != nil || string(data) != "mine" {
		t.Errorf("the file that a link led to holds %q (%v)", data, err)
	}
}

// A file with holes costs what is in it, whatever its size.
func TestSparseFile(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	f, err := os.Create(from + "/database")
	if err != nil {
		t.Fatal(err)
	}
	const size = 20 << 30 // larger than the device
	data := bytes.Repeat([]byte("0123456789abcdef"), 200<<10)
	for _, at := range []int64{0, 5<<30 + 4096, size - int64(len(data))} {
		if _, err := f.WriteAt(data, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	dev := device(t)
	finish(t, writer(t, dev), parcel.End{}, from, "database")
	end, err := parcel.NewReader(dev).Finish(to)
	if err != nil || end.Lost != nil {
		t.Fatalf("unpacking: %v, lost %q", err, end.Lost)
	}
	got, err := os.Open(to + "/database")
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if info, err := got.Stat(); err != nil || info.Size() != size {
		t.Errorf("it has %d bytes (%v), want %d", info.Size(), err, int64(size))
	}
	part := make([]byte, len(data))
	for at, want := range map[int64][]byte{0: data, 5<<30 + 4096: data, size - int64(len(data)): data, 8 << 30: make([]byte, len(data))} {
		if _, err := got.ReadAt(part, at); err != nil || !bytes.Equal(part, want) {
			t.Errorf("its bytes at %d are others (%v)", at, err)
		}
	}
}
