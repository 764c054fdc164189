package verdict

import (
	"math"
	"strconv"

	"outlive/lab/units"
)

// Expectation is one line of a scenario's expectations, parsed and checked
// against its metric's type. Parse makes it.
type Expectation struct {
	// Text is the line as written, with single blanks.
	Text string
	// Device is the device that it speaks of; empty means all of them. Parse
	// leaves it empty: the scenario says under which device the line stands.
	Device string
	// Line is where it stands in the scenario's file, from 1. Parse leaves it zero.
	Line int
	// Aggregate makes one value of the metric's samples; Bare where none is written.
	Aggregate Aggregate
	// Metric is the name of a metric in Metrics.
	Metric string
	// Op compares what was observed (left) with Value (right).
	Op Op
	// Value is what it is compared with.
	Value Value
}

// Needs lists what must be in the scenario for the expectation to be decidable;
// without it, it could only ever be inconclusive. Most need nothing beyond a
// device that connects.
func (e Expectation) Needs() []Need {
	m, ok := metricNamed(e.Metric)
	if !ok || e.Aggregate == Count && m.countable {
		return nil
	}
	return m.Needs
}

// Need is something that a scenario must have for a metric to have samples.
type Need string

// The needs.
const (
	// NeedPush: an event that pushes to a device in scope.
	NeedPush Need = "push"
	// NeedHeartbeat: a client or server that sends heartbeats.
	NeedHeartbeat Need = "heartbeat"
)

// Aggregate is how one value is made of a metric's samples.
type Aggregate string

// The aggregates. Percentiles are by nearest rank: the smallest sample that at
// least so many of a hundred do not exceed.
const (
	Bare  Aggregate = ""
	Count Aggregate = "count"
	Min   Aggregate = "min"
	Max   Aggregate = "max"
	Mean  Aggregate = "mean"
	P50   Aggregate = "p50"
	P95   Aggregate = "p95"
	P99   Aggregate = "p99"
)

// Aggregates lists those that are written as a word, in the order in which the
// documents name them.
func Aggregates() []Aggregate { return []Aggregate{Count, Min, Max, Mean, P50, P95, P99} }

// Op is a comparison.
type Op string

// The comparisons.
const (
	Equal          Op = "=="
	NotEqual       Op = "!="
	Less           Op = "<"
	LessOrEqual    Op = "<="
	Greater        Op = ">"
	GreaterOrEqual Op = ">="
)

// Unit is what a metric's values are.
type Unit string

// The units.
const (
	// Duration: a length of time ("4m30s").
	Duration Unit = "duration"
	// Number: a whole number.
	Number Unit = "count"
	// Share: a part of a whole ("100%").
	Share Unit = "share"
	// Bytes: a whole number of bytes.
	Bytes Unit = "bytes"
)

// Value is a quantity of one unit.
type Value struct {
	Unit Unit
	// N is nanoseconds for Duration (exact up to 104 days), from 0 to 1 for
	// Share, and the number itself for the others. It may have decimals where it
	// is a mean.
	N float64
}

// String writes the value as it is written in a scenario: "4m30s", "3", "99.5%".
func (v Value) String() string {
	switch v.Unit {
	case Duration:
		return units.Duration(math.Round(v.N)).String()
	case Share:
		return units.Share(v.N).String()
	default:
		return strconv.FormatFloat(v.N, 'f', -1, 64)
	}
}

// holds says whether a value compares with another as op asks.
func (op Op) holds(observed, wanted float64) bool {
	switch op {
	case Equal:
		return observed == wanted
	case NotEqual:
		return observed != wanted
	case Less:
		return observed < wanted
	case LessOrEqual:
		return observed <= wanted
	case Greater:
		return observed > wanted
	case GreaterOrEqual:
		return observed >= wanted
	}
	return false
}
