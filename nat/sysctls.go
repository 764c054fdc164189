package nat

import (
	"strconv"
	"time"
)

// Sysctls gives the kernel settings of the NAT's namespace that the profile
// needs, by their dotted names. They must be in force before the first packet:
// an entry keeps the timeout that it was made or last refreshed with.
func Sysctls(p Profile) map[string]string {
	p = p.Complete()
	const conntrack = "net.netfilter.nf_conntrack_"
	settings := map[string]string{
		"net.ipv4.ip_forward": "1",
		// INVALID must mean "no mapping" and nothing else, or a packet outside
		// the window would be treated as a late one.
		conntrack + "tcp_be_liberal": "1",
		// Made explicit because they change which timeout applies.
		conntrack + "tcp_max_retrans": "3",
		// The newer default, 2, leaves entries made before anyone listened without events.
		conntrack + "events": "1",
	}
	loose := "0"
	if p.Late.LAN == LANRevive || p.Late.LAN == LANRemap {
		loose = "1"
	}
	settings[conntrack+"tcp_loose"] = loose
	for _, t := range timers {
		settings[conntrack+t.sysctl] = strconv.FormatInt(int64(t.of(&p.Timeouts).D()/time.Second), 10)
	}
	return settings
}
