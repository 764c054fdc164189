package qemu

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"outlive/lab/sandbox/image"
)

// rememberedFile, in the cache, is what was last found out about the emulator. To
// ask it means to start it twice, which takes longer than to resume a machine.
const rememberedFile = "qemu.json"

// fileID is what changes when a file is written to or replaced. The time of the last
// change is set by nobody but the kernel.
type fileID struct {
	Device  uint64        `json:"device"`
	Inode   uint64        `json:"inode"`
	Size    int64         `json:"size"`
	Changed unix.Timespec `json:"changed"`
}

// memory is the contents of rememberedFile.
type memory struct {
	File    fileID  `json:"file"`
	Program Program `json:"program"`
}

// identity gives the identity of an executable that is a program itself. It is not ok
// for a script, which can start another program tomorrow.
func identity(path string) (id fileID, ok bool) {
	f, err := os.Open(path)
	if err != nil {
		return id, false
	}
	defer f.Close()
	var st unix.Stat_t
	begin := make([]byte, 4)
	if _, err := f.ReadAt(begin, 0); err != nil || string(begin) != "\x7fELF" || unix.Fstat(int(f.Fd()), &st) != nil {
		return id, false
	}
	return fileID{Device: st.Dev, Inode: st.Ino, Size: st.Size, Changed: st.Ctim}, true
}

// recall gives what is remembered of the emulator at path, or nil: where it is another
// one, or changed since, it has to be asked.
func recall(path string) *Program {
	id, ok := identity(path)
	dir, err := image.Cache()
	if !ok || err != nil {
		return nil
	}
	text, err := os.ReadFile(filepath.Join(dir, rememberedFile))
	if err != nil {
		return nil
	}
	var m memory
	if json.Unmarshal(text, &m) != nil || m.File != id || m.Program.Path != path {
		return nil
	}
	return &m.Program
}

// remember keeps what was found out. Where that fails, the emulator is asked again.
func remember(p *Program) {
	id, ok := identity(p.Path)
	dir, err := image.Cache()
	if !ok || err != nil {
		return
	}
	text, err := json.Marshal(memory{id, *p})
	if err != nil {
		return
	}
	// By another name first: somebody may read it just now.
	f, err := os.CreateTemp(dir, rememberedFile+"-")
	if err != nil {
		return
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, rememberedFile))
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
}
