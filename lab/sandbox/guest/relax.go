package guest

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

// slack is how much later than asked for the kernel may wake a thread of the lab's
// own programs, to do it together with others. Go's runtime has a thread that looks
// after the others some thousand times a second while anything happens: it made half of
// the interrupts of a short run. The programs that are tested have the usual slack.
const slack = time.Millisecond

// relax gives this process the slack, and thereby every process of the lab.
func relax() error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("setting the slack of timers: %w", err)
	}
	for _, thread := range threads {
		// There is a folder for each thread, though it is not listed.
		path := "/proc/" + thread.Name() + "/timerslack_ns"
		if err := os.WriteFile(path, []byte(strconv.FormatInt(slack.Nanoseconds(), 10)), 0); err != nil {
			return fmt.Errorf("setting the slack of timers: %w", err)
		}
	}
	return nil
}
