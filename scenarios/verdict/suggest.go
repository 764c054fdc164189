package verdict

import (
	"slices"
	"strings"
)

// list names several words for a message: `min, max and mean`. A bare use is
// left out: the message says elsewhere how that is written.
func list[T ~string](words []T) string {
	var s []string
	for _, w := range words {
		if w != "" {
			s = append(s, string(w))
		}
	}
	if len(s) < 2 {
		return strings.Join(s, "")
	}
	return strings.Join(s[:len(s)-1], ", ") + " and " + s[len(s)-1]
}

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
	return nearest(word, names)
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
	return nearest(strings.NewReplacer("_", ".", "-", ".", " ", ".").Replace(word), names)
}

// nearest is the name that takes the fewest changes of letters, or empty if
// all take more than a third of the word's letters.
func nearest(word string, names []string) string {
	if len(word) > 64 {
		return ""
	}
	best, limit := "", max(1, len(word)/3)
	for _, n := range names {
		if d := distance(word, n); d <= limit {
			best, limit = n, d-1
		}
	}
	return best
}

// distance counts the letters to insert, drop or change between two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
