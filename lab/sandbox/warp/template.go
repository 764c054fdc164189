package warp

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"outlive/lab/sandbox/image"
	"outlive/lab/sandbox/qemu"
)

// Memory of a guest, in bytes. The least is enough for a lab of a few hosts with a
// server that is no giant. Each host beyond that is a namespace and what watches it: of a
// thousand, whose clients shared a process, 1.6 MB each were in use. A built-in client as a
// process of its own has 10 MB.
const (
	leastMemory      = 512 << 20
	memoryPerHost    = 2 << 20
	memoryPerProgram = 10 << 20
	inLeast          = 12 // hosts, and programs
)

// memoryFor gives the memory of a guest with so many hosts and programs: one of few
// sizes, because each has a template of its own.
func memoryFor(hosts, programs int) int64 {
	need := int64(leastMemory) + int64(max(0, hosts-inLeast))*memoryPerHost + int64(max(0, programs-inLeast))*memoryPerProgram
	size := int64(leastMemory)
	for size < need {
		size *= 2
	}
	return size
}

// Names in an image's folder.
const (
	// templatePrefix begins the names of templates. What is left of one that was being
	// made has partPrefix before that.
	templatePrefix = "template-"
	partPrefix     = "part-"
	// templateLock is held by whoever makes or removes a template.
	templateLock = "templates.lock"
)

// bootLimit is how long the machine may take to get ready for its template: some
// fifty times what it does, for a busy host.
const bootLimit = 3 * time.Minute

// template gives the folder of the image's template for a machine, making it first
// where it is not there or not whole.
func template(ctx context.Context, img *image.Image, m qemu.Machine, progress func(string)) (string, error) {
	dir := filepath.Join(img.Dir, templatePrefix+templateKey(m))
	if checkTemplate(dir) == nil {
		return dir, nil
	}
	lock, err := lockTemplates(ctx, img.Dir, progress)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	// Somebody else may have made it meanwhile.
	if checkTemplate(dir) == nil {
		return dir, nil
	}
	if err := makeTemplate(ctx, m, dir, progress); err != nil {
		return "", fmt.Errorf("making the template of the virtual machine: %w", err)
	}
	return dir, nil
}

// templateKey tells templates of one image apart.
func templateKey(m qemu.Machine) string {
	sum := sha256.Sum256([]byte(m.Key()))
	return fmt.Sprintf("%dM-%s", m.Memory>>20, hex.EncodeToString(sum[:8]))
}

// makeTemplate makes a template: whole or not at all.
func makeTemplate(ctx context.Context, m qemu.Machine, dir string, progress func(string)) (err error) {
	// Nobody else makes one while the lock is held: what there is was left by the dead.
	if err := removeParts(filepath.Dir(dir)); err != nil {
		return err
	}
	// One that is not whole. Whoever runs on it has its files open.
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := checkRoom(filepath.Dir(dir), m.Memory); err != nil {
		return err
	}
	progress("starting the virtual machine once, to keep its state")
	part := filepath.Join(filepath.Dir(dir), partPrefix+filepath.Base(dir))
	if err := os.Mkdir(part, 0o755); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(part))
		}
	}()
	bounded, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	if err := qemu.MakeTemplate(bounded, m, part); err != nil {
		if ctx.Err() == nil && bounded.Err() != nil {
			return fmt.Errorf("the virtual machine was not ready within %v: %w", bootLimit, err)
		}
		return err
	}
	if err := sealTemplate(part); err != nil {
		return err
	}
	return os.Rename(part, dir)
}

func removeParts(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), partPrefix) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("removing the rest of a template: %w", err)
			}
		}
	}
	return nil
}

// roomFor is what a template takes on the disk: what a machine has touched of its
// memory when it is ready, 110 MB, and of each GB more its books.
func roomFor(memory int64) uint64 { return 200<<20 + uint64(memory)/32 }

// checkRoom says whether there is room for a template. The memory is mapped: where the
// disk is full, the machine would be ended by a signal that says nothing.
func checkRoom(dir string, memory int64) error {
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		return fmt.Errorf("asking for the room in %s: %w", dir, err)
	}
	if free := disk.Bavail * uint64(disk.Bsize); free < roomFor(memory) {
		return fmt.Errorf("%d MB are free in %s, of %d MB that it takes; make room there, or set XDG_CACHE_HOME", free>>20, dir, roomFor(memory)>>20)
	}
	return nil
}

// wholeFile is the list of a template's files, in its folder.
const wholeFile = "files.json"

// sealTemplate takes note of a template's files, and makes all of it last on the disk.
func sealTemplate(dir string) error {
	files, err := listTemplate(dir)
	if err != nil {
		return err
	}
	text, err := json.Marshal(files)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, wholeFile), text, 0o644); err != nil {
		return err
	}
	files[wholeFile], files["."] = fileState{}, fileState{}
	for name := range files {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// checkTemplate says whether a template is there and as it was made. Its contents are
// not looked at: a hundred megabytes would take longer than a run.
func checkTemplate(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, wholeFile))
	if err != nil {
		return err
	}
	var want map[string]fileState
	if err := json.Unmarshal(text, &want); err != nil {
		return err
	}
	files, err := listTemplate(dir)
	if err != nil {
		return err
	}
	if !maps.Equal(want, files) {
		return fmt.Errorf("the template in %s has changed since it was made", dir)
	}
	return nil
}

// fileState is what shows that a file has changed.
type fileState struct {
	Size     int64 `json:"size"`
	Modified int64 `json:"modified"` // ns
}

func listTemplate(dir string) (map[string]fileState, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := make(map[string]fileState)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		if e.Name() != wholeFile {
			files[e.Name()] = fileState{info.Size(), info.ModTime().UnixNano()}
		}
	}
	return files, nil
}

// lockTemplates waits until no other process makes a template in the folder. The lock
// ends with the file, and with the process.
func lockTemplates(ctx context.Context, dir string, progress func(string)) (*os.File, error) {
	const interval = 20 * time.Millisecond
	f, err := os.OpenFile(filepath.Join(dir, templateLock), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("locking the templates: %w", err)
	}
	for told := false; ; told = true {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("locking the templates: %w", err), f.Close())
		}
		if !told {
			progress("waiting for another outlive that prepares the virtual machine")
		}
		// A blocking lock could not be given up when ctx ends.
		select {
		case <-time.After(interval):
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		}
	}
}
