package cli

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"outlive/lab"
	"outlive/lab/units"
	"outlive/scenarios"
)

// live shows what is going on: on a terminal one line that is written over again
// and again, elsewhere a plain line for each thing worth telling. Safe for
// concurrent use.
type live struct {
	s     *State
	todo  []*scenarios.Scenario
	ticks *time.Ticker
	quit  chan struct{}
	gone  sync.WaitGroup

	mu      sync.Mutex
	running map[int]*running
	ended   int
	shown   bool
}

// running is one scenario that is being run.
type running struct {
	began time.Time // scenario time zero on our clock; zero before it
	// at is the scenario's time where its clock is another than ours, and warped says so.
	at     time.Duration
	warped bool
	last   string
	open   map[string]bool
}

func newLive(s *State, todo []*scenarios.Scenario) *live {
	l := &live{s: s, todo: todo, quit: make(chan struct{}), running: map[int]*running{}}
	if s.StderrTerminal {
		l.ticks = time.NewTicker(200 * time.Millisecond)
		l.gone.Go(func() {
			for {
				select {
				case <-l.quit:
					return
				case <-l.ticks.C:
					l.mu.Lock()
					l.show()
					l.mu.Unlock()
				}
			}
		})
	}
	return l
}

// event takes note of something that happened in scenario i.
func (l *live) event(i int, e lab.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.of(i)
	if e.Kind == scenarios.EventStart {
		r.began = time.Now()
	}
	scenarios.CountConnections(r.open, e)
	if e.Text == "" || e.Kind == scenarios.EventProblem {
		return
	}
	if e.Kind == scenarios.EventEngine || e.Kind == scenarios.EventImage {
		// Not an instant of the scenario's; and the choice stays in sight.
		if e.Kind == scenarios.EventEngine || !l.s.StderrTerminal {
			l.clear()
			fmt.Fprintf(l.s.Stderr, "%s  %s\n", l.todo[i].Name, e.Text)
		}
		*r = running{open: map[string]bool{}, last: e.Text}
		return
	}
	r.last = e.Text
	if !l.s.StderrTerminal {
		fmt.Fprintf(l.s.Stderr, "%s %8.3fs  %s\n", l.todo[i].Name, e.At.D().Seconds(), e.Text)
	}
}

// of finds what is known of scenario i. The caller holds the lock.
func (l *live) of(i int) *running {
	r := l.running[i]
	if r == nil {
		r = &running{open: map[string]bool{}}
		l.running[i] = r
	}
	return r
}

// tick takes note of the time of scenario i, whose clock is not ours.
func (l *live) tick(i int, at time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.of(i)
	r.at, r.warped = at, true
}

func (l *live) done(i int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.running, i)
	l.ended++
}

// print lets something else write without the live line in its way.
func (l *live) print(write func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clear()
	write()
}

func (l *live) stop() {
	close(l.quit)
	l.gone.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clear()
}

// show writes the line. The caller holds the lock.
func (l *live) show() {
	line := ""
	switch {
	case len(l.running) == 0:
		return
	case len(l.running) == 1 && len(l.todo) == 1:
		for i, r := range l.running {
			line = l.todo[i].Name + "  setting up"
			if !r.began.IsZero() {
				line = fmt.Sprintf("%s  %s of %s  %s", l.todo[i].Name, r.progress(time.Since(r.began), l.todo[i].Duration.D()), l.todo[i].Duration, units.Count(len(r.open), "connection", "connections"))
			}
			if r.last != "" {
				line += "  · " + r.last
			}
		}
	default:
		var names []string
		for i := range l.todo {
			if l.running[i] != nil {
				names = append(names, l.todo[i].Name)
			}
		}
		line = fmt.Sprintf("%d of %d done  ·  %s", l.ended, len(l.todo), strings.Join(names, ", "))
	}
	if runes := []rune(line); len(runes) >= l.s.Width {
		line = string(runes[:l.s.Width-2]) + "…"
	}
	fmt.Fprintf(l.s.Stderr, "\r\x1b[K%s", line)
	l.shown = true
}

// progress says how far a scenario has got that began so long ago and lasts for
// length, and with a clock of its own also how much faster than ours it goes.
func (r *running) progress(since, length time.Duration) string {
	if !r.warped {
		return fmt.Sprintf("%.1fs", min(since, length).Seconds())
	}
	text := units.Duration(min(r.at, length).Round(time.Second)).String()
	if since >= time.Second {
		text += fmt.Sprintf(" (%.0f× real time)", r.at.Seconds()/since.Seconds())
	}
	return text
}

// clear takes the line away. The caller holds the lock.
func (l *live) clear() {
	if l.shown {
		fmt.Fprint(l.s.Stderr, "\r\x1b[K")
		l.shown = false
	}
}
