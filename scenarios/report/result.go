// Package report turns a judged run into what people and machines read:
// result.json, the terminal's text, JUnit XML and annotations. It is pure:
// values in, bytes out.
package report

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"outlive/lab"
	"outlive/lab/units"
	"outlive/nat"
	"outlive/probes/flow"
	"outlive/scenarios/verdict"
)

// Schema is the version of result.json. It changes when a reader of the old one
// could be misled by the new one; new fields alone do not change it.
const Schema = "outlive-result/1"

// Result is everything that came of running a scenario, and what result.json
// holds. Times are seconds from the start of the scenario; what never happened is
// left out. Packet numbers count from 1 in capture.pcapng.
type Result struct {
	// Schema is the constant of that name.
	Schema string `json:"schema"`
	Run
	// Verdict is that of all expectations together.
	Verdict verdict.Verdict `json:"verdict" jsonschema:"enum=pass,enum=fail,enum=inconclusive"`
	// Sentence says in a line or two what happened.
	Sentence string `json:"sentence"`
	// Reasons are those for which nothing could be judged; empty if it could.
	Reasons      []string                   `json:"reasons,omitempty"`
	Paths        []Path                     `json:"paths"`
	Expectations []Expectation              `json:"expectations"`
	Metrics      map[string]verdict.Summary `json:"metrics"`
	Connections  []Connection               `json:"connections"`
	Pushes       []Push                     `json:"pushes"`
	// Stories has one for each connection that died, lapsed, was refused or was given up.
	Stories []verdict.Story `json:"stories"`
}

// Run is what is known of a run before it is judged. Its maker fills it in.
type Run struct {
	// Scenario is the scenario's name and Summary what it teaches.
	Scenario string `json:"scenario"`
	Summary  string `json:"summary,omitempty"`
	// File is the scenario's file as its caller named it; annotations point there.
	File string `json:"file,omitempty"`
	// Engine is the kind of sandbox: "live" or "warp", or "auto" where neither came up.
	// EngineWhy says why it was this one.
	Engine    string `json:"engine"`
	EngineWhy string `json:"engine_why,omitempty"`
	Repeats
	// Seed is what every choice of the lab was drawn from.
	Seed uint64 `json:"seed"`
	// Command repeats the run, as it is typed in a shell.
	Command string `json:"command,omitempty"`
	// Started is the start of the scenario on the lab's clock, by which the capture is
	// stamped: the machine's, or on the warp engine the guest's.
	Started time.Time `json:"started"`
	// Ran is when the run began, on the machine's clock.
	Ran time.Time `json:"ran,omitzero"`
	// Folder is where the result was written, and Files what lies in it.
	Folder string `json:"folder,omitempty"`
	Files  []File `json:"files,omitempty"`
	Lab    Lab    `json:"lab"`
	// NATChecks are the self-checks by which the lab proved its NATs.
	NATChecks []nat.CheckResult `json:"nat_checks"`
	// Events are what the lab did and saw, in order of time.
	Events []lab.Event `json:"events"`
}

// Repeats says whether the run can be had again. All of it is empty on the live
// engine, where no two runs are the same.
type Repeats struct {
	// Exact says that the same seed gives the same run again, to the last packet and
	// nanosecond. It is left out where nobody has tried.
	Exact *bool `json:"exact,omitempty"`
	// ExactBy says how that was found: ByTwice or BySelfTest.
	ExactBy string `json:"exact_by,omitempty" jsonschema:"enum=twice,enum=self-test"`
	// Difference is the first thing in which two runs differed.
	Difference string `json:"difference,omitempty"`
	// SHA256 has the hash of the capture and of the events, by the names of their files.
	SHA256 map[string]string `json:"sha256,omitempty"`
}

// How it was found whether a run is exact.
const (
	// ByTwice is that this scenario was run twice.
	ByTwice = "twice"
	// BySelfTest is that another scenario was run twice when the guest's image was built.
	BySelfTest = "self-test"
)

// File is a file of the result folder.
type File struct {
	Name string `json:"name"`
	// What says in a few words what is in it.
	What string `json:"what"`
}

// Lab says how the lab itself did.
type Lab struct {
	// Wall is how long the run took on the wall, with set-up and judging.
	Wall units.Seconds `json:"wall_s"`
	// Scenario is how much of the scenario was run.
	Scenario units.Seconds `json:"scenario_s"`
	// Packets counts the packets of the capture, and Drops those that it lost.
	Packets int    `json:"packets"`
	Drops   uint64 `json:"capture_drops"`
	// MaxLateness is the most by which the lab was late with anything.
	MaxLateness units.Seconds `json:"max_lateness_s"`
	// Versions are those of outlive, the kernel and the tools, by name.
	Versions map[string]string `json:"versions,omitempty"`
}

// Path is the way from devices to the server over one uplink.
type Path struct {
	Uplink  string   `json:"uplink"`
	Devices []string `json:"devices"`
	// IPv6 says that this is the uplink's way for IPv6, on which there is a firewall in place of NATs.
	IPv6 bool `json:"ipv6,omitempty"`
	// NATs are in order from the device side.
	NATs []NAT `json:"nats"`
}

