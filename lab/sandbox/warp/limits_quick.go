//go:build quickguard

package warp

import "time"

// The limits of an outlive that a test is built for, which waits until they are reached.
const (
	leastRun  = 10 * time.Second
	slowest   = 20
	stopLimit = 10 * time.Second
)
