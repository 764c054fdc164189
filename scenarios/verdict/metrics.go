package verdict

import (
	"slices"

	"outlive/lab/units"
)

// Metric is something that is measured. Each is one value in the registry below;
// it shows up by itself in the language, in the documents and in the results.
type Metric struct {
	// Name is how expectations call it: "push.latency".
	Name string
	// Unit is what its samples are.
	Unit Unit
	// Aggregates are those that an expectation may ask of it, the usual one
	// first. Bare among them means that it may stand without one.
	Aggregates []Aggregate
	// Definition says in one or two sentences what it is.
	Definition string
	// Needs are what a scenario must have for samples of it to come about.
	Needs []Need

	// bare is the aggregate that stands for the metric without one.
	bare Aggregate
	// countable says that counting is possible without Needs: nothing was
	// observed that could have been, which makes a count of 0.
	countable bool
	// observe takes the samples from the evidence.
	observe func(scene) observation
}

// observation is what the evidence has of one metric.
type observation struct {
	// basis counts the things of which each could have given a sample. With none
	// of them there is nothing that could be counted.
	basis int
	// missing says why there is no sample; it only counts where there is none.
	missing string
	samples []sample
}

// sample is one observed value.
type sample struct {
	// n is in the units of Value.N.
	n float64
	// open says that the scenario ended first: n is the least that it would have become.
	open bool
	// connection is the index of the connection that it was seen on, or -1.
	connection int
	// what tells the sample in words: "push 2 to phone at 12.000s arrived after 3.2s".
	what func() string
}

// metrics is the registry, in the order in which documents list them.
var metrics = slices.Concat(pushMetrics, deathMetrics, pathMetrics, heartbeatMetrics)

// Metrics lists everything that can be measured, in a fixed order.
func Metrics() []Metric { return slices.Clone(metrics) }

func metricNamed(name string) (Metric, bool) {
	i := slices.IndexFunc(metrics, func(m Metric) bool { return m.Name == name })
	if i < 0 {
		return Metric{}, false
	}
	return metrics[i], true
}

func metricNames() []string {
	var names []string
	for _, m := range metrics {
		names = append(names, m.Name)
	}
	return names
}

// only says whether a is the one aggregate that the metric has.
func (m Metric) only(a Aggregate) bool { return len(m.Aggregates) == 1 && m.Aggregates[0] == a }

// allowed says how the metric may be written.
func (m Metric) allowed() string {
	worded := units.List(m.Aggregates)
	switch {
	case m.only(Bare):
		return "it is written without an aggregate"
	case slices.Contains(m.Aggregates, Bare):
		return "it is written without an aggregate, or with " + worded
	}
	return "there is " + worded
}

// The aggregates that metrics share.
var (
	// ofSamples are those of a metric with any number of samples.
	ofSamples = []Aggregate{Max, Min, Mean, P50, P95, P99, Count}
	// ofEvents are those of something that happens or not.
	ofEvents = []Aggregate{Count}
	// ofDevices are those of a metric with one value for each device.
	ofDevices = []Aggregate{Bare, Min, Mean, Max}
)
