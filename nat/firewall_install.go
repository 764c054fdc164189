package nat

import (
	"context"
	"fmt"
	"strings"

	"outlive/lab/netns"
)

// kind is what people call it: "NAT", "firewall".
func (n *NAT) kind() string {
	if n.Firewall() {
		return "firewall"
	}
	return "NAT"
}

// sysctls are the settings that its namespace must have.
func (n *NAT) sysctls() map[string]string {
	if n.Firewall() {
		return FirewallSysctls(n.profile)
	}
	return Sysctls(n.profile)
}

// load installs the rules of its profile in a namespace that has none.
func (n *NAT) load(ctx context.Context, ns *netns.NS) error {
	return n.apply(ctx, ns, n.profileRules())
}

// listing gives the rules as a namespace has them: two of the same rules are the same text.
// counted adds what the kernel has counted, and what its sets hold.
func (n *NAT) listing(ctx context.Context, ns *netns.NS, counted bool) (string, error) {
	if n.backend() == BackendIPTables {
		if counted {
			return save(ctx, ns, "-c")
		}
		return save(ctx, ns)
	}
	args := []string{"--stateless", "--terse", "list", "ruleset"}
	if counted {
		args = args[2:]
	}
	return runNFT(ctx, ns, "", args...)
}

// runNFT runs nft in the namespace and gives what it writes.
func runNFT(ctx context.Context, ns *netns.NS, input string, args ...string) (string, error) {
	tool, err := nftTool()
	if err != nil {
		return "", err
	}
	said, text, err := runTool(ctx, ns, input, tool, args...)
	if err != nil {
		return "", fmt.Errorf("running %s: %w: %s", tool, err, strings.TrimSpace(said))
	}
	return text, nil
}

// shutAll closes every endpoint of a firewall that is open to more than it has spoken to,
// and empties the maps of a NAT's rules.
func (n *NAT) shutAll() error {
	if err := n.forgetAll(); err != nil {
		return fmt.Errorf("flushing the mappings of NAT %s: %w", n.host.Name, err)
	}
	if !n.Firewall() || openKey(n.profile.Filtering) == nil {
		return nil
	}
	if _, err := runNFT(context.Background(), n.host.NS, "", "flush", "set", "ip6", firewallTable, "open"); err != nil {
		return fmt.Errorf("closing the endpoints of firewall %s: %w", n.host.Name, err)
	}
	return nil
}

// shut closes the endpoint that belongs to a state record, and deletes a mapping from the
// maps of a NAT's rules.
func (n *NAT) shut(m Mapping) error {
	if err := n.forget(m); err != nil {
		return fmt.Errorf("deleting mapping %s of NAT %s: %w", m.WAN, n.host.Name, err)
	}
	if !n.Firewall() || openKey(n.profile.Filtering) == nil {
		return nil
	}
	key := fmt.Sprintf("%s . %s . %d", m.Protocol, m.LAN.Addr(), m.LAN.Port())
	if n.profile.Filtering == AddressDependent {
		key += " . " + m.Remote.Addr().String()
	}
	// That there is none any more is no error, and nft knows no other way to say so.
	element := fmt.Sprintf("element ip6 %s open { %s }\n", firewallTable, key)
	if _, err := runNFT(context.Background(), n.host.NS, "add "+element+"delete "+element, "-f", "-"); err != nil {
		return fmt.Errorf("closing endpoint %s of firewall %s: %w", m.LAN, n.host.Name, err)
	}
	return nil
}

// String is what people call it: "NAT cell", "firewall cell".
func (n *NAT) String() string {
	if n.Firewall() {
		return "firewall " + n.host.Name
	}
	return "NAT " + n.host.Name
}
