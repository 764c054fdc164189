package verdict

import (
	"cmp"
	"fmt"
	"slices"

	"outlive/lab/units"
	"outlive/nat"
	"outlive/probes/flow"
)

// Story is what became of one connection, as a chain of causes that a reader
// can check packet by packet.
type Story struct {
	// Connection is its index in flow.Analysis.Connections, from 0.
	Connection int `json:"connection"`
	// Device is the device whose connection it was.
	Device string `json:"device"`
	// Title says in one line what became of it.
	Title string `json:"title"`
	// Lines are in order of time. A connection to which nothing happened has none.
	Lines []Line `json:"lines,omitempty"`
}

// Line is one step of a story.
type Line struct {
	At units.Seconds `json:"at_s"`
	// Packet is the number in capture.pcapng of the packet that shows it, from 1;
	// 0 where none does.
	Packet int    `json:"packet,omitempty"`
	Text   string `json:"text"`
}

// stories has one for each connection that died, lapsed, was refused or was given up.
func stories(s scene) []Story {
	var all []Story
	for i, c := range s.connections() {
		if eventful(c) {
			all = append(all, tell(s, i))
		}
	}
	return all
}

func eventful(c *flow.Connection) bool {
	return c.Died != nil || c.Refused != "" || len(c.Lapses) > 0 || c.Closed != nil && c.Closed.FalseAlarm
}

// teller writes one story.
type teller struct {
	scene
	i     int
	c     *flow.Connection
	lines []Line
	// told are the packets that have a line already.
	told map[int]bool
}

func tell(s scene, i int) Story {
	t := &teller{scene: s.only(""), i: i, c: s.connection(i), told: map[int]bool{0: true}}
	story := Story{Connection: i, Device: t.c.Device, Title: t.title()}
	if !eventful(t.c) {
		return story
	}
	t.told[t.c.ClientSide.NoticedPacket], t.told[t.c.ServerSide.NoticedPacket] = true, true
	if t.c.Closed != nil {
		t.told[t.c.Closed.Packet] = true
	}
	t.opened()
	t.lapses()
	t.death()
	t.closing()
	t.pushesLost()
	t.packets()
	t.notices()
	t.recovered()
	slices.SortStableFunc(t.lines, func(a, b Line) int { return cmp.Compare(a.At, b.At) })
	story.Lines = t.lines
	return story
}

func (t *teller) line(at units.Seconds, packet int, format string, args ...any) {
	t.told[packet] = true
	t.lines = append(t.lines, Line{At: at, Packet: packet, Text: fmt.Sprintf(format, args...)})
}

func (t *teller) title() string {
	name := t.name(t.i)
	if t.c.Uplink != "" {
		name += " over " + t.c.Uplink
	}
	switch {
	case t.c.Died != nil:
		return fmt.Sprintf("%s died at %s%s", name, Instant(*t.c.Died), reason(t.c.Cause))
	case t.c.Closed != nil && t.c.Closed.FalseAlarm:
		return fmt.Sprintf("%s was given up by the %s at %s although its path was fine", name, t.c.Closed.By, Instant(t.c.Closed.At))
	case t.c.Opened == nil && t.c.Refused != "":
		return fmt.Sprintf("%s was refused by NAT %s, which had no room for its mapping", name, t.c.Refused)
	case len(t.c.Lapses) > 0 && t.c.Lapses[len(t.c.Lapses)-1].Until == nil:
		return fmt.Sprintf("%s lapsed at %s and had no %s when the scenario ended", name, Instant(t.c.Lapses[0].From), t.box(t.c.Lapses[0].NAT).Memory())
	case len(t.c.Lapses) > 0:
		return fmt.Sprintf("%s lapsed at %s and lived on", name, Instant(t.c.Lapses[0].From))
	case t.c.Refused != "":
		return fmt.Sprintf("%s was refused by NAT %s at first, which had no room for its mapping", name, t.c.Refused)
	}
	return t.life(t.i)
}

func (t *teller) opened() {
	if t.c.Opened == nil {
		t.line(t.c.SYN, 0, "the client tried to connect from %s", t.c.Client)
		return
	}
	text := fmt.Sprintf("the client connected from %s to %s", t.c.Client, t.c.Server)
	if n := len(t.c.Mapped); n > 0 {
		text += fmt.Sprintf("; the server sees %s", t.c.Mapped[n-1])
	}
	t.line(*t.c.Opened, 0, "%s", text)
}

// mapping names what a NAT has to remember of the connection.
func (t *teller) mapping(name string) string {
	inside := t.c.Client
	if t.box(name).Firewall() {
		return fmt.Sprintf("the state of %s", inside)
	}
	for _, n := range t.nats() {
		if n.Order >= len(t.c.Mapped) {
			break
		}
		if n.Name == name {
			return fmt.Sprintf("the mapping %s → %s", inside, t.c.Mapped[n.Order])
		}
		inside = t.c.Mapped[n.Order]
	}
	return "the mapping"
}

