package guest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"outlive/lab/sandbox/parcel"
)

// deviceCount is how many memory devices the machine has: one in, one out.
const deviceCount = 2

// news is the kernel's announcement of devices.
type news struct{ fd int }

func listen() (news, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return news{}, fmt.Errorf("listening for the machine's devices: %w", err)
	}
	limit := unix.NsecToTimeval(deviceLimit.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		_ = unix.Close(fd)
		return news{}, fmt.Errorf("listening for the machine's devices: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		_ = unix.Close(fd)
		return news{}, fmt.Errorf("listening for the machine's devices: %w", err)
	}
	return news{fd}, nil
}

// deviceLimit is how long, in virtual time, the machine's devices may take to appear:
// many times what they do. Without it a machine that lacks one would wait for ever.
const deviceLimit = time.Minute

func (n news) close() { _ = unix.Close(n.fd) }

// awaitDevices waits until both memory devices are there and gives their paths.
func (n news) awaitDevices() ([]string, error) {
	buf := make([]byte, 16<<10)
	for {
		// Looked for each time, so that no announcement need be understood or can be missed.
		found, err := memoryDevices("/dev")
		if err != nil {
			return nil, err
		}
		if len(found) >= deviceCount {
			return found, nil
		}
		_, _, err = unix.Recvfrom(n.fd, buf, 0)
		if errors.Is(err, unix.EAGAIN) {
			err = fmt.Errorf("no more came for %v", deviceLimit)
		}
		if err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENOBUFS) {
			return nil, fmt.Errorf("waiting for the machine's %d memory devices, of which there are %d: %w", deviceCount, len(found), err)
		}
	}
}

// memoryDevices lists the block devices that the module nd_pmem has made.
func memoryDevices(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("looking for memory devices: %w", err)
	}
	var found []string
	for _, entry := range entries {
		if number, ok := strings.CutPrefix(entry.Name(), "pmem"); ok && strings.Trim(number, "0123456789") == "" && number != "" {
			found = append(found, dir+"/"+entry.Name())
		}
	}
	slices.Sort(found)
	return found, nil
}

// devices are the two memory devices, told apart by what is on them.
type devices struct {
	in  string
	out *os.File
}

func openDevices(paths []string) (devices, error) {
	var d devices
	for _, path := range paths {
		f, err := os.OpenFile(path, os.O_RDWR|unix.O_DIRECT, 0)
		if err != nil {
			return d, err
		}
		// What the kernel knows of the device is from another run's, or nobody's.
		if err := unix.IoctlSetInt(int(f.Fd()), unix.BLKFLSBUF, 0); err != nil {
			return d, fmt.Errorf("forgetting what was on %s: %w", path, err)
		}
		begin, err := readBegin(f)
		if err != nil {
			return d, fmt.Errorf("reading the beginning of %s: %w", path, err)
		}
		switch {
		case parcel.IsOut(begin) && d.out == nil:
			d.out = f
			continue
		case isImage(begin) && d.in == "":
			d.in = path
		}
		_ = f.Close()
	}
	if d.in == "" || d.out == nil {
		return d, fmt.Errorf("of %s one must hold an erofs image and one be empty for the results", strings.Join(paths, " and "))
	}
	return d, nil
}

// hide takes the devices away from the lab, whose privileged programs could otherwise
// write over the results.
func hide(paths []string) error {
	for _, path := range paths {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("hiding the machine's devices: %w", err)
		}
	}
	return nil
}

// beginSize reaches beyond the mark of an image.
const beginSize = 4096

// readBegin reads without the page cache, for which memory must be aligned.
func readBegin(f *os.File) ([]byte, error) {
	room := make([]byte, 2*beginSize)
	shift := -uintptr(unsafe.Pointer(&room[0])) % beginSize
	begin := room[shift:][:beginSize]
	_, err := f.ReadAt(begin, 0)
	return begin, err
}

// isImage says whether a device that begins so holds an erofs image.
func isImage(begin []byte) bool {
	const at, mark = 1024, 0xE0F5E1E2
	return len(begin) >= at+4 && bytes.Equal(begin[at:at+4], binary.LittleEndian.AppendUint32(nil, mark))
}
