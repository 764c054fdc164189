package units

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseShare(t *testing.T) {
	tests := []struct {
		text    string
		want    Share
		written string
	}{
		{"0%", 0, "0%"},
		{"1%", 0.01, "1%"},
		{"7%", 0.07, "7%"},
		{"50.0%", 0.5, "50%"},
		{"99.5%", 0.995, "99.5%"},
		{"99.999%", 0.99999, "99.999%"},
		{"0.001%", 0.00001, "0.001%"},
		{"100%", 1, "100%"},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			got, err := ParseShare(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("got %v; want %v", float64(got), float64(tt.want))
			}
			if diff := cmp.Diff(tt.written, got.String()); diff != "" {
				t.Errorf("String (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseShareRefuses(t *testing.T) {
	const example = `shares look like "1%", "99.5%"`
	tests := []struct {
		text, problem, suggestion string
	}{
		{"", "it is empty; " + example, ""},
		{"50", "it has no percent sign", "50%"},
		{"-1%", "a share cannot be negative", ""},
		{"%", "it is not a number followed by a percent sign; " + example, ""},
		{"1 %", "it is not a number followed by a percent sign; " + example, ""},
		{"NaN%", "it is not a number followed by a percent sign; " + example, ""},
		{"100.1%", "a share is at most 100%", ""},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			_, err := ParseShare(tt.text)
			var pe *ParseError
			if !errors.As(err, &pe) {
				t.Fatalf("got %v; want a *ParseError", err)
			}
			want := &ParseError{Kind: "share", Text: tt.text, Problem: tt.problem, Suggestion: tt.suggestion}
			if diff := cmp.Diff(want, pe); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTextForms(t *testing.T) {
	type both struct {
		Every Duration `json:"every"`
		Loss  Share    `json:"loss"`
	}
	want := both{Every: Duration(90e9), Loss: 0.015}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`{"every":"1m30s","loss":"1.5%"}`, string(text)); diff != "" {
		t.Errorf("as JSON (-want +got):\n%s", diff)
	}
	var got both
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read again (-want +got):\n%s", diff)
	}
}

func TestSecondsAreExact(t *testing.T) {
	tests := []struct {
		value Seconds
		text  string
	}{
		{0, "0"},
		{12000345678, "12.000345678"},
		{1500000000, "1.5"},
		{-250000000, "-0.25"},
		{1 << 62, "4611686018.427387904"},
	}
	for _, tt := range tests {
		text, err := json.Marshal(tt.value)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.text, string(text)); diff != "" {
			t.Errorf("%d ns (-want +got):\n%s", tt.value, diff)
		}
		var got Seconds
		if err := json.Unmarshal(text, &got); err != nil || got != tt.value {
			t.Errorf("%s read as %d, %v; want %d", text, got, err, tt.value)
		}
	}
}
