package heartbeat_test

import (
	"fmt"
	"time"

	"outlive/lab/units"
	"outlive/probes/heartbeat"
)

// eager sends a heartbeat after every 30 s of silence and waits 5 s for a sign of life.
type eager struct {
	heard, sent time.Time
	waiting     bool
}

func (p *eager) Observe(e heartbeat.Event) {
	switch e.Kind {
	case heartbeat.Connected, heartbeat.Received, heartbeat.Answered:
		p.heard, p.waiting = e.At, false
	case heartbeat.Sent:
		p.sent, p.waiting = e.At, true
	case heartbeat.Lost:
		*p = eager{}
	}
}

func (p *eager) Next() heartbeat.Action {
	switch {
	case p.heard.IsZero():
		return heartbeat.Action{}
	case p.waiting:
		return heartbeat.Action{Do: heartbeat.GiveUp, At: p.sent.Add(5 * time.Second)}
	default:
		return heartbeat.Action{Do: heartbeat.Beat, At: p.heard.Add(30 * time.Second)}
	}
}

// A policy of one's own: a heartbeat only where nothing else was heard.
func Example() {
	start := time.Now()
	var policy heartbeat.Policy = new(eager)
	for _, e := range []heartbeat.Event{
		{At: start, Kind: heartbeat.Connected},
		{At: start.Add(20 * time.Second), Kind: heartbeat.Received},
		{At: start.Add(50 * time.Second), Kind: heartbeat.Sent},
		{At: start.Add(55 * time.Second), Kind: heartbeat.Lost, Cause: heartbeat.Unanswered},
	} {
		policy.Observe(e)
		next := policy.Next()
		if next.Do == heartbeat.Wait {
			fmt.Println(e.Kind, "→ wait")
			continue
		}
		fmt.Println(e.Kind, "→", next.Do, "at", next.At.Sub(start))
	}
	// Output:
	// connected → beat at 30s
	// received → beat at 50s
	// sent → give-up at 55s
	// lost → wait
}

// A policy is driven by telling it what happens and doing what it says.
func ExamplePolicy() {
	policy, err := heartbeat.New(heartbeat.Spec{
		Policy:   "fixed",
		Interval: units.Duration(4 * time.Minute),
		Deadline: units.Duration(8 * time.Second),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	start := time.Now()
	show := func() {
		next := policy.Next()
		fmt.Println(next.Do, "at", next.At.Sub(start))
	}
	policy.Observe(heartbeat.Event{At: start, Kind: heartbeat.Connected})
	show()
	policy.Observe(heartbeat.Event{At: start.Add(4 * time.Minute), Kind: heartbeat.Sent})
	show()
	// Output:
	// beat at 4m0s
	// give-up at 4m8s
}
