package nat

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mdlayher/netlink"

	"outlive/lab"
	"outlive/lab/netns"
)

// NAT is a router of the lab that has been made a NAT. It is safe for concurrent use.
type NAT struct {
	host    *lab.Host
	profile Profile
	rules   string
	table   *table
	// elements is a way to the maps in which the rules have the mappings; nil where conntrack has them.
	elements *elements

	// evictor keeps it within its limits, if that takes one.
	evictor *evictor

	// checking is held by the one self-check that may run; it guards prober.
	checking sync.Mutex
	prober   *prober

	mu sync.Mutex
	// events is the socket on which mapping events wait for the first Watch.
	events *netlink.Conn
	// touched is when the lab last deleted mappings, and touches how often it began or ended to.
	touched time.Time
	touches int
	// evictions are those that Watch has not told of yet.
	evictions evictions
}

// Install makes the host a NAT of the given profile, or if it is to be a firewall
// (lab.RoleFirewall) an IPv6 firewall: its kernel settings, then
// its rules by one run of iptables-restore or nft, then the settings read back. The
// host's interfaces need not be there yet. Mapping events are kept for Watch from
// here on. The error is a *RuleError where the rules were refused, a
// *feature.Unsupported where the kernel or a tool lacks something.
func Install(ctx context.Context, host *lab.Host, p Profile) (*NAT, error) {
	n := &NAT{host: host, profile: p.Complete()}
	if n.Firewall() {
		n.profile = p.CompleteFirewall()
	}
	n.rules = n.profileRules()
	if err := n.install(ctx); err != nil {
		n.Close()
		return nil, fmt.Errorf("making %s a %s: %w", host.Name, n.kind(), err)
	}
	return n, nil
}

func (n *NAT) install(ctx context.Context) error {
	// The first message to conntrack loads it where it is a module; before that
	// its settings do not exist.
	var err error
	if n.table, err = openTable(n.host.NS); err != nil {
		return err
	}
	if n.events, err = openEvents(n.host.NS); err != nil {
		return err
	}
	if !n.Firewall() && n.backend() == BackendNFTables {
		if n.elements, err = openElements(n.host.NS); err != nil {
			return err
		}
	}
	if err := setSysctls(n.host.NS, n.sysctls()); err != nil {
		return err
	}
	if err := n.apply(ctx, n.host.NS, n.rules); err != nil {
		return err
	}
	if err := n.startEvictor(); err != nil {
		return err
	}
	if wrong := compareSysctls(n.host.NS, n.sysctls()); len(wrong) > 0 {
		return fmt.Errorf("reading back its settings: %s", strings.Join(wrong, "; "))
	}
	return nil
}

// Close lets go of the NAT's sockets. Rules and mappings stay as they are, until
// the namespace goes. A Watch or SelfCheck that runs is to be ended first, by its context.
func (n *NAT) Close() error {
	n.checking.Lock()
	if n.prober != nil {
		n.prober.close()
		n.prober = nil
	}
	n.checking.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	var problems []error
	if n.evictor != nil {
		problems = append(problems, n.evictor.close())
		n.evictor = nil
	}
	if n.table != nil {
		problems = append(problems, n.table.Close())
	}
	if n.elements != nil {
		problems = append(problems, n.elements.Close())
	}
	if n.events != nil {
		problems = append(problems, n.events.Close())
		n.events = nil
	}
	return errors.Join(problems...)
}

// Name is the name of the NAT's host.
func (n *NAT) Name() string { return n.host.Name }

// Profile is what was installed, complete.
func (n *NAT) Profile() Profile { return n.profile }

// Rules gives the rules as they were installed, with their comments.
func (n *NAT) Rules() string { return n.rules }

// Counters gives the rules as the kernel has them now, with the packets and bytes
// that each has matched (iptables-save -c).
func (n *NAT) Counters(ctx context.Context) (string, error) {
	text, err := n.listing(ctx, n.host.NS, true)
	if err != nil {
		return "", fmt.Errorf("reading the rule counters of NAT %s: %w", n.host.Name, err)
	}
	return text, nil
}

// setSysctls is SetSysctls with a better word for a kernel without conntrack.
func setSysctls(ns *netns.NS, settings map[string]string) error {
	err := ns.SetSysctls(settings)
	if errors.Is(err, fs.ErrNotExist) {
		return noConntrack(err)
	}
	return err
}

// compareSysctls says in words which settings differ from those wanted.
func compareSysctls(ns *netns.NS, want map[string]string) []string {
	var wrong []string
	// One visit to the namespace for all: the visit costs more than the reading.
	err := ns.Do(func() error {
		for _, key := range slices.Sorted(maps.Keys(want)) {
			value, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(key, ".", "/"))
			if err != nil {
				return err
			}
			if got := strings.TrimSpace(string(value)); got != want[key] {
				wrong = append(wrong, fmt.Sprintf("%s is %s, asked for was %s", strings.TrimPrefix(key, "net.netfilter."), got, want[key]))
			}
		}
		return nil
	})
	if err != nil {
		wrong = append(wrong, fmt.Sprintf("the settings could not be read: %v", err))
	}
	return wrong
}
