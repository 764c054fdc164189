package heartbeat

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"outlive/lab/units"
)

// The defaults of ReconnectSpec. They are those of gRPC's connection back-off but
// for the factor (1.6 there) and the longest pause (2m there).
const (
	defaultFirst  = units.Duration(time.Second)
	defaultMax    = units.Duration(time.Minute)
	defaultFactor = 2.0
	defaultJitter = units.Share(0.2)
)

// ReconnectSpec is the reconnect key of a scenario: how long a client pauses
// between attempts to connect. The first attempt after the loss of a connection
// comes at once; the pause after it fails is First, and Factor times longer
// after each further failure, up to Max. The zero value is 1s, 1m, 2, 20%.
type ReconnectSpec struct {
	// First is the pause after the first failure. Zero means 1s.
	First units.Duration `yaml:"first,omitempty" json:"first,omitempty"`
	// Max is the longest pause, before jitter. Zero means 1m, or First if that is longer.
	Max units.Duration `yaml:"max,omitempty" json:"max,omitempty"`
	// Factor is by how much each pause is longer than the one before, at least 1. Zero means 2.
	Factor float64 `yaml:"factor,omitempty" json:"factor,omitempty"`
	// Jitter is by how much a pause may be longer or shorter than computed, as a
	// share of it, drawn evenly. Nil means 20%.
	Jitter *units.Share `yaml:"jitter,omitempty" json:"jitter,omitempty"`
}

// Check finds what is wrong with the spec, before or after WithDefaults.
func (s ReconnectSpec) Check() []units.Problem {
	var problems []units.Problem
	if s.First < 0 {
		problems = append(problems, units.Problem{Field: "first", Text: "the first pause must be more than 0s"})
	}
	if s.Max < 0 {
		problems = append(problems, units.Problem{Field: "max", Text: "the longest pause must be more than 0s"})
	}
	if full := s.WithDefaults(); s.Max > 0 && s.Max < full.First {
		problems = append(problems, units.Problem{
			Field: "max",
			Text:  fmt.Sprintf("the longest pause %v is shorter than the first, %v", s.Max, full.First),
		})
	}
	// Written so that not-a-number is refused too.
	if s.Factor != 0 && !(s.Factor >= 1 && s.Factor <= math.MaxFloat32) {
		problems = append(problems, units.Problem{Field: "factor", Text: "the factor must be a number of at least 1"})
	}
	if s.Jitter != nil && !(*s.Jitter >= 0 && *s.Jitter <= 1) {
		problems = append(problems, units.Problem{Field: "jitter", Text: "the jitter must be from 0% to 100%"})
	}
	return problems
}

// WithDefaults is the spec with everything filled in that was left out.
func (s ReconnectSpec) WithDefaults() ReconnectSpec {
	if s.First == 0 {
		s.First = defaultFirst
	}
	if s.Max == 0 {
		s.Max = max(defaultMax, s.First)
	}
	if s.Factor == 0 {
		s.Factor = defaultFactor
	}
	if s.Jitter == nil {
		jitter := defaultJitter
		s.Jitter = &jitter
	}
	return s
}

// Backoff decides when a client connects again. It is a state machine like a
// Policy: instants come in and go out. It is not safe for concurrent use.
type Backoff struct {
	first, max time.Duration
	factor     float64
	jitter     float64
	random     *rand.Rand

	pause time.Duration // after the next failure, before jitter
	ready time.Time     // when the present connection became ready; zero without one
}

// NewBackoff makes a back-off, defaults filled in, whose jitter is drawn from
// the seed: the same seed and the same events give the same instants.
func NewBackoff(s ReconnectSpec, seed uint64) (*Backoff, error) {
	if err := problemsError("reconnect", s.Check()); err != nil {
		return nil, err
	}
	s = s.WithDefaults()
	return &Backoff{
		first:  s.First.D(),
		max:    s.Max.D(),
		factor: s.Factor,
		jitter: float64(*s.Jitter),
		random: rand.New(rand.NewPCG(seed, 0)),
		pause:  s.First.D(),
	}, nil
}

// Connected says that a connection is ready, the protocol's greeting included.
func (b *Backoff) Connected(at time.Time) { b.ready = at }

// Failed says that an attempt failed or that the ready connection was lost, and
// gives the instant of the next attempt. That is at once after the loss of a
// connection that was ready for at least First, and the pauses then start again
// from First. A connection that lasted less counts as a failed attempt:
// otherwise a server that accepts and closes at once would be called without pause.
func (b *Backoff) Failed(at time.Time) time.Time {
	lasted := !b.ready.IsZero() && at.Sub(b.ready) >= b.first
	b.ready = time.Time{}
	if lasted {
		b.pause = b.first
		return at
	}
	pause := float64(b.pause) * (1 + b.jitter*(2*b.random.Float64()-1))
	b.pause = time.Duration(min(float64(b.pause)*b.factor, float64(b.max)))
	return at.Add(time.Duration(pause))
}
