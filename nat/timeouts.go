package nat

import (
	"time"

	"outlive/lab/units"
)

// timer ties one idle timeout to its name in a scenario and to the kernel's
// setting of it. The kernel's name is the same with "nf_conntrack_" before it.
type timer struct {
	// key is the YAML key under `timeouts`.
	key string
	// sysctl is the setting, in whole seconds.
	sysctl string
	// standard is the kernel's default (nf_conntrack-sysctl.rst, Linux 6.x; udp_stream since 5.0).
	standard time.Duration
	// of gives the field.
	of func(*Timeouts) *units.Duration
}

var timers = []timer{
	{"tcp_established", "tcp_timeout_established", 432000 * time.Second, func(t *Timeouts) *units.Duration { return &t.TCPEstablished }},
	{"tcp_syn_sent", "tcp_timeout_syn_sent", 120 * time.Second, func(t *Timeouts) *units.Duration { return &t.TCPSynSent }},
	{"tcp_syn_recv", "tcp_timeout_syn_recv", 60 * time.Second, func(t *Timeouts) *units.Duration { return &t.TCPSynRecv }},
	{"tcp_fin_wait", "tcp_timeout_fin_wait", 120 * time.Second, func(t *Timeouts) *units.Duration { return &t.TCPFinWait }},
	{"tcp_close_wait", "tcp_timeout_close_wait", 60 * time.Second, func(t *Timeouts) *units.Duration { return &t.TCPCloseWait }},
	{"tcp_last_ack", "tcp_timeout_last_ack", 30 * time.Second, func(t *Timeouts) *units.Duration { return &t.TCPLastAck }},
	{"tcp_time_wait", "tcp_timeout_time_wait", 120 * time.Second, func(t *Timeouts) *units.Duration { return &t.TCPTimeWait }},
	{"tcp_close", "tcp_timeout_close", 10 * time.Second, func(t *Timeouts) *units.Duration { return &t.TCPClose }},
	{"tcp_max_retrans", "tcp_timeout_max_retrans", 300 * time.Second, func(t *Timeouts) *units.Duration { return &t.TCPMaxRetrans }},
	{"tcp_unacknowledged", "tcp_timeout_unacknowledged", 300 * time.Second, func(t *Timeouts) *units.Duration { return &t.TCPUnacknowledged }},
	{"udp", "udp_timeout", 30 * time.Second, func(t *Timeouts) *units.Duration { return &t.UDP }},
	{"udp_stream", "udp_timeout_stream", 120 * time.Second, func(t *Timeouts) *units.Duration { return &t.UDPStream }},
	{"icmp", "icmp_timeout", 30 * time.Second, func(t *Timeouts) *units.Duration { return &t.ICMP }},
	{"generic", "generic_timeout", 600 * time.Second, func(t *Timeouts) *units.Duration { return &t.Generic }},
}

// longestTimeout is the largest that every kernel takes: the setting is kept in
// jiffies in a signed 32-bit number, and a kernel has up to 1000 of them a second.
const longestTimeout = 2147483 * time.Second

// ofState gives the timeout of a TCP state as conntrack names it, or zero.
func (t Timeouts) ofState(state string) units.Duration {
	switch state {
	case "SYN_SENT", "SYN_SENT2":
		return t.TCPSynSent
	case "SYN_RECV":
		return t.TCPSynRecv
	case "ESTABLISHED":
		return t.TCPEstablished
	case "FIN_WAIT":
		return t.TCPFinWait
	case "CLOSE_WAIT":
		return t.TCPCloseWait
	case "LAST_ACK":
		return t.TCPLastAck
	case "TIME_WAIT":
		return t.TCPTimeWait
	case "CLOSE":
		return t.TCPClose
	}
	return 0
}

// NamedTimeout is one idle timeout with its name in a scenario.
type NamedTimeout struct {
	Name  string
	Value units.Duration
}

// List gives all timeouts with their names, in the order in which documents list them.
func (t Timeouts) List() []NamedTimeout {
	list := make([]NamedTimeout, len(timers))
	for i, timer := range timers {
		list[i] = NamedTimeout{timer.key, *timer.of(&t)}
	}
	return list
}
