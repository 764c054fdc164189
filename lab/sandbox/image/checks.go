package image

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"outlive/lab/feature"
)

// neededSpace is what an image, its kernel and one template take while they are made, in bytes.
const neededSpace = 700 << 20

// Checks tries what this package needs: a cache with room in it, and a kernel in the
// cache or the tools to fetch one. It fetches nothing.
func Checks() []feature.Check {
	return []feature.Check{
		{Name: "virtual machine cache", Optional: true, Try: tryCache},
		{Name: "virtual machine kernel", Optional: true, Try: tryKernel},
	}
}

func tryCache(context.Context) (string, error) {
	const wanted = "a cache for virtual machines"
	dir, err := Cache()
	if err != nil {
		return "", &feature.Unsupported{Feature: wanted, Needs: "a folder that can be written to", Remedy: cacheRemedy, Err: err}
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		return "", fmt.Errorf("asking how much room there is in %s: %w", dir, err)
	}
	free := disk.Bavail * uint64(disk.Bsize)
	if free < neededSpace {
		return "", &feature.Unsupported{
			Feature: wanted, Needs: fmt.Sprintf("%d MiB free in %s, where there are %d", neededSpace>>20, dir, free>>20),
			Remedy: "make room there, or set XDG_CACHE_HOME to a folder that has it",
		}
	}
	return fmt.Sprintf("%s, %d GiB free", dir, free>>30), nil
}

func tryKernel(context.Context) (string, error) {
	dir, err := Cache()
	if err != nil {
		return "", &feature.Unsupported{Feature: kernelFeature, Needs: "a cache to keep it in", Remedy: cacheRemedy, Err: err}
	}
	b := &builder{cache: dir}
	for _, name := range b.kernels() {
		if m, err := check(filepath.Join(dir, name), false); err == nil {
			return m.Kernel + ", in the cache", nil
		}
	}
	if err := fetchTools(); err != nil {
		return "", err
	}
	return "not in the cache; apt-get and dpkg-deb are there to fetch " + pinnedPackage, nil
}

// fetchTools says which of the tools that fetch a kernel is missing.
func fetchTools() error {
	for _, tool := range []string{"apt-get", "apt-cache", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return &feature.Unsupported{Feature: kernelFeature, Needs: tool + ", to fetch a Debian package", Remedy: ownKernel, Err: err}
		}
	}
	return nil
}
