package flow

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/units"
	"outlive/nat"
	"outlive/probes/socket"
)

// told is an analysis in words, one line for each thing, times in seconds to the millisecond.
func told(a *Analysis) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	at := func(s *units.Seconds) string {
		if s == nil {
			return "-"
		}
		return fmt.Sprintf("%.3f", s.D().Round(time.Millisecond).Seconds())
	}
	side := func(name string, s Side) {
		if s == (Side{}) {
			return
		}
		text := "  " + name
		if s.NoticedAt != nil {
			text += fmt.Sprintf(" noticed %s by %s", at(s.NoticedAt), s.NoticedBy)
			if (s.NoticedPacket == 0) != (s.NoticedBy == "close") {
				text += fmt.Sprintf(" (packet %d)", s.NoticedPacket)
			}
		}
		if s.GaveUpAt != nil {
			text += fmt.Sprintf(" gave up %s by %s", at(s.GaveUpAt), s.GaveUpBy)
		}
		if s.GoneAt != nil {
			text += " gone " + at(s.GoneAt)
		}
		line("%s", text)
	}
	for _, c := range a.Connections {
		line("%s %s: opened %s ready %s", c.Device, c.Client, at(c.Opened), at(c.Ready))
		if c.Refused != "" {
			line("  refused by %s", c.Refused)
		}
		for _, l := range c.Lapses {
			text := fmt.Sprintf("  lapse %s–%s %s at %s", at(&l.From), at(l.Until), l.Cause, l.NAT)
			if l.Refresh.Packet > 0 {
				text += fmt.Sprintf(", refreshed %s by %s's %s, timeout %v", at(&l.Refresh.At), l.Refresh.From, l.Refresh.Kind, l.Timeout)
				if l.Timer != TimerEstablished {
					text += " " + l.Timer
				}
			}
			line("%s", text)
		}
		if c.Died != nil {
			line("  died %s: %s (%s)", at(c.Died), c.Cause, c.CauseKind)
		}
		side("client", c.ClientSide)
		side("server", c.ServerSide)
		if c.Closed != nil {
			word := "closed"
			if c.Closed.FalseAlarm {
				word = "FALSE ALARM"
			}
			line("  %s %s by %s (%s): %s", word, at(&c.Closed.At), c.Closed.By, c.Closed.How, c.Closed.Why)
		}
	}
	for _, p := range a.Pushes {
		line("push %s: left %s arrived %s acked %s copies %d on %d", p.ID, at(p.Left), at(p.Arrived), at(p.Acked), p.Copies, p.Connection)
	}
	for _, p := range a.Problems {
		line("problem: %s", p)
	}
	return strings.TrimSpace(b.String())
}

type story struct {
	name string
	// lab builds what happens; the analysis must read as want.
	lab  func(t *testing.T) *testLab
	want string
}

