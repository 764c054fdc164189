package image

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// self is the executable of the calling process: the init of the machine.
const self = "/proc/self/exe"

// Names in the initramfs that the init relies on.
const (
	initFile      = "init"
	modulesFolder = "modules"
	orderFile     = "order"
)

// initramfs is what the kernel unpacks as its first root.
func initramfs(program string, modules []module) (tree, error) {
	t := newTree()
	for _, dir := range []string{"dev", "proc", "sys", "run", "mnt"} {
		t.folder(dir, 0o755)
	}
	t.folder("tmp", 0o777|fs.ModeSticky)
	// The kernel opens it for the init before there is any other device.
	t.put("dev/console", &node{mode: fs.ModeDevice | fs.ModeCharDevice | 0o600, major: 5, minor: 1})

	data, err := os.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("reading this program's executable: %w", err)
	}
	e, err := readELF(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("reading this program's executable: %w", err)
	}
	if reason, remedy := e.machineProblem(); reason != "" {
		return nil, &Unrunnable{Program: "outlive itself", Reason: reason, Remedy: remedy}
	}
	if e.interpreter != "" {
		h := newHost("", t, ".")
		if _, err := h.addOwn(program, e); err != nil {
			return nil, err
		}
		h.tree.file("etc/ld.so.cache", h.loaderCache())
	}
	data = stripDebug(data)
	t.put(initFile, &node{mode: 0o755, data: data, size: int64(len(data))})

	var order strings.Builder
	for _, m := range modules {
		t.file(modulesFolder+"/"+m.name+".ko", m.data)
		order.WriteString(m.name + ".ko\n")
	}
	t.file(modulesFolder+"/"+orderFile, []byte(order.String()))
	return t, nil
}

// addOwn takes what this program's executable is linked with: the C library, where it
// was built with cgo, as under the race detector. The path of the executable may be
// hidden, or another file's by now.
func (h *host) addOwn(program string, e *executable) ([]string, error) {
	if path, err := os.Readlink(program); err == nil {
		program = path
	}
	h.elfs[program] = e
	return h.closure("outlive itself", program)
}

// stripDebug removes from a program all that is not loaded: a third of what the Go
// linker writes, which would take the machine's memory for ever.
func stripDebug(data []byte) []byte {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil || f.Class != elf.ELFCLASS64 || f.ByteOrder != binary.LittleEndian {
		return data
	}
	end := uint64(0)
	for _, p := range f.Progs {
		end = max(end, p.Off+p.Filesz)
	}
	const (
		headerSize = 64
		sectionsAt = 0x28 // e_shoff
		countAt    = 0x3c // e_shnum, e_shstrndx
	)
	if end < headerSize || end > uint64(len(data)) {
		return data
	}
	out := bytes.Clone(data[:end])
	clear(out[sectionsAt : sectionsAt+8])
	clear(out[countAt : countAt+4])
	return out
}

// programIdentity tells executables apart without reading all of them: by the Go
// linker's build ID, which has a hash of the contents in it, and the size.
func programIdentity(program string) (string, error) {
	f, err := os.Open(program)
	if err != nil {
		return "", fmt.Errorf("reading this program's executable: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("reading this program's executable: %w", err)
	}
	size := strconv.FormatInt(info.Size(), 10)
	if file, err := elf.NewFile(f); err == nil {
		if note := file.Section(".note.go.buildid"); note != nil {
			// An ID without a slash was given by hand, and may be the same for all.
			if id, err := note.Data(); err == nil && bytes.ContainsRune(id, '/') {
				return identity("build ID", string(id), size), nil
			}
		}
	}
	all, err := sumOf(f)
	if err != nil {
		return "", fmt.Errorf("reading this program's executable: %w", err)
	}
	return identity("contents", all.SHA256, size), nil
}
