package model

// tape holds the decisions of one way through a step that may go several ways. The
// step is played again and again, each time with the next way, until all have been.
type tape struct {
	decisions []decision
	at        int
}

type decision struct{ taken, of int }

// choose takes one of some ways: a number below of.
func (t *tape) choose(of int) int {
	if of < 2 {
		return 0
	}
	if t.at == len(t.decisions) {
		t.decisions = append(t.decisions, decision{0, of})
	}
	d := t.decisions[t.at]
	t.at++
	return d.taken
}

// is decides what is not known, one way and then the other.
func (t *tape) is(what truth) bool {
	if what == maybe {
		return t.choose(2) == 1
	}
	return what == yes
}

// next goes back to the last decision that has a way left. It is false if none has.
func (t *tape) next() bool {
	t.at = 0
	for n := len(t.decisions); n > 0; n-- {
		if d := &t.decisions[n-1]; d.taken+1 < d.of {
			d.taken++
			t.decisions = t.decisions[:n]
			return true
		}
	}
	return false
}
