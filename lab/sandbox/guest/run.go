package guest

import (
	"context"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"outlive/lab/sandbox"
	"outlive/lab/sandbox/parcel"
)

// grace is how long, in virtual time, a job that was asked to end may take until the
// sandbox is killed. Nothing of it is lost where a job takes none of it.
const grace = time.Minute

// run runs the job in a sandbox.
func run(resumed time.Time, booted *machine, order parcel.Order, w *parcel.Writer) (end parcel.End) {
	memory, err := watchMemory()
	if err != nil {
		return parcel.End{Guest: err.Error()}
	}
	defer func() { end.OOM = memory.lines() }()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var late, stopped, killed atomic.Bool
	if order.Deadline > 0 {
		defer time.AfterFunc(time.Until(resumed.Add(order.Deadline)), func() {
			late.Store(true)
			cancel()
		}).Stop()
	}
	go func() {
		<-booted.stop.asked
		stopped.Store(true)
		cancel()
	}()

	box, err := sandbox.Start(ctx, sandbox.Spec{
		Job: order.Job, Data: order.Data, Dir: parcel.Dir, Stderr: os.Stderr,
		Report: func(line []byte) {
			// What goes wrong with it is in the end.
			_ = w.Line(line)
		},
	})
	if err == nil {
		stepBack()
		ended := make(chan struct{})
		go tick(resumed, order.Tick, w, ended)
		go func() {
			select {
			case <-ctx.Done():
			case <-ended:
				return
			}
			limit := time.NewTimer(grace)
			defer limit.Stop()
			select {
			case <-limit.C:
				killed.Store(true)
				box.Kill()
			case <-ended:
			}
		}()
		err = box.Wait()
		close(ended)
	}
	return parcel.End{
		Job:     parcel.NewFailure(err),
		Stopped: stopped.Load(), DeadlinePassed: late.Load(), Killed: killed.Load(),
	}
}

// stepBack makes the threads of this process wait for those of the lab whenever both
// have something to do, without starving: what is told to the host then goes out in
// larger pieces, and less often interrupts what is tested. It is done when process 1,
// which would inherit it, has been started.
func stepBack() {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, thread := range threads {
		if id, err := strconv.Atoi(thread.Name()); err == nil {
			// A thread that has ended, or that keeps its place, does no harm.
			_ = unix.SchedSetAttr(id, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_BATCH}, 0)
		}
	}
}

// tick tells the host the guest's time. It is the only thing here that happens by the
// clock.
func tick(resumed time.Time, every time.Duration, w *parcel.Writer, ended <-chan struct{}) {
	if every <= 0 {
		return
	}
	clock := time.NewTicker(every)
	defer clock.Stop()
	for {
		select {
		case now := <-clock.C:
			// The host misses it, and the lines, which say so.
			_ = w.Tick(now.Sub(resumed))
		case <-ended:
			return
		}
	}
}
