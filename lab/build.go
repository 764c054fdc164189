package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"outlive/lab/netns"
)

// build makes what plan has laid out and calls prepare for each NAT and firewall beside it.
func (t *Topology) build(ctx context.Context, prepare func(context.Context, *Host) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var prepared sync.WaitGroup
	err := bootAll(ctx, t.hosts, func(h *Host) {
		if prepare == nil || !h.Role.forwards() {
			return
		}
		prepared.Go(func() {
			if err := prepare(ctx, h); err != nil {
				cancel(fmt.Errorf("preparing host %s: %w", h.Name, err))
			}
		})
	})
	if err == nil {
		err = t.wireUp(ctx)
	}
	if err != nil {
		cancel(err)
	}
	prepared.Wait()
	if err == nil {
		err = context.Cause(ctx)
	}
	return err
}

// wireUp makes the links between hosts and all that belongs to them.
func (t *Topology) wireUp(ctx context.Context) error {
	if err := t.Server().addLoopbackAddr(serverAddr); err != nil {
		return err
	}
	if t.Server().speaks6() {
		if err := t.Server().addLoopbackAddr(serverAddr6); err != nil {
			return err
		}
	}
	for _, p := range t.points {
		if p.bridge {
			if err := p.addBridge(); err != nil {
				return err
			}
		}
	}
	for _, w := range t.wires {
		if ctx.Err() != nil {
			return fmt.Errorf("building the topology: %w", context.Cause(ctx))
		}
		if err := w.lay(); err != nil {
			return err
		}
	}
	return finish(ctx, t.points, t.wires)
}

// bootWorkers is how many hosts are booted at once. Making a namespace is the one
// step that the kernel does not do one at a time.
const bootWorkers = 2

// bootAll boots the hosts and calls ready for each that is, from several goroutines.
func bootAll(ctx context.Context, hosts []*Host, ready func(*Host)) error {
	next := make(chan *Host, len(hosts))
	// NATs first: preparing them takes longer than anything else.
	for _, role := range []Role{RoleNAT, RoleFirewall, RoleDevice, RoleServer} {
		for _, h := range hosts {
			if h.Role == role {
				next <- h
			}
		}
	}
	close(next)
	errs := make([]error, bootWorkers)
	var wg sync.WaitGroup
	for worker := range bootWorkers {
		wg.Go(func() {
			for h := range next {
				if errs[worker] = h.boot(ctx); errs[worker] != nil {
					return
				}
				ready(h)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err // others are most likely the same
		}
	}
	return nil
}

// finish gives interfaces that exist their addresses, routes and neighbours, turns
// their offloads off and waits until their wires carry packets.
func finish(ctx context.Context, interfaces []*Interface, wires []*wire) error {
	for _, i := range interfaces {
		if err := i.configure(); err != nil {
			return err
		}
	}
	routers := map[*Host]bool{}
	for _, i := range interfaces {
		if i.Host.Role != RoleFirewall || routers[i.Host] {
			continue
		}
		routers[i.Host] = true
		if err := i.Host.forwardIPv6(); err != nil {
			return err
		}
	}
	for _, i := range interfaces {
		if err := i.offloadsOff(); err != nil {
			return err
		}
	}
	for _, w := range wires {
		if err := w.awaitUp(ctx); err != nil {
			return err
		}
	}
	return nil
}

// boot makes the host's namespace and sets what must be set before it has interfaces.
func (h *Host) boot(ctx context.Context) error {
	if ctx.Err() != nil {
		return fmt.Errorf("building host %s: %w", h.Name, context.Cause(ctx))
	}
	ns, err := netns.New()
	if err != nil {
		return fmt.Errorf("building host %s: %w", h.Name, err)
	}
	h.NS = ns
	if err := ns.SetSysctls(h.sysctls()); err != nil {
		return fmt.Errorf("building host %s: %w", h.Name, err)
	}
	if h.speaks6() {
		if err := h.prepareIPv6(); err != nil {
			return fmt.Errorf("building host %s: %w", h.Name, err)
		}
	}
	// New interfaces start from the default, and those that are to have IPv6 are given it
	// later. The loopback keeps ::1, which no
	// packet leaves. A kernel without IPv6 does not have the key.
	if err := ns.SetSysctl("net.ipv6.conf.default.disable_ipv6", "1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("building host %s: %w", h.Name, err)
	}
	return nil
}

// sysctls states what a new namespace copies from the machine and what a router or
// host of the lab needs.
func (h *Host) sysctls() map[string]string {
	s := map[string]string{
		"net.ipv4.ip_forward":             "0",
		"net.ipv4.conf.all.rp_filter":     "0",
		"net.ipv4.conf.default.rp_filter": "0",
	}
	switch h.Role {
	case RoleNAT:
		s["net.ipv4.ip_forward"] = "1"
		s["net.ipv4.conf.all.send_redirects"] = "0"
		s["net.ipv4.conf.default.send_redirects"] = "0"
	case RoleServer:
		// Servers run as an ordinary user and want ports such as 443.
		s["net.ipv4.ip_unprivileged_port_start"] = "0"
	}
	return s
}

// loopbackIndex is the number of "lo" in every namespace (LOOPBACK_IFINDEX in net/flow.h).
const loopbackIndex = 1

func (h *Host) addLoopbackAddr(addr netip.Addr) error {
	lo := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "lo", Index: loopbackIndex}}
	if err := h.NS.Netlink().AddrAdd(lo, netlinkAddr(netip.PrefixFrom(addr, addr.BitLen()))); err != nil {
		return fmt.Errorf("giving host %s the address %s: %w", h.Name, addr, err)
	}
	return nil
}

// configure gives an interface that exists its addresses, routes and neighbours.
func (i *Interface) configure() error {
	nl, link := i.Host.NS.Netlink(), i.link()
	if i.Addr6.IsValid() {
		if err := i.configureIPv6(); err != nil {
			return err
		}
	}
	if i.Addr.IsValid() {
		if err := nl.AddrAdd(link, netlinkAddr(i.Addr)); err != nil {
			return i.failed("giving it the address "+i.Addr.String(), err)
		}
	}
	if i.gateway.IsValid() {
		route := &netlink.Route{LinkIndex: i.Index, Gw: i.gateway.AsSlice(), Priority: i.metric}
		if err := nl.RouteAdd(route); err != nil {
			return i.failed("adding a default route by "+i.gateway.String(), err)
		}
	}
	if err := i.addPoolRoute(); err != nil {
		return err
	}
	return i.setNeighbours()
}

// setNeighbours enters the neighbours; it may be called again after the kernel has
// flushed them, which it does when an interface goes down.
func (i *Interface) setNeighbours() error {
	for _, n := range i.neighbours {
		err := i.Host.NS.Netlink().NeighSet(&netlink.Neigh{
			LinkIndex: i.Index, Family: familyOf(n.addr), State: netlink.NUD_PERMANENT,
			IP: n.addr.AsSlice(), HardwareAddr: n.mac,
		})
		if err != nil {
			return i.failed("entering its neighbour "+n.addr.String(), err)
		}
	}
	return nil
}

func familyOf(addr netip.Addr) int {
	if addr.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// link is what the netlink package wants to see of an interface.
func (i *Interface) link() netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: i.Name, Index: i.Index}}
}

// failed says what went wrong with which interface.
func (i *Interface) failed(doing string, err error) error {
	return fmt.Errorf("interface %s of host %s: %s: %w", i.Name, i.Host.Name, doing, err)
}

func netlinkAddr(p netip.Prefix) *netlink.Addr { return &netlink.Addr{IPNet: ipNet(p)} }

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