// NAT is one NAT of a path, or its firewall, as it was asked for.
type NAT struct {
	Name string `json:"name"`
	// Firewall says that it is an IPv6 firewall, which translates nothing.
	Firewall bool `json:"firewall,omitempty"`
	// Profile is its name in the catalogue, if it has one.
	Profile string `json:"profile,omitempty"`
	// Idle is after how long an idle TCP connection is forgotten.
	Idle units.Seconds `json:"idle_s"`
	// LateLAN and LateWAN are what a late packet meets, by the side that it comes from.
	LateLAN nat.LateLAN `json:"late_lan"`
	LateWAN nat.LateWAN `json:"late_wan"`
}

// Expectation is one expectation and what came of it.
type Expectation struct {
	// Expr is the line as written; Device the device that it speaks of, if not all.
	Expr   string `json:"expr"`
	Device string `json:"device,omitempty"`
	// Line is where it stands in the scenario's file.
	Line     int             `json:"line,omitempty"`
	Verdict  verdict.Verdict `json:"verdict" jsonschema:"enum=pass,enum=fail,enum=inconclusive"`
	Observed string          `json:"observed,omitempty"`
	Why      string          `json:"why,omitempty"`
	// Samples counts the values that it was judged on.
	Samples int `json:"samples"`
	// Story is that of the connection which decided it, if it did not pass.
	Story *verdict.Story `json:"story,omitempty"`
}

// Connection is a TCP connection between a device and the server; flow.Connection
// says what the words mean.
type Connection struct {
	Device string         `json:"device"`
	Uplink string         `json:"uplink"`
	Client netip.AddrPort `json:"client"`
	Server netip.AddrPort `json:"server"`
	// Mapped is the client's end after each NAT, device side first.
	Mapped []netip.AddrPort `json:"mapped,omitempty"`

	SYN       units.Seconds  `json:"syn_s"`
	Opened    *units.Seconds `json:"opened_s,omitempty"`
	Ready     *units.Seconds `json:"ready_s,omitempty"`
	Died      *units.Seconds `json:"died_s,omitempty"`
	Cause     string         `json:"cause,omitempty"`
	CauseKind string         `json:"cause_kind,omitempty"`
	// RefusedBy is the NAT that had no room for its mapping when it was begun.
	RefusedBy string `json:"refused_by,omitempty"`

	ClientNoticed       *units.Seconds `json:"client_noticed_s,omitempty"`
	ClientNoticedBy     string         `json:"client_noticed_by,omitempty"`
	ClientNoticedPacket int            `json:"client_noticed_packet,omitempty"`
	ClientGaveUp        *units.Seconds `json:"client_gave_up_s,omitempty"`
	ClientGaveUpBy      string         `json:"client_gave_up_by,omitempty"`
	ServerNoticed       *units.Seconds `json:"server_noticed_s,omitempty"`
	ServerNoticedBy     string         `json:"server_noticed_by,omitempty"`
	ServerNoticedPacket int            `json:"server_noticed_packet,omitempty"`
	ServerGaveUp        *units.Seconds `json:"server_gave_up_s,omitempty"`
	ServerGaveUpBy      string         `json:"server_gave_up_by,omitempty"`

	Lapses  []Lapse  `json:"lapses,omitempty"`
	Closed  *Closing `json:"closed,omitempty"`
	Packets int      `json:"packets"`
}

// Lapse is a stretch in which a NAT had no mapping for a connection.
type Lapse struct {
	NAT           string         `json:"nat"`
	Cause         string         `json:"cause"`
	From          units.Seconds  `json:"from_s"`
	Until         *units.Seconds `json:"until_s,omitempty"`
	Refresh       units.Seconds  `json:"refresh_s"`
	RefreshPacket int            `json:"refresh_packet,omitempty"`
	Timeout       units.Seconds  `json:"timeout_s"`
	// Timer is which of the NAT's idle timers ran: one of flow's Timer words.
	Timer string `json:"timer,omitempty"`
}

// Closing is the end of a connection whose path was fine.
type Closing struct {
	At         units.Seconds `json:"at_s"`
	By         string        `json:"by"`
	How        string        `json:"how"`
	Packet     int           `json:"packet,omitempty"`
	FalseAlarm bool          `json:"false_alarm"`
	Why        string        `json:"why,omitempty"`
}

// Push is the fate of one push.
type Push struct {
	ID      string         `json:"id"`
	Device  string         `json:"device"`
	At      units.Seconds  `json:"at_s"`
	Left    *units.Seconds `json:"left_s,omitempty"`
	Arrived *units.Seconds `json:"arrived_s,omitempty"`
	Acked   *units.Seconds `json:"acked_s,omitempty"`
	Copies  int            `json:"copies"`
	// Connection is the index in connections of the one on which it left.
	Connection    *int `json:"connection,omitempty"`
	Packet        int  `json:"packet,omitempty"`
	ArrivedPacket int  `json:"arrived_packet,omitempty"`
}

