package nat

// The sources of more than one profile.
const (
	rfc4787UDP = "RFC 4787 REQ-5: a UDP mapping lives for at least 120 s; a default of 300 s or more is recommended."
	rfc5382TCP = "RFC 5382 REQ-5: at least 2 h 4 min for an established connection, at least 4 min for one that opens or closes."
	// oneTimer is why timers that only Linux has are made to change nothing.
	oneTimer = "It has one idle timeout, which does not ask whether data is acknowledged: so that Linux's own timers do not cut in."
	// carriersAreSilent is why carriers drop late packets.
	carriersAreSilent = "What stateful firewalls do as a rule; nobody has said what this one does."
)

// standardProfiles are what the standards ask for.
var standardProfiles = []Named{
	{
		Profile: Profile{
			Name: "rfc-minimum",
			Timeouts: Timeouts{
				TCPEstablished: 7440 * second, TCPMaxRetrans: 7440 * second, TCPUnacknowledged: 7440 * second,
				TCPSynSent: 4 * minute, TCPSynRecv: 4 * minute,
				TCPFinWait: 4 * minute, TCPCloseWait: 4 * minute, TCPLastAck: 4 * minute, TCPTimeWait: 4 * minute, TCPClose: 4 * minute,
				UDP: 120 * second, UDPStream: 120 * second, ICMP: 60 * second,
			},
			Late:    Late{LAN: LANDrop, WAN: WANDrop},
			Mapping: EndpointIndependent, Filtering: AddressAndPortDependent,
			Hairpin: true,
			Refresh: Refresh{Direction: RefreshOutbound},
		},
		Family:  Standards,
		Summary: "The least that RFC 4787, RFC 5382 and RFC 5508 allow: whatever lives behind this lives behind any NAT that keeps to them.",
		Origins: []Origin{
			documented(rfc5382TCP, "timeouts.tcp_established", "timeouts.tcp_syn_sent", "timeouts.tcp_syn_recv",
				"timeouts.tcp_fin_wait", "timeouts.tcp_close_wait", "timeouts.tcp_last_ack", "timeouts.tcp_time_wait"),
			unverified("RFC 7857, of which only the title was read: about 4 min after a RST.", "timeouts.tcp_close"),
			chosen(oneTimer, "timeouts.tcp_max_retrans", "timeouts.tcp_unacknowledged"),
			documented(rfc4787UDP, "timeouts.udp", "timeouts.udp_stream"),
			reported("RFC 5508 REQ-2, as cited by others: at least 60 s for an ICMP query.", "timeouts.icmp"),
			chosen("The standards leave it open, and silence is the harder case.", "late"),
			documented("RFC 4787 REQ-1, RFC 5382 REQ-1: it must.", "mapping"),
			documented("RFC 4787 REQ-8, RFC 5382 REQ-3 recommend less; nothing forbids the strictest.", "filtering"),
			documented("RFC 4787 REQ-9, RFC 5382 REQ-8: it must.", "hairpin"),
			documented("RFC 4787 REQ-6: packets from inside must refresh; those from outside may.", "refresh.direction"),
		},
	},
	{
		Profile: Profile{
			Name: "rfc-recommended",
			Timeouts: Timeouts{
				TCPEstablished: 7440 * second, TCPMaxRetrans: 7440 * second, TCPUnacknowledged: 7440 * second,
				TCPSynSent: 4 * minute, TCPSynRecv: 4 * minute,
				TCPFinWait: 4 * minute, TCPCloseWait: 4 * minute, TCPLastAck: 4 * minute, TCPTimeWait: 4 * minute, TCPClose: 4 * minute,
				UDP: 5 * minute, UDPStream: 5 * minute, ICMP: 60 * second,
			},
			Late:    Late{LAN: LANDrop, WAN: WANDrop},
			Mapping: EndpointIndependent, Filtering: EndpointIndependent,
			Hairpin: true,
			Refresh: Refresh{Direction: RefreshOutbound},
		},
		Family:  Standards,
		Summary: "What RFC 4787 recommends where applications matter most: five minutes for UDP, and whoever knows the mapping may send to it.",
		Origins: []Origin{
			documented(rfc5382TCP, "timeouts.tcp_established", "timeouts.tcp_syn_sent", "timeouts.tcp_syn_recv",
				"timeouts.tcp_fin_wait", "timeouts.tcp_close_wait", "timeouts.tcp_last_ack", "timeouts.tcp_time_wait"),
			unverified("RFC 7857, of which only the title was read: about 4 min after a RST.", "timeouts.tcp_close"),
			chosen(oneTimer, "timeouts.tcp_max_retrans", "timeouts.tcp_unacknowledged"),
			documented(rfc4787UDP, "timeouts.udp", "timeouts.udp_stream"),
			reported("RFC 5508 REQ-2, as cited by others: at least 60 s for an ICMP query.", "timeouts.icmp"),
			chosen("The standards leave it open, and silence is the harder case.", "late"),
			documented("RFC 4787 REQ-1, RFC 5382 REQ-1: it must.", "mapping"),
			documented("RFC 4787 REQ-8, RFC 5382 REQ-3: recommended where transparency matters most.", "filtering"),
			documented("RFC 4787 REQ-9, RFC 5382 REQ-8: it must.", "hairpin"),
			documented("RFC 4787 REQ-6: packets from inside must refresh; those from outside may.", "refresh.direction"),
		},
	},
}
