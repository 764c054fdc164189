package verdict

import (
	"slices"
	"strings"

	"outlive/lab/units"
)

// otherWords are what the aggregates are called elsewhere.
var otherWords = map[string]Aggregate{
	"avg": Mean, "average": Mean, "median": P50, "minimum": Min, "maximum": Max,
}

func nearestAggregate(word string) string {
	if a, ok := otherWords[strings.ToLower(word)]; ok {
		return string(a)
	}
	var names []string
	for _, a := range Aggregates() {
		names = append(names, string(a))
	}
	return units.Closest(word, names)
}

// nearestMetric finds the metric of which a part was written ("latency"), or
// that is spelt alike.
func nearestMetric(word string) string {
	word = strings.ToLower(word)
	names := metricNames()
	for _, n := range names {
		if word != "" && slices.Contains(strings.Split(n, "."), word) {
			return n
		}
	}
	return units.Closest(strings.NewReplacer("_", ".", "-", ".", " ", ".").Replace(word), names)
}
