package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"outlive/lab/feature"
)

// The kernel that outlive is tested with: Debian 12's for virtual machines. Its
// package was signed by Debian's archive when the sum was taken.
const (
	pinnedPackage = "linux-image-6.1.0-56-cloud-amd64"
	pinnedVersion = "6.1.192-2"
	pinnedSHA256  = "e7d02b943971edcb8790e256c02cfab3bca6c3d37c1bf25392a57c71300615ee"
	// newestPackage depends on the newest of the same kind.
	newestPackage = "linux-image-cloud-amd64"
)

const (
	kernelFeature = "the kernel of the virtual machine"
	ownKernel     = "give another kernel: outlive image build --kernel DIR, where DIR has vmlinuz and lib/modules"
)

// errNotOffered says that the machine's package sources do not have a version.
var errNotOffered = errors.New("the package sources of this machine do not offer it")

// fetchKernel downloads a kernel's package into a folder and unpacks it there.
func fetchKernel(ctx context.Context, dir string, progress func(string)) (unpacked string, substitute bool, err error) {
	if err := fetchTools(); err != nil {
		return "", false, err
	}
	progress("fetching " + pinnedPackage + " " + pinnedVersion + " (26 MB, once)")
	file, err := download(ctx, dir, pinnedPackage+"="+pinnedVersion)
	if errors.Is(err, errNotOffered) {
		substitute = true
		var name string
		if name, err = newestKernel(ctx); err == nil {
			progress("the pinned kernel is not offered any more; fetching " + name)
			file, err = download(ctx, dir, name)
		}
	}
	if errors.Is(err, errNotOffered) {
		return "", false, &feature.Unsupported{
			Feature: kernelFeature, Needs: "a package source of Debian 12 or later for amd64",
			Remedy: "refresh the lists of packages (sudo apt-get update), or " + ownKernel, Err: err,
		}
	}
	if err != nil {
		return "", false, err
	}
	if err := checkPackage(file, substitute); err != nil {
		return "", false, err
	}
	progress("unpacking " + filepath.Base(file))
	unpacked = filepath.Join(dir, "unpacked")
	if _, err := run(ctx, dir, "dpkg-deb", "-x", file, unpacked); err != nil {
		return "", false, fmt.Errorf("unpacking the kernel: %w", err)
	}
	return unpacked, substitute, nil
}

// download fetches one package. apt checks it against the archive's signature.
func download(ctx context.Context, dir, name string) (string, error) {
	said, err := run(ctx, dir, "apt-get", "download", name)
	if err != nil {
		if notOffered.MatchString(said) {
			err = errNotOffered
		}
		return "", fmt.Errorf("fetching %s: %w", name, err)
	}
	return one(dir, "*.deb")
}

// notOffered matches what apt-get says of a package or version that it does not know.
var notOffered = regexp.MustCompile(`(?m)^E: (Version .* was not found|Unable to locate package|Can't find a source|Can't select candidate)`)

// newestKernel is the name of the package that newestPackage depends on.
func newestKernel(ctx context.Context) (string, error) {
	said, err := run(ctx, "", "apt-cache", "depends", newestPackage)
	if err != nil {
		return "", fmt.Errorf("looking for the newest kernel: %w", errNotOffered)
	}
	for line := range strings.Lines(said) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: linux-image-"); ok {
			return "linux-image-" + name, nil
		}
	}
	return "", fmt.Errorf("looking for the newest kernel: %w", errNotOffered)
}

// checkPackage guards against a damaged file and against another one of the same name.
func checkPackage(file string, substitute bool) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := sumOf(f)
	if err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	if !substitute && got.SHA256 != pinnedSHA256 {
		return fmt.Errorf("the package source gave a %s %s with the SHA-256 sum %s instead of %s; use another mirror, or %s",
			pinnedPackage, pinnedVersion, got.SHA256, pinnedSHA256, ownKernel)
	}
	return nil
}

// run runs a tool to its end and gives all that it said.
func run(ctx context.Context, dir, tool string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	// Its own group, so that an interrupt from the terminal reaches it by way of ctx only.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	if ctx.Err() != nil {
		err = ctx.Err()
	} else if err != nil {
		err = fmt.Errorf("%s: %w: %s", tool, err, strings.TrimSpace(said.String()))
	}
	return said.String(), err
}

// copyFile copies a file's contents.
func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}
