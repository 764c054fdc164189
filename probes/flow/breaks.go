package flow

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"outlive/lab/units"
)

// cut is a Break as one connection felt it.
type cut struct {
	from  units.Seconds
	cause string
	// side is the end that was lost; none is true for a host between the ends.
	side direction
	none bool
}

// How long before a Break's At its effects may show.
const (
	faultLead = units.Seconds(20 * time.Millisecond)
	exitLead  = units.Seconds(500 * time.Millisecond)
)

func leadOf(b Break) units.Seconds {
	if b.Cause == CauseServerExit || b.Cause == CauseClientExit {
		return exitLead
	}
	return faultLead
}

// felt are the breaks that the connection lived to see.
func (w *judge) felt(truth *Truth) []cut {
	var all []cut
	if w.c.opened == nil {
		return nil
	}
	server := serverHost(truth)
	for _, b := range truth.Breaks {
		x := cut{from: b.At, cause: b.Cause}
		switch {
		case b.Host == server:
			x.side = toClient
		case b.Host == w.c.device:
			x.side = toServer
		case slices.ContainsFunc(w.c.path.nats, func(n NAT) bool { return n.Name == b.Host }):
			x.none = true
		default:
			continue
		}
		if !x.none {
			for _, e := range w.endings[x.side] {
				if e.packet >= 0 && e.program && e.at >= b.At-leadOf(b) && e.at < x.from {
					x.from = e.at
				}
			}
		}
		late := w.began() > b.At
		if b.Host == server {
			late = w.tooLate(b)
		}
		if late || b.At > w.end {
			continue
		}
		x.from = max(x.from, *w.c.opened)
		if at := w.ready(w.c); at != nil && w.began() > b.At {
			x.from = max(x.from, *at)
		}
		all = append(all, x)
	}
	slices.SortStableFunc(all, func(a, b cut) int { return cmp.Compare(a.from, b.from) })
	return all
}

// began is when the first packet of the connection was sent.
func (w *judge) began() units.Seconds { return w.seen[w.c.seen[0]].at }

// lost is when the lab took a side away, never if it did not.
func (w *judge) lost(side direction) units.Seconds {
	for _, x := range w.cuts {
		if !x.none && x.side == side {
			return x.from
		}
	}
	return never
}

// tooLate says that the connection came when the server was going already and that it
// never got ready, so that nothing could die: for as long as the socket of a program
// that is being ended listens, the kernel opens connections in its name.
func (w *judge) tooLate(b Break) bool {
	return w.began() >= w.fell(b) && (w.ready(w.c) == nil || w.began() > b.At+newsLag)
}

// fell is when the end of the server began. A fault's At is that; where the program
// ended by itself it is the first that its kernel said in its name.
func (j *joiner) fell(b Break) units.Seconds {
	if b.Cause != CauseServerExit {
		return b.At
	}
	from, _ := slices.BinarySearchFunc(j.seen, b.At-exitLead, func(o observation, at units.Seconds) int { return cmp.Compare(o.at, at) })
	for i := range j.seen[from:] {
		o := &j.seen[from+i]
		if o.at >= b.At {
			break
		}
		if o.prev < 0 && o.sender == senderServer && o.flags&(flagFIN|flagRST) != 0 && o.flags&flagACK != 0 {
			return o.at
		}
	}
	return b.At
}

// going is the break by which the server was going, or gone, when it ended the
// connection, which had come too late to die of it.
func (w *judge) going(at units.Seconds) (why string, ok bool) {
	for _, b := range w.serverBreaks {
		if at >= w.fell(b) && w.tooLate(b) {
			return fmt.Sprintf("the server was ending when it came (%s)", b.Cause), true
		}
	}
	return "", false
}

// outlived reports what a side did well after it was gone: then it was not.
func (j *joiner) outlived(c *connection, truth *Truth) {
	server := serverHost(truth)
	for _, b := range truth.Breaks {
		side := toServer
		switch {
		case b.At > j.end:
			continue
		case b.Host == server:
			side = toClient
		case b.Host != c.device:
			continue
		}
		for _, i := range c.seen {
			o := &j.seen[i]
			if o.at <= b.At+newsLag || o.at > j.end || o.prev >= 0 || o.sender != senderOf(side) {
				continue
			}
			// What was handed to the kernel before may leave after a kill, but no connection opens.
			if o.kind == kindSYN || o.kind == kindData && leadOf(b) == exitLead {
				j.problem("the %s sent %s although it should be gone since %v (%s)", side.sender(), j.describe(o), round(b.At), b.Cause)
				return
			}
		}
	}
}
