// Package capture records every packet at several points of the lab's network,
// with the kernel's time stamps, into one pcapng file with one interface block
// per point and one clock.
//
// Start writes a file per point while the lab runs; a reader that is killed
// leaves files that are whole up to its last write. Merge makes capture.pcapng of
// them afterwards. What the packets mean is the business of probes/flow.
package capture

import (
	"net"
	"time"

	"outlive/lab/netns"
	"outlive/lab/units"
)

// Point is where to capture: one interface of one host.
type Point struct {
	// Name is the interface's name in the capture file: "phone:cell".
	Name string
	// NS is the host's namespace, and Interface the interface's name in it.
	NS        *netns.NS
	Interface string
	// MAC is kept in the capture file. It may be nil.
	MAC net.HardwareAddr
	// Shared says that the packets of many devices may pass here. Where there are
	// many points, such a one still has room for all that comes at once.
	Shared bool
}

// Frame is one packet as it went past a point.
type Frame struct {
	// Point is the index into the points that Start was given.
	Point int
	// At is the kernel's time stamp. It has a monotonic reading, so that
	// comparing it with time.Now() is right even if the machine's clock is set.
	At time.Time
	// Out says that the packet left the host here; otherwise it came in.
	Out bool
	// Data is the packet from its Ethernet header on. It is only valid during
	// the call.
	Data []byte
	// Length is the packet's length on the wire. It is more than len(Data) only for
	// packets over 1982 bytes, which no interface of a lab sends. A capture with
	// such a packet proves nothing: flow.Analyze finds it cut short.
	Length int
}

// Stats says what a Recorder has seen, from Start to Stop.
type Stats struct {
	Points []PointStats `json:"points"`
	// ClockSteps is how often the machine's clock was set meanwhile. The time
	// stamps in the files are corrected for it.
	ClockSteps int `json:"clock_steps"`
	// Ambiguous is how many packets came so close to a step that their time
	// stamp may have been corrected wrongly, by as much as the step.
	Ambiguous uint64 `json:"ambiguous_stamps"`
}

// Dropped is how many packets were lost at all points together.
func (s Stats) Dropped() uint64 {
	var n uint64
	for _, p := range s.Points {
		n += p.Dropped
	}
	return n
}

// PointStats says what was seen at one point.
type PointStats struct {
	Name string `json:"name"`
	// Received is how many packets are in the point's file; Dropped is how many
	// the kernel could not keep because the reader was late.
	Received uint64 `json:"received"`
	Dropped  uint64 `json:"dropped"`
	// MaxLag is the longest time from a packet's stamp to its being read.
	MaxLag units.Seconds `json:"max_lag_s"`
}
