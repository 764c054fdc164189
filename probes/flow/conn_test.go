package flow

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"outlive/probes/socket"
)

// testConn is a connection, with what each end knows of it.
type testConn struct {
	*testLab
	device string
	client netip.AddrPort
	server netip.AddrPort // the client's end as the server knows it
	// sent and received are the next sequence numbers of each end, by direction of speech.
	next, got [2]uint32
	last      [2]packet
	cookie    [2]uint64
}

var testCookies uint64

// dial makes a connection: SYN at the given time, established 2 ms later.
func (l *testLab) dial(at float64, device string, port uint16) *testConn {
	return l.dialISN(at, device, port, 1000*uint32(port)+uint32(at*7919))
}

func (l *testLab) dialISN(at float64, device string, port uint16, isn uint32) *testConn {
	l.t.Helper()
	c := l.syn(at, device, port, isn)
	c.synAck(at + 0.001)
	c.say(at+0.002, toServer, "")
	return c
}

func (l *testLab) syn(at float64, device string, port uint16, isn uint32) *testConn {
	i := slices.IndexFunc(l.truth.Devices, func(d Device) bool { return d.Name == device })
	testCookies += 2
	c := &testConn{testLab: l, device: device, client: netip.AddrPortFrom(l.addrOf(l.truth.Devices[i]), port), cookie: [2]uint64{testCookies, testCookies + 1}}
	c.next = [2]uint32{isn, isn ^ 0x5555}
	c.got = [2]uint32{isn, isn ^ 0x5555}
	c.send(at, toServer, flagSYN, "")
	c.server = c.client
	for _, n := range l.nats {
		if m := n.byLAN[c.server]; m != nil {
			c.server = m.WAN
		}
	}
	return c
}

func (c *testConn) synAck(at float64) { c.send(at, toClient, flagSYN|flagACK, "") }

// send sends a segment with the next sequence number and says whether it arrived.
func (c *testConn) send(at float64, d direction, flags uint8, payload string) bool {
	n := uint32(len(payload))
	if flags&(flagSYN|flagFIN) != 0 {
		n++
	}
	p := packet{at: seconds(at), d: d, device: c.device, client: c.client, seq: c.next[d], flags: flags, payload: payload, window: 500}
	if flags&flagACK != 0 {
		p.ack = c.got[d.back()]
	}
	if flags&flagRST == 0 {
		c.next[d] += n
	}
	if n > 0 {
		c.last[d] = p
	}
	return c.deliver(p, n)
}

func (c *testConn) deliver(p packet, n uint32) bool {
	position := 0
	if p.d == toClient {
		position, p.client = 2*len(c.nats)+1, c.server
	}
	if !c.move(p, position) {
		return false
	}
	if p.flags&flagRST == 0 && c.got[p.d] == p.seq && !c.remapped(p) {
		c.got[p.d] += n
	}
	return true
}

// remapped says that the server does not know the packet's tuple.
func (c *testConn) remapped(p packet) bool {
	if p.d == toClient || !c.server.IsValid() {
		return false
	}
	at := c.client
	for _, n := range c.nats {
		if m := n.byLAN[at]; m != nil {
			at = m.WAN
		}
	}
	return at != c.server
}

// say sends data, or with none an acknowledgement.
func (c *testConn) say(at float64, d direction, payload string) bool {
	return c.send(at, d, flagACK, payload)
}

// ask is data one way, an answer 1 ms later, and the acknowledgement of it.
func (c *testConn) ask(at float64, d direction, payload, answer string) {
	c.say(at, d, payload)
	c.say(at+0.001, d.back(), answer)
	c.say(at+0.002, d, "")
}

// hello is the line protocol's greeting.
func (c *testConn) hello(at float64) *testConn {
	c.ask(at, toServer, "HELLO "+c.device+"\n", "WELCOME "+c.device+"\n")
	return c
}

// ping is a heartbeat of the client with its answer.
func (c *testConn) ping(at float64, n int) {
	c.ask(at, toServer, fmt.Sprintf("PING %d\n", n), fmt.Sprintf("PONG %d\n", n))
}

// again repeats the last segment that took up sequence numbers.
func (c *testConn) again(at float64, d direction) bool {
	p := c.last[d]
	p.at, p.id = seconds(at), 0
	if p.flags&flagACK != 0 {
		p.ack = c.got[d.back()]
	}
	n := uint32(len(p.payload))
	if p.flags&(flagSYN|flagFIN) != 0 {
		n++
	}
	return c.deliver(p, n)
}

func (c *testConn) fin(at float64, d direction) bool { return c.send(at, d, flagFIN|flagACK, "") }

// rst is the reset that the owner of a socket sends.
func (c *testConn) rst(at float64, d direction) bool { return c.send(at, d, flagRST|flagACK, "") }

// unknown is the reset with which a kernel answers a packet for a socket that it does not know.
func (c *testConn) unknown(at float64, d direction) bool {
	p := packet{at: seconds(at), d: d, device: c.device, client: c.client, seq: c.got[d], flags: flagRST}
	return c.deliver(p, 0)
}

// refuse is the server's reset of a remapped packet: to the port that it came from.
func (c *testConn) refuse(at float64) bool {
	p := packet{at: seconds(at), d: toClient, device: c.device, client: c.client, seq: c.got[toClient], flags: flagRST}
	for _, n := range c.nats {
		p.client = n.byLAN[p.client].WAN
	}
	return c.move(p, 2*len(c.nats)+1)
}

// probe is a TCP keepalive probe.
func (c *testConn) probe(at float64, d direction) bool {
	p := packet{at: seconds(at), d: d, device: c.device, client: c.client, seq: c.next[d] - 1, ack: c.got[d.back()], flags: flagACK, window: 500}
	if !c.deliver(p, 0) {
		return false
	}
	c.say(at+0.001, d.back(), "")
	return true
}

// socket adds what a host's kernel says of its socket.
func (c *testConn) socket(at float64, side direction, kind, cause string) {
	server := testServer
	if c.client.Addr().Is6() {
		server = testServer6
	}
	e := socket.Event{Host: c.device, Kind: kind, Local: c.client, Remote: server, Cookie: c.cookie[side], Cause: cause, Window: seconds(0.005)}
	if side == toClient {
		e.Host, e.Local, e.Remote = "server", server, c.server
	}
	c.truth.Sockets = append(c.truth.Sockets, Socket{At: seconds(at), Event: e})
}

// hideServerFrom takes what the server's interface would see from an instant on
// out of the capture: its cable is pulled, and no packet gets there.
func (l *testLab) hideServerFrom(at float64) {
	l.unplugged = seconds(at)
}

// oneMQTT is an MQTT session of a phone, of the given level, subscribed.
func oneMQTT(t testing.TB, level byte) (*testLab, *testConn) {
	l := newLab(t, 1, silent)
	l.truth.Protocol = "mqtt"
	c := l.dial(0.01, "phone", 40000)
	connect, connack, subscribe, suback := "\x10\x11\x00\x04MQTT\x04\x02\x00\x00\x00\x05phone", "\x20\x02\x00\x00", "\x82\x0b\x00\x01\x00\x06a/push\x01", "\x90\x03\x00\x01\x01"
	if level == 5 {
		connect, connack = "\x10\x12\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x05phone", "\x20\x03\x00\x00\x00"
		subscribe, suback = "\x82\x0c\x00\x01\x00\x00\x06a/push\x01", "\x90\x04\x00\x01\x00\x01"
	}
	c.ask(0.02, toServer, connect, connack)
	c.ask(0.03, toServer, subscribe, suback)
	return l, c
}
