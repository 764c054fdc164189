package nat

import "slices"

// Firewalls are the family of the IPv6 firewalls, which Profiles does not list.
const Firewalls Family = "IPv6 firewalls"

// firewallProfiles is the registry of IPv6 firewalls.
var firewallProfiles = []Named{
	{
		Profile: Profile{
			Name: "rfc6092",
			Timeouts: Timeouts{
				TCPEstablished: 7440 * second, TCPMaxRetrans: 7440 * second, TCPUnacknowledged: 7440 * second,
				TCPSynSent: 4 * minute, TCPSynRecv: 4 * minute,
				TCPFinWait: 4 * minute, TCPCloseWait: 4 * minute, TCPLastAck: 4 * minute, TCPTimeWait: 4 * minute, TCPClose: 4 * minute,
				UDP: 5 * minute, UDPStream: 5 * minute, Generic: 5 * minute,
			},
			Late:      Late{LAN: LANDrop, WAN: WANDrop},
			Filtering: EndpointIndependent,
		},
		Family:  Firewalls,
		Summary: "The firewall of a home router as RFC 6092 recommends it: 2 h 4 min for TCP, 5 minutes for UDP, and an endpoint that has sent is open to everybody.",
		Origins: []Origin{
			documented("RFC 6092 REC-35, which takes over the times of RFC 5382: at least 2 h 4 min for an established connection, at least 4 min for one that opens or closes.",
				"timeouts.tcp_established", "timeouts.tcp_syn_sent", "timeouts.tcp_syn_recv",
				"timeouts.tcp_fin_wait", "timeouts.tcp_close_wait", "timeouts.tcp_last_ack", "timeouts.tcp_time_wait", "timeouts.tcp_close"),
			chosen(oneTimer, "timeouts.tcp_max_retrans", "timeouts.tcp_unacknowledged"),
			documented("RFC 6092 REC-14: at least 2 minutes, 5 by default.", "timeouts.udp", "timeouts.udp_stream").says("120 s at least, 300 s by default"),
			documented("RFC 6092 REC-12, for other protocols: at least 2 minutes, 5 by default.", "timeouts.generic"),
			documented("RFC 6092 REC-17 and REC-33: endpoint-independent by default where nobody manages the gateway.", "filtering"),
			documented("RFC 6092 REC-16: packets from inside must refresh; those from outside may.", "refresh.direction"),
			chosen("RFC 6092 says nothing of a late packet, and REC-34 has an unsolicited SYN answered by ICMPv6 after 6 s, which this does not: silence is the harder case.", "late"),
		},
	},
	{
		Profile: Profile{
			Name: "linux-ipv6",
			Late: Late{LAN: LANRevive, WAN: WANDrop},
		},
		Family:  Firewalls,
		Summary: "A Linux router that lets in what belongs to a connection and nothing else: 5 days, and a late packet from inside makes the state anew.",
		Origins: []Origin{
			documented("The kernel's Documentation/networking/nf_conntrack-sysctl.rst, which holds for IPv6 as for IPv4.", "timeouts"),
			documented("The same: tcp_loose is 1, so that a connection is picked up in the middle.", "late.lan"),
			chosen("What comes in and is new is dropped, as most examples of such a firewall do.", "late.wan"),
			measured("With connection tracking alone only the far endpoint that was spoken to gets in.", "filtering"),
		},
	},
	{
		Profile: Profile{
			Name:     "carrier-ipv6",
			Timeouts: Timeouts{TCPEstablished: 5 * minute, UDP: 30 * second, UDPStream: 60 * second},
			Late:     Late{LAN: LANDrop, WAN: WANDrop},
		},
		Family:  Firewalls,
		Summary: "A strict mobile carrier that runs over IPv6 the firewall that it has for IPv4: 5 minutes for an idle TCP connection, in silence.",
		Origins: []Origin{
			chosen("No measurement of a carrier's IPv6 firewall is known to us: the figure of the profile carrier, for the same box without its translation.", "timeouts.tcp_established"),
			reported(quicUDP, "timeouts.udp", "timeouts.udp_stream").says("30 to 60 s"),
			chosen(carriersAreSilent, "late"),
		},
	},
}

// FirewallProfiles gives the IPv6 firewalls of the catalogue, in the order in which they
// are to be read. Their profiles are complete and have their names.
func FirewallProfiles() []Named {
	all := slices.Clone(firewallProfiles)
	for i := range all {
		all[i].Profile = all[i].Profile.CompleteFirewall()
	}
	return all
}

// LookupFirewall finds an IPv6 firewall of the catalogue by its name.
func LookupFirewall(name string) (Named, bool) {
	for _, n := range FirewallProfiles() {
		if n.Profile.Name == name {
			return n, true
		}
	}
	return Named{}, false
}
