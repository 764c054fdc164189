package nat

import (
	"context"
	"errors"

	"outlive/lab/feature"
	"outlive/lab/netns"
)

// backend is what makes this NAT or firewall.
func (n *NAT) backend() string {
	if n.Firewall() {
		return BackendNFTables
	}
	return n.profile.Backend()
}

// profileRules are the rules that its profile asks for at its place.
func (n *NAT) profileRules() string {
	if n.Firewall() {
		return FirewallRules(n.profile)
	}
	return rulesFor(n.profile, siteOf(n.host, n.profile))
}

// apply installs a ruleset for its back end in a namespace that has none, all or nothing.
func (n *NAT) apply(ctx context.Context, ns *netns.NS, ruleset string) error {
	if n.backend() == BackendIPTables {
		return restore(ctx, ns, ruleset)
	}
	err := loadNFT(ctx, ns, ruleset)
	var refused *RuleError
	if errors.As(err, &refused) {
		// Is it the ruleset, or does the machine lack something?
		for _, need := range nftNeeds {
			if _, lacking := need.try(ctx); lacking != nil {
				return errors.Join(lacking, err)
			}
		}
	}
	return err
}

// nftNeed is something that rulesets for nft take, with the rules that show whether it is there.
type nftNeed struct {
	name            string
	wanted          string
	option, modules string
	rules           string
}

// nftNeeds are written by hand and not by what writes rulesets, so that a mistake of
// the latter does not look like a machine that lacks something.
var nftNeeds = []nftNeed{
	{"translation by maps", "a NAT that iptables cannot make", "CONFIG_NF_TABLES, CONFIG_NFT_NAT, CONFIG_NFT_CT", "nf_tables nft_chain_nat nft_nat nft_ct", `table ip try {
	map mapped {
		type ipv4_addr . inet_service : ipv4_addr . inet_service
		size 16
		flags dynamic,timeout
	}
	chain outward {
		type nat hook postrouting priority srcnat
		meta l4proto tcp snat ip to ip saddr . th sport map @mapped
	}
	chain learn {
		type filter hook postrouting priority 110
		meta l4proto tcp ct status snat ct expiration 1s-2s update @mapped { ct original ip saddr . ct original proto-src timeout 2s : ct reply ip daddr . ct reply proto-dst }
	}
}
`},
	{"drawn ports", "outside ports of the rules' own", "CONFIG_NFT_NUMGEN", "nft_numgen", `table ip try {
	chain outward {
		type nat hook postrouting priority srcnat
		tcp sport set numgen random mod 4227858432 offset 67108864
	}
}
`},
	{"paired pooling", "a pool of addresses", "CONFIG_NFT_HASH", "nft_hash", `table ip try {
	chain outward {
		type nat hook postrouting priority srcnat
		ip saddr set jhash ip saddr mod 2 seed 0x1 map { 0 : 192.0.2.0, 1 : 192.0.2.1 }
	}
}
`},
	{"limits of connections", "limits of a NAT's table", "CONFIG_NFT_CONNLIMIT", "nft_connlimit", `table ip try {
	set subscribers {
		type ipv4_addr
		size 16
		flags dynamic
	}
	chain forward {
		type filter hook forward priority filter
		add @subscribers { ip saddr ct count over 1 } drop
	}
}
`},
	{"resets before connection tracking", "resets of late packets beside a refresh rule", "CONFIG_NFT_REJECT, Linux 5.9 or newer", "nft_reject_ipv4", `table ip try {
	chain gate {
		type filter hook prerouting priority raw
		meta l4proto tcp reject with tcp reset
	}
}
`},
	{"IPv6 firewalls", "an IPv6 firewall", "CONFIG_NF_TABLES_IPV6, CONFIG_NFT_CT, CONFIG_NFT_REJECT_IPV6", "nf_tables nft_ct nft_reject_ipv6", `table ip6 try {
	set open {
		type inet_proto . ipv6_addr . inet_service
		size 16
		flags dynamic,timeout
	}
	chain forward {
		type filter hook forward priority filter
		ct state invalid meta l4proto tcp reject with tcp reset
		ct status assured update @open { meta l4proto . ip6 saddr . th sport timeout 2s }
	}
}
`},
}

// try finds out whether it is there.
func (need nftNeed) try(ctx context.Context) (string, error) {
	ns, err := netns.New()
	if err != nil {
		return "", err
	}
	defer ns.Close()
	err = loadNFT(ctx, ns, need.rules)
	var refused *RuleError
	if errors.As(err, &refused) && ctx.Err() == nil {
		return "", &feature.Unsupported{
			Feature: need.wanted,
			Needs:   "the kernel's and nft's support for it (" + need.option + ")",
			Remedy:  "load it: sudo modprobe -a " + need.modules,
			Err:     err,
		}
	}
	if err != nil {
		return "", err
	}
	return "by nft", nil
}

// loadNFT installs a ruleset for nft.
func loadNFT(ctx context.Context, ns *netns.NS, ruleset string) error {
	tool, err := nftTool()
	if err != nil {
		return err
	}
	output, _, err := runTool(ctx, ns, ruleset, tool, "-f", "-")
	if err != nil {
		return &RuleError{Tool: tool, Ruleset: ruleset, Output: output, Err: err}
	}
	return nil
}

func nftTool() (string, error) {
	tool, err := findTool("nft")
	if err != nil {
		return "", &feature.Unsupported{
			Feature: "a firewall, or a NAT that iptables cannot make",
			Needs:   "nft of the nftables package",
			Remedy:  "install it: sudo apt-get install nftables",
			Err:     err,
		}
	}
	return tool, nil
}
