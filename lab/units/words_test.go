package units

import (
	"strings"
	"testing"
)

func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0 pushes", 1: "1 push", 2: "2 pushes"} {
		if got := Count(n, "push", "pushes"); got != want {
			t.Errorf("Count(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestList(t *testing.T) {
	for want, words := range map[string][]string{
		"": nil, "a": {"a"}, "a and b": {"a", "b"}, "a, b and c": {"a", "b", "c"}, "b": {"", "b"},
	} {
		if got := List(words); got != want {
			t.Errorf("List(%q) = %q, want %q", words, got, want)
		}
	}
}

// TestClosest: slips that are understood, and words that are not taken for one.
func TestClosest(t *testing.T) {
	keys := []string{"interval", "deadline", "policy", "keepalive", "heartbeat", "nat", "at", "on", "wan", "lan", "port", "devices"}
	for word, want := range map[string]string{
		"intervall":                     "interval",
		"intrval":                       "interval",
		"Interval":                      "interval",
		"keep-alive":                    "keepalive",
		"keepAlive":                     "keepalive",
		"deadlnie":                      "deadline",
		"prot":                          "port",
		"dev":                           "devices",
		"nta":                           "nat",
		"wen":                           "wan",
		"x":                             "",
		"of":                            "",
		"delay":                         "",
		"unrelated":                     "",
		"":                              "",
		"--":                            "",
		strings.Repeat("interval", 100): "",
	} {
		if got := Closest(word, keys); got != want {
			t.Errorf("Closest(%q) = %q, want %q", word, got, want)
		}
	}
}
