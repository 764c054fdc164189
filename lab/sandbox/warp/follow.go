package warp

import (
	"context"
	"errors"
	"time"
)

// limits bound what a guest takes of the host, in processor time: that does not
// depend on what else the host does.
type limits struct {
	// run is for the job, stop for what follows when it was asked to end.
	run, stop time.Duration
}

const (
	// hostsForMore is how many hosts have as much again: 10,000 clients with a
	// heartbeat every four minutes took 158 s for an hour.
	hostsForMore = 1000
	// share is how much longer than the processor time it may take on the clock: a
	// machine that shares its core gets less of it, and one that hangs gets none.
	share = 4
)

func (s Spec) bounds() limits {
	if s.limits != nil {
		return *s.limits
	}
	more := s.Length / slowest
	return limits{run: leastRun + more + time.Duration(float64(more)*float64(s.Hosts)/hostsForMore), stop: stopLimit}
}

// budget is what is left to a guest.
type budget struct {
	limit time.Duration
	cpu   time.Duration // what it had used when the budget began
	begin time.Time
}

func (g *Guest) budget(limit time.Duration) budget {
	return budget{limit, g.machine.CPUTime(), time.Now()}
}

// spent says whether nothing is left.
func (g *Guest) spent(b budget) bool {
	return g.machine.CPUTime()-b.cpu > b.limit || time.Since(b.begin) > share*b.limit
}

// watchInterval is how often the host looks what has come out of a guest. The guest
// does not notice.
const watchInterval = 50 * time.Millisecond

// follow watches the guest until its end.
func (g *Guest) follow(ctx context.Context) {
	defer close(g.done)
	ended := make(chan struct{})
	var machineErr error
	go func() {
		machineErr = g.machine.Wait()
		close(ended)
	}()
	limits := g.spec.bounds()
	watch := time.NewTicker(watchInterval)
	defer watch.Stop()
	asked, cancelled := g.asked, ctx.Done()
	left := g.budget(limits.run)
	tooSlow := false
	for running := true; running; {
		select {
		case <-watch.C:
			g.look()
			switch {
			case !g.spent(left):
			case asked == nil:
				g.machine.Kill()
			default:
				tooSlow = true
				g.stop()
			}
		case <-cancelled:
			cancelled = nil
			g.stop()
		case <-asked:
			asked = nil
			g.machine.Stop()
			left = g.budget(limits.stop)
		case <-ended:
			running = false
		}
	}
	g.look()
	g.err = g.conclude(machineErr, tooSlow)
	if err := g.release(); err != nil {
		g.err = errors.Join(g.err, err)
	}
}

// look passes on what has come out of the guest.
func (g *Guest) look() {
	for {
		lines, now, err := g.reader.Next()
		for _, line := range lines {
			if g.spec.Report != nil {
				g.spec.Report(line)
			}
		}
		if now > g.now {
			g.now = now
			if g.spec.Tick != nil {
				g.spec.Tick(now)
			}
		}
		// What is wrong with what came out is said in the end.
		if err != nil || len(lines) == 0 {
			return
		}
	}
}
