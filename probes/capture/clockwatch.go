package capture

import (
	"errors"
	"fmt"
	"math"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// clockWatch looks at the clocks when the machine's clock is set, or has gone on
// while the machine slept: of both the kernel tells at once, in every namespace.
// Otherwise it does nothing.
type clockWatch struct {
	timer  *os.File
	closed atomic.Bool
	done   chan struct{}
	err    error // valid after done
}

// watchClock starts watching. Setting the clock back and forth is noticed too,
// except if it happens faster than this process is woken.
func watchClock(c *clock) (*clockWatch, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("watching the machine's clock: creating a timer: %w", err)
	}
	w := &clockWatch{timer: os.NewFile(uintptr(fd), "clock steps"), done: make(chan struct{})}
	if err := w.arm(); err != nil {
		w.timer.Close()
		return nil, err
	}
	c.check() // a step before the timer was armed
	go func() {
		defer close(w.done)
		if err := w.run(c); !w.closed.Load() {
			w.err = err
		}
	}()
	return w, nil
}

// arm sets the timer to a day that never comes: only its cancellation counts.
func (w *clockWatch) arm() error {
	var err error
	raw, rawErr := w.timer.SyscallConn()
	if rawErr == nil {
		rawErr = raw.Control(func(fd uintptr) {
			never := unix.ItimerSpec{Value: unix.NsecToTimespec(math.MaxInt64)}
			err = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &never, nil)
		})
	}
	if err = errors.Join(rawErr, err); err != nil {
		return fmt.Errorf("watching the machine's clock: arming the timer: %w", err)
	}
	return nil
}

// run ends with an error of the timer, of which there is none before close.
func (w *clockWatch) run(c *clock) error {
	var count [8]byte
	for {
		if _, err := w.timer.Read(count[:]); !errors.Is(err, unix.ECANCELED) {
			return err
		}
		// Armed first: of a step after the look the kernel tells again.
		if err := w.arm(); err != nil {
			return err
		}
		c.check()
	}
}

// close ends the watch.
func (w *clockWatch) close() error {
	w.closed.Store(true)
	err := w.timer.Close()
	<-w.done
	if err = errors.Join(err, w.err); err != nil {
		return fmt.Errorf("watching the machine's clock: %w", err)
	}
	return nil
}