// nats are the NATs of the connection's uplink, from the device's side.
func (t *teller) nats() []flow.NAT {
	var all []flow.NAT
	for _, n := range t.truth.NATs {
		if n.Uplink == t.c.Uplink && n.Firewall() == t.c.Client.Addr().Is6() {
			all = append(all, n)
		}
	}
	slices.SortFunc(all, func(a, b flow.NAT) int { return cmp.Compare(a.Order, b.Order) })
	return all
}

const deadFromHere = "from here on nothing reaches the client, and the connection is dead"

func (t *teller) lapses() {
	for _, l := range t.c.Lapses {
		var text string
		n := t.box(l.NAT)
		switch {
		case l.Cause == nat.CauseDeleted:
			text = fmt.Sprintf("%s lost %s: the lab deleted it", n, t.mapping(l.NAT))
		case l.Cause == nat.CauseClosed:
			text = fmt.Sprintf("%s ended %s before its time", n, t.mapping(l.NAT))
		case l.Cause == nat.CauseEvicted:
			text = fmt.Sprintf("%s gave up %s to make room for another: its table was full", n, t.mapping(l.NAT))
			if l.Refresh.Packet > 0 {
				text += fmt.Sprintf(", and nothing had refreshed it for %s", length(l.From-l.Refresh.At))
			}
		case l.Timeout == 0:
			text = fmt.Sprintf("%s forgot %s", n, t.mapping(l.NAT))
		default:
			t.line(l.Refresh.At, l.Refresh.Packet, "the last packet that refreshed the %s at %s: %s from %s; the idle timeout of %s runs from here",
				n.Memory(), n, kindWords(l.Refresh.Kind), t.fromWords(l.Refresh.From), t.timeout(&l))
			text = fmt.Sprintf("%s forgot %s, %s after that packet", n, t.mapping(l.NAT), units.Duration(l.Timeout))
		}
		if t.c.Died != nil && *t.c.Died == l.From {
			text += "; " + deadFromHere
		}
		t.line(l.From, 0, "%s", text)
		if l.Until != nil {
			t.line(*l.Until, 0, "%s had %s for it again, after %s without", n, article(n.Memory()), length(*l.Until-l.From))
		}
	}
}

// timeout is the timeout that ran before a lapse, with the reason for it where it was
// not the one by which people know the NAT.
func (t *teller) timeout(l *flow.Lapse) string {
	text := units.Duration(l.Timeout).String()
	why := timerWords[l.Timer]
	if why == "" {
		return text
	}
	for _, n := range t.nats() {
		if n.Name == l.NAT {
			why += fmt.Sprintf("; its established timeout is %s", n.Profile.Timeouts.TCPEstablished)
		}
	}
	return fmt.Sprintf("%s (%s)", text, why)
}

// timerWords say why a timer other than the established one ran.
var timerWords = map[string]string{
	flow.TimerUnacknowledged: "unacknowledged data",
	flow.TimerMaxRetrans:     "data sent again and again without an answer, or no room for it",
	flow.TimerSynSent:        "not answered yet",
	flow.TimerSynRecv:        "not established yet",
	flow.TimerFinWait:        "one side has closed",
	flow.TimerCloseWait:      "one side has closed",
	flow.TimerLastAck:        "both sides have closed",
	flow.TimerTimeWait:       "closed",
	flow.TimerClose:          "reset",
}

// death tells a death that no lapse has told.
func (t *teller) death() {
	if t.c.Died == nil || slices.ContainsFunc(t.c.Lapses, func(l flow.Lapse) bool { return l.From == *t.c.Died }) {
		return
	}
	t.line(*t.c.Died, 0, "%s; %s", cmp.Or(t.c.Cause, "the path was cut"), deadFromHere)
}

func (t *teller) closing() {
	if c := t.c.Closed; c != nil {
		text := fmt.Sprintf("the %s ended the connection (%s)%s", c.By, howWords(c.How), reason(c.Why))
		if c.FalseAlarm {
			text = fmt.Sprintf("the %s gave the connection up (%s)%s; nothing was wrong with its path", c.By, howWords(c.How), reason(c.Why))
		}
		t.line(c.At, c.Packet, "%s", text)
	}
}

// recovered tells when the device could be reached again.
func (t *teller) recovered() {
	if t.c.Died == nil {
		return
	}
	if took, open := t.recovery(t.i); !open {
		t.line(*t.c.Died+took, 0, "%s can take pushes again, on another connection, %s after the death", t.c.Device, length(took))
	}
}

// article puts one before a word for what is had in pieces: "a mapping", but "state".
func article(memory string) string {
	if memory == "state" {
		return memory
	}
	return "a " + memory
}
