package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"outlive/lab/feature"
)

// format changes whenever the same input makes another image.
const format = "1"

// Options say how to build an image.
type Options struct {
	// Kernel is a folder with vmlinuz (there or in boot) and lib/modules to use
	// instead of the pinned package. Empty is what ChooseKernel chose, or the package.
	Kernel string
	// Contents reads and compares the contents of everything in the cache that is
	// used, not only sizes: for when a machine did not start.
	Contents bool
	// Progress is told what takes time, in a user's words. It may be nil.
	Progress func(string)
}

// Image is a kernel and an initramfs whose init is this program. It is in the cache,
// and stays there until Close.
type Image struct {
	// Dir is its folder. Templates made of it may be kept in folders below, and go
	// with it.
	Dir string
	// Key tells images apart: it is the same for the same contents only.
	Key string
	// Vmlinuz and Initrd are the paths of the files to boot.
	Vmlinuz, Initrd string
	// Kernel is the kernel, for example "6.1.0-56-cloud-amd64 (Debian 6.1.192-2)".
	Kernel string
	// Substitute says that the pinned kernel was not to be had any more, and another
	// one is used: results may differ from those of other machines.
	Substitute bool

	use *os.File
}

// Close says that the image is not used any more. It may then be removed from the
// cache by any process that builds another one.
func (i *Image) Close() error { return i.use.Close() }

// Build gives the image for this executable: from the cache if it is there and whole,
// which takes milliseconds, else a new one, for which the kernel's package may have
// to be fetched. Processes that build at once wait for each other. A process that is
// killed leaves a cache that works. It is an *feature.Unsupported where there is no
// kernel to be had.
func Build(ctx context.Context, o Options) (*Image, error) {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	b := &builder{Options: o}
	var err error
	if b.cache, err = Cache(); err != nil {
		return nil, err
	}
	if b.program, err = b.identify(); err != nil {
		return nil, err
	}
	own := o.Kernel
	if own == "" {
		if own, err = chosenKernel(b.cache); err != nil {
			return nil, err
		}
	}
	if b.own, err = ownFiles(ctx, own); err != nil {
		return nil, err
	}
	if found := b.ready(); found != nil {
		return found, nil
	}
	image, err := b.build(ctx)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return nil, fmt.Errorf("preparing the virtual machine in %s: %w; make room there (it takes 300 MB while it is made), or set XDG_CACHE_HOME", b.cache, err)
	}
	if err != nil {
		if _, ok := errors.AsType[*feature.Unsupported](err); ok {
			return nil, err
		}
		return nil, fmt.Errorf("preparing the virtual machine: %w", err)
	}
	return image, nil
}

// builder is one call of Build.
type builder struct {
	Options
	cache   string
	program string // the identity of the init
	own     *ownKernelFiles
}

// ownKernelFiles are a user's kernel, read.
type ownKernelFiles struct {
	kernel   *kernelFiles
	modules  []module
	identity string
}

// ownFiles reads a user's kernel, which is not ours to keep a copy of: only its
// contents say whether an image is made of it.
func ownFiles(ctx context.Context, dir string) (*ownKernelFiles, error) {
	if dir == "" {
		return nil, nil
	}
	k, err := findKernel(dir)
	if err != nil {
		return nil, fmt.Errorf("looking for a kernel in %s: %w", dir, err)
	}
	modules, err := k.ordered(ctx)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(k.image)
	if err != nil {
		return nil, fmt.Errorf("reading the kernel: %w", err)
	}
	defer f.Close()
	s, err := sumOf(f)
	if err != nil {
		return nil, fmt.Errorf("reading the kernel: %w", err)
	}
	words := []string{"own", s.SHA256}
	for _, m := range modules {
		words = append(words, m.name, string(m.data))
	}
	return &ownKernelFiles{kernel: k, modules: modules, identity: identity(words...)}, nil
}

