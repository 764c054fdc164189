package qemu

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Memory makes a file of zeros that is only in memory and has no name that anybody
// could leave behind. What is not written takes no space.
func Memory(name string, size int64) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if err := f.Truncate(size); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("making a file of %d bytes in memory: %w", size, err)
	}
	return f, nil
}

// consoleTail is how much of a console an error keeps.
const consoleTail = 4 << 10

// tail gives the end of a file, or nothing where it cannot be read.
func tail(f *os.File) string {
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	text := make([]byte, min(info.Size(), consoleTail))
	n, _ := f.ReadAt(text, info.Size()-int64(len(text)))
	return string(text[:n])
}