func run(t *testing.T, stories []story) {
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			if diff := cmp.Diff(lines(s.want), lines(told(s.lab(t).analyze()))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// lines are those of a text, without their indentation.
func lines(text string) []string {
	var all []string
	for l := range strings.Lines(strings.TrimSpace(text)) {
		all = append(all, strings.TrimSpace(l))
	}
	return all
}

var (
	silent = profile(nat.LANDrop, nat.WANDrop)
	resets = profile(nat.LANReset, nat.WANReset)
)

// one is a greeted connection of a phone behind one NAT that forgets after 10 s.
func one(t *testing.T, p nat.Profile) (*testLab, *testConn) {
	l := newLab(t, 1, p)
	return l, l.dial(0.01, "phone", 40000).hello(0.02)
}

func TestExpiry(t *testing.T) {
	run(t, []story{
		{"a connection that is kept alive lives", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			for i := range 20 {
				c.ping(5+5*float64(i), i)
			}
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021`},
		{"silence is death, and nobody notices", func(t *testing.T) *testLab {
			l, _ := one(t, silent)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)`},
		{"the last packet of either side counts", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.say(3, toServer, "PING 1\n")
			c.say(3.5, toClient, "PONG 1\n")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 13.500–- expired at cell, refreshed 3.500 by server's pong, timeout 10s
			died 13.500: mapping expired at NAT cell (mapping-expired)`},
		{"keepalive probes of the kernel refresh, though they carry nothing", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.probe(8, toServer)
			c.probe(16, toClient)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 26.001–- expired at cell, refreshed 16.001 by client's ack, timeout 10s
			died 26.001: mapping expired at NAT cell (mapping-expired)`},
		{"retransmissions that pass refresh", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.say(4, toServer, "PING 1\n")
			c.again(9, toServer)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 19.000–- expired at cell, refreshed 9.000 by client's retransmission, timeout 10s
			died 19.000: mapping expired at NAT cell (mapping-expired)`},
		{"a packet that the NAT drops refreshes nothing", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.say(12, toServer, "PING 1\n")
			c.again(12.2, toServer)
			c.fin(15, toServer)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)
			client noticed 15.000 by fin`},
		{"unacknowledged data runs a shorter clock", func(t *testing.T) *testLab {
			p := silent
			p.Timeouts.TCPUnacknowledged = units.Duration(4 * time.Second)
			l, c := one(t, p)
			c.say(2, toClient, "PUSH x\n")
			c.nats[0].byLAN[c.client].expires = seconds(6)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 6.000–- expired at cell, refreshed 2.000 by server's push, timeout 4s unacknowledged
			died 6.000: mapping expired at NAT cell (mapping-expired)`},
		{"the client notices by the SYN of its next connection", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.say(12, toServer, "PING 1\n")
			l.dial(16, "phone", 40001).hello(16.1)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)
			client noticed 16.000 by syn
			phone 10.64.0.2:40001: opened 16.002 ready 16.101
			lapse 26.102–- expired at cell, refreshed 16.102 by client's ack, timeout 10s
			died 26.102: mapping expired at NAT cell (mapping-expired)`},
		{"a SYN of another device is not its notice", func(t *testing.T) *testLab {
			l := newLab(t, 2, silent)
			l.dial(0.01, "phone", 40000).hello(0.02)
			for d, at := l.dial(16, "phone-2", 40000).hello(16.1), 20.0; at < 100; at += 5 {
				d.ping(at, 1)
			}
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)
			phone-2 10.64.0.3:40000: opened 16.002 ready 16.101`},
		{"a close of which nothing shows on the wire", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.say(12, toServer, "PING 1\n")
			c.socket(15.01, toServer, socket.Orphaned, "")
			c.socket(70, toServer, socket.Closed, "")
			l.dial(16, "phone", 40001)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)
			client noticed 15.010 by close
			phone 10.64.0.2:40001: opened 16.002 ready -
			lapse 26.002–- expired at cell, refreshed 16.002 by client's ack, timeout 10s
			died 26.002: mapping expired at NAT cell (mapping-expired)`},
		{"the server notices by its keepalive rule; its FIN is lost", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.fin(20, toClient)
			c.again(20.3, toClient)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)
			server noticed 20.000 by fin`},
		{"a FIN just before the mapping would have gone is no notice of death", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.fin(10.021, toClient)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			FALSE ALARM 10.021 by server (fin): nothing from the client for 10.001s`},
		{"a FIN that the NAT drops a moment before the computed expiry is", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			l.nats[0].byLAN[c.client].expires -= seconds(0.003)
			c.fin(10.0205, toClient)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.021–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.021: mapping expired at NAT cell (mapping-expired)
			server noticed 10.021 by fin`},
		{"packets and events after the end are not judged", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			l.truth.End = seconds(14)
			c.say(12, toServer, "PING 1\n")
			c.fin(15, toServer)
			c.socket(15, toServer, socket.Closed, "")
			l.dial(16, "phone", 40001)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell (mapping-expired)`},
		{"a mapping that expires after the end did not", func(t *testing.T) *testLab {
			l, _ := one(t, silent)
			l.truth.End = seconds(9)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021`},
		{"a heartbeat in flight when its mapping goes", func(t *testing.T) *testLab {
			// The server takes 10 s to answer: the answer finds no mapping.
			l, c := one(t, silent)
			c.say(5, toServer, "PING 1\n")
			c.say(15.001, toClient, "PONG 1\n")
			c.fin(20, toServer)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 15.000–- expired at cell, refreshed 5.000 by client's ping, timeout 10s
			died 15.000: mapping expired at NAT cell (mapping-expired)
			client noticed 20.000 by fin`},
	})
}

func TestDeletion(t *testing.T) {
	run(t, []story{
		{"a rebooted NAT", func(t *testing.T) *testLab {
			l, c := one(t, silent)
			c.ping(5, 1)
			l.flush(7, "cell")
			c.say(10, toServer, "PING 2\n")
			c.fin(13, toServer)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 7.000–- deleted at cell, refreshed 5.002 by client's ack, timeout 10s
			died 7.000: mapping deleted at NAT cell (mapping-deleted)
			client noticed 13.000 by fin`},
		{"a rebooted NAT that revives, at once", func(t *testing.T) *testLab {
			// The client's packet is faster than the news of the deletion.
			l, c := one(t, profile(nat.LANRevive, nat.WANDrop))
			c.ping(5, 1)
			l.flush(7, "cell")
			c.ping(7.0001, 2)
			for at := 12.0; at < 100; at += 5 {
				c.ping(at, 1)
			}
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 7.000–7.000 deleted at cell, refreshed 5.002 by client's ack, timeout 10s`},
		{"a rebooted NAT that revives, later", func(t *testing.T) *testLab {
			l, c := one(t, profile(nat.LANRevive, nat.WANDrop))
			c.ping(5, 1)
			l.flush(7, "cell")
			for at := 9.0; at < 100; at += 5 {
				c.ping(at, 1)
			}
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 7.000–9.000 deleted at cell, refreshed 5.002 by client's ack, timeout 10s`},
	})
}

func TestTwoNATs(t *testing.T) {
	short, long := silent, silent
	long.Timeouts.TCPEstablished = units.Duration(30 * time.Second)
	run(t, []story{
		{"the shorter rules, at the device's side", func(t *testing.T) *testLab {
			l := newLab(t, 1, short, long)
			c := l.dial(0.01, "phone", 40000).hello(0.02)
			c.say(15, toServer, "PING 1\n")
			c.say(16, toClient, "PING 1\n")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell.1, refreshed 0.022 by client's ack, timeout 10s
			lapse 46.000–- expired at cell.2, refreshed 16.000 by server's ping, timeout 30s
			died 10.022: mapping expired at NAT cell.1 (mapping-expired)`},
		{"the shorter rules, at the server's side", func(t *testing.T) *testLab {
			l := newLab(t, 1, long, short)
			c := l.dial(0.01, "phone", 40000).hello(0.02)
			c.say(15, toServer, "PING 1\n")
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell.2, refreshed 0.022 by client's ack, timeout 10s
			lapse 45.000–- expired at cell.1, refreshed 15.000 by client's ping, timeout 30s
			died 10.022: mapping expired at NAT cell.2 (mapping-expired)`},
		{"the inner one resets, and the outer one carries the news", func(t *testing.T) *testLab {
			inner := resets
			l := newLab(t, 1, inner, long)
			c := l.dial(0.01, "phone", 40000).hello(0.02)
			c.say(15, toClient, "PING 1\n")
			l.truth.End = seconds(24)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell.1, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell.1 (mapping-expired)
			server gave up 15.000 by reset`},
		{"one forgets and could be mended, then the other for good", func(t *testing.T) *testLab {
			revive := profile(nat.LANRevive, nat.WANDrop)
			longer := silent
			longer.Timeouts.TCPEstablished = units.Duration(20 * time.Second)
			l := newLab(t, 1, revive, longer)
			c := l.dial(0.01, "phone", 40000).hello(0.02)
			c.say(25, toServer, "PING 1\n")
			l.truth.End = seconds(34)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–25.000 expired at cell.1, refreshed 0.022 by client's ack, timeout 10s
			lapse 20.022–- expired at cell.2, refreshed 0.022 by client's ack, timeout 20s
			died 10.022: mapping expired at NAT cell.1, then mapping expired at NAT cell.2 (mapping-expired)`},
		{"the inner one remaps: the outer one's mapping is of another flow then", func(t *testing.T) *testLab {
			l := newLab(t, 1, profile(nat.LANRemap, nat.WANDrop), long)
			c := l.dial(0.01, "phone", 40000).hello(0.02)
			c.say(15, toServer, "PING 1\n")
			l.truth.End = seconds(28)
			return l
		}, `phone 10.64.0.2:40000: opened 0.012 ready 0.021
			lapse 10.022–- expired at cell.1, refreshed 0.022 by client's ack, timeout 10s
			died 10.022: mapping expired at NAT cell.1 (mapping-expired)`},
	})
}
