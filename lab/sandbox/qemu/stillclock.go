package qemu

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
)

// stillTime is what the time of day is for QEMU: 2026-01-01 00:00 UTC, in seconds.
const stillTime = 1767225600

// stillClock is a shared library for x86-64 with one function, gettimeofday(2), whose
// time stands still. QEMU is started with it (LD_PRELOAD).
//
// Nothing that a guest sees should depend on the host's time of day, and one thing does:
// QEMU makes the guest's TLB smaller when it was little used for a tenth of a second by
// that clock (accel/tcg/cputlb.c, tlb_mmu_resize_locked). On a busy host it is resized at
// other moments, and once in some runs a guest then took a page fault that it otherwise
// did not, seen in the records of QEMU's own record and replay. With the clock standing
// still the TLB only depends on the guest.
//
// QEMU uses this clock for nothing else that matters: its timers have clocks of their own.
func stillClock() []byte {
	code := []byte{
		0x48, 0x85, 0xff, // test rdi, rdi
		0x74, 0x0f, // jz: the caller wants no time
		0x48, 0xc7, 0x07, 0, 0, 0, 0, // mov qword [rdi], stillTime
		0x48, 0xc7, 0x47, 0x08, 0, 0, 0, 0, // mov qword [rdi+8], 0
		0x31, 0xc0, // xor eax, eax
		0xc3, // ret
	}
	binary.LittleEndian.PutUint32(code[8:], stillTime)
	const name = "gettimeofday"
	names := []byte("\x00" + name + "\x00")

	// One page that is executed and read, one with what the loader writes to.
	const (
		page       = 0x1000
		headerSize = 64
		segments   = 4
		codeAt     = headerSize + segments*56
		symbolsAt  = codeAt + 64
		hashAt     = symbolsAt + 2*24
		namesAt    = hashAt + 5*4
	)
	dynamic := []uint64{
		uint64(elf.DT_HASH), hashAt,
		uint64(elf.DT_SYMTAB), symbolsAt, uint64(elf.DT_SYMENT), 24,
		uint64(elf.DT_STRTAB), namesAt, uint64(elf.DT_STRSZ), uint64(len(names)),
		uint64(elf.DT_NULL), 0,
	}
	dynamicSize := uint64(8 * len(dynamic))

	var file bytes.Buffer
	put := func(at int, values ...any) {
		file.Write(make([]byte, at-file.Len()))
		for _, v := range values {
			// Values of fixed sizes, into memory.
			_ = binary.Write(&file, binary.LittleEndian, v)
		}
	}
	put(0, elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_DYN), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Phoff: headerSize, Ehsize: headerSize, Phentsize: 56, Phnum: segments,
	})
	put(headerSize,
		elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Filesz: page, Memsz: page, Align: page},
		elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_W), Off: page, Vaddr: page, Filesz: dynamicSize, Memsz: dynamicSize, Align: page},
		elf.Prog64{Type: uint32(elf.PT_DYNAMIC), Flags: uint32(elf.PF_R | elf.PF_W), Off: page, Vaddr: page, Filesz: dynamicSize, Memsz: dynamicSize, Align: 8},
		// Without it the loader would make QEMU's stack executable.
		elf.Prog64{Type: uint32(elf.PT_GNU_STACK), Flags: uint32(elf.PF_R | elf.PF_W), Align: 16},
	)
	put(codeAt, code)
	put(symbolsAt, elf.Sym64{}, elf.Sym64{
		Name: 1, Info: elf.ST_INFO(elf.STB_GLOBAL, elf.STT_FUNC), Shndx: 1, Value: codeAt, Size: uint64(len(code)),
	})
	// One bucket, in which symbol 1 is the only one.
	put(hashAt, []uint32{1, 2, 1, 0, 0})
	put(namesAt, names)
	put(page, dynamic)
	return file.Bytes()
}

// openStillClock gives the library as a file without a name.
func openStillClock() (*os.File, error) {
	f, err := Memory("stillclock.so", 0)
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(stillClock()); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("writing the clock that stands still: %w", err)
	}
	return f, nil
}
