package nat

// cloudProfiles are what stands between a machine in a cloud and the world.
var cloudProfiles = []Named{
	{
		Profile: Profile{
			Name: "aws-nat-gateway",
			Timeouts: Timeouts{
				TCPEstablished: 350 * second, TCPMaxRetrans: 350 * second, TCPUnacknowledged: 350 * second,
				UDP: 120 * second, UDPStream: 120 * second,
			},
			Late: Late{LAN: LANReset, WAN: WANDrop},
		},
		Family:  Clouds,
		Summary: "The NAT gateway of Amazon VPC: forgets after 350 idle seconds, and answers a late packet from inside with a reset.",
		Origins: []Origin{
			documented("Amazon VPC User Guide, troubleshooting NAT gateways: 350 s, which nobody can change; a RST to the inside, never a FIN.", "timeouts.tcp_established", "late.lan"),
			chosen(oneTimer, "timeouts.tcp_max_retrans", "timeouts.tcp_unacknowledged"),
			unverified("A usual figure; the guide names none.", "timeouts.udp", "timeouts.udp_stream"),
			chosen("The guide does not say what a late packet from outside meets.", "late.wan"),
		},
	},
	{
		Profile: Profile{
			Name: "aws-network-firewall",
			Timeouts: Timeouts{
				TCPEstablished: 350 * second, TCPMaxRetrans: 350 * second, TCPUnacknowledged: 350 * second,
			},
			Late: Late{LAN: LANDrop, WAN: WANDrop},
		},
		Family:  Clouds,
		Summary: "The AWS Network Firewall: 350 s like AWS's NAT gateway, but in silence. It can be set from 60 s to 6000 s.",
		Origins: []Origin{
			documented("AWS Network Firewall API, FlowTimeouts: 350 s unless set; packets of a flow that has timed out are dropped.", "timeouts.tcp_established", "late"),
			chosen(oneTimer, "timeouts.tcp_max_retrans", "timeouts.tcp_unacknowledged"),
		},
	},
	{
		Profile: Profile{
			Name: "aws-ec2-nitro-v6",
			Timeouts: Timeouts{
				TCPEstablished: 350 * second, TCPMaxRetrans: 350 * second, TCPUnacknowledged: 350 * second,
				UDP: 30 * second, UDPStream: 180 * second,
			},
			Late: Late{LAN: LANDrop, WAN: WANDrop},
		},
		Family:  Clouds,
		Summary: "The connection tracking of a security group on the newest instances of EC2: 350 s, where older instances keep 5 days.",
		Origins: []Origin{
			documented("Amazon EC2 API, ConnectionTrackingConfiguration: 350 s on Nitro v6, 432000 s before; UDP 30 s, streams 180 s.", "timeouts.tcp_established", "timeouts.udp", "timeouts.udp_stream"),
			chosen(oneTimer, "timeouts.tcp_max_retrans", "timeouts.tcp_unacknowledged"),
			chosen("What is not tracked and not allowed by a rule is dropped; what a rule allows would pass.", "late"),
		},
	},
	{
		Profile: Profile{
			Name: "gcp-vpc",
			Timeouts: Timeouts{
				TCPEstablished: 10 * minute, TCPMaxRetrans: 10 * minute, TCPUnacknowledged: 10 * minute,
				UDP: 10 * minute, UDPStream: 10 * minute,
			},
			Late: Late{LAN: LANDrop, WAN: WANDrop},
		},
		Family:  Clouds,
		Summary: "The firewall of a Google Cloud VPC: ten minutes for everything, and nobody can change them.",
		Origins: []Origin{
			reported("Google's documentation of VPC firewall rules, as quoted by others: tracking is active while there is a packet every 10 minutes.", "timeouts.tcp_established", "timeouts.udp", "timeouts.udp_stream"),
			chosen(oneTimer, "timeouts.tcp_max_retrans", "timeouts.tcp_unacknowledged"),
			reported("Google's documentation of VPC firewall rules, as quoted by others: it is a new packet from outside, which is dropped.", "late.wan"),
			chosen("Outgoing packets are allowed there unless a rule forbids them; dropped is the harder case.", "late.lan"),
		},
	},
	{
		Profile: Profile{
			Name: "gcp-cloud-nat",
			Timeouts: Timeouts{
				TCPEstablished: 20 * minute, TCPMaxRetrans: 20 * minute, TCPUnacknowledged: 20 * minute,
				TCPSynSent: 30 * second, TCPSynRecv: 30 * second, TCPFinWait: 30 * second, TCPCloseWait: 30 * second, TCPLastAck: 30 * second,
				TCPTimeWait: 120 * second, UDP: 30 * second, UDPStream: 30 * second, ICMP: 30 * second,
			},
			Late:    Late{LAN: LANDrop, WAN: WANDrop},
			Mapping: AddressAndPortDependent,
			Ports:   Ports{Allocation: PortRandom, Range: PortRange{1024, 65535}, Block: 64},
		},
		Family:  Clouds,
		Summary: "Google's Cloud NAT as it comes: 20 minutes for TCP, half a minute for UDP, and 64 ports for a machine.",
		Origins: []Origin{
			documented("Terraform's provider for Google Cloud, google_compute_router_nat: the defaults of the service.", "timeouts.tcp_established", "timeouts.tcp_syn_sent", "timeouts.tcp_syn_recv",
				"timeouts.tcp_fin_wait", "timeouts.tcp_close_wait", "timeouts.tcp_last_ack", "timeouts.tcp_time_wait", "timeouts.udp", "timeouts.udp_stream", "timeouts.icmp"),
			chosen(oneTimer, "timeouts.tcp_max_retrans", "timeouts.tcp_unacknowledged"),
			chosen("Not documented; silence is the harder case.", "late"),
			documented("Terraform's provider for Google Cloud: 64 ports for a machine, and endpoint-independent mapping only if asked for. The real one uses a port again for another far end.", "ports.block", "mapping"),
			chosen("Which of its ports a connection gets is not documented.", "ports"),
		},
	},
}
