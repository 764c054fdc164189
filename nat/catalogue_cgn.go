package nat

const richter = "Richter et al., A Multi-perspective Analysis of Carrier-Grade NAT Deployment, IMC 2016; the figure is known from the paper, whose inner pages we have not read."

// carrierGradeProfiles are the large NATs that many subscribers share.
var carrierGradeProfiles = []Named{
	{
		Profile: Profile{
			Name:     "cgn-cellular",
			Timeouts: Timeouts{TCPEstablished: 5 * minute, UDP: 65 * second, UDPStream: 65 * second},
			Late:     Late{LAN: LANDrop, WAN: WANDrop},
		},
		Family:  CarrierGrade,
		Summary: "A carrier-grade NAT of a mobile network, in the middle of those that were measured: UDP forgotten after 65 s.",
		Origins: []Origin{
			chosen("Not measured there; as the profile carrier.", "timeouts.tcp_established"),
			unverified(richter, "timeouts.udp", "timeouts.udp_stream").says("median about 65 s, spread about 10 to 200 s"),
			chosen(carriersAreSilent, "late"),
		},
	},
	{
		Profile: Profile{
			Name:     "cgn-fixed-line",
			Timeouts: Timeouts{TCPEstablished: 7440 * second, UDP: 35 * second, UDPStream: 35 * second},
			Late:     Late{LAN: LANDrop, WAN: WANDrop},
		},
		Family:  CarrierGrade,
		Summary: "A carrier-grade NAT behind which homes are: UDP forgotten after 35 s, sooner than most home routers do.",
		Origins: []Origin{
			chosen("Not measured there; the minimum of RFC 5382.", "timeouts.tcp_established"),
			unverified(richter, "timeouts.udp", "timeouts.udp_stream").says("median about 35 s, spread about 10 to 200 s"),
			chosen(carriersAreSilent, "late"),
		},
	},
	{
		Profile: Profile{
			Name:     "cgn-aggressive",
			Timeouts: Timeouts{TCPEstablished: 60 * second, UDP: 30 * second, UDPStream: 30 * second},
			Late:     Late{LAN: LANDrop, WAN: WANDrop},
		},
		Family:  CarrierGrade,
		Summary: "A carrier-grade NAT that forgets TCP after a minute, as users of push services on LTE and 5G meet it.",
		Origins: []Origin{
			reported("Users of ntfy and Home Assistant, March 2026 (home-assistant/android issue 3174).", "timeouts.tcp_established").says("a ping every 45 to 60 s is needed"),
			chosen("The shortest that homes were found to have.", "timeouts.udp", "timeouts.udp_stream"),
			chosen(carriersAreSilent, "late"),
		},
	},
	{
		Profile: Profile{
			Name:     "cgn-symmetric",
			Timeouts: Timeouts{TCPEstablished: 5 * minute, UDP: 65 * second, UDPStream: 65 * second},
			Late:     Late{LAN: LANRemap, WAN: WANDrop},
			Mapping:  AddressAndPortDependent, Filtering: AddressAndPortDependent,
			Ports: Ports{Allocation: PortRandom},
		},
		Family:  CarrierGrade,
		Summary: "The kind called symmetric: a random port for every connection, and after the timeout another one, which the server does not know.",
		Origins: []Origin{
			chosen("Not measured; as the profile carrier.", "timeouts.tcp_established"),
			unverified(richter, "timeouts.udp", "timeouts.udp_stream").says("median about 65 s for mobile networks"),
			measured("What Linux 6.18 does when it is told to translate to random ports: a late packet is taken up on a new port, and the server answers with a RST.", "late.lan", "ports.allocation"),
			chosen("There is no mapping for it.", "late.wan"),
			chosen("That is what the word symmetric means (RFC 3489's term, RFC 4787's address-and-port-dependent mapping).", "mapping", "filtering"),
		},
	},
	{
		Profile: Profile{
			Name: "cgn-port-block",
			Timeouts: Timeouts{
				TCPEstablished: 7440 * second, TCPMaxRetrans: 7440 * second, TCPUnacknowledged: 7440 * second,
				UDP: 5 * minute, UDPStream: 5 * minute,
			},
			Late:    Late{LAN: LANDrop, WAN: WANDrop},
			Mapping: EndpointIndependent, Filtering: EndpointIndependent,
			Ports:   Ports{Allocation: PortRandom, Range: PortRange{1024, 65535}, Block: 512},
			Hairpin: true,
		},
		Family:  CarrierGrade,
		Summary: "A carrier-grade NAT as RFC 6888 wants it, with 512 ports for each subscriber and none beyond them.",
		Origins: []Origin{
			documented(rfc5382TCP, "timeouts.tcp_established"),
			documented(rfc4787UDP, "timeouts.udp", "timeouts.udp_stream"),
			chosen(oneTimer, "timeouts.tcp_max_retrans", "timeouts.tcp_unacknowledged"),
			chosen(carriersAreSilent, "late"),
			reported("RFC 6888 REQ-1 and REQ-7, as cited by others.", "mapping", "filtering", "hairpin"),
			chosen("RFC 7422 describes such blocks; how large they are is the carrier's business.", "ports"),
		},
	},
}