// identify gives the identity of the init with the libraries that it may need.
func (b *builder) identify() (string, error) {
	id, err := programIdentity(self)
	if err != nil {
		return "", err
	}
	f, err := os.Open(self)
	if err != nil {
		return "", fmt.Errorf("reading this program's executable: %w", err)
	}
	defer f.Close()
	e, err := readELF(f)
	if err != nil {
		return "", fmt.Errorf("reading this program's executable: %w", err)
	}
	if e.interpreter == "" {
		return id, nil
	}
	files, err := newHost("", newTree(), ".").addOwn(self, e)
	if err != nil {
		return "", err
	}
	words := []string{id}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return "", fmt.Errorf("reading the libraries of this program: %w", err)
		}
		s, err := sumOf(f)
		_ = f.Close()
		if err != nil {
			return "", fmt.Errorf("reading the libraries of this program: %w", err)
		}
		words = append(words, name, s.SHA256)
	}
	return identity(words...), nil
}

// wanted is the identity of what is looked for in a kernel's package.
func wanted() string {
	return identity(format, strings.Join(wantedModules, " "), strings.Join(helpfulModules, " "))
}

// pinnedKernel is the folder in the cache of the pinned kernel.
func pinnedKernel() string { return kernelPrefix + identity(pinnedSHA256, wanted()) }

// kernels are the folders that the image may come from, the best first.
func (b *builder) kernels() []string {
	names := []string{pinnedKernel()}
	dirs, err := folders(b.cache, kernelPrefix)
	if err != nil {
		return names
	}
	for _, dir := range dirs {
		if m, err := check(dir, false); err == nil && m.Substitute && m.Wanted == wanted() {
			names = append(names, filepath.Base(dir))
		}
	}
	return names
}

// key is the name of an image by what it is made of.
func (b *builder) key(kernel string) string { return identity(format, kernel, b.program) }

// ready is the image from the cache, or nil if it is not there or not whole.
func (b *builder) ready() *Image {
	if b.own != nil {
		return b.open(b.key(b.own.identity))
	}
	for _, name := range b.kernels() {
		if i := b.open(b.key(name)); i != nil {
			return i
		}
	}
	return nil
}

// open takes an image of the cache into use. It is nil for one that is not whole.
func (b *builder) open(key string) *Image {
	dir := filepath.Join(b.cache, imagePrefix+key)
	if _, err := os.Lstat(filepath.Join(dir, manifestFile)); err != nil {
		return nil
	}
	use, err := lock(filepath.Join(dir, useLock), unix.LOCK_SH)
	if err != nil {
		return nil
	}
	// Only now, as it may have been removed before it was locked.
	m, err := check(dir, b.Contents)
	if err != nil {
		_ = use.Close()
		return nil
	}
	// A cache whose order of use is lost forgets the wrong image, and no more.
	_ = os.Chtimes(filepath.Join(dir, useLock), time.Time{}, time.Now())
	return &Image{
		Dir: dir, Key: key, Kernel: m.Kernel, Substitute: m.Substitute, use: use,
		Vmlinuz: filepath.Join(dir, "vmlinuz"), Initrd: filepath.Join(dir, "initrd"),
	}
}

