package scenarios

import (
	"context"
	"sync/atomic"
	"time"
)

// noiseInterval is how often the lab looks how late it is. Ten times a second
// costs nothing and sees every stall that could move a heartbeat of seconds.
const noiseInterval = 100 * time.Millisecond

// latenessLimit is how late the lab may be before its scenario, whose times are
// whole seconds, cannot be judged any more.
const latenessLimit = 250 * time.Millisecond

// noise measures how late the lab's own timers fire: a machine that did not let
// the lab run may not have let the client or the server run either.
type noise struct{ max atomic.Int64 }

// measure goes on until ctx is done.
func (n *noise) measure(ctx context.Context) {
	go func() {
		timer := time.NewTimer(noiseInterval)
		defer timer.Stop()
		for {
			due := time.Now().Add(noiseInterval)
			timer.Reset(noiseInterval)
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
				if late := int64(time.Since(due)); late > n.max.Load() {
					n.max.Store(late)
				}
			}
		}
	}()
}

// worst is the greatest lateness so far.
func (n *noise) worst() time.Duration { return time.Duration(n.max.Load()) }
