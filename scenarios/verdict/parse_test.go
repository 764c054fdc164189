package verdict

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Expectation
	}{
		{"push.delivered == 100%", Expectation{Text: "push.delivered == 100%", Metric: "push.delivered", Op: Equal, Value: Value{Share, 1}}},
		{"max(push.latency) < 2s", Expectation{Text: "max(push.latency) < 2s", Aggregate: Max, Metric: "push.latency", Op: Less, Value: Value{Duration, 2e9}}},
		{"max(zombie.client) <= 4m30s", Expectation{Text: "max(zombie.client) <= 4m30s", Aggregate: Max, Metric: "zombie.client", Op: LessOrEqual, Value: Value{Duration, 270e9}}},
		{"count(false_alarm) == 0", Expectation{Text: "count(false_alarm) == 0", Aggregate: Count, Metric: "false_alarm", Op: Equal, Value: Value{Number, 0}}},
		{"count(push.latency)!=3", Expectation{Text: "count(push.latency)!=3", Aggregate: Count, Metric: "push.latency", Op: NotEqual, Value: Value{Number, 3}}},
		{"  p95 ( push.latency )\t>  250ms ", Expectation{Text: "p95 ( push.latency ) > 250ms", Aggregate: P95, Metric: "push.latency", Op: Greater, Value: Value{Duration, 250e6}}},
		{"alive >= 99.5%", Expectation{Text: "alive >= 99.5%", Metric: "alive", Op: GreaterOrEqual, Value: Value{Share, 0.995}}},
		{"mean(alive) > 0%", Expectation{Text: "mean(alive) > 0%", Aggregate: Mean, Metric: "alive", Op: Greater, Value: Value{Share, 0}}},
		{"deaf < 10s", Expectation{Text: "deaf < 10s", Metric: "deaf", Op: Less, Value: Value{Duration, 10e9}}},
		{"mean(heartbeat.bytes) < 250", Expectation{Text: "mean(heartbeat.bytes) < 250", Aggregate: Mean, Metric: "heartbeat.bytes", Op: Less, Value: Value{Bytes, 250}}},
	} {
		got, err := Parse(tt.text)
		if err != nil {
			t.Errorf("Parse(%q): %v", tt.text, err)
			continue
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("Parse(%q) (-want +got):\n%s", tt.text, d)
		}
	}
}

