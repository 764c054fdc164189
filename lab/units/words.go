package units

import (
	"fmt"
	"strings"
)

// Count writes a number of things: "1 push", "3 pushes", "0 pushes".
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// List joins words for a sentence: "a", "a and b", "a, b and c". Empty words are left out.
func List[T ~string](words []T) string {
	var all []string
	for _, w := range words {
		if w != "" {
			all = append(all, string(w))
		}
	}
	if len(all) < 2 {
		return strings.Join(all, "")
	}
	return strings.Join(all[:len(all)-1], ", ") + " and " + all[len(all)-1]
}

// Closest gives the candidate that was probably meant by a word, or "" if none
// is near. Case, hyphens and underscores do not count; a beginning of at least three
// letters does, and so does a slip of the fingers: a letter too many, too few,
// wrong, or two in the wrong order, one for every three letters.
func Closest(word string, candidates []string) string {
	const longest = 64
	w := plainWord(word)
	if w == "" || len(w) > longest {
		return ""
	}
	slips := (len(w) + 1) / 3
	if len(w) <= 2 {
		// At two letters everything is near.
		slips = 0
	}
	best, bestDistance := "", slips+1
	for _, candidate := range candidates {
		c := plainWord(candidate)
		if c == "" || len(c) > longest {
			continue
		}
		begins := len(w) >= 3 && strings.HasPrefix(c, w)
		if apart := max(len(w)-len(c), len(c)-len(w)); apart >= bestDistance && !begins {
			continue
		}
		d := distance(w, c)
		if begins {
			d = min(d, 1)
		}
		if d < bestDistance {
			best, bestDistance = candidate, d
		}
	}
	return best
}

var unpunctuated = strings.NewReplacer("-", "", "_", "", " ", "")

func plainWord(s string) string { return unpunctuated.Replace(strings.ToLower(s)) }

// distance is the optimal string alignment distance, in bytes.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
