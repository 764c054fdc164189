package nat

const (
	netPiculet = "Wang et al., An Untold Story of Middleboxes in Cellular Networks, SIGCOMM 2011 (NetPiculet), 73 carriers, as cited by others"
	weChat     = "The table in the WeMobileDev article on WeChat's heartbeat, measured about 2013 to 2015; age it accordingly."
	quicUDP    = "The IETF's document on the manageability of QUIC: 30 to 60 s in practice."
	mobileUDP  = "A usual figure for mobile carriers; not measured for this one."
)

// mobileProfiles are the networks of mobile carriers, as far as anything is known of them.
var mobileProfiles = []Named{
	{
		Profile: Profile{
			Name:     "carrier",
			Timeouts: Timeouts{TCPEstablished: 5 * minute, UDP: 30 * second, UDPStream: 60 * second},
			Late:     Late{LAN: LANDrop, WAN: WANDrop},
		},
		Family:  Mobile,
		Summary: "A strict mobile carrier: forgets an idle TCP connection after 5 minutes and says nothing to either side.",
		Origins: []Origin{
			reported(netPiculet+".", "timeouts.tcp_established").says("4 of 73 carriers at 5 min or less"),
			reported(quicUDP, "timeouts.udp", "timeouts.udp_stream").says("30 to 60 s"),
			chosen(carriersAreSilent, "late"),
		},
	},
	{
		Profile: Profile{
			Name:     "carrier-10m",
			Timeouts: Timeouts{TCPEstablished: 9 * minute, UDP: 30 * second, UDPStream: 60 * second},
			Late:     Late{LAN: LANDrop, WAN: WANDrop},
		},
		Family:  Mobile,
		Summary: "A mobile carrier that forgets before 10 minutes are over, as 11 of 73 did when they were measured.",
		Origins: []Origin{
			reported(netPiculet+".", "timeouts.tcp_established").says("11 of 73 carriers under 10 min, 7 of them over 5 min"),
			reported(quicUDP, "timeouts.udp", "timeouts.udp_stream").says("30 to 60 s"),
			chosen(carriersAreSilent, "late"),
		},
	},
	{
		Profile: Profile{
			Name:     "carrier-rst-255",
			Timeouts: Timeouts{TCPEstablished: 255 * second, UDP: 60 * second, UDPStream: 60 * second},
			Late:     Late{LAN: LANReset, WAN: WANDrop},
		},
		Family:  Mobile,
		Summary: "The one carrier of 73 that answered with a RST, after 255 idle seconds.",
		Origins: []Origin{
			reported(netPiculet+".", "timeouts.tcp_established", "late.lan"),
			unverified(mobileUDP, "timeouts.udp", "timeouts.udp_stream"),
			chosen("The source speaks of the phone's side only; the server hears nothing.", "late.wan"),
		},
	},
	{
		Profile: Profile{
			Name:     "cn-mobile-2g3g",
			Timeouts: Timeouts{TCPEstablished: 5 * minute, UDP: 60 * second, UDPStream: 60 * second},
			Late:     Late{LAN: LANDrop, WAN: WANDrop},
		},
		Family:  Mobile,
		Summary: "China Mobile's 2G and 3G networks of about 2013: TCP forgotten after 5 idle minutes, in silence.",
		Origins: []Origin{
			measured(weChat, "timeouts.tcp_established"),
			unverified(mobileUDP, "timeouts.udp", "timeouts.udp_stream"),
			chosen(carriersAreSilent, "late"),
		},
	},
	{
		Profile: Profile{
			Name:     "cn-unicom-2g",
			Timeouts: Timeouts{TCPEstablished: 5 * minute, UDP: 60 * second, UDPStream: 60 * second},
			Late:     Late{LAN: LANDrop, WAN: WANDrop},
		},
		Family:  Mobile,
		Summary: "China Unicom's 2G network of about 2013: 5 minutes, as China Mobile's.",
		Origins: []Origin{
			measured(weChat, "timeouts.tcp_established"),
			unverified(mobileUDP, "timeouts.udp", "timeouts.udp_stream"),
			chosen(carriersAreSilent, "late"),
		},
	},
	{
		Profile: Profile{
			Name: "cn-telecom-3g",
			Timeouts: Timeouts{
				TCPEstablished: 30 * minute, TCPMaxRetrans: 30 * minute, TCPUnacknowledged: 30 * minute,
				UDP: 60 * second, UDPStream: 60 * second,
			},
			Late: Late{LAN: LANDrop, WAN: WANDrop},
		},
		Family:  Mobile,
		Summary: "China Telecom's 3G network of about 2013, in which a heartbeat every 28 minutes was still enough. Its timeout was never found.",
		Origins: []Origin{
			measured(weChat+" 28 min is where that test ended, not where the network forgot.", "timeouts.tcp_established").says("> 28 min"),
			chosen(oneTimer, "timeouts.tcp_max_retrans", "timeouts.tcp_unacknowledged"),
			unverified(mobileUDP, "timeouts.udp", "timeouts.udp_stream"),
			chosen(carriersAreSilent, "late"),
		},
	},
	{
		Profile: Profile{
			Name: "us-3g",
			Timeouts: Timeouts{
				TCPEstablished: 30 * minute, TCPMaxRetrans: 30 * minute, TCPUnacknowledged: 30 * minute,
				UDP: 60 * second, UDPStream: 60 * second,
			},
			Late: Late{LAN: LANDrop, WAN: WANDrop},
		},
		Family:  Mobile,
		Summary: "The 3G networks of the United States and of Taiwan about 2013: a heartbeat every 28 minutes was still enough, and the timeout was never found.",
		Origins: []Origin{
			measured(weChat+" 28 min is where that test ended, not where the network forgot.", "timeouts.tcp_established").says("> 28 min"),
			chosen(oneTimer, "timeouts.tcp_max_retrans", "timeouts.tcp_unacknowledged"),
			unverified(mobileUDP, "timeouts.udp", "timeouts.udp_stream"),
			chosen(carriersAreSilent, "late"),
		},
	},
	{
		Profile: Profile{
			Name:     "fr-mobile-2020",
			Timeouts: Timeouts{TCPEstablished: 5 * minute},
			Late:     Late{LAN: LANDrop, WAN: WANDrop},
		},
		Family:  Mobile,
		Summary: "A French mobile operator in 2020: an XMPP connection outlived a keep-alive of 270 s, and not one of 9 minutes.",
		Origins: []Origin{
			reported("The blog wirelessmoves, September 2020: one user's phone and server.", "timeouts.tcp_established").says("between 270 s and 9 min"),
			chosen(carriersAreSilent, "late"),
		},
	},
	{
		Profile: Profile{
			Name: "twilio-super-sim",
			Timeouts: Timeouts{
				TCPEstablished: 6 * hour, TCPMaxRetrans: 6 * hour, TCPUnacknowledged: 6 * hour,
				UDP: 30 * second, UDPStream: 12 * second,
			},
			Late:    Late{LAN: LANDrop, WAN: WANDrop},
			Refresh: Refresh{Direction: RefreshOutbound},
		},
		Family:  Mobile,
		Summary: "The mobile core behind a SIM for things: six hours for TCP; for UDP less once there is an answer than before, as printed.",
		Origins: []Origin{
			documented("Twilio's documentation, Super SIM Network Timeouts (now KORE's); the visited network's own timeouts come on top.", "timeouts.tcp_established", "timeouts.udp", "timeouts.udp_stream"),
			documented("Twilio's documentation, Super SIM Network Timeouts: the timers run from when the device stops sending.", "refresh.direction"),
			chosen(oneTimer, "timeouts.tcp_max_retrans", "timeouts.tcp_unacknowledged"),
			chosen(carriersAreSilent, "late"),
		},
	},
}
