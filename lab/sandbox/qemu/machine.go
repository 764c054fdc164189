// Package qemu runs one virtual machine whose clock jumps over idle time: QEMU's
// TCG with an instruction counter for a clock. The same machine with the same
// memory does the same to the nanosecond, however busy the host is.
//
// A machine is booted once, by MakeTemplate, up to the point where its process 1
// says that it is ready. A run, by Start, goes on from there in about 0.1 s: it maps
// the template's memory copy-on-write, so that any number of runs can have it at
// once. What a run is to do and what comes of it pass through two pieces of memory,
// which the guest sees as the devices /dev/pmemN and the host as files.
//
// The guest's side of the contract:
//
//   - Ready is a byte 1 written to I/O port ReadyPort. At that moment the template is
//     taken, and there a run goes on.
//   - Before it reads the devices it flushes their caches (BLKFLSBUF): its page cache
//     is the template's. Writes by O_DIRECT are seen by the host at once.
//   - A byte 0 from StopLine is the request to end. Nothing else ever comes there.
//   - It ends by switching the machine off. A panic ends the machine, too.
//
// There is nothing in the machine that works in host time: no disk, no network. What
// works in host time cannot be repeated exactly, and while the guest waits for it
// virtual time jumps.
//
// A machine dies with the process that started it, kill -9 included, and leaves
// neither a process nor a socket nor a file in which it communicated.
package qemu

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"outlive/lab/sandbox"
	"outlive/lab/sandbox/parcel"
)

// What the guest needs to know of its machine.
const (
	// ReadyPort is the port of the pvpanic device, which stops the machine that a
	// template is made of.
	ReadyPort = 0x505
	// StopLine is the serial line on which the request to end arrives, as a break. It
	// needs a receiver that does not ignore breaks (no IGNBRK, no BRKINT).
	StopLine = "/dev/ttyS1"
)

// CommandLine is the guest kernel's. It is part of what a result depends on: one word
// more shifts the timestamps of a run.
const CommandLine = "console=ttyS0 quiet panic=-1" +
	// The clock is the instruction counter. There is nothing to check it against, and
	// the watchdogs only cost wake-ups.
	" clocksource=tsc tsc=reliable nowatchdog nosoftlockup nohz=on" +
	// With the one idle state of cStateTable this governor stops the tick at once. See
	// there. The other one, menu, first considers to spin.
	" cpuidle.governor=ladder" +
	// Guest and host are one user: nothing to defend, and every entry to the kernel
	// costs less.
	" mitigations=off" +
	// For nobody to find what others have left in memory it would be wiped when it is
	// given out, too, and for the limits of groups, of which there are none, every page be
	// counted: together 4 % of the instructions of a short run.
	" init_on_alloc=0 cgroup_disable=memory" +
	// The processor's random numbers are QEMU's, of a known seed.
	" random.trust_cpu=on" +
	// Two seconds of boot, and of pressure statistics twice a second, for nothing.
	" cryptomgr.notests=1 psi=0" +
	// 64 MiB that only devices with DMA would need.
	" swiotlb=noforce" +
	// The kernel hands words that it does not know to process 1 as its environment.
	" " + sandbox.GuestRole

const (
	// clock: an instruction takes 2^3 ns, a processor of 125 million instructions a
	// second. Measured with mosquitto, every other shift is slower. sleep=off lets the
	// clock jump to the next timer when the guest is idle.
	clock = "shift=3,sleep=off"
	// exact makes QEMU take turns between its two threads where otherwise, once in
	// some ten thousand wake-ups, the clock jumps one instruction early. It costs a
	// tenth of the time of an idle guest. A template cannot be made with it.
	exact = ",rr=record,rrfile=/dev/null"
	// cpu is x86-64-v1, without anything of the host's processor.
	cpu = "qemu64,+rdrand"
	// epoch is the time in the guest when it is switched on.
	epoch = "base=2026-01-01,clock=vm"
	// deviceSlots and addressSpace bound what the two devices may take.
	deviceSlots  = 2
	addressSpace = "32G"
	stopLineID   = "stop"
)

