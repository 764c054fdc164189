package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"outlive/lab/feature"
)

// prepareIPv6 sets, before the host has interfaces, what is to hold for those that
// will have IPv6: they have the address that they are given and no other, and say nothing
// of their own accord.
func (h *Host) prepareIPv6() error {
	settings := map[string]string{
		"net.ipv6.conf.default.addr_gen_mode":        "1", // no link-local address
		"net.ipv6.conf.default.accept_dad":           "0",
		"net.ipv6.conf.default.accept_ra":            "0",
		"net.ipv6.conf.default.autoconf":             "0",
		"net.ipv6.conf.default.accept_redirects":     "0",
		"net.ipv6.conf.default.router_solicitations": "0",
		// An IPv4 address outlives a link that is down; this one is to as well.
		"net.ipv6.conf.default.keep_addr_on_down": "1",
	}
	err := h.NS.SetSysctls(settings)
	if errors.Is(err, fs.ErrNotExist) {
		return &feature.Unsupported{
			Feature: "IPv6", Needs: "a kernel with IPv6 (CONFIG_IPV6) that was not booted with ipv6.disable=1",
			Remedy: "boot it with IPv6, or leave out firewalls", Err: err,
		}
	}
	return err
}

// enableIPv6 gives the interface of that name IPv6. Its flags must have been set: from
// here on the kernel would report the multicast groups that it joins.
func (h *Host) enableIPv6(name string) error {
	return h.NS.SetSysctl("net.ipv6.conf."+name+".disable_ipv6", "0")
}

// configureIPv6 gives an interface that exists its IPv6 address and routes. It must
// come before the neighbours, which the kernel flushes when the flags change.
func (i *Interface) configureIPv6() error {
	nl, link := i.Host.NS.Netlink(), i.link()
	// Without address resolution nothing joins the multicast groups that go with it, and
	// without multicast a router joins none either: joining them is reported, by MLD.
	if err := nl.LinkSetARPOff(link); err != nil {
		return i.failed("turning off address resolution", err)
	}
	if err := nl.LinkSetMulticastOff(link); err != nil {
		return i.failed("turning off multicast", err)
	}
	if err := i.Host.enableIPv6(i.Name); err != nil {
		return i.failed("giving it IPv6", err)
	}
	addr := netlinkAddr(i.Addr6)
	addr.Flags = unix.IFA_F_NODAD
	if err := nl.AddrAdd(link, addr); err != nil {
		return i.failed("giving it the address "+i.Addr6.String(), err)
	}
	return i.addRoutes6()
}

// forwardIPv6 makes the host a router, once its interfaces are configured: one that has not
// had multicast turned off joins the group of all routers and reports it. Interfaces that
// are made later begin as those of no router for the same reason.
func (h *Host) forwardIPv6() error {
	for _, s := range [][2]string{{"all", "1"}, {"default", "0"}} {
		if err := h.NS.SetSysctl("net.ipv6.conf."+s[0]+".forwarding", s[1]); err != nil {
			return fmt.Errorf("making host %s forward IPv6: %w", h.Name, err)
		}
	}
	return nil
}

// addRoutes6 adds the interface's IPv6 routes; it may be called again after the kernel has
// flushed them, which it does when an interface goes down.
func (i *Interface) addRoutes6() error {
	add := func(to netip.Prefix, via netip.Addr) error {
		// Devices have no network in which their gateway would lie.
		route := &netlink.Route{LinkIndex: i.Index, Dst: ipNet(to), Gw: via.AsSlice(), Priority: i.metric, Flags: unix.RTNH_F_ONLINK}
		if err := i.Host.NS.Netlink().RouteReplace(route); err != nil {
			return i.failed(fmt.Sprintf("adding a route to %s by %s", to, via), err)
		}
		return nil
	}
	if i.gateway6.IsValid() {
		if err := add(netip.PrefixFrom(netip.IPv6Unspecified(), 0), i.gateway6); err != nil {
			return err
		}
	}
	for _, to := range i.networks {
		if err := add(to, i.via); err != nil {
			return err
		}
	}
	return nil
}
