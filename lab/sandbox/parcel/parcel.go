// Package parcel is what goes into the virtual machine of a lab and what comes out
// of it: an order on the way in; lines of a report, the guest's time, the end and
// the result files on the way out. Both ways lead over memory that host and guest
// share, so that nothing about them depends on the host's speed.
//
// What goes in is an erofs image that holds [OrderFile], the contents of [Dir] below
// [LabFolder] and the guest's programs below [RootFolder]. What comes out is laid
// out by [Writer] and read by [Reader], also while the guest runs. Only the guest
// writes after [Format], and nothing that it writes can harm the reader.
package parcel

import "time"

// Dir is the path of the result folder in the guest. It never depends on the host,
// so that no path of the host can show in a result.
const Dir = "/lab"

// Sizes of the two memory devices, in bytes. They are part of the machine and the
// same for every run; the files behind them are sparse.
const (
	InSize  int64 = 1 << 30
	OutSize int64 = 4 << 30
)

// Names in the root of the image that goes in.
const (
	// OrderFile holds the Order as JSON.
	OrderFile = "order.json"
	// LabFolder holds what the result folder starts with.
	LabFolder = "lab"
	// RootFolder holds the files of the guest's root.
	RootFolder = "root"
)

// Order is what the guest is to do.
type Order struct {
	// Job is the name of the registered job that runs as process 1 of the sandbox in
	// the guest.
	Job string `json:"job"`
	// Data is handed to the job as it is. Paths in it are the guest's: the result
	// folder is Dir.
	Data []byte `json:"data,omitempty"`
	// Path is the PATH in which programs are looked for. Empty means the usual places.
	Path string `json:"path,omitempty"`
	// Seed makes the guest's random numbers, and is the only thing that does.
	Seed uint64 `json:"seed"`
	// Deadline is the virtual time after which the job is asked to end as by a stop,
	// from the guest's resumption. Zero means never, with which a lab that hangs
	// hangs until the host's limit.
	Deadline time.Duration `json:"deadline"`
	// Tick is how often, in virtual time, the guest tells what time it is there. Zero
	// means never. Each tick costs a wake-up of the guest.
	Tick time.Duration `json:"tick"`
}
