// Package guest is process 1 of a lab's virtual machine. It makes the bare machine
// fit for a lab, has its state kept as a template, and once resumed from there
// starts the same sandbox in the machine that a host starts: what is tested is in
// the same kind of namespaces, with the same process 1, as without a machine.
//
// Importing the package registers it with sandbox.RegisterGuest; the kernel's
// command line then needs sandbox.GuestRole.
//
// While a lab runs this process has no timer of its own but the order's deadline and
// tick: every wake-up of a machine whose time is virtual costs the host something.
package guest

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"outlive/lab/sandbox"
	"outlive/lab/sandbox/parcel"
)

func init() { sandbox.RegisterGuest(main) }

// heapLimit is where this process begins to collect garbage. It makes little, and a
// collector that runs by the clock would wake the machine.
const heapLimit = 64 << 20

// main is the story of the machine. It does not return.
func main() {
	defer func() {
		if value := recover(); value != nil {
			say("panic: %v\n%s", value, debug.Stack())
		}
		powerOff()
	}()
	booted, err := boot()
	if err != nil {
		say("preparing the machine: %v", err)
		return
	}
	runtime.GC()
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(heapLimit)

	// What follows happens in every run, what came before in none.
	if err := announceReady(); err != nil {
		say("telling that the machine is ready: %v", err)
		return
	}
	resumed := time.Now()
	devices, err := openDevices(booted.devices)
	if err != nil {
		say("opening the machine's devices: %v", err)
		return
	}
	w, err := parcel.NewWriter(devices.out)
	if err != nil {
		say("opening the way out: %v", err)
		return
	}
	end, changed := work(resumed, booted, devices.in, w)
	end.Elapsed = time.Since(resumed)
	if end.Guest != "" {
		say("%s", end.Guest)
	}
	if err := w.Finish(end, parcel.Dir, changed); err != nil {
		say("handing over the result: %v", err)
	}
}

// work does what the order says and tells what came of it, and which files of the
// result folder are new. A panic of this process is an end as well.
func work(resumed time.Time, booted *machine, in string, w *parcel.Writer) (end parcel.End, changed []string) {
	defer func() {
		if value := recover(); value != nil {
			end.Guest = fmt.Sprintf("panic: %v\n%s", value, debug.Stack())
		}
	}()
	order, err := openImage(in)
	if err != nil {
		return parcel.End{Guest: err.Error()}, nil
	}
	if err := hide(booted.devices); err != nil {
		return parcel.End{Guest: err.Error()}, nil
	}
	if err := seed(order.Seed); err != nil {
		return parcel.End{Guest: err.Error()}, nil
	}
	before, err := makeRoot()
	if err != nil {
		return parcel.End{Guest: err.Error()}, nil
	}
	setEnvironment(order)
	end = run(resumed, booted, order, w)
	changed, err = before.changed(parcel.Dir)
	if err != nil {
		end.Lost = append(end.Lost, err.Error())
	}
	return end, changed
}

// say writes to the console, which is all there is where nothing else works.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "outlive init: "+format+"\n", args...)
}

// powerOff ends the machine. It returns only if even that fails: then the kernel,
// whose init has ended, panics, which ends it as well.
func powerOff() {
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		say("switching off: %v", err)
	}
	os.Exit(1)
}

// heapShare is where process 1 of the lab and the built-in server begin to collect
// garbage: two fifths of the machine's memory, so that both fit.
func heapShare() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return heapLimit
	}
	return int64(info.Totalram) * int64(info.Unit) * 2 / 5
}

// setEnvironment gives process 1 of the lab, and thereby its programs, an
// environment that owes nothing to the kernel's command line.
func setEnvironment(order parcel.Order) {
	os.Clearenv()
	path := order.Path
	if path == "" {
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	for name, value := range map[string]string{
		"PATH": path, "HOME": "/", "LANG": "C.UTF-8",
		// The Go runtime collects garbage every two minutes, whether there is any or not:
		// in a day of an idle lab that is 20 s of the host's time. Now our own programs,
		// which alone get these from process 1, collect where it is needed.
		"GOGC": "off", "GOMEMLIMIT": strconv.FormatInt(heapShare(), 10),
	} {
		// The names are valid ones, which is all that can be wrong.
		_ = os.Setenv(name, value)
	}
}
