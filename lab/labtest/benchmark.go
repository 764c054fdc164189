package labtest

import (
	"flag"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Benchmark is Run for benchmarks: f runs in a sandbox, measured there, and its
// figures become those of b. The outer number of iterations means nothing.
func Benchmark(b *testing.B, f func(b *testing.B)) {
	b.Helper()
	if inside() {
		f(b)
		return
	}
	// The outer benchmark is called with b.N = 1 and then again with larger ones.
	// Once is enough.
	results.Lock()
	defer results.Unlock()
	metrics, known := results.of[b.Name()]
	if !known || b.N == 1 {
		args := []string{"-test.run=^$", "-test.count=1", "-test.bench=" + pattern(b.Name())}
		for _, name := range []string{"benchtime", "benchmem", "cpu"} {
			if f := flag.Lookup("test." + name); f != nil && f.Value.String() != f.DefValue {
				args = append(args, "-"+f.Name+"="+f.Value.String())
			}
		}
		err := runInside(b, args, 0, func(line []byte) {
			if m := parseBenchmark(b.Name(), string(line)); m != nil {
				metrics = m
			} else if !headerLine.Match(line) {
				say(b.Output(), line)
			}
		})
		if err != nil {
			b.Fatalf("running %s in a sandbox: %v", b.Name(), err)
		}
		if metrics == nil {
			b.Fatalf("running %s in a sandbox: it gave no result", b.Name())
		}
		results.of[b.Name()] = metrics
	}
	for _, m := range metrics {
		b.ReportMetric(m.value, m.unit)
	}
}

type metric struct {
	value float64
	unit  string
}

var results = struct {
	sync.Mutex
	of map[string][]metric
}{of: make(map[string][]metric)}

// headerLine is what the inner test binary says beside the result.
var headerLine = regexp.MustCompile(`^(goos|goarch|pkg|cpu): |^PASS$|^Benchmark\S+$|^$`)

// parseBenchmark reads the line of a result: the name with the number of
// processors, the number of iterations, then values each with its unit.
func parseBenchmark(name, line string) []metric {
	fields := strings.Fields(line)
	if len(fields) < 4 || !regexp.MustCompile(`^`+regexp.QuoteMeta(name)+`(-\d+)?$`).MatchString(fields[0]) {
		return nil
	}
	var metrics []metric
	for i := 2; i+1 < len(fields); i += 2 {
		value, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return nil
		}
		metrics = append(metrics, metric{value, fields[i+1]})
	}
	return metrics
}