// New puts a result together. The analysis may be nil where there was none.
func New(run Run, truth flow.Truth, analysis *flow.Analysis, outcome verdict.Outcome) Result {
	r := Result{
		Schema:       Schema,
		Run:          run,
		Verdict:      outcome.Verdict,
		Sentence:     outcome.Sentence,
		Reasons:      outcome.Reasons,
		Paths:        paths(truth),
		Expectations: []Expectation{},
		Metrics:      outcome.Metrics,
		Connections:  []Connection{},
		Pushes:       []Push{},
		Stories:      outcome.Stories,
	}
	for _, j := range outcome.Expectations {
		r.Expectations = append(r.Expectations, Expectation{
			Expr: j.Text, Device: j.Device, Line: j.Line, Verdict: j.Verdict,
			Observed: j.Observed, Why: j.Why, Samples: j.Samples, Story: j.Story,
		})
	}
	if analysis != nil {
		r.Lab.Packets = analysis.Packets
		for i := range analysis.Connections {
			r.Connections = append(r.Connections, connection(&analysis.Connections[i]))
		}
		for i := range analysis.Pushes {
			r.Pushes = append(r.Pushes, push(&analysis.Pushes[i]))
		}
	}
	r.fill()
	return r
}

// fill makes lists that have nothing in them empty rather than absent, so that
// readers of the JSON need not tell the two apart.
func (r *Result) fill() {
	if r.Metrics == nil {
		r.Metrics = map[string]verdict.Summary{}
	}
	if r.Stories == nil {
		r.Stories = []verdict.Story{}
	}
	if r.NATChecks == nil {
		r.NATChecks = []nat.CheckResult{}
	}
	if r.Events == nil {
		r.Events = []lab.Event{}
	}
}

func connection(c *flow.Connection) Connection {
	out := Connection{
		Device: c.Device, Uplink: c.Uplink, Client: c.Client, Server: c.Server, Mapped: c.Mapped,
		SYN: c.SYN, Opened: c.Opened, Ready: c.Ready, Died: c.Died, Cause: c.Cause, CauseKind: c.CauseKind, RefusedBy: c.Refused,
		ClientNoticed: c.ClientSide.NoticedAt, ClientNoticedBy: c.ClientSide.NoticedBy, ClientNoticedPacket: c.ClientSide.NoticedPacket,
		ClientGaveUp: c.ClientSide.GaveUpAt, ClientGaveUpBy: c.ClientSide.GaveUpBy,
		ServerNoticed: c.ServerSide.NoticedAt, ServerNoticedBy: c.ServerSide.NoticedBy, ServerNoticedPacket: c.ServerSide.NoticedPacket,
		ServerGaveUp: c.ServerSide.GaveUpAt, ServerGaveUpBy: c.ServerSide.GaveUpBy,
		Packets: c.Packets,
	}
	for _, l := range c.Lapses {
		out.Lapses = append(out.Lapses, Lapse{
			NAT: l.NAT, Cause: l.Cause, From: l.From, Until: l.Until,
			Refresh: l.Refresh.At, RefreshPacket: l.Refresh.Packet, Timeout: units.Seconds(l.Timeout), Timer: l.Timer,
		})
	}
	if x := c.Closed; x != nil {
		out.Closed = &Closing{At: x.At, By: x.By, How: x.How, Packet: x.Packet, FalseAlarm: x.FalseAlarm, Why: x.Why}
	}
	return out
}

func push(p *flow.Push) Push {
	out := Push{
		ID: p.ID, Device: p.Device, At: p.At, Left: p.Left, Arrived: p.Arrived, Acked: p.Acked,
		Copies: p.Copies, Packet: p.Packet, ArrivedPacket: p.ArrivedPacket,
	}
	if p.Connection >= 0 {
		out.Connection = &p.Connection
	}
	return out
}

// paths draws the network from what the lab knows of it, in the order in which
// the truth names the uplinks.
func paths(t flow.Truth) []Path {
	all := []Path{}
	var nats []flow.NAT
	nats = append(nats, t.NATs...)
	slices.SortStableFunc(nats, func(a, b flow.NAT) int { return cmp.Compare(a.Order, b.Order) })
	for _, n := range t.NATs {
		if slices.ContainsFunc(all, func(p Path) bool { return p.Uplink == n.Uplink && p.IPv6 == n.Firewall() }) {
			continue
		}
		p := Path{Uplink: n.Uplink, IPv6: n.Firewall(), Devices: []string{}}
		for _, d := range t.Devices {
			addrs := d.Addrs
			if p.IPv6 {
				addrs = d.Addrs6
			}
			if _, ok := addrs[n.Uplink]; ok {
				p.Devices = append(p.Devices, d.Name)
			}
		}
		for _, x := range nats {
			if x.Uplink == n.Uplink && x.Firewall() == p.IPv6 {
				p.NATs = append(p.NATs, NAT{
					Name: x.Name, Firewall: p.IPv6, Profile: x.Profile.Name, Idle: units.Seconds(x.Profile.Timeouts.TCPEstablished),
					LateLAN: x.Profile.Late.LAN, LateWAN: x.Profile.Late.WAN,
				})
			}
		}
		all = append(all, p)
	}
	return all
}
