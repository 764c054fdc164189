package scenarios

import (
	"slices"

	"outlive/faults"
	"outlive/lab/units"
	"outlive/nat"
	"outlive/probes/heartbeat"
	"outlive/scenarios/verdict"
)

// Scenario is one scenario file, loaded and checked: every name in it resolves
// and every default is filled in. It is not changed after Load.
type Scenario struct {
	// Name is a short name in lower case with hyphens, the same as the file's without its ending.
	Name string
	// Summary says in one sentence what the scenario teaches.
	Summary string
	// Duration is how long it runs from the start of the clients, in scenario time.
	Duration units.Duration
	// Seed is what every choice of the lab is drawn from.
	Seed uint64
	// Uplinks are the access networks, in the file's order.
	Uplinks []Uplink
	// Server is the push server under test.
	Server Server
	// Devices are in the file's order, a fleet (count) expanded.
	Devices []Device
	// Guest is what the virtual machine of the warp engine takes along.
	Guest Guest
	// Events are in order of time; relative ones (After) keep the file's order, at the end.
	Events []Event
	// Expect are the expectations, the scenario's own first, then each device's.
	Expect []verdict.Expectation
	// Source is where it came from.
	Source Source
	// Resolved is the scenario as it runs, as YAML: defaults filled in, --set applied. Loading it again gives the same scenario.
	Resolved []byte
}

// Uplink is an access network: the NATs and the IPv6 firewall between its devices and the server.
type Uplink struct {
	Name string
	// NATs are in order from the device side. Without any the uplink has no IPv4.
	NATs []NAT
	// Firewall is nil where the uplink has no IPv6.
	Firewall *NAT
}

// boxes are all that stand between the devices and the server.
func (u Uplink) boxes() []NAT {
	all := slices.Clone(u.NATs)
	if u.Firewall != nil {
		all = append(all, *u.Firewall)
	}
	return all
}

// NAT is one NAT of an uplink, or its firewall.
type NAT struct {
	// Name is the uplink's name, or with several in a row "cell.1", "cell.2" from the
	// device side. Where there is a NAT and a firewall, they are "cell.nat" and "cell.firewall".
	Name    string
	Profile nat.Profile
}

// Server is the push server under test: a command, or the built-in reference server.
type Server struct {
	// Run is the command with its arguments; empty means the built-in server.
	// "{port}" and "{address}" in an argument stand for the server's.
	Run []string
	// Files are files and folders beside the scenario that the command needs in
	// its working directory, as slash-separated paths relative to Source.FS: those that were listed,
	// and those that words of Run name.
	Files []string
	// Protocol is "line" or "mqtt".
	Protocol string
	// Port is where it listens.
	Port uint16
	// Idle is after how long a silence of the client the built-in line server closes; zero means never.
	Idle units.Duration
	// Heartbeat is sent by the built-in line server to its clients.
	Heartbeat heartbeat.Spec
	// Privileged runs the command as the sandbox's root rather than as an ordinary user.
	Privileged bool
}

// Device is a simulated phone with one client.
type Device struct {
	Name string
	// Fleet is the name under which several devices were asked for by one count, of which
	// this is one; empty means that it is alone.
	Fleet string
	// Uplinks are the names of those it can use; the first is used.
	Uplinks []string
	// IP is 4 or 6, the version by which its client reaches the server.
	IP     int
	Client Client
}

// Client is the program that holds the long connection: a command, or the
// built-in client of the server's protocol.
type Client struct {
	// Run is the command; empty means built in. "{server}", "{port}", "{device}" and "{topic}" are replaced.
	Run []string
	// Files are as in Server.
	Files []string
	// Version is the MQTT version of the built-in client: "3.1.1" or "5".
	Version string
	// KeepAlive is what the built-in MQTT client announces in CONNECT, whole seconds; zero announces none.
	KeepAlive units.Duration
	// Heartbeat and Reconnect are the built-in client's policies.
	Heartbeat  heartbeat.Spec
	Reconnect  heartbeat.ReconnectSpec
	Privileged bool
}

// Guest is what the virtual machine of the warp engine needs besides the programs
// of the scenario, their files and libraries.
type Guest struct {
	// Files are files and folders of the host, by absolute paths, that are inside under the same ones.
	Files []string
	// Root is the absolute path of a folder of the host whose contents are the root of
	// the guest's file system; empty means none. The live engine has no such thing.
	Root string
}

// Event is a push or a fault, at an instant.
type Event struct {
	// At is the instant, where After is empty.
	At units.Duration
	// After is a protocol event "phone.connack": the event happens Plus after its first occurrence.
	After string
	Plus  units.Duration
	// Push is the device that gets a push, or empty.
	Push string
	// FaultName is the fault's name and Fault the fault with its parameters, or empty and nil.
	FaultName string
	Fault     faults.Fault
}
