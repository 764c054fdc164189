package qemu

import (
	"time"

	"golang.org/x/sys/unix"
)

// CPUTime is how much time of the host's processors the machine has used. Unlike the
// time on the clock it does not depend on what else the host does. It is zero when the
// machine has ended.
func (g *Guest) CPUTime() time.Duration {
	select {
	case <-g.done:
		return 0
	default:
	}
	// The number of a process's clock, as clock_getcpuclockid(3) makes it.
	const scheduled = 2
	var used unix.Timespec
	if err := unix.ClockGettime(int32(^g.cmd.Process.Pid<<3|scheduled), &used); err != nil {
		// It has just ended.
		return 0
	}
	return time.Duration(used.Nano())
}
