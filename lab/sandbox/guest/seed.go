package guest

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// seed makes the kernel's random numbers depend on the order's seed. The template's
// are the same in every run; what the machine had drawn before is not taken back.
func seed(value uint64) error {
	f, err := os.OpenFile("/dev/urandom", os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("seeding the machine's random numbers: %w", err)
	}
	defer f.Close()
	var text [8]byte
	binary.LittleEndian.PutUint64(text[:], value)
	digest := sha256.Sum256(text[:])
	// As many bits as bytes hold: the kernel then starts its generator anew.
	pool := struct {
		bits, size int32
		data       [sha256.Size]byte
	}{8 * sha256.Size, sha256.Size, digest}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.RNDADDENTROPY, uintptr(unsafe.Pointer(&pool))); errno != 0 {
		return fmt.Errorf("seeding the machine's random numbers: %w", errno)
	}
	// Otherwise only when the generator is next due, which is up to a minute from now.
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.RNDRESEEDCRNG, 0); errno != 0 {
		return fmt.Errorf("using the seed of the machine's random numbers: %w", errno)
	}
	return nil
}
