package nat

// balancerProfiles are load balancers, which keep a mapping for a connection as a NAT
// does and forget it in the same way.
var balancerProfiles = []Named{
	{
		Profile: Profile{
			Name: "azure-lb",
			Timeouts: Timeouts{
				TCPEstablished: 4 * minute, UDP: 4 * minute, UDPStream: 4 * minute,
			},
			Late: Late{LAN: LANDrop, WAN: WANDrop},
		},
		Family:  LoadBalancers,
		Summary: "The Azure Load Balancer as it comes: 4 minutes, in silence. It can be set to 100 minutes.",
		Origins: []Origin{
			documented("Microsoft, Load Balancer TCP reset and idle timeout: 4 minutes, flows dropped in silence unless TCP reset is on.", "timeouts.tcp_established", "late"),
			unverified("4 minutes, generally held.", "timeouts.udp", "timeouts.udp_stream"),
		},
	},
	{
		Profile: Profile{
			Name: "azure-lb-reset",
			Timeouts: Timeouts{
				TCPEstablished: 4 * minute, UDP: 4 * minute, UDPStream: 4 * minute,
			},
			Late: Late{LAN: LANReset, WAN: WANReset},
		},
		Family:  LoadBalancers,
		Summary: "The Azure Load Balancer with its option TCP reset. The real one sends a RST to both ends when the time is up, this one to who speaks next.",
		Origins: []Origin{
			documented("Microsoft, Load Balancer TCP reset and idle timeout.", "timeouts.tcp_established"),
			documented("Microsoft, Load Balancer TCP reset: a RST in both directions, at the timeout and not at the next packet as here.", "late"),
			unverified("4 minutes, generally held.", "timeouts.udp", "timeouts.udp_stream"),
		},
	},
	{
		Profile: Profile{
			Name: "aws-nlb",
			Timeouts: Timeouts{
				TCPEstablished: 350 * second, TCPMaxRetrans: 350 * second, TCPUnacknowledged: 350 * second,
				UDP: 120 * second, UDPStream: 120 * second,
			},
			Late: Late{LAN: LANReset, WAN: WANReset},
		},
		Family:  LoadBalancers,
		Summary: "The Network Load Balancer of AWS: 350 s, after which who speaks gets a RST. It can be set from 60 s to 6000 s.",
		Origins: []Origin{
			documented("AWS, Update the TCP idle timeout for your Network Load Balancer listener.", "timeouts.tcp_established"),
			documented("AWS, questions and answers on Elastic Load Balancing.", "timeouts.udp", "timeouts.udp_stream"),
			chosen(oneTimer, "timeouts.tcp_max_retrans", "timeouts.tcp_unacknowledged"),
			unverified("A RST to who sends, generally held.", "late"),
		},
	},
	{
		Profile: Profile{
			Name: "oci-nlb",
			Timeouts: Timeouts{
				TCPEstablished: 6 * minute, TCPMaxRetrans: 6 * minute, TCPUnacknowledged: 6 * minute,
				UDP: 2 * minute, UDPStream: 2 * minute,
			},
			Late: Late{LAN: LANDrop, WAN: WANDrop},
		},
		Family:  LoadBalancers,
		Summary: "Oracle Cloud's network load balancer as it comes: 6 minutes for TCP, two for UDP.",
		Origins: []Origin{
			documented("Oracle Cloud, Changing a Listener's Idle Timeout: TCP 360 s, UDP 120 s.", "timeouts.tcp_established", "timeouts.udp", "timeouts.udp_stream"),
			chosen(oneTimer, "timeouts.tcp_max_retrans", "timeouts.tcp_unacknowledged"),
			chosen("Not documented; silence is the harder case.", "late"),
		},
	},
	{
		Profile: Profile{
			Name: "ipvs",
			Timeouts: Timeouts{
				TCPEstablished: 15 * minute, TCPMaxRetrans: 15 * minute, TCPUnacknowledged: 15 * minute,
				TCPSynSent: 120 * second, TCPSynRecv: 60 * second, TCPFinWait: 120 * second, TCPCloseWait: 60 * second,
				TCPLastAck: 30 * second, TCPTimeWait: 120 * second, TCPClose: 10 * second,
				UDP: 5 * minute, UDPStream: 5 * minute,
			},
			Late: Late{LAN: LANDrop, WAN: WANDrop},
		},
		Family:  LoadBalancers,
		Summary: "The Linux kernel's IPVS, as under Kubernetes and Docker Swarm: a quarter of an hour, then packets go nowhere.",
		Origins: []Origin{
			documented("The Linux kernel's net/netfilter/ipvs/ip_vs_proto_tcp.c, and what ipvsadm -l --timeout prints: 900 120 300.", "timeouts"),
			chosen(oneTimer, "timeouts.tcp_max_retrans", "timeouts.tcp_unacknowledged"),
			chosen("IPVS has no timer for it; the kernel's default.", "timeouts.icmp", "timeouts.generic"),
			reported("docker/docker issue 31208: idle connections are stuck after 15 minutes.", "late"),
		},
	},
}
