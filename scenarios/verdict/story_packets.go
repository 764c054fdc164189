package verdict

import (
	"cmp"
	"fmt"
	"strings"

	"outlive/lab/units"
)

// notices tells what each side learnt of the death, and when: its kernel's
// giving up apart from its program's notice.
func (t *teller) notices() {
	for _, d := range []side{client, server} {
		h, ok := t.holds(t.c, d)
		if !ok {
			continue
		}
		known := d.of(t.c)
		if known.GaveUpAt != nil && (known.NoticedAt == nil || *known.GaveUpAt < *known.NoticedAt) {
			text := fmt.Sprintf("the %s's kernel gave the connection up%s", d, reason(gaveUpWords[known.GaveUpBy]))
			if !h.noticed {
				text += "; its program did not look"
			}
			t.line(*known.GaveUpAt, 0, "%s", text)
		}
		switch {
		case h.noticed:
			t.line(h.until, known.NoticedPacket, "the %s noticed, %s after the death: %s%s", d, length(h.length()), noticeWords(known.NoticedBy), t.lost(known.NoticedPacket))
		case h.open && known.GaveUpAt != nil:
			t.line(h.until, 0, "the scenario ended, and the %s's program had not noticed: it held a dead connection for %s", d, length(h.length()))
		case h.open:
			t.line(h.until, 0, "the scenario ended, and the %s had not noticed: it held a dead connection for %s", d, length(h.length()))
		default:
			t.line(h.until, 0, "the %s was taken away; until then, for %s, it had not noticed", d, length(h.length()))
		}
	}
}

// fate is what became of a packet that did not arrive; empty if it did.
func (t *teller) fate(packet int) string {
	for _, m := range t.c.Marks {
		if packet > 0 && m.Packet == packet {
			return m.Fate
		}
	}
	return ""
}

// lost says that the packet which should have told the other side did not.
func (t *teller) lost(packet int) string {
	if fate := t.fate(packet); fate != "" {
		return "; that packet was " + fate
	}
	return ""
}

// gaveUpWords says of a kernel why it gave up, by flow.Side.GaveUpBy.
var gaveUpWords = map[string]string{
	"retransmission": "what it sent was never acknowledged",
	"keepalive":      "its keepalive probes went unanswered",
	"user-timeout":   "what it sent was not acknowledged in time",
	"reset":          "it received a reset",
}

func noticeWords(by string) string {
	switch by {
	case "fin":
		return "it closed the connection (FIN)"
	case "rst":
		return "it reset the connection (RST)"
	case "syn":
		return "it opened another connection (SYN)"
	case "close":
		return "its program closed the socket, of which nothing shows on the wire"
	}
	return by
}

func howWords(how string) string {
	switch how {
	case "close":
		return "its program closed the socket, nothing on the wire"
	case "gave-up":
		return "by its kernel alone"
	}
	return strings.ToUpper(how)
}

// troubled is the instant from which the packets of the connection are of
// interest: its first lapse, its death, or its closing; where it was refused, its first.
func (t *teller) troubled() units.Seconds {
	at := t.truth.End
	if t.c.Refused != "" {
		at = t.c.SYN
	}
	for _, x := range []*units.Seconds{t.c.Died, closedAt(t.c)} {
		if x != nil {
			at = min(at, *x)
		}
	}
	if len(t.c.Lapses) > 0 {
		at = min(at, t.c.Lapses[0].From)
	}
	return at
}

// pushesLost tells of the pushes that the trouble cost.
func (t *teller) pushesLost() {
	from, until := t.troubled(), t.truth.End
	if t.c.Died != nil {
		if took, open := t.recovery(t.i); !open {
			until = *t.c.Died + took
		}
	}
	for p := range t.pushes() {
		switch {
		case p.Device != t.c.Device || p.Arrived != nil:
		case p.Left == nil && p.At >= from && p.At < until:
			t.line(p.At, 0, "push %s was handed to the server, which sent nothing of it to %s", p.ID, p.Device)
		case p.Left != nil && p.Connection == t.i:
			t.line(*p.Left, p.Packet, "the server sent push %s: %s", p.ID, cmp.Or(t.fate(p.Packet), "it never arrived"))
		}
	}
}

// packets tells of the packets in the time of trouble that did not arrive, that
// ended something, or that a NAT made. Those of one kind share a line.
func (t *teller) packets() {
	type kind struct{ from, kind, fate string }
	var order []kind
	groups := map[kind][]int{}
	from := t.troubled()
	for i, m := range t.c.Marks {
		telling := m.Fate != "" || m.Kind == "rst" || m.Kind == "fin" || strings.HasPrefix(m.From, "nat:")
		if m.At < from || t.told[m.Packet] || !telling {
			continue
		}
		k := kind{m.From, m.Kind, m.Fate}
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], i)
	}
	for _, k := range order {
		first := t.c.Marks[groups[k][0]]
		text := fmt.Sprintf("%s sent %s%s", t.fromWords(k.from), kindWords(k.kind), reason(k.fate))
		if n := len(groups[k]); n > 1 {
			last := t.c.Marks[groups[k][n-1]]
			text += fmt.Sprintf("; and %d more like it, the last at %s", n-1, Instant(last.At))
		}
		t.line(first.At, first.Packet, "%s", text)
	}
}

// kindWords names a packet for people.
func kindWords(kind string) string {
	switch kind {
	case "syn", "fin":
		return "a " + strings.ToUpper(kind)
	case "rst":
		return "a reset (RST)"
	case "data":
		return "data"
	case "ack":
		return "an acknowledgement"
	case "retransmission":
		return "the same again"
	case "keepalive-probe":
		return "a TCP keepalive probe"
	case "ping", "pingreq":
		return "a heartbeat (" + strings.ToUpper(kind) + ")"
	case "pong", "pingresp":
		return "an answer to a heartbeat (" + strings.ToUpper(kind) + ")"
	case "push", "publish":
		return "a push (" + strings.ToUpper(kind) + ")"
	case "":
		return "a packet"
	}
	return strings.ToUpper(kind)
}

// fromWords names the sender of a packet for people.
func (s scene) fromWords(from string) string {
	if name, ok := strings.CutPrefix(from, "nat:"); ok {
		return s.box(name).String()
	}
	return "the " + from
}
