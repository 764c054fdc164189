package units

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	tests := []struct {
		text string
		want time.Duration
		// written is how String writes it, where that is not text.
		written string
	}{
		{"0", 0, "0s"},
		{"0s", 0, ""},
		{"1ns", 1, ""},
		{"1.5us", 1500, ""},
		{"250ms", 250 * time.Millisecond, ""},
		{"1.000000001s", time.Second + 1, ""},
		{"1.5s", 1500 * time.Millisecond, ""},
		{"90s", 90 * time.Second, "1m30s"},
		{"60s", time.Minute, "1m"},
		{"4m", 4 * time.Minute, ""},
		{"4m30s", 270 * time.Second, ""},
		{"1m0.5s", time.Minute + 500*time.Millisecond, ""},
		{"1m500ms", time.Minute + 500*time.Millisecond, "1m0.5s"},
		{"1h0.5s", time.Hour + 500*time.Millisecond, ""},
		{"1h0.000000001s", time.Hour + 1, ""},
		{"1h30m", 90 * time.Minute, ""},
		{"1.5h", 90 * time.Minute, "1h30m"},
		{"2d", 2 * day, ""},
		{"0.5d", 12 * time.Hour, "12h"},
		{"36h", 36 * time.Hour, "1d12h"},
		{"007s", 7 * time.Second, "7s"},
		{"9223372036854775807ns", math.MaxInt64, "106751d23h47m16.854775807s"},
		{"106751d23h47m16.854775807s", math.MaxInt64, ""},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			got, err := ParseDuration(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if got.D() != tt.want {
				t.Errorf("got %d ns; want %d", got, tt.want)
			}
			written := tt.written
			if written == "" {
				written = tt.text
			}
			if diff := cmp.Diff(written, got.String()); diff != "" {
				t.Errorf("String (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseDurationRefuses(t *testing.T) {
	const example = `durations look like "90s", "4m", "1h30m"`
	tests := []struct {
		text, problem, suggestion string
	}{
		{"", "it is empty; " + example, ""},
		{"90", "it has no unit", "90s"},
		{"1.5", "it has no unit", "1.5s"},
		{"-4m", "a duration cannot be negative", ""},
		{"4 min", `" min" is not a unit of time (d, h, m, s, ms, us, ns)`, "4m"},
		{"30 seconds", `" seconds" is not a unit of time (d, h, m, s, ms, us, ns)`, "30s"},
		{"4M", `"M" is not a unit of time (d, h, m, s, ms, us, ns)`, "4m"},
		{"3w", `"w" is not a unit of time (d, h, m, s, ms, us, ns)`, ""},
		{"1.5µs", `"µs" is not a unit of time (d, h, m, s, ms, us, ns)`, "1.5us"},
		{"soon", "it is not a number followed by a unit; " + example, ""},
		{"1h30", "it is not a number followed by a unit; " + example, ""},
		{"1..5s", "it is not a number followed by a unit; " + example, ""},
		{".5s", "it is not a number followed by a unit; " + example, ""},
		{"+5s", "it is not a number followed by a unit; " + example, ""},
		{"1e3s", `"e" is not a unit of time (d, h, m, s, ms, us, ns)`, ""},
		{"30s1m", "its units must go from the longest to the shortest, each once", ""},
		{"1m1m", "its units must go from the longest to the shortest, each once", ""},
		{"0.5ns", "it is not a whole number of nanoseconds", ""},
		{"9223372036854775808ns", "it is longer than 106751d23h47m16.854775807s", ""},
		{"300000d", "it is longer than 106751d23h47m16.854775807s", ""},
		{strings.Repeat("9", 41) + "s", "it is not a number followed by a unit; " + example, ""},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			got, err := ParseDuration(tt.text)
			var pe *ParseError
			if !errors.As(err, &pe) {
				t.Fatalf("got %v, %v; want a *ParseError", got, err)
			}
			want := &ParseError{Kind: "duration", Text: tt.text, Problem: tt.problem, Suggestion: tt.suggestion}
			if diff := cmp.Diff(want, pe); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseErrorReadsAsASentence(t *testing.T) {
	_, err := ParseDuration("90")
	if diff := cmp.Diff(`reading "90" as a duration: it has no unit; write "90s"`, err.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// FuzzParseDuration: whatever is read is written so that the same value is read again.
func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"0", "90", "1h30m", "2d", "1.5s", "250ms", "-1s", "1m0.5s", "30s1m", "4 min", "1.5µs", "9223372036854775807ns"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDuration(text)
		if err != nil {
			var pe *ParseError
			if !errors.As(err, &pe) {
				t.Fatalf("ParseDuration(%q): %v is not a *ParseError", text, err)
			}
			if pe.Suggestion == "" {
				return
			}
			if _, err := ParseDuration(pe.Suggestion); err != nil {
				t.Errorf("ParseDuration(%q) suggests what it refuses: %v", text, err)
			}
			return
		}
		if d < 0 {
			t.Fatalf("ParseDuration(%q) = %d, negative", text, d)
		}
		again, err := ParseDuration(d.String())
		if err != nil || again != d {
			t.Errorf("%q is %d ns, written %q and read again as %d, %v", text, d, d, again, err)
		}
	})
}
