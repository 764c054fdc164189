package nat

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"outlive/lab/feature"
	"outlive/lab/netns"
)

// Checks gives what this package needs of the machine, each found out by trying it
// in a namespace of its own. They are to be tried inside a sandbox.
func Checks() []feature.Check {
	checks := []feature.Check{
		{Name: "iptables-restore", Try: tryTool},
		{Name: "connection tracking", Try: tryConntrack},
		{Name: "connection states in iptables", Try: tryRules("filtering by the state of connections", "CONFIG_NETFILTER_XT_MATCH_CONNTRACK", "xt_conntrack",
			"*filter", "-A FORWARD -m conntrack --ctstate INVALID -j DROP")},
		{Name: "reset by iptables", Try: tryRules("answering packets with a reset", "CONFIG_IP_NF_TARGET_REJECT", "ipt_REJECT",
			"*filter", "-A INPUT -p tcp -j REJECT --reject-with tcp-reset")},
		{Name: "masquerading", Try: tryRules("address translation", "CONFIG_NF_NAT, CONFIG_NETFILTER_XT_TARGET_MASQUERADE", "nf_nat xt_MASQUERADE",
			"*nat", "-A POSTROUTING -o wan+ -j MASQUERADE")},
		{Name: "masquerading with random ports", Try: tryRules("address translation to random ports", "iptables 1.6.2 or newer", "xt_MASQUERADE",
			"*nat", "-A POSTROUTING -o wan+ -j MASQUERADE --random-fully")},
		{Name: "nft", Try: tryNFT},
	}
	for _, need := range nftNeeds {
		checks = append(checks, feature.Check{Name: need.name, Try: need.try})
	}
	return checks
}

// tryNFT says which nft is in use.
func tryNFT(ctx context.Context) (string, error) {
	tool, err := nftTool()
	if err != nil {
		return "", err
	}
	ns, err := netns.New()
	if err != nil {
		return "", err
	}
	defer ns.Close()
	said, version, err := runTool(ctx, ns, "", tool, "--version")
	if err != nil {
		return "", fmt.Errorf("running %s: %w: %s", tool, err, strings.TrimSpace(said))
	}
	return strings.TrimPrefix(strings.TrimSpace(version), "nftables ") + ", " + tool, nil
}

// tryTool says which iptables-restore is in use, and its variant and version.
func tryTool(ctx context.Context) (string, error) {
	tool, err := findTool("iptables-restore")
	if err != nil {
		return "", err
	}
	if _, err := saver(); err != nil {
		return "", err
	}
	ns, err := netns.New()
	if err != nil {
		return "", err
	}
	defer ns.Close()
	said, version, err := runTool(ctx, ns, "", tool, "--version")
	if err != nil {
		return "", fmt.Errorf("running %s: %w: %s", tool, err, strings.TrimSpace(said))
	}
	version = strings.TrimPrefix(strings.TrimSpace(version), "iptables-restore ")
	if !strings.Contains(version, "(") {
		// Before 1.8 there was only one.
		version += " (legacy)"
	}
	return version + ", " + tool, nil
}

// tryConntrack makes sure that requests are answered, events can be had and the
// settings are there and writable.
func tryConntrack(context.Context) (string, error) {
	ns, err := netns.New()
	if err != nil {
		return "", err
	}
	defer ns.Close()
	t, err := openTable(ns)
	if err != nil {
		return "", err
	}
	defer t.Close()
	events, err := openEvents(ns)
	if err != nil {
		return "", err
	}
	defer events.Close()
	if err := setSysctls(ns, Sysctls(Default())); err != nil {
		return "", err
	}
	if wrong := compareSysctls(ns, Sysctls(Default())); len(wrong) > 0 {
		return "", fmt.Errorf("reading back settings: %s", strings.Join(wrong, "; "))
	}
	if _, err := t.dump(); err != nil {
		return "", noConntrack(err)
	}
	return fmt.Sprintf("with events and %d settings per namespace", len(Sysctls(Default()))), nil
}

// tryRules says whether a rule can be installed.
func tryRules(wanted, option, modules, table, rule string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		ns, err := netns.New()
		if err != nil {
			return "", err
		}
		defer ns.Close()
		err = restore(ctx, ns, table+"\n"+rule+"\nCOMMIT\n")
		var refused *RuleError
		if errors.As(err, &refused) && ctx.Err() == nil {
			return "", &feature.Unsupported{
				Feature: wanted,
				Needs:   "the kernel's or iptables' support for it (" + option + ")",
				Remedy:  "load it: sudo modprobe -a " + modules,
				Err:     err,
			}
		}
		if err != nil {
			return "", err
		}
		return rule, nil
	}
}
