package nat

const (
	hatonen         = "Hätönen et al., An Experimental Study of Home Gateway Characteristics, IMC 2010, 34 devices"
	hatonenPaper    = hatonen + "; the figure is known from the paper, whose inner pages we have not read."
	gatewaysDrop    = "Real gateways differ; silence is the harder case."
	linuxMeasured   = "Measured on Linux 6.18 with masquerading, tcp_loose=1 and no filter."
	linuxMaps       = "Measured on Linux 6.18: the inside port is kept while no other mapping has it, so that the mapping is the same for every far end; who was not spoken to does not get in."
	openWrtDefaults = "OpenWrt's sysctl-nf-conntrack.conf, as cited by others."
)

// homeProfiles are routers in homes.
var homeProfiles = []Named{
	{
		Profile: Profile{Name: "linux", Late: Late{LAN: LANRevive, WAN: WANReset}},
		Family:  HomeRouters,
		Summary: "A Linux router with nothing set but masquerading: 5 days, a late packet from inside revives the mapping, one from outside is answered with a reset.",
		Origins: []Origin{
			documented("The Linux kernel's Documentation/networking/nf_conntrack-sysctl.rst.", "timeouts"),
			measured(linuxMeasured+" One difference: late FIN and RST packets, which such a router lets out with their private address, are dropped.", "late"),
			measured(linuxMaps, "mapping", "filtering", "ports.allocation"),
			measured("Measured on Linux 6.18: packets of both directions refresh, TCP's keep-alive probes among them.", "refresh"),
		},
	},
	{
		Profile: Profile{
			Name:     "openwrt",
			Timeouts: Timeouts{TCPEstablished: 7440 * second, UDP: 60 * second, UDPStream: 180 * second},
			Late:     Late{LAN: LANRevive, WAN: WANDrop},
		},
		Family:  HomeRouters,
		Summary: "A good home router, OpenWrt as it ships: keeps idle TCP for the 2 h 4 min of RFC 5382, drops what comes unasked from outside, and takes up a late packet from inside.",
		Origins: []Origin{
			reported(openWrtDefaults, "timeouts.tcp_established", "timeouts.udp", "timeouts.udp_stream"),
			documented("The Linux kernel's Documentation/networking/nf_conntrack-sysctl.rst; OpenWrt does not set it.", "timeouts"),
			measured(linuxMeasured, "late.lan"),
			chosen("A closed WAN side; whether its firewall drops or rejects is a setting.", "late.wan"),
			measured(linuxMaps, "mapping", "filtering", "ports.allocation"),
		},
	},
	{
		Profile: Profile{
			Name:     "home-median",
			Timeouts: Timeouts{TCPEstablished: 1 * hour, UDP: 90 * second, UDPStream: 180 * second},
			Late:     Late{LAN: LANDrop, WAN: WANDrop},
		},
		Family:  HomeRouters,
		Summary: "The home router in the middle of 34 measured in 2010: an idle TCP connection lives for about an hour, far less than RFC 5382 asks for.",
		Origins: []Origin{
			unverified(hatonenPaper, "timeouts.tcp_established").says("median about 60 min"),
			unverified(hatonenPaper, "timeouts.udp", "timeouts.udp_stream").says("medians 90 s one-way, 180 s with answers"),
			chosen(gatewaysDrop, "late"),
		},
	},
	{
		Profile: Profile{
			Name:     "home-worst",
			Timeouts: Timeouts{TCPEstablished: 4 * minute, UDP: 30 * second, UDPStream: 30 * second},
			Late:     Late{LAN: LANDrop, WAN: WANDrop},
		},
		Family:  HomeRouters,
		Summary: "The worst of 34 home routers measured in 2010: TCP forgotten after 4 minutes, UDP after 30 s.",
		Origins: []Origin{
			unverified(hatonenPaper, "timeouts.tcp_established").says("shortest about 4 min"),
			measured(hatonen+": the slides' minimum for one packet out and no answer.", "timeouts.udp"),
			chosen("The shortest one-way figure; the shortest with answers is not known.", "timeouts.udp_stream"),
			chosen(gatewaysDrop, "late"),
		},
	},
}