// build makes the image, unless somebody else has made it meanwhile.
func (b *builder) build(ctx context.Context) (*Image, error) {
	building, err := lockToBuild(ctx, b.cache, b.Progress)
	if err != nil {
		return nil, err
	}
	defer building.Close()
	if i := b.ready(); i != nil {
		return i, nil
	}
	var made manifest
	var kernelImage, key, kernelFolder string
	var modules []module
	if b.own != nil {
		made.Kernel, key = b.own.kernel.version, b.key(b.own.identity)
		kernelImage, modules = b.own.kernel.image, b.own.modules
	} else {
		if kernelFolder, made, err = b.kernel(ctx); err != nil {
			return nil, err
		}
		key = b.key(kernelFolder)
		kernelImage = filepath.Join(b.cache, kernelFolder, "vmlinuz")
		if modules, err = readModules(filepath.Join(b.cache, kernelFolder)); err != nil {
			return nil, err
		}
	}
	b.Progress("making the virtual machine's first files")
	t, err := initramfs(self, modules)
	if err != nil {
		return nil, err
	}
	err = b.temporary(imagePrefix+key, func(dir string) (manifest, error) {
		if err := copyFile(kernelImage, filepath.Join(dir, "vmlinuz")); err != nil {
			return made, err
		}
		f, err := os.Create(filepath.Join(dir, "initrd"))
		if err != nil {
			return made, err
		}
		return made, errors.Join(writeCpio(f, t), f.Close(), ctx.Err())
	})
	if err != nil {
		return nil, err
	}
	i := b.open(key)
	if i == nil {
		_, err := check(filepath.Join(b.cache, imagePrefix+key), true)
		return nil, fmt.Errorf("the image that was just made is not whole: %w", err)
	}
	if err := prune(b.cache, kernelFolder); err != nil {
		_ = i.Close()
		return nil, fmt.Errorf("removing old images: %w", err)
	}
	return i, nil
}

// temporary makes a folder of the cache: whole or not at all. fill gives its files.
func (b *builder) temporary(name string, fill func(dir string) (manifest, error)) error {
	dir, err := os.MkdirTemp(b.cache, temporaryPrefix)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	m, err := fill(dir)
	if err != nil {
		return err
	}
	if err := seal(dir, m); err != nil {
		return err
	}
	return finish(b.cache, dir, name)
}

// kernel gives the folder of a kernel in the cache; it fetches one if there is none.
func (b *builder) kernel(ctx context.Context) (string, manifest, error) {
	for _, name := range b.kernels() {
		// All of it, as it is read only where an image is made.
		if m, err := check(filepath.Join(b.cache, name), true); err == nil {
			return name, m, nil
		}
	}
	download, err := os.MkdirTemp(b.cache, temporaryPrefix)
	if err != nil {
		return "", manifest{}, err
	}
	defer func() { _ = os.RemoveAll(download) }()
	unpacked, substitute, err := fetchKernel(ctx, download, b.Progress)
	if err != nil {
		return "", manifest{}, err
	}
	k, err := findKernel(unpacked)
	if err != nil {
		return "", manifest{}, err
	}
	modules, err := k.ordered(ctx)
	if err != nil {
		return "", manifest{}, err
	}
	m := manifest{Kernel: k.version, Substitute: substitute, Wanted: wanted()}
	name := pinnedKernel()
	if substitute {
		name = kernelPrefix + identity(k.version, wanted())
	}
	err = b.temporary(name, func(dir string) (manifest, error) {
		if err := copyFile(k.image, filepath.Join(dir, "vmlinuz")); err != nil {
			return m, err
		}
		return m, writeModules(dir, modules)
	})
	return name, m, err
}

// writeModules keeps modules in a folder of the cache.
func writeModules(dir string, modules []module) error {
	if err := os.Mkdir(filepath.Join(dir, modulesFolder), 0o700); err != nil {
		return err
	}
	var order strings.Builder
	for _, m := range modules {
		order.WriteString(m.name + "\n")
		if err := os.WriteFile(filepath.Join(dir, modulesFolder, m.name+".ko"), m.data, 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, orderFile), []byte(order.String()), 0o600)
}

// readModules reads what writeModules has written.
func readModules(dir string) ([]module, error) {
	order, err := os.ReadFile(filepath.Join(dir, orderFile))
	if err != nil {
		return nil, err
	}
	var modules []module
	for name := range strings.FieldsSeq(string(order)) {
		data, err := os.ReadFile(filepath.Join(dir, modulesFolder, name+".ko"))
		if err != nil {
			return nil, err
		}
		modules = append(modules, module{name: name, data: data})
	}
	return modules, nil
}
