package image

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/feature"
	"outlive/lab/labtest"
)

// crafted describes an ELF file that a test makes.
type crafted struct {
	class           elf.Class // 64 bits unless it says 32
	machine         elf.Machine
	interpreter     string
	needed, runpath []string
	isa             uint32 // bits of GNU_PROPERTY_X86_ISA_1_NEEDED
	modinfo         string
	goAMD64         string // the setting that the Go linker records
}

// bytes lays the file out: header, program headers, contents, section headers.
func (c crafted) bytes() []byte {
	le := binary.LittleEndian
	if c.machine == 0 {
		c.machine = elf.EM_X86_64
	}
	if c.class == elf.ELFCLASS32 {
		head := make([]byte, 52)
		copy(head, "\x7fELF\x01\x01\x01")
		le.PutUint16(head[16:], 2)
		le.PutUint16(head[18:], uint16(c.machine))
		le.PutUint32(head[20:], 1)
		le.PutUint16(head[40:], 52)
		return head
	}
	strtab := []byte{0}
	text := func(s string) uint64 {
		at := len(strtab)
		strtab = append(append(strtab, s...), 0)
		return uint64(at)
	}
	var dynamic []byte
	tag := func(t elf.DynTag, v uint64) { dynamic = le.AppendUint64(le.AppendUint64(dynamic, uint64(t)), v) }
	for _, n := range c.needed {
		tag(elf.DT_NEEDED, text(n))
	}
	if len(c.runpath) > 0 {
		tag(elf.DT_RUNPATH, text(strings.Join(c.runpath, ":")))
	}
	tag(elf.DT_NULL, 0)
	var note []byte
	if c.isa != 0 {
		for _, v := range []uint32{4, 16, 5} {
			note = le.AppendUint32(note, v)
		}
		note = append(note, "GNU\x00"...)
		for _, v := range []uint32{0xc0008002, 4, c.isa, 0} {
			note = le.AppendUint32(note, v)
		}
	}
	type section struct {
		name string
		kind elf.SectionType
		data []byte
		link uint32
		at   int
	}
	sections := []section{{}, {name: ".dynstr", kind: elf.SHT_STRTAB, data: strtab}, {name: ".dynamic", kind: elf.SHT_DYNAMIC, data: dynamic, link: 1},
		{name: ".interp", kind: elf.SHT_PROGBITS, data: []byte(c.interpreter + "\x00")}, {name: ".note.gnu.property", kind: elf.SHT_NOTE, data: note},
		{name: ".modinfo", kind: elf.SHT_PROGBITS, data: []byte(c.modinfo)},
		{name: ".go.buildinfo", kind: elf.SHT_PROGBITS, data: goBuildInfo(c.goAMD64)}, {name: ".shstrtab", kind: elf.SHT_STRTAB}}
	if c.goAMD64 == "" {
		sections[6].name = ".nothing"
	}
	names := []byte{0}
	var offsets []uint32
	for _, s := range sections {
		offsets = append(offsets, uint32(len(names)))
		names = append(append(names, s.name...), 0)
	}
	sections[len(sections)-1].data = names
	const header, program, entry, programs = 64, 56, 64, 3
	out := make([]byte, header+programs*program)
	for i := range sections {
		for len(out)%16 != 0 {
			out = append(out, 0)
		}
		sections[i].at = len(out)
		out = append(out, sections[i].data...)
	}
	table := len(out)
	for i, s := range sections {
		e := make([]byte, entry)
		le.PutUint32(e, offsets[i])
		le.PutUint32(e[4:], uint32(s.kind))
		le.PutUint64(e[16:], uint64(s.at))
		le.PutUint64(e[24:], uint64(s.at))
		le.PutUint64(e[32:], uint64(len(s.data)))
		le.PutUint32(e[40:], s.link)
		out = append(out, e...)
	}
	copy(out, "\x7fELF\x02\x01\x01")
	le.PutUint16(out[16:], uint16(elf.ET_DYN))
	le.PutUint16(out[18:], uint16(c.machine))
	le.PutUint32(out[20:], 1)
	le.PutUint64(out[32:], header)
	le.PutUint64(out[40:], uint64(table))
	for at, v := range map[int]uint16{52: header, 54: program, 58: entry, 60: uint16(len(sections)), 62: uint16(len(sections) - 1)} {
		le.PutUint16(out[at:], v)
	}
	used := 0
	segment := func(kind elf.ProgType, s section) {
		p := out[header+used*program:]
		used++
		le.PutUint32(p, uint32(kind))
		le.PutUint64(p[8:], uint64(s.at))
		le.PutUint64(p[32:], uint64(len(s.data)))
	}
	if c.interpreter != "" {
		segment(elf.PT_INTERP, sections[3])
	}
	if c.isa != 0 {
		segment(elf.PT_GNU_PROPERTY, sections[4])
	}
	if c.goAMD64 != "" {
		segment(elf.PT_LOAD, section{data: out})
		le.PutUint64(out[header+(used-1)*program+40:], uint64(len(out)))
	}
	le.PutUint16(out[56:], uint16(used))
	return out
}

