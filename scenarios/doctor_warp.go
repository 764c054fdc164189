package scenarios

import (
	"context"
	"fmt"
	"os/exec"

	"golang.org/x/sys/unix"

	"outlive/lab/feature"
	"outlive/lab/sandbox/image"
	"outlive/lab/sandbox/qemu"
)

// imageRoom is what building an image takes on the disk, with its template and the
// memory of a few guests that run: far more is never needed, and with less it may fail.
const imageRoom = 1 << 30

// WarpChecks is what the engine warp needs of a machine. Nothing is built for it.
func WarpChecks() []feature.Check {
	return []feature.Check{
		{Name: "QEMU", Try: func(context.Context) (string, error) {
			v, err := qemu.Find()
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("%s, %s", v.Version, v.Path), nil
		}},
		{Name: "image", Try: checkImage},
		{Name: "disk space", Try: checkRoom},
	}
}

// checkImage looks for an image, or else for what it takes to build one.
func checkImage(ctx context.Context) (string, error) {
	state, err := image.Status(ctx)
	if err != nil {
		return "", err
	}
	for _, e := range state.Entries {
		if e.Image && e.Broken == nil {
			return fmt.Sprintf("kernel %s, %s", e.Kernel, e.Path), nil
		}
	}
	for _, tool := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", &feature.Unsupported{
				Feature: "an image for virtual time", Needs: tool + ", which fetches and unpacks a kernel package of Debian",
				Remedy: "give it a kernel of your own: outlive image build --kernel DIR", Err: err,
			}
		}
	}
	return "not built yet; the first run fetches a kernel (26 MB) and builds it", nil
}

func checkRoom(context.Context) (string, error) {
	dir, err := image.Cache()
	if err != nil {
		return "", err
	}
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return "", fmt.Errorf("asking for the free space in %s: %w", dir, err)
	}
	free := int64(s.Bavail) * s.Bsize
	if free < imageRoom {
		return "", &feature.Unsupported{
			Feature: "room for virtual machines", Needs: fmt.Sprintf("1 GiB in %s, where %d MiB are free", dir, free>>20),
			Remedy: "make room there, or set XDG_CACHE_HOME to another folder",
		}
	}
	return fmt.Sprintf("%d GiB free in %s", free>>30, dir), nil
}
