package image

import (
	"debug/buildinfo"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// executable is what decides whether and with which files an ELF file runs.
type executable struct {
	class   elf.Class
	machine elf.Machine
	// interpreter is the dynamic loader; it is empty for a library and for a static
	// program.
	interpreter string
	// needed are the libraries by name; the paths are where it wants them searched.
	needed, rpath, runpath []string
	// level is the x86-64 level of the CPU that it was built for, 1 to 4.
	level int
}

// readELF reads the headers of an ELF file.
func readELF(r io.ReaderAt) (*executable, error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, err
	}
	e := &executable{class: f.Class, machine: f.Machine, level: 1}
	for _, p := range f.Progs {
		switch p.Type {
		case elf.PT_INTERP:
			text, err := io.ReadAll(io.LimitReader(p.Open(), 4096))
			if err != nil {
				return nil, fmt.Errorf("reading the name of its loader: %w", err)
			}
			e.interpreter = strings.TrimRight(string(text), "\x00")
		case elf.PT_NOTE, elf.PT_GNU_PROPERTY:
			if f.Class != elf.ELFCLASS64 || p.Filesz > 1<<16 {
				continue
			}
			note, err := io.ReadAll(p.Open())
			if err != nil {
				return nil, fmt.Errorf("reading its notes: %w", err)
			}
			e.level = max(e.level, noteLevel(note, f.ByteOrder))
		}
	}
	if f.SectionByType(elf.SHT_DYNAMIC) != nil {
		for _, list := range []struct {
			tag elf.DynTag
			to  *[]string
		}{{elf.DT_NEEDED, &e.needed}, {elf.DT_RPATH, &e.rpath}, {elf.DT_RUNPATH, &e.runpath}} {
			if *list.to, err = f.DynString(list.tag); err != nil {
				return nil, fmt.Errorf("reading what it is linked with: %w", err)
			}
		}
	}
	if f.Section(".go.buildinfo") != nil {
		if info, err := buildinfo.Read(r); err == nil {
			for _, s := range info.Settings {
				// The Go runtime refuses to start on less.
				if level, ok := strings.CutPrefix(s.Value, "v"); ok && s.Key == "GOAMD64" {
					n, _ := strconv.Atoi(level)
					e.level = max(e.level, n)
				}
			}
		}
	}
	return e, nil
}

// noteLevel finds the level of the CPU in the notes of an ELF file, as the dynamic
// loader does (x86-64 psABI, GNU_PROPERTY_X86_ISA_1_NEEDED). Without one it is 1.
func noteLevel(notes []byte, order binary.ByteOrder) int {
	const (
		header      = 12
		typeGNU     = 5          // NT_GNU_PROPERTY_TYPE_0
		isaNeeded   = 0xc0008002 // GNU_PROPERTY_X86_ISA_1_NEEDED
		bitsOfLevel = 4
	)
	level := 1
	align := func(n uint64) uint64 { return (n + 7) &^ 7 }
	for len(notes) >= header {
		name, size, kind := uint64(order.Uint32(notes)), uint64(order.Uint32(notes[4:])), order.Uint32(notes[8:])
		if kind != typeGNU || name != 4 {
			// Other notes are aligned to 4, and never in the segment of the properties.
			align4 := func(n uint64) uint64 { return (n + 3) &^ 3 }
			step := header + align4(name) + align4(size)
			if step > uint64(len(notes)) {
				return level
			}
			notes = notes[step:]
			continue
		}
		body := notes[min(header+name, uint64(len(notes))):]
		notes = body[min(align(size), uint64(len(body))):]
		body = body[:min(size, uint64(len(body)))]
		for len(body) >= 8 {
			property, length := order.Uint32(body), uint64(order.Uint32(body[4:]))
			body = body[8:]
			if property == isaNeeded && length >= 4 && len(body) >= 4 {
				for bit := range bitsOfLevel {
					if order.Uint32(body)>>bit&1 == 1 {
						level = max(level, bit+1)
					}
				}
			}
			body = body[min(align(length), uint64(len(body))):]
		}
	}
	return level
}

// machineProblem says why the virtual machine cannot run the file, or nothing.
func (e *executable) machineProblem() (reason, remedy string) {
	const build = "build it for linux/amd64, or run the scenario live on a machine of its kind"
	switch {
	case e.machine == elf.EM_386 || e.machine == elf.EM_X86_64 && e.class == elf.ELFCLASS32:
		return "is a 32-bit program, and the virtual machine has 64-bit programs only", build
	case e.machine != elf.EM_X86_64:
		return fmt.Sprintf("is a program for %s, and the virtual machine is an x86-64", machineName(e.machine)), build
	case e.level > 1:
		return fmt.Sprintf("needs a CPU of level x86-64-v%d, and the emulated one is x86-64-v1", e.level),
			"build it for x86-64-v1 (-march=x86-64, or GOAMD64=v1 for Go), or run the scenario live"
	}
	return "", ""
}

func machineName(m elf.Machine) string {
	switch m {
	case elf.EM_AARCH64:
		return "arm64"
	case elf.EM_ARM:
		return "32-bit ARM"
	case elf.EM_RISCV:
		return "RISC-V"
	}
	return strings.ToLower(strings.TrimPrefix(m.String(), "EM_"))
}
