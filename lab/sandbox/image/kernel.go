package image

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"outlive/lab/feature"
)

// kernelFiles are a kernel's files in a folder as a package unpacks them.
type kernelFiles struct {
	image   string            // the path of the bootable file
	release string            // "6.1.0-56-cloud-amd64"
	version string            // with the version of the package, where the kernel says it
	modules map[string]string // path by name
	builtIn map[string]bool
}

// findKernel looks for one kernel in a folder: vmlinuz (or vmlinuz-RELEASE) there or
// in boot, and modules in lib/modules.
func findKernel(dir string) (*kernelFiles, error) {
	if info, err := os.Stat(dir); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, fmt.Errorf("%s is not a folder", dir)
	}
	image, err := one(dir, "vmlinuz", "vmlinuz-*", "boot/vmlinuz", "boot/vmlinuz-*")
	if err != nil {
		return nil, err
	}
	k := &kernelFiles{image: image, modules: make(map[string]string), builtIn: make(map[string]bool)}
	if k.release, k.version, err = kernelVersion(image); err != nil {
		return nil, err
	}
	folder, err := one(dir, "lib/modules/"+k.release, "usr/lib/modules/"+k.release)
	if err != nil {
		return nil, fmt.Errorf("looking for the modules of kernel %s: %w", k.release, err)
	}
	err = filepath.WalkDir(folder, func(full string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		for _, packed := range []string{".gz", ".xz", ".zst"} {
			name = strings.TrimSuffix(name, packed)
		}
		if name, ok := strings.CutSuffix(name, ".ko"); ok {
			k.modules[moduleName(name)] = full
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	list, err := os.ReadFile(filepath.Join(folder, "modules.builtin"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for line := range strings.Lines(string(list)) {
		k.builtIn[moduleName(strings.TrimSuffix(path.Base(strings.TrimSpace(line)), ".ko"))] = true
	}
	return k, nil
}

// one finds the only file that one of the patterns matches; the first pattern with a
// match counts.
func one(dir string, patterns ...string) (string, error) {
	for _, p := range patterns {
		found, err := filepath.Glob(filepath.Join(dir, p))
		if err != nil {
			return "", err
		}
		switch {
		case len(found) == 1:
			return found[0], nil
		case len(found) > 1:
			return "", fmt.Errorf("%s has several kernels (%s); make a folder with one of them and its lib/modules", dir, strings.Join(found, ", "))
		}
	}
	return "", fmt.Errorf("%s has no %s", dir, strings.Join(patterns, ", nor "))
}

var packageVersion = regexp.MustCompile(`Debian ([0-9][^ )]*)`)

// kernelVersion reads the header of a bootable x86 kernel
// (Documentation/arch/x86/boot.rst): who it is stands at the offset in kernel_version.
func kernelVersion(name string) (release, version string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	const (
		magicAt, versionAt, setup = 0x202, 0x20e, 0x200
		longest                   = 512
	)
	head := make([]byte, 1<<16)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", "", fmt.Errorf("reading %s: %w", name, err)
	}
	head = head[:n]
	if len(head) < versionAt+2 || string(head[magicAt:magicAt+4]) != "HdrS" {
		return "", "", fmt.Errorf("%s is not a Linux kernel for x86-64", name)
	}
	at := int(binary.LittleEndian.Uint16(head[versionAt:])) + setup
	if at >= len(head) {
		return "", "", fmt.Errorf("%s does not say which kernel it is", name)
	}
	text, _, _ := bytes.Cut(head[at:min(at+longest, len(head))], []byte{0})
	release, _, _ = strings.Cut(string(text), " ")
	if release == "" || !filepath.IsLocal(release) || strings.ContainsAny(release, "/*?[\\") {
		return "", "", fmt.Errorf("%s does not say which kernel it is", name)
	}
	version = release
	if m := packageVersion.FindStringSubmatch(string(text)); m != nil {
		version += " (Debian " + m[1] + ")"
	}
	return release, version, nil
}

// ordered reads the modules that the lab needs.
func (k *kernelFiles) ordered(ctx context.Context) ([]module, error) {
	read := func(name string) ([]byte, bool, error) {
		file, there := k.modules[name]
		if !there {
			return nil, false, nil
		}
		data, err := unpack(ctx, file)
		return data, true, err
	}
	modules, missing, err := orderModules(wantedModules, helpfulModules, read, func(name string) bool { return k.builtIn[name] })
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		return nil, &feature.Unsupported{
			Feature: "virtual time with kernel " + k.release,
			Needs:   "the kernel modules " + strings.Join(missing, ", "),
			Remedy:  "use a kernel that has them, such as Debian's linux-image-cloud-amd64",
		}
	}
	return modules, nil
}

// unpack reads a file that may be compressed, as its name says.
func unpack(ctx context.Context, name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	tool := ""
	switch path.Ext(name) {
	case ".gz":
		r, err := gzip.NewReader(f)
		if err != nil {
			return nil, fmt.Errorf("unpacking %s: %w", name, err)
		}
		return io.ReadAll(r)
	case ".xz":
		tool = "xz"
	case ".zst":
		tool = "zstd"
	default:
		return io.ReadAll(f)
	}
	cmd := exec.CommandContext(ctx, tool, "-dc")
	cmd.Stdin = f
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return nil, &feature.Unsupported{Feature: "unpacking " + name, Needs: tool, Remedy: "install it: sudo apt-get install " + tool + "-utils or " + tool, Err: err}
		}
		return nil, fmt.Errorf("unpacking %s: %w: %s", name, err, bytes.TrimSpace(said.Bytes()))
	}
	return out.Bytes(), nil
}
