package verdict

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// aggregate makes one value of samples, of which there is at least one unless
// they are counted. With open samples the value is only known to lie from low
// (they end now) to high (they never end); otherwise low and high are the same.
func aggregate(a Aggregate, samples []sample) (low, high float64) {
	if a == Count {
		return float64(len(samples)), float64(len(samples))
	}
	least, most := make([]float64, len(samples)), make([]float64, len(samples))
	for i, x := range samples {
		least[i], most[i] = x.n, x.n
		if x.open {
			most[i] = math.Inf(1)
		}
	}
	slices.Sort(least)
	slices.Sort(most)
	return a.of(least), a.of(most)
}

// of is the aggregate of sorted numbers, of which there is at least one.
func (a Aggregate) of(sorted []float64) float64 {
	switch a {
	case Min:
		return sorted[0]
	case Mean:
		sum := 0.0
		for _, n := range sorted {
			sum += n
		}
		return sum / float64(len(sorted))
	case P50:
		return percentile(sorted, 50)
	case P95:
		return percentile(sorted, 95)
	case P99:
		return percentile(sorted, 99)
	}
	return sorted[len(sorted)-1]
}

// percentile is by nearest rank.
func percentile(sorted []float64, p int) float64 {
	rank := (p*len(sorted) + 99) / 100
	return sorted[max(rank, 1)-1]
}

// culprit is the sample that kept an expectation from passing: the largest where
// the value should have been smaller, the smallest where larger,
// and the first that was counted.
func culprit(a Aggregate, op Op, samples []sample) sample {
	if a == Count {
		return samples[0]
	}
	smallest, largest := 0, 0
	for i, x := range samples {
		if x.n < samples[smallest].n {
			smallest = i
		}
		if x.n > samples[largest].n || x.n == samples[largest].n && x.open && !samples[largest].open {
			largest = i
		}
	}
	wantsMore := op == Greater || op == GreaterOrEqual || op == Equal && a != Max
	if a == Min || a != Max && wantsMore {
		return samples[smallest]
	}
	return samples[largest]
}

// observed writes the value that was compared, never so rounded that the
// comparison would come out differently.
func observed(m Metric, e Expectation, low, high float64, samples []sample) string {
	unit := e.Value.Unit
	text := rounded(unit, low, e)
	switch {
	case math.IsInf(high, 1):
		text = "at least " + text
	case low != high:
		text += " to " + rounded(unit, high, e)
	}
	if m.Name == "push.delivered" {
		arrived := 0
		for _, x := range samples {
			arrived += int(x.n)
		}
		text += fmt.Sprintf(" (%d of %d)", arrived, len(samples))
	}
	return text
}

// rounded writes a value with as many digits as people read, but with all of
// them where fewer would tell another verdict.
func rounded(unit Unit, n float64, e Expectation) string {
	var short float64
	switch unit {
	case Duration:
		short = float64(readable(time.Duration(n)))
	case Share:
		short = math.Round(n*1000) / 1000
	default:
		short = math.Round(n*10) / 10
	}
	if e.Op.holds(short, e.Value.N) != e.Op.holds(n, e.Value.N) {
		short = n
	}
	return Value{unit, short}.String()
}
