package verdict

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"outlive/lab/labtest"
)

// document is docs/metrics.md, generated so that it never lags behind.
func document() string {
	return "# What is measured\n\n" +
		"Every metric is taken from the packets at the interfaces of devices, NATs and server, together with what the kernels know\n" +
		"of mappings and sockets. An expectation names one of them:\n\n" +
		"    push.delivered == 100%\n    max(push.latency) < 2s\n    count(false_alarm) == 0\n\n" +
		"An *event* happens or not, and is counted. Percentiles are by nearest rank. A metric without a sample makes its expectation\n" +
		"inconclusive, never a pass; `count` may be 0 only where something could have been counted. What still went on when the\n" +
		"scenario ended is known to be *at least* as long as it was by then: where that does not decide the comparison, the\n" +
		"expectation is inconclusive.\n\n" +
		table() +
		"\nWritten by `go test ./scenarios/verdict -update` from the registry in `scenarios/verdict`.\n"
}

// table is the documents' table of all metrics, in Markdown.
func table() string {
	var b strings.Builder
	b.WriteString("| metric | unit | written | definition |\n| --- | --- | --- | --- |\n")
	for _, m := range metrics {
		var written []string
		for _, a := range m.Aggregates {
			if a == Bare {
				written = append(written, "bare")
				continue
			}
			written = append(written, string(a))
		}
		unit := m.Unit
		if m.only(Count) {
			unit = "event"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.Name, unit, strings.Join(written, ", "), m.Definition)
	}
	return b.String()
}

func TestMetricsDocument(t *testing.T) {
	labtest.Golden(t, filepath.Join("..", "..", "docs", "metrics.md"), document())
}
