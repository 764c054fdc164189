package flow

import (
	"cmp"
	"slices"
	"time"

	"outlive/lab/units"
	"outlive/probes/socket"
)

// ending is one sign that a side of a connection had ended it, or that its kernel had.
type ending struct {
	at     units.Seconds
	how    string // "fin", "rst", "close", "gave-up"
	packet int32  // the observation that shows it, -1 if none does
	// program says that it was the program; otherwise it was the kernel, and cause
	// says why: the kernel's words, or "reset".
	program bool
	cause   string
	// by is who sent the reset.
	by sender
	// half says that a client has only finished sending and goes on listening: on a
	// dead connection it shows that it knows, on a living one it ends nothing.
	half bool
}

// ended is when a side ended the connection for itself, never if it did not.
func (w *judge) ended(side direction) units.Seconds {
	for _, e := range w.endings[side] {
		if !e.half {
			return e.at
		}
	}
	return never
}

// holds says that a program still held its socket well after an instant: what it
// sent then was no close. Not where it cannot be known, so late in the scenario or without news of the socket.
func (j *joiner) holds(sockets []Socket, at units.Seconds) bool {
	known := false
	for _, e := range sockets {
		switch {
		case e.Kind == socket.Opened:
			known = true
		case e.At-e.Window <= at+newsLag:
			return false
		}
	}
	return known && at+newsLag < j.end
}

// together is how far a packet and the news of what caused it may lie apart.
const together = units.Seconds(50 * time.Millisecond)

// endings are the signs of one side's end, in order of time.
func (j *joiner) endings(c *connection, side direction, sockets []Socket) []ending {
	var all []ending
	for _, e := range sockets {
		switch e.Kind {
		case socket.Closed, socket.Orphaned:
			all = append(all, ending{at: e.At, how: "close", packet: -1, program: true})
		case socket.GaveUp:
			all = append(all, ending{at: e.At, how: "gave-up", packet: -1, cause: e.Cause})
		}
	}
	finished := false
	for _, i := range c.seen {
		o := &j.seen[i]
		if o.at > j.end {
			break
		}
		e := ending{at: o.at, packet: i, program: true, by: o.sender}
		switch {
		case o.prev < 0 && o.d == side && o.sender == senderOf(side):
			switch {
			case o.flags&flagRST == 0 && (o.flags&flagFIN == 0 || finished):
				continue
			case o.flags&flagRST == 0:
				e.how, finished = "fin", true
				e.half = side == toServer && j.holds(sockets, o.at)
			case o.flags&flagACK == 0:
				// The kernel's answer to a packet for a socket that it does not know.
				continue
			default:
				e.how = "rst"
				if cause, ok := gaveUpNear(sockets, o.at); ok {
					e.how, e.program, e.cause = "gave-up", false, cause
				}
			}
		case o.flags&flagRST != 0 && o.d == side.back() && int(o.position) == c.path.target(o.d) && !o.foreign:
			// RFC 5961: a RST is heeded where it is exactly what comes next.
			if o.off != c.ends[o.d].arrived.grown.by(o.at) {
				continue
			}
			e.how, e.program, e.cause = "gave-up", false, "reset"
		default:
			continue
		}
		all = append(all, e)
	}
	slices.SortStableFunc(all, func(a, b ending) int { return cmp.Compare(a.at, b.at) })
	// A close may be learnt a moment before the stamp of the packet that it sends.
	return slices.DeleteFunc(all, func(e ending) bool {
		return e.how == "close" && slices.ContainsFunc(all, func(w ending) bool {
			return w.program && w.packet >= 0 && w.at >= e.at && w.at <= e.at+together
		})
	})
}

// gaveUpNear says that a kernel gave up by its own timers at about an instant: then
// the reset of that instant was the kernel's and not the program's.
func gaveUpNear(sockets []Socket, at units.Seconds) (cause string, ok bool) {
	for _, e := range sockets {
		timer := e.Cause == "keepalive" || e.Cause == "retransmission" || e.Cause == "user-timeout"
		if e.Kind == socket.GaveUp && timer && at >= e.At-e.Window-together && at <= e.At+together {
			return e.Cause, true
		}
	}
	return "", false
}

// sockets sorts the truth about sockets by connection and side. Events after the end are left out.
func (j *joiner) sockets(truth *Truth) map[*connection][2][]Socket {
	server := serverHost(truth)
	owners := map[uint64]*connection{}
	all := map[*connection][2][]Socket{}
	lost := map[string]bool{}
	for _, e := range truth.Sockets {
		if e.Lost && !lost[e.Host] {
			lost[e.Host] = true
			j.problem("the kernel lost events about the sockets of %s", e.Host)
		}
		side := toServer
		if e.Host == server {
			side = toClient
		}
		// A socket keeps its number to the end, also where the kernel has forgotten its far end.
		c := owners[e.Cookie]
		if c == nil {
			if c = j.socketOf(&e, side, truth); c == nil {
				continue
			}
			owners[e.Cookie] = c
		}
		if e.At <= j.end {
			sides := all[c]
			sides[side] = append(sides[side], e)
			all[c] = sides
		}
	}
	return all
}

// socketOf finds the connection of a socket by its ends: the latest that existed when it was first told of.
func (j *joiner) socketOf(e *Socket, side direction, truth *Truth) *connection {
	client, server := e.Local, e.Remote
	if side == toClient {
		client, server = server, client
	}
	if server.Port() != truth.Port() {
		return nil
	}
	t := j.addrs.tuple(client)
	for _, p := range j.paths {
		l := 0
		if side == toClient {
			l = len(p.nats)
		}
		for _, i := range slices.Backward(p.history[l][t]) {
			c := j.conns[i]
			if j.seen[c.seen[0]].at > e.At || c.tuples[l] != t || side == toServer && c.device != e.Host {
				continue
			}
			return c
		}
	}
	return nil
}

// serverHost is the name of the host that the server runs at.
func serverHost(truth *Truth) string {
	for _, p := range truth.Points {
		if p.Side == "server" {
			return p.Host
		}
	}
	return "server"
}
