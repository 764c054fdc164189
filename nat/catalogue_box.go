package nat

const pfTimers = "pfSense's documentation, the table of pf's optimisation settings; pf's states are not conntrack's, and which is which was our choice."

// boxProfiles are routers and firewalls of makers, as they come.
var boxProfiles = []Named{
	{
		Profile: Profile{
			Name: "cisco-ios",
			Timeouts: Timeouts{
				TCPEstablished: 24 * hour, TCPMaxRetrans: 24 * hour, TCPUnacknowledged: 24 * hour,
				TCPSynSent: 60 * second, TCPSynRecv: 60 * second,
				TCPFinWait: 60 * second, TCPCloseWait: 60 * second, TCPLastAck: 60 * second, TCPTimeWait: 60 * second, TCPClose: 60 * second,
				UDP: 5 * minute, UDPStream: 5 * minute,
			},
			Late: Late{LAN: LANRevive, WAN: WANDrop},
		},
		Family:  Boxes,
		Summary: "NAT of Cisco IOS as it comes: a day for TCP, five minutes for UDP, one minute for what opens or closes.",
		Origins: []Origin{
			documented("Cisco IOS in a Nutshell (O'Reilly), ip nat translation timeouts: TCP 86400 s, FIN and RST 60 s, UDP 300 s (DNS, with 60 s, is not told apart here).",
				"timeouts.tcp_established", "timeouts.tcp_fin_wait", "timeouts.tcp_close_wait", "timeouts.tcp_last_ack", "timeouts.tcp_time_wait", "timeouts.tcp_close", "timeouts.udp", "timeouts.udp_stream"),
			unverified("60 s, generally held.", "timeouts.tcp_syn_sent", "timeouts.tcp_syn_recv"),
			chosen(oneTimer, "timeouts.tcp_max_retrans", "timeouts.tcp_unacknowledged"),
			unverified("A translation knows no TCP states that a late packet could miss: it makes a new one, with the same port where that is free; generally held.", "late.lan"),
			chosen("There is no translation for it.", "late.wan"),
		},
	},
	{
		Profile: Profile{
			Name: "cisco-asa",
			Timeouts: Timeouts{
				TCPEstablished: 1 * hour, TCPMaxRetrans: 1 * hour, TCPUnacknowledged: 1 * hour,
				TCPSynSent: 30 * second, TCPSynRecv: 30 * second, TCPFinWait: 10 * minute, TCPCloseWait: 10 * minute,
				UDP: 2 * minute, UDPStream: 2 * minute, ICMP: 2 * second,
			},
			Late: Late{LAN: LANDrop, WAN: WANDrop},
		},
		Family:  Boxes,
		Summary: "Cisco's ASA firewall as it comes: an hour for TCP, two minutes for UDP.",
		Origins: []Origin{
			documented("Cisco, configuring connection timeouts on the ASA: TCP 1 h, half-closed 10 min, embryonic 30 s, UDP 2 min, ICMP 2 s.", "timeouts.tcp_established",
				"timeouts.tcp_syn_sent", "timeouts.tcp_syn_recv", "timeouts.tcp_fin_wait", "timeouts.tcp_close_wait", "timeouts.udp", "timeouts.udp_stream", "timeouts.icmp"),
			chosen(oneTimer, "timeouts.tcp_max_retrans", "timeouts.tcp_unacknowledged"),
			unverified("Dropped, with a line in the log, generally held.", "late"),
		},
	},
	{
		Profile: Profile{
			Name: "mikrotik",
			Timeouts: Timeouts{
				TCPEstablished: 24 * hour, TCPSynSent: 5 * second, TCPSynRecv: 5 * second,
				TCPFinWait: 10 * second, TCPCloseWait: 10 * second, TCPLastAck: 10 * second, TCPTimeWait: 10 * second, TCPClose: 10 * second,
				UDP: 10 * second, UDPStream: 3 * minute, ICMP: 10 * second, Generic: 10 * minute,
			},
			Late: Late{LAN: LANDrop, WAN: WANDrop},
		},
		Family:  Boxes,
		Summary: "MikroTik RouterOS as it comes: a day for TCP, and only 10 s for UDP that nobody answers.",
		Origins: []Origin{
			documented("MikroTik's wiki, Manual:IP/Firewall/Connection tracking.", "timeouts"),
			chosen("RouterOS is Linux inside: the kernel's default.", "timeouts.tcp_max_retrans", "timeouts.tcp_unacknowledged"),
			chosen("Its firewall as it comes drops invalid packets.", "late"),
		},
	},
	{
		Profile: Profile{
			Name: "pfsense",
			Timeouts: Timeouts{
				TCPEstablished: 24 * hour, TCPMaxRetrans: 24 * hour, TCPUnacknowledged: 24 * hour,
				TCPSynSent: 60 * second, TCPSynRecv: 30 * second,
				TCPFinWait: 15 * minute, TCPCloseWait: 15 * minute, TCPLastAck: 45 * second, TCPTimeWait: 45 * second, TCPClose: 90 * second,
				UDP: 30 * second, UDPStream: 60 * second, ICMP: 20 * second,
			},
			Late:    Late{LAN: LANDrop, WAN: WANDrop},
			Mapping: AddressAndPortDependent,
			Ports:   Ports{Allocation: PortRandom},
		},
		Family:  Boxes,
		Summary: "pfSense with its normal setting: a day for TCP, a minute for UDP.",
		Origins: []Origin{
			documented(pfTimers, "timeouts.tcp_established", "timeouts.tcp_syn_sent", "timeouts.tcp_syn_recv",
				"timeouts.tcp_fin_wait", "timeouts.tcp_close_wait", "timeouts.tcp_last_ack", "timeouts.tcp_time_wait", "timeouts.tcp_close"),
			documented("FreeBSD's pfvar.h: one-way 30 s (60 s after the very first packet), two-way 60 s, ICMP 20 s.", "timeouts.udp", "timeouts.udp_stream", "timeouts.icmp"),
			chosen(oneTimer, "timeouts.tcp_max_retrans", "timeouts.tcp_unacknowledged"),
			unverified("A packet without a state meets the default rule, which blocks in silence; generally held.", "late"),
			unverified("pf gives each connection a port of its own, drawn at random unless static ports are asked for; generally held.", "mapping", "ports.allocation"),
		},
	},
	{
		Profile: Profile{
			Name: "pfsense-conservative",
			Timeouts: Timeouts{
				TCPEstablished: 120 * hour, TCPMaxRetrans: 120 * hour, TCPUnacknowledged: 120 * hour,
				TCPSynSent: 1 * hour, TCPSynRecv: 15 * minute,
				TCPFinWait: 1 * hour, TCPCloseWait: 1 * hour, TCPLastAck: 10 * minute, TCPTimeWait: 10 * minute, TCPClose: 3 * minute,
				UDP: 15 * minute, UDPStream: 15 * minute, ICMP: 20 * second,
			},
			Late:    Late{LAN: LANDrop, WAN: WANDrop},
			Mapping: AddressAndPortDependent,
			Ports:   Ports{Allocation: PortRandom},
		},
		Family:  Boxes,
		Summary: "pfSense with its conservative setting, which telephony asks for: five days for TCP, a quarter of an hour for UDP.",
		Origins: []Origin{
			documented(pfTimers, "timeouts.tcp_established", "timeouts.tcp_syn_sent", "timeouts.tcp_syn_recv",
				"timeouts.tcp_fin_wait", "timeouts.tcp_close_wait", "timeouts.tcp_last_ack", "timeouts.tcp_time_wait", "timeouts.tcp_close"),
			unverified("900 s, generally held; the table that we read has no UDP.", "timeouts.udp", "timeouts.udp_stream"),
			documented("FreeBSD's pfvar.h: ICMP 20 s.", "timeouts.icmp"),
			chosen(oneTimer, "timeouts.tcp_max_retrans", "timeouts.tcp_unacknowledged"),
			unverified("A packet without a state meets the default rule, which blocks in silence; generally held.", "late"),
			unverified("pf gives each connection a port of its own, drawn at random unless static ports are asked for; generally held.", "mapping", "ports.allocation"),
		},
	},
}
