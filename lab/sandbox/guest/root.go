package guest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"outlive/lab/sandbox/parcel"
)

// Where things are mounted until the lab has its own root. The folders are made in
// the machine's first root, and the lab sees none of them.
const (
	imageDir = "/image"
	upperDir = "/upper"
	rootDir  = "/newroot"
)

// resultShare is how much of the machine's memory the result folder may take. The
// rest is what the kernel and the programs need at least: with more, the kernel would
// kill programs where now a file cannot be written.
const resultShare = "size=75%,mode=0755"

// openImage mounts what came in and reads the order.
func openImage(device string) (parcel.Order, error) {
	var order parcel.Order
	if err := os.MkdirAll(imageDir, 0o755); err != nil {
		return order, err
	}
	if err := unix.Mount(device, imageDir, "erofs", unix.MS_RDONLY|unix.MS_NODEV, ""); err != nil {
		return order, fmt.Errorf("mounting the image on %s: %w", device, err)
	}
	text, err := os.ReadFile(filepath.Join(imageDir, parcel.OrderFile))
	if err != nil {
		return order, fmt.Errorf("reading the order: %w", err)
	}
	if err := json.Unmarshal(text, &order); err != nil {
		return order, fmt.Errorf("reading the order: %w", err)
	}
	return order, nil
}

// makeRoot enters the lab's root, in which the result folder holds what came in for
// it, and takes note of that.
func makeRoot() (snapshot, error) {
	if err := mountRoot(); err != nil {
		return nil, fmt.Errorf("making the lab's root: %w", err)
	}
	result := filepath.Join(rootDir, parcel.Dir)
	if err := os.MkdirAll(result, 0o755); err != nil {
		return nil, fmt.Errorf("making the result folder: %w", err)
	}
	if err := unix.Mount("tmpfs", result, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, resultShare); err != nil {
		return nil, fmt.Errorf("mounting the result folder: %w", err)
	}
	if err := copyTree(filepath.Join(imageDir, parcel.LabFolder), result); err != nil {
		return nil, fmt.Errorf("filling the result folder: %w", err)
	}
	if err := enterRoot(); err != nil {
		return nil, fmt.Errorf("entering the lab's root: %w", err)
	}
	return take(parcel.Dir)
}

// mountRoot puts the image's root on top of the machine's, and a writable layer on
// top of both.
func mountRoot() error {
	for _, dir := range []string{upperDir, rootDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("tmpfs", upperDir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mounting its writable layer: %w", err)
	}
	for _, dir := range []string{"upper", "work"} {
		if err := os.Mkdir(filepath.Join(upperDir, dir), 0o755); err != nil {
			return err
		}
	}
	layers := fmt.Sprintf("lowerdir=%s:/,upperdir=%s/upper,workdir=%s/work", filepath.Join(imageDir, parcel.RootFolder), upperDir, upperDir)
	if err := unix.Mount("overlay", rootDir, "overlay", 0, layers); err != nil {
		return fmt.Errorf("mounting its layers: %w", err)
	}
	// What a user expects to be there, and sandbox makes private.
	for _, dir := range []string{"/run", "/tmp", "/proc", "/sys", "/dev"} {
		if err := os.MkdirAll(rootDir+dir, 0o755); err != nil {
			return err
		}
	}
	return os.Chmod(rootDir+"/tmp", 0o1777)
}

// enterRoot makes the new root the one of the machine. After a mere chroot the kernel
// would allow no user namespaces.
func enterRoot() error {
	for _, dir := range []string{"/proc", "/sys", "/dev"} {
		if err := unix.Mount(dir, rootDir+dir, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("moving %s: %w", dir, err)
		}
	}
	if err := unix.Chdir(rootDir); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return err
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	return unix.Chdir("/")
}
