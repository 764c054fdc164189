package nat

import (
	"time"

	"outlive/lab/units"
)

// Named is a profile of the catalogue.
type Named struct {
	Profile Profile
	// Summary says in one sentence what it stands for.
	Summary string
	// Source says where each figure is from, and which ones are our choice.
	Source string
}

// Profiles gives the catalogue, in the order in which it is to be read. Its
// profiles are complete and have their names.
func Profiles() []Named {
	all := make([]Named, len(catalogue))
	for i, n := range catalogue {
		n.Profile = n.Profile.Complete()
		all[i] = n
	}
	return all
}

// Lookup finds a profile of the catalogue by its name.
func Lookup(name string) (Named, bool) {
	for _, n := range Profiles() {
		if n.Profile.Name == name {
			return n, true
		}
	}
	return Named{}, false
}

const (
	second = units.Duration(time.Second)
	minute = units.Duration(time.Minute)
)

// catalogue is the registry: a new profile is one more value here.
var catalogue = []Named{
	{
		Profile: Profile{
			Name:     "carrier",
			Timeouts: Timeouts{TCPEstablished: 5 * minute, UDP: 30 * second, UDPStream: 60 * second},
			Late:     Late{LAN: LANDrop, WAN: WANDrop},
		},
		Summary: "A strict mobile carrier: forgets an idle TCP connection after 5 minutes and says nothing to either side.",
		Source: "TCP: Wang et al., SIGCOMM 2011 (NetPiculet), found 4 of 73 carriers at 5 minutes or less, as cited by others. " +
			"UDP: 30 to 60 s in practice by the IETF's QUIC manageability document. " +
			"The silence: the observed behaviour of stateful firewalls; our choice for the general case.",
	},
	{
		Profile: Profile{
			Name:     "cn-mobile-2g3g",
			Timeouts: Timeouts{TCPEstablished: 5 * minute},
			Late:     Late{LAN: LANDrop, WAN: WANDrop},
		},
		Summary: "China Mobile's 2G and 3G networks of about 2013: TCP forgotten after 5 idle minutes, in silence.",
		Source: "TCP: the table in the WeMobileDev article on the heartbeat of WeChat, measured about 2013 to 2015; age it accordingly. " +
			"UDP was not measured and is the kernel's default. The silence is our choice.",
	},
	{
		Profile: Profile{
			Name: "linux",
			Late: Late{LAN: LANRevive, WAN: WANReset},
		},
		Summary: "A Linux router with nothing set but masquerading: 5 days, a late packet from inside revives the mapping, one from outside is answered with a reset.",
		Source: "Timeouts: the kernel's Documentation/networking/nf_conntrack-sysctl.rst. Late packets: measured on Linux 6.18 with masquerading, tcp_loose=1 and no filter. " +
			"One difference: late FIN and RST packets, which such a router lets out with their private address, are dropped.",
	},
	{
		Profile: Profile{
			Name:     "home-gateway",
			Timeouts: Timeouts{TCPEstablished: 7440 * second, UDP: 60 * second, UDPStream: 180 * second},
			Late:     Late{LAN: LANRevive, WAN: WANDrop},
		},
		Summary: "A good home router: keeps idle TCP for the 2 h 4 min of RFC 5382, drops what comes unasked from outside, and takes up a late packet from inside.",
		Source: "Timeouts: the connection-tracking defaults of OpenWrt (TCP 7440 s, which is the minimum of RFC 5382 REQ-5; UDP 60 and 180 s). " +
			"Late packets: the kernel's tcp_loose=1 and a closed WAN side; our choice. Real gateways spread from minutes to a day (Hätönen et al., IMC 2010).",
	},
	{
		Profile: Profile{
			Name: "aws-nat-gateway",
			Timeouts: Timeouts{
				TCPEstablished: 350 * second,
				// Its one idle timeout does not ask whether data is acknowledged.
				TCPMaxRetrans: 350 * second, TCPUnacknowledged: 350 * second,
			},
			Late: Late{LAN: LANReset, WAN: WANDrop},
		},
		Summary: "The NAT gateway of Amazon VPC: forgets after 350 idle seconds, and answers a late packet from inside with a reset.",
		Source: "TCP and the reset to the inside: Amazon VPC User Guide, troubleshooting NAT gateways (350 s, fixed; RST, no FIN). " +
			"What a late packet from outside meets and the UDP timeouts are not documented there: dropped, and the kernel's defaults, are our choice.",
	},
}
