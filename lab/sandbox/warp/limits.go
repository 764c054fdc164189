//go:build !quickguard

package warp

import "time"

const (
	// A guest gets leastRun, and a second more for every slowest of its length. An
	// idle one takes 0.06 s for an hour, a server that looks around a thousand times a
	// second 90 s; a program that spins takes 20 minutes.
	leastRun = 2 * time.Minute
	slowest  = 20
	// stopLimit is more than a spinning guest takes for the minute of its time that it
	// gives to a job that does not heed, and for handing over a large capture.
	stopLimit = time.Minute
)
