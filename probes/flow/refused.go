package flow

import (
	"slices"

	"outlive/lab/units"
)

// refused is the first NAT that had no room for a mapping of the connection, empty if
// there was none: its table can be full, a SYN came in and did not come out, and the
// kernel had no mapping for it.
func (w *judge) refused() string {
	for _, i := range w.c.seen {
		o := &w.seen[i]
		// What is under way when the captures stop is seen at some points only.
		if o.at > w.end-together || w.c.opened != nil && o.at > *w.c.opened {
			break
		}
		k := w.droppedAt(o)
		if o.d != toServer || o.flags&(flagSYN|flagACK) != flagSYN || k < 0 {
			continue
		}
		n := &w.c.path.nats[k]
		if n.Profile.CanBeFull() && !w.mapped(k, o.at) && (k < len(w.c.path.nats)-1 || o.at < w.deadEnd(w.c.path)) {
			return n.Name
		}
	}
	return ""
}

// mapped says that NAT k had a mapping for the connection at an instant, as far as
// news of it can be on time.
func (w *judge) mapped(k int, at units.Seconds) bool {
	if k >= len(w.lives) {
		return false
	}
	return slices.ContainsFunc(w.lives[k], func(l life) bool {
		return at >= l.born-jiffies && (l.gone == nil || at <= l.gone.At)
	})
}
