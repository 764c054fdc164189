package nat_test

import "outlive/nat"

const (
	ei  = nat.EndpointIndependent
	ad  = nat.AddressDependent
	apd = nat.AddressAndPortDependent
)

// behaviours are the combinations that the property is tested on, besides those of the catalogue.
var behaviours = []struct {
	name    string
	profile nat.Profile
}{
	{"ei-ei", nat.Profile{Mapping: ei, Filtering: ei}},
	{"ei-ad", nat.Profile{Mapping: ei, Filtering: ad}},
	{"ei-apd-random", nat.Profile{Mapping: ei, Filtering: apd, Ports: nat.Ports{Allocation: nat.PortRandom}}},
	{"ad-ei", nat.Profile{Mapping: ad, Filtering: ei}},
	{"ad-ad-random", nat.Profile{Mapping: ad, Filtering: ad, Ports: nat.Ports{Allocation: nat.PortRandom}}},
	{"ad-apd", nat.Profile{Mapping: ad, Filtering: apd}},
	{"apd-ei", nat.Profile{Mapping: apd, Filtering: ei}},
	{"apd-ad", nat.Profile{Mapping: apd, Filtering: ad}},
	{"apd-apd", nat.Profile{Mapping: apd, Filtering: apd}},
	{"outbound", nat.Profile{Refresh: nat.Refresh{Direction: nat.RefreshOutbound}}},
	{"no-ack", nat.Profile{Refresh: nat.Refresh{IgnoreACK: true}}},
	{"outbound-no-ack-reset", nat.Profile{Refresh: nat.Refresh{Direction: nat.RefreshOutbound, IgnoreACK: true}, Late: nat.Late{LAN: nat.LANReset, WAN: nat.WANReset}}},
	{"range", nat.Profile{Ports: nat.Ports{Range: nat.PortRange{First: 20000, Last: 29999}}}},
	{"hairpin", nat.Profile{Mapping: ei, Filtering: ei, Hairpin: true}},
	{"hairpin-ad", nat.Profile{Mapping: ei, Filtering: ad, Hairpin: true}},
	{"pool", nat.Profile{Pool: nat.Pool{Addresses: 4}}},
	{"pool-paired", nat.Profile{Pool: nat.Pool{Addresses: 4, Paired: true}}},
	{"subscriber", nat.Profile{Limits: nat.Limits{Subscriber: 3}}},
	{"subscriber-apd", nat.Profile{Mapping: apd, Limits: nat.Limits{Subscriber: 3}}},
	{"hairpin-apd-reset", nat.Profile{Mapping: apd, Filtering: apd, Hairpin: true, Late: nat.Late{LAN: nat.LANReset, WAN: nat.WANReset}}},
	{"revive-ei-ei", nat.Profile{Mapping: ei, Filtering: ei, Late: nat.Late{LAN: nat.LANRevive, WAN: nat.WANReset}}},
	{"remap-ei", nat.Profile{Mapping: ei, Ports: nat.Ports{Allocation: nat.PortRandom}, Late: nat.Late{LAN: nat.LANRemap}}},
	{"outbound-ei-ei-hairpin", nat.Profile{Mapping: ei, Filtering: ei, Hairpin: true, Refresh: nat.Refresh{Direction: nat.RefreshOutbound}}},
	{"block", nat.Profile{Ports: nat.Ports{Allocation: nat.PortRandom, Range: nat.PortRange{First: 20000, Last: 39999}, Block: 3}}},
}