func TestParseMistakes(t *testing.T) {
	aggregates := "count, min, max, mean, p50, p95 and p99"
	for _, tt := range []struct {
		text       string
		column     int
		width      int
		why        string // of which the message must hold this
		suggestion string
	}{
		{"", 1, 0, `a metric is missing; an expectation reads like "max(push.latency) < 2s"`, ""},
		{"== 3", 1, 0, "a metric is missing", ""},
		{"push.delivered", 15, 0, "nothing is compared", ""},
		{"push.deliverd == 100%", 1, 13, `"push.deliverd" is not a metric; there are push.delivered, push.latency,`, "push.delivered"},
		{"max(latency) < 2s", 5, 7, `"latency" is not a metric`, "push.latency"},
		{"count(false-alarms) == 0", 7, 12, `"false-alarms" is not a metric`, "false_alarm"},
		{"count(reconnects) == 0", 7, 10, `"reconnects" is not a metric`, "reconnect"},
		{"max(quux) < 2s", 5, 4, `"quux" is not a metric`, ""},
		{"avg(push.latency) < 2s", 1, 3, `"avg" is not an aggregate; there are ` + aggregates, "mean"},
		{"maxx(push.latency) < 2s", 1, 4, `"maxx" is not an aggregate`, "max"},
		{"(push.latency) < 2s", 1, 0, `"" is not an aggregate`, ""},
		{"max push.latency < 2s", 1, 16, "the metric of an aggregate stands in brackets", "max(push.latency)"},
		{"max(push.latency < 2s", 17, 0, "the bracket is not closed", ")"},
		{"push.latency < 2s", 1, 12, "push.latency can have many values: say which of them you mean (max, min, mean, p50, p95, p99 and count)", "max(push.latency)"},
		{"false_alarm == 0", 1, 11, "false_alarm happens or not: it is counted", "count(false_alarm)"},
		{"max(false_alarm) == 0", 1, 16, "max cannot be asked of false_alarm; there is count", "count(false_alarm)"},
		{"mean(push.delivered) == 100%", 1, 20, "mean cannot be asked of push.delivered; it is written without an aggregate", "push.delivered"},
		{"count(alive) == 1", 1, 12, "count cannot be asked of alive; it is written without an aggregate, or with min, mean and max", "alive"},
		{"max(push.latency) = 2s", 19, 1, `"=" is not a comparison; there are ==, !=, <, <=, > and >=`, "=="},
		{"max(push.latency) =< 2s", 19, 2, `"=<" is not a comparison`, "<="},
		{"max(push.latency) <", 20, 0, `a value is missing; max(push.latency) is a length of time, written like "4m30s"`, ""},
		{"max(push.latency) < 2", 21, 1, `max(push.latency) is a length of time, written like "4m30s", not "2": it has no unit`, "2s"},
		{"max(push.latency) < 100%", 21, 4, `max(push.latency) is a length of time`, ""},
		{"count(push.latency) == 3s", 24, 2, `count(push.latency) is a whole number, written like "3", not "3s": it has no unit`, "3"},
		{"count(push.latency) == 1.5", 24, 3, `only digits can stand here`, ""},
		{"count(push.latency) == -1", 24, 2, `only digits can stand here`, ""},
		{"count(push.latency) == 99999999999999999999", 24, 20, `it is too large`, ""},
		{"max(heartbeat.bytes) < 2kb", 24, 3, `max(heartbeat.bytes) is a number of bytes`, "2"},
		{"push.delivered == 1", 19, 1, `push.delivered is a share, written like "99.5%", not "1": it has no percent sign`, "1%"},
		{"push.delivered == 101%", 19, 4, `a share is at most 100%`, ""},
		{"push.delivered == 100% of all", 19, 11, `push.delivered is a share`, ""},
		{"max(push.latency) < 2s < 3s", 21, 7, `max(push.latency) is a length of time`, ""},
		{"alive <= 100%", 1, 13, "this holds whatever happens, so it says nothing", ""},
		{" count(death) >= 0 ", 2, 17, "this holds whatever happens, so it says nothing", ""},
		{"max(push.latency) < 0s", 1, 22, "this can never hold", ""},
		{"alive > 100%", 1, 12, "this can never hold", ""},
		{"máx(push.latency) = 2s", 1, 3, `"máx" is not an aggregate`, ""},
	} {
		_, err := Parse(tt.text)
		var got *SyntaxError
		if !errors.As(err, &got) {
			t.Errorf("Parse(%q): %v, want a *SyntaxError", tt.text, err)
			continue
		}
		if !strings.Contains(got.Text, tt.why) {
			t.Errorf("Parse(%q) says %q, want %q in it", tt.text, got.Text, tt.why)
		}
		want := SyntaxError{Column: tt.column, Width: tt.width, Text: got.Text, Suggestion: tt.suggestion}
		if d := cmp.Diff(want, *got); d != "" {
			t.Errorf("Parse(%q) (-want +got):\n%s", tt.text, d)
		}
	}
}

// Putting a suggestion in place of what is marked must help: the same mistake
// may not stand there again.
func TestSuggestionsHelp(t *testing.T) {
	for _, text := range []string{
		"push.deliverd == 100%", "avg(push.latency) < 2s", "max push.latency < 2s", "max(push.latency < 2s", "push.latency < 2s",
		"false_alarm == 0", "max(false_alarm) == 0", "mean(push.delivered) == 100%", "max(push.latency) = 2s", "max(push.latency) < 2", "count(death) == 3s",
		"push.delivered == 100",
	} {
		_, err := Parse(text)
		var bad *SyntaxError
		if !errors.As(err, &bad) || bad.Suggestion == "" {
			t.Errorf("Parse(%q): %v, want a suggestion", text, err)
			continue
		}
		r := []rune(text)
		better := string(r[:bad.Column-1]) + bad.Suggestion + string(r[bad.Column-1+bad.Width:])
		if _, err := Parse(better); err != nil {
			t.Errorf("Parse(%q) suggests %q, which is wrong again: %v", text, better, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"push.delivered == 100%", "max(push.latency) < 2s", " p95 ( push.latency ) >\t1h30m", "count(false_alarm) == 0", "alive<=99.5%",
		"máx(push.latency) = 2s", "max(push.latency", "== ==", "max((x)) < 1", "\xff < 2s",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := Parse(text)
		if err != nil {
			var bad *SyntaxError
			if !errors.As(err, &bad) {
				t.Fatalf("Parse(%q): %v, want a *SyntaxError", text, err)
			}
			if n := utf8.RuneCountInString(text); bad.Column < 1 || bad.Width < 0 || bad.Column-1+bad.Width > n {
				t.Fatalf("Parse(%q) marks column %d, width %d of %d characters", text, bad.Column, bad.Width, n)
			}
			return
		}
		again, err := Parse(e.Text)
		if err != nil {
			t.Fatalf("Parse(%q) is fine, but its text %q: %v", text, e.Text, err)
		}
		if d := cmp.Diff(e, again); d != "" {
			t.Fatalf("Parse(%q) read again (-first +again):\n%s", text, d)
		}
	})
}