// Machine is what a template is made of, and what its runs are bound to.
type Machine struct {
	// QEMU is the emulator, from Find.
	QEMU *Program
	// Kernel and Initrd are the files to boot. A run does not read them again, but they
	// must be there.
	Kernel, Initrd string
	// Memory is the size of the guest's memory in bytes, a multiple of 1 MiB. The
	// devices have the sizes that package parcel gives them; of theirs the guest keeps
	// 1/64 in books.
	Memory int64
}

func (m Machine) check() error {
	switch {
	case m.QEMU == nil:
		return errors.New("a machine without an emulator: Machine.QEMU is what Find gives")
	case m.Memory <= 0 || m.Memory%mib != 0:
		return fmt.Errorf("a machine with %d bytes of memory: it must be a multiple of 1 MiB", m.Memory)
	}
	return nil
}

const mib = 1 << 20

// Key identifies everything that this package contributes to a result: the emulator
// and all of its arguments, but not the contents of the kernel and the initrd, nor
// where the files are.
func (m Machine) Key() string {
	h := sha256.New()
	m.Kernel, m.Initrd = "kernel", "initrd"
	for _, run := range []bool{false, true} {
		_, _ = fmt.Fprintf(h, "%q\n", arguments{machine: m, dir: "template", run: run}.list())
	}
	_, _ = fmt.Fprintf(h, "%s\n%x\n%x\n", m.QEMU.Version, cStateTable(), stillClock())
	return hex.EncodeToString(h.Sum(nil))
}

// Descriptors that QEMU inherits, as os/exec numbers them.
const (
	monitorFD = 3 + iota
	inFD
	outFD
	consoleFD
	stateFD
)

// arguments are those of one QEMU process.
type arguments struct {
	machine Machine
	dir     string // of the template
	seed    uint64 // of the processor's random numbers
	run     bool   // or else the template is made
}

// list gives the command line without the program. Template and run must have the
// same devices in the same order, or the state would not fit.
func (a arguments) list() []string {
	share, icount, mode := "on", clock, "control"
	if a.run {
		share, icount = "off", clock+exact
		// A QMP monitor would have a thread of its own, which every jump of the clock
		// wakes: 124,000 instead of 74,000 context switches in 36,000 wake-ups.
		mode = "readline"
	}
	backend := func(id string, size int64, path, share string) string {
		return fmt.Sprintf("memory-backend-file,id=%s,size=%d,share=%s,mem-path=%s", id, size, share, escape(path))
	}
	list := []string{
		"-no-user-config", "-nodefaults", "-display", "none",
		"-accel", "tcg", "-cpu", cpu,
		"-M", a.machine.QEMU.Machine + ",nvdimm=on,memory-backend=memory",
		"-m", fmt.Sprintf("size=%dM,slots=%d,maxmem=%s", a.machine.Memory/mib, deviceSlots, addressSpace),
		"-object", backend("memory", a.machine.Memory, filepath.Join(a.dir, memoryFile), share),
		"-object", backend("in", parcel.InSize, descriptor(inFD), "on"), "-device", "nvdimm,id=nv-in,memdev=in",
		"-object", backend("out", parcel.OutSize, descriptor(outFD), "on"), "-device", "nvdimm,id=nv-out,memdev=out",
		"-device", "pvpanic,ioport=" + strconv.Itoa(ReadyPort),
		"-acpitable", "sig=SSDT,rev=2,oem_id=OUTLIV,oem_table_id=CSTATE,data=" + escape(filepath.Join(a.dir, tableFile)),
		"-icount", icount, "-rtc", epoch, "-seed", strconv.FormatUint(a.seed, 10),
		"-no-reboot",
		"-serial", "file:" + descriptor(consoleFD),
		"-chardev", "null,id=" + stopLineID, "-serial", "chardev:" + stopLineID,
		"-chardev", "socket,id=monitor,fd=" + strconv.Itoa(monitorFD), "-mon", "chardev=monitor,mode=" + mode,
		"-kernel", a.machine.Kernel, "-initrd", a.machine.Initrd, "-append", CommandLine,
	}
	if a.run {
		return append(list, "-incoming", "defer")
	}
	return append(list, "-action", "panic=pause")
}

// descriptor names an inherited file for QEMU to open: memory without a name, which
// is gone with those who have it open.
func descriptor(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// escape keeps a comma in a path from ending an option.
func escape(path string) string { return strings.ReplaceAll(path, ",", ",,") }