// goBuildInfo is what the Go linker writes about a build, in the form of package
// debug/buildinfo.
func goBuildInfo(level string) []byte {
	info := append([]byte("\xff Go buildinf:\x08\x02"), make([]byte, 16)...)
	text := strings.Repeat("a", 16) + "path\tlevel\nbuild\tGOAMD64=" + level + "\n" + strings.Repeat("z", 16)
	for _, s := range []string{"go1.26", text} {
		info = append(binary.AppendUvarint(info, uint64(len(s))), s...)
	}
	return info
}

func write(t testing.TB, name string, data []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestUnrunnable(t *testing.T) {
	dir := t.TempDir()
	lib := filepath.Join(dir, "lib")
	write(t, lib+"/libfirst.so", crafted{needed: []string{"libsecond.so"}, runpath: []string{"$ORIGIN/more"}}.bytes())
	write(t, lib+"/more/libsecond.so", crafted{}.bytes())
	write(t, lib+"/libfast.so", crafted{isa: 0b111}.bytes())
	write(t, lib+"/libthirtytwo.so", crafted{class: elf.ELFCLASS32, machine: elf.EM_386}.bytes())
	write(t, lib+"/libloop.so", crafted{needed: []string{"libloop.so"}}.bytes())
	write(t, lib+"/libtorn.so", crafted{}.bytes()[:80])
	own := []string{"${ORIGIN}/lib"}

	for _, c := range []struct {
		name    string
		file    []byte
		want    []string // below dir
		file2   string   // of the error
		message string
	}{
		{name: "static", file: crafted{}.bytes(), want: []string{"static"}},
		{name: "chain", file: crafted{needed: []string{"libfirst.so"}, runpath: own}.bytes(), want: []string{"chain", "lib/libfirst.so", "lib/more/libsecond.so"}},
		{name: "loop", file: crafted{needed: []string{"libloop.so"}, runpath: own}.bytes(), want: []string{"lib/libloop.so", "loop"}},
		{name: "missing", file: crafted{needed: []string{"libnosuch.so.9"}, runpath: own}.bytes(), file2: "missing", message: "needs libnosuch.so.9, which is not there"},
		{name: "thirtytwo", file: crafted{needed: []string{"libthirtytwo.so"}, runpath: own}.bytes(), file2: "thirtytwo", message: "needs libthirtytwo.so"},
		{name: "torn", file: crafted{needed: []string{"libtorn.so"}, runpath: own}.bytes(), file2: "torn", message: "needs libtorn.so"},
		{name: "fast library", file: crafted{needed: []string{"libfast.so"}, runpath: own}.bytes(), file2: "lib/libfast.so", message: "x86-64-v3"},
		{name: "loader", file: crafted{interpreter: "/lib/ld-nosuch.so.1"}.bytes(), file2: "loader", message: "needs the loader /lib/ld-nosuch.so.1"},
		{name: "arm64", file: crafted{machine: elf.EM_AARCH64}.bytes(), file2: "arm64", message: "is a program for arm64"},
		{name: "i386", file: crafted{class: elf.ELFCLASS32, machine: elf.EM_386}.bytes(), file2: "i386", message: "is a 32-bit program"},
		{name: "baseline", file: crafted{isa: 1}.bytes(), want: []string{"baseline"}},
		{name: "v2", file: crafted{isa: 0b11}.bytes(), file2: "v2", message: "needs a CPU of level x86-64-v2, and the emulated one is x86-64-v1"},
		{name: "v3 alone", file: crafted{isa: 0b100}.bytes(), file2: "v3 alone", message: "x86-64-v3"},
		{name: "v4", file: crafted{isa: 0b1111}.bytes(), file2: "v4", message: "x86-64-v4"},
		{name: "Go for v1", file: crafted{goAMD64: "v1"}.bytes(), want: []string{"Go for v1"}},
		{name: "Go for v3", file: crafted{goAMD64: "v3"}.bytes(), file2: "Go for v3", message: "x86-64-v3"},
		{name: "text", file: []byte("hello"), file2: "text", message: "is not a whole ELF program"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := write(t, filepath.Join(dir, c.name), c.file)
			got, err := Closure(file)
			if c.message != "" {
				var u *Unrunnable
				if !errors.As(err, &u) {
					t.Fatalf("the error is %v, not an *Unrunnable", err)
				}
				if want := filepath.Join(dir, c.file2); u.File != want {
					t.Errorf("the file that is in the way is %s instead of %s", u.File, want)
				}
				if !strings.Contains(u.Error(), c.message) || u.Remedy == "" {
					t.Errorf("the error is %q, without %q or a remedy", u, c.message)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, name := range c.want {
				want = append(want, filepath.Join(dir, name))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the closure is another one (-want +got):\n%s", diff)
			}
		})
	}
}

// TestClosureOfRealPrograms compares with what the loader itself would load.
func TestClosureOfRealPrograms(t *testing.T) {
	for _, name := range []string{"sh", "mosquitto", "mosquitto_sub", "iptables-restore", "node", "qemu-system-x86_64"} {
		if slices.Contains(interpreters, name) && !installed(t, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			file, err := newHost("", newTree(), ".").findProgram(name, "/")
			if err != nil {
				labtest.SkipUnsupported(t, &feature.Unsupported{Feature: name, Needs: "its package", Err: err})
			}
			got, err := Closure(file)
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(file)
			cmd.Env = []string{"LD_TRACE_LOADED_OBJECTS=1"}
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("asking the loader: %v", err)
			}
			real := func(name string) string {
				name, err := filepath.EvalSymlinks(name)
				if err != nil {
					t.Fatal(err)
				}
				return name
			}
			want := map[string]bool{real(file): true}
			for line := range strings.Lines(string(out)) {
				for _, word := range strings.Fields(line) {
					if strings.HasPrefix(word, "/") {
						want[real(word)] = true
					}
				}
			}
			taken := make(map[string]bool)
			for _, file := range got {
				// The loader does not list what the C library opens later.
				base := filepath.Base(file)
				if !want[real(file)] && !strings.HasPrefix(base, "libnss_") && base != "libgcc_s.so.1" {
					t.Errorf("%s is not what the loader loads", file)
				}
				taken[real(file)] = true
			}
			for file := range want {
				if taken[file] {
					continue
				}
				t.Errorf("the loader loads %s, which is not taken", file)
			}
		})
	}
}

