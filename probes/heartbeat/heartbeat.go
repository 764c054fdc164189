// Package heartbeat has the rules by which one side of a long connection decides
// when to send the next heartbeat, what to conclude from an answer or from
// silence, and when to connect again.
//
// All of it is state machines without a clock: every instant comes in as an
// argument and every decision goes out as an instant. The same policy therefore
// runs in a client, in a server, in a simulation and in a test, and cannot tell
// which. Instants of one run must come from one clock.
//
// A policy of one's own is a type with two methods, a file, and a line in the
// list of kinds (kind.go). The package's example is a whole one, in thirty lines.
package heartbeat

import "time"

// Policy decides about the heartbeats of one client, over all its connections
// one after the other, so that what it learnt on one serves the next. Whoever
// drives it tells it what happens, in order of time, asks for the next action
// after every event, and does that action when its instant has come. A Policy is
// not safe for concurrent use.
type Policy interface {
	// Observe takes note of something that happened.
	Observe(Event)
	// Next is what to do next if nothing else happens before. It depends on
	// nothing but the events so far and may be asked any number of times.
	Next() Action
}

// Event is one thing that happened to the connection.
type Event struct {
	// At is when. It is never earlier than that of the event before.
	At time.Time
	// Kind is what.
	Kind EventKind
	// Cause is why the connection was lost. It is empty for other kinds.
	Cause Cause
}

// EventKind is a kind of event.
type EventKind int

// The kinds of events. Between Connected and the Lost that follows it there is
// one connection; the other kinds come only in between.
const (
	// Connected: a new connection is ready, the protocol's greeting included.
	Connected EventKind = iota + 1
	// Received: something other than the answer to a heartbeat came in.
	Received
	// Sent: a heartbeat was sent, because Next said Beat.
	Sent
	// Answered: the answer to the last heartbeat came in.
	Answered
	// Lost: the connection is over, by Cause.
	Lost
)

// String is the kind as a word in lower case.
func (k EventKind) String() string {
	switch k {
	case Connected:
		return "connected"
	case Received:
		return "received"
	case Sent:
		return "sent"
	case Answered:
		return "answered"
	case Lost:
		return "lost"
	}
	return "unknown"
}

// Cause is why a connection was lost, as far as its program can tell.
type Cause string

// The causes of a loss. A policy that learns from failures treats them
// differently: only Unanswered and TimedOut mean that the interval was too long
// for a silent NAT, and a reset may mean that it was too long for one that
// answers late packets.
const (
	// Unanswered: the policy said GiveUp.
	Unanswered Cause = "unanswered"
	// TimedOut: the kernel gave up, or nothing came for longer than the other side's rule allows.
	TimedOut Cause = "timed-out"
	// Reset: a RST came in.
	Reset Cause = "reset"
	// Closed: the other side closed in order (FIN).
	Closed Cause = "closed"
	// Failed: anything else, such as a violation of the protocol.
	Failed Cause = "failed"
)

// Action is what to do and when. The zero value is to do nothing until the next event.
type Action struct {
	// Do is what to do.
	Do Do
	// At is when. An instant that has passed means at once.
	At time.Time
}

// Do is what a policy wants done.
type Do int

const (
	// Wait does nothing until the next event. At has no meaning.
	Wait Do = iota
	// Beat sends a heartbeat, to be reported as Sent.
	Beat
	// GiveUp closes the connection, to be reported as Lost by Unanswered.
	GiveUp
)

// String is the action as a word in lower case.
func (d Do) String() string {
	switch d {
	case Wait:
		return "wait"
	case Beat:
		return "beat"
	case GiveUp:
		return "give-up"
	}
	return "unknown"
}
