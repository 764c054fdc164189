package server

import (
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
)

// tidier starts the broker's housekeeping once there is something to tidy up:
// sessions and messages that have expired, wills that are due. The broker itself
// would look for them every second from the start, and a server with which nobody
// talks is to sleep.
type tidier struct {
	broker *mqtt.Server

	mu      sync.Mutex
	timer   *time.Timer // nil if nothing is going to expire
	due     time.Time   // of the timer
	will    bool        // one waits to be sent
	started bool
	stopped bool
}

// after says that something expires after d: a will, or something that the broker shows.
func (t *tidier) after(d time.Duration, will bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.will = t.will || will
	due := time.Now().Add(d)
	if t.started || t.stopped || t.timer != nil && !due.Before(t.due) {
		return
	}
	if t.timer != nil {
		t.timer.Stop()
	}
	t.due = due
	t.timer = time.AfterFunc(d, t.start)
}

// start begins the housekeeping, which then goes on, unless everything that could
// expire has gone in another way, as a push does that is acknowledged.
func (t *tidier) start() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = nil
	if t.started || t.stopped || !t.will && !t.keeps() {
		return
	}
	t.started = true
	// It also serves the listeners again, which do not mind, and publishes what it
	// knows of itself, for which nobody asks. It only fails where it has to set up
	// listeners or hooks from a configuration.
	_ = t.broker.Serve()
}

// keeps says whether the broker has anything that can expire.
func (t *tidier) keeps() bool {
	for _, client := range t.broker.Clients.GetAll() {
		if client.StopTime() != 0 || client.State.Inflight.Len() > 0 {
			return true
		}
	}
	return t.broker.Topics.Retained.Len() > 0
}

// stop is to be called before the broker is closed.
func (t *tidier) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	if t.timer != nil {
		t.timer.Stop()
	}
}

// listenOnce is a broker's listener that is served once, however often it is asked to.
type listenOnce struct {
	*listeners.Net
	serving atomic.Bool
}

// Serve accepts connections until the listener is closed.
func (l *listenOnce) Serve(establish listeners.EstablishFn) {
	if !l.serving.Swap(true) {
		l.Net.Serve(establish)
	}
}