func TestStripDebug(t *testing.T) {
	data, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	stripped := stripDebug(data)
	if len(stripped) >= len(data) {
		t.Fatalf("nothing was removed from %d bytes", len(data))
	}
	file := write(t, filepath.Join(t.TempDir(), "stripped"), stripped)
	out, err := exec.Command(file, "-test.list=TestStripDebug$").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("TestStripDebug")) {
		t.Errorf("the program no longer runs: %v: %s", err, out)
	}
	if again := stripDebug(stripped); !bytes.Equal(again, stripped) {
		t.Error("stripping twice changes something again")
	}
}

func FuzzReadELF(f *testing.F) {
	f.Add(crafted{interpreter: "/lib64/ld.so", needed: []string{"liba.so"}, runpath: []string{"$ORIGIN"}, isa: 7}.bytes())
	f.Add(crafted{class: elf.ELFCLASS32, machine: elf.EM_386}.bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		if e, err := readELF(bytes.NewReader(data)); err == nil {
			e.machineProblem()
		}
		if len(stripDebug(data)) > len(data) {
			t.Error("stripping made it longer")
		}
	})
}

func FuzzNoteLevel(f *testing.F) {
	f.Add(slices.Concat([]byte("\x04\x00\x00\x00\x10\x00\x00\x00\x05\x00\x00\x00GNU\x00\x02\x80\x00\xc0\x04\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00")))
	f.Fuzz(func(t *testing.T, data []byte) {
		if level := noteLevel(data, binary.LittleEndian); level < 1 || level > 4 {
			t.Errorf("level %d", level)
		}
	})
}
