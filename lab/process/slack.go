package process

import (
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// usualSlack is how much later than asked for Linux may wake a thread whose slack
// nobody has set: prctl(2), PR_SET_TIMERSLACK.
const usualSlack = 50 * time.Microsecond

// withUsualSlack starts a program with start, from whose thread it inherits its slack.
// The lab's own programs may have more, but a program that is tested runs as elsewhere.
func withUsualSlack(start func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		return fmt.Errorf("asking for the slack of timers: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(usualSlack), 0, 0, 0); err != nil {
		return fmt.Errorf("setting the slack of timers: %w", err)
	}
	err = start()
	if back := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(own), 0, 0, 0); err == nil {
		err = back
	}
	return err
}
