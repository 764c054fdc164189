package image

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"outlive/lab/feature"
	"outlive/lab/labtest"
	"outlive/lab/sandbox/parcel"
)

const (
	guestBegin = "-- the image as the kernel sees it --"
	guestEnd   = "-- its end --"
)

// beGuest is the init of the virtual machine of TestKernelReadsImage. It lists the
// image and powers the machine off.
func beGuest() {
	text, err := listImage()
	if err != nil {
		text = err.Error() + "\n"
	}
	fmt.Printf("%s\n%s%s\n", guestBegin, text, guestEnd)
	unix.Sync()
	fmt.Println(unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
}

func listImage() (string, error) {
	for _, m := range []struct{ kind, at string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			return "", fmt.Errorf("mounting %s: %w", m.at, err)
		}
	}
	order, err := os.ReadFile("/modules/order")
	if err != nil {
		return "", err
	}
	for name := range strings.FieldsSeq(string(order)) {
		f, err := os.Open("/modules/" + name)
		if err != nil {
			return "", err
		}
		if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil {
			return "", fmt.Errorf("loading %s: %w", name, err)
		}
		_ = f.Close()
	}
	if err := unix.Mount("/dev/pmem0", "/mnt", "erofs", unix.MS_RDONLY, ""); err != nil {
		return "", fmt.Errorf("mounting the image: %w", err)
	}
	return describeFolder("/mnt")
}

// TestKernelReadsImage boots the pinned kernel with an initramfs whose init is this
// test, and lets it read the image of a run.
func TestKernelReadsImage(t *testing.T) {
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		labtest.SkipUnsupported(t, &feature.Unsupported{Feature: "a virtual machine", Needs: "qemu-system-x86_64", Err: err})
	}
	borrowKernel(t)
	i := built(t, Options{})

	dir := t.TempDir()
	// A folder that takes several blocks, and names around the dots.
	for n := range 600 {
		write(t, fmt.Sprintf("%s/many/a file with the number %04d", dir, n), []byte(strings.Repeat("x", n*17)))
	}
	for _, name := range []string{"!first", "-dash", ".hidden", "..odd", "~last", "ünïcode"} {
		write(t, filepath.Join(dir, name), []byte(name))
	}
	if err := os.Symlink("many/a file with the number 0001", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	in := Input{Order: parcel.Order{Job: "test", Seed: 7}, Dir: dir, Programs: []Program{{Argv: []string{"sh"}, Dir: dir}}}
	planned, err := plan(in)
	labtest.SkipUnsupported(t, err)
	image := packed(t, in)

	console := filepath.Join(t.TempDir(), "console")
	cmd := exec.Command(qemu, "-accel", "tcg", "-M", "q35,nvdimm=on", "-nodefaults", "-cpu", "qemu64,+rdrand",
		"-m", "512,slots=2,maxmem=4G", "-display", "none", "-no-reboot", "-serial", "file:"+console,
		"-object", fmt.Sprintf("memory-backend-file,id=in,share=on,size=%d,mem-path=/proc/self/fd/3", parcel.InSize), "-device", "nvdimm,memdev=in",
		"-kernel", i.Vmlinuz, "-initrd", i.Initrd, "-append", "console=ttyS0 quiet panic=-1 mitigations=off "+guestVariable+"=1")
	cmd.ExtraFiles = []*os.File{image}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(console)
	if err != nil {
		t.Fatal(err)
	}
	_, got, began := strings.Cut(strings.ReplaceAll(string(text), "\r", ""), guestBegin+"\n")
	got, _, ended := strings.Cut(got, guestEnd)
	if !began || !ended {
		t.Fatalf("the machine did not list the image; its console:\n%s", text)
	}
	want, err := describe(planned)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sortedLines(want), sortedLines(got)); diff != "" {
		t.Errorf("the kernel sees another image (-want +got):\n%s", diff)
	}
}

// borrowKernel gives the test a cache of its own that has the pinned kernel. The
// images of tests must not take the place of a user's.
func borrowKernel(t *testing.T) {
	t.Helper()
	users, err := Cache()
	if err != nil {
		t.Fatal(err)
	}
	b := &builder{cache: users, Options: Options{Progress: func(what string) { t.Log(what) }}}
	building, err := lockToBuild(t.Context(), users, b.Progress)
	if err != nil {
		t.Fatal(err)
	}
	defer building.Close()
	name, _, err := b.kernel(t.Context())
	labtest.SkipUnsupported(t, err)
	if err := os.CopyFS(filepath.Join(ownCache(t), name), os.DirFS(filepath.Join(users, name))); err != nil {
		t.Fatal(err)
	}
}

func sortedLines(text string) []string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	slices.Sort(lines)
	return lines
}

// packed is the image of a run in memory.
func packed(t testing.TB, in Input) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("image", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "the image")
	t.Cleanup(func() { _ = f.Close() })
	if err := f.Truncate(parcel.InSize); err != nil {
		t.Fatal(err)
	}
	if err := Pack(t.Context(), in, f); err != nil {
		t.Fatal(err)
	}
	return f
}

// contents are the bytes of an image up to the last that is not zero.
func contents(t testing.TB, f *os.File) []byte {
	t.Helper()
	end, err := f.Seek(0, 2)
	if err != nil {
		t.Fatal(err)
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(end), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(data) }()
	// The superblock says how long it is.
	blocks := int(data[erofsSuper+36]) | int(data[erofsSuper+37])<<8 | int(data[erofsSuper+38])<<16
	return bytes.Clone(data[:blocks*erofsBlock])
}
