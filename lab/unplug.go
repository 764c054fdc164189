package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Unplug pulls the cable at a point ("server:cell"): both ends of the link lose
// their carrier, and what is sent over it from then on is lost without a word,
// as routes and neighbours stay. At the LAN side of a NAT it pulls the cables of all
// devices there. When it returns, the kernel has noticed at
// both ends. Unplugging what is unplugged is no error.
func (t *Topology) Unplug(point string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	wires, err := t.wiresAt(point)
	if err != nil {
		return fmt.Errorf("unplugging: %w", err)
	}
	wires = slices.DeleteFunc(wires, t.isPulled)
	t.pulled[point] = true // first, so that Replug can mend what half succeeds
	for _, w := range wires {
		if err := w.pull(); err != nil {
			return fmt.Errorf("unplugging %s: %w", point, err)
		}
	}
	// A bridge loses its carrier with its last port, which the kernel takes its time
	// to notice unless it is asked.
	for _, w := range wires {
		if w.far.bridge && !t.anyLeft(w.far) {
			if err := w.far.awaitCarrier(context.Background(), false); err != nil {
				return fmt.Errorf("unplugging %s: %w", point, err)
			}
			break
		}
	}
	return nil
}

// Replug puts the cable at a point back. A link stays down while its other end is
// still unplugged. When it returns, the link carries packets again. Replugging
// what is not unplugged is no error.
func (t *Topology) Replug(point string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	wires, err := t.wiresAt(point)
	if err != nil {
		return fmt.Errorf("replugging: %w", err)
	}
	if !t.pulled[point] {
		return nil
	}
	delete(t.pulled, point)
	for _, w := range wires {
		if t.isPulled(w) {
			continue
		}
		if err := w.restore(); err != nil {
			return fmt.Errorf("replugging %s: %w", point, err)
		}
	}
	return nil
}

func (t *Topology) wiresAt(point string) ([]*wire, error) {
	if t.byPoint[point] == nil {
		return nil, fmt.Errorf("there is no point %q", point)
	}
	var wires []*wire
	for _, w := range t.wires {
		if w.near.Point == point || w.far.Point == point {
			wires = append(wires, w)
		}
	}
	return wires, nil
}

func (t *Topology) isPulled(w *wire) bool { return t.pulled[w.near.Point] || t.pulled[w.far.Point] }

// anyLeft says whether a wire of the bridge still carries packets.
func (t *Topology) anyLeft(bridge *Interface) bool {
	return slices.ContainsFunc(t.wires, func(w *wire) bool { return w.far == bridge && !t.isPulled(w) })
}

// pull takes the far end down, by which the near end loses its carrier. It is never
// the near end, because that would lose its default route, and the host would
// answer "unreachable" where a pulled cable says nothing.
func (w *wire) pull() error {
	down := w.portLink()
	if w.port == "" {
		if err := w.far.addSink(); err != nil {
			return err
		}
		down = w.far.link()
	}
	if err := w.far.Host.NS.Netlink().LinkSetDown(down); err != nil {
		return w.far.failed("taking it down", err)
	}
	return w.near.awaitCarrier(context.Background(), false)
}

// restore undoes pull. The kernel has kept the addresses of the far end and brings
// back the route to its link, but it has flushed the neighbours, and what IPv6 had of other routes.
func (w *wire) restore() error {
	nl := w.far.Host.NS.Netlink()
	if w.port != "" {
		if err := nl.LinkSetUp(w.portLink()); err != nil {
			return w.far.failed("bringing up "+w.port, err)
		}
	} else {
		if err := nl.LinkSetUp(w.far.link()); err != nil {
			return w.far.failed("bringing it up", err)
		}
		if err := w.far.setNeighbours(); err != nil {
			return err
		}
		if err := w.far.addRoutes6(); err != nil {
			return err
		}
		if err := w.far.addPoolRoute(); err != nil {
			return err
		}
	}
	return w.awaitUp(context.Background())
}

// addSink makes an interface that never has a carrier and a route to it that takes
// over when this interface is down. Without it the host would know that the link
// is gone, and tell: programs by an error, other hosts by ICMP, or it would send
// the packets to where its default route points.
func (i *Interface) addSink() error {
	nl := i.Host.NS.Netlink()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = i.Name[:min(len(i.Name), MaxNameLength-1)] + "~"
	sink := &netlink.Bridge{LinkAttrs: attrs}
	if err := nl.LinkAdd(sink); err != nil && !errors.Is(err, unix.EEXIST) {
		return i.failed("making its sink", err)
	}
	link, err := nl.LinkByName(attrs.Name)
	if err != nil {
		return i.failed("finding its sink", err)
	}
	// Nobody would answer there.
	if err := nl.LinkSetARPOff(link); err != nil {
		return i.failed("turning off ARP on its sink", err)
	}
	if err := nl.LinkSetUp(link); err != nil {
		return i.failed("bringing up its sink", err)
	}
	var lost []netip.Prefix
	if i.Addr.IsValid() {
		lost = append(lost, i.Addr.Masked())
	}
	if i.pool.IsValid() {
		lost = append(lost, i.pool)
	}
	if i.Addr6.IsValid() {
		if err := i.Host.enableIPv6(attrs.Name); err != nil {
			return i.failed("giving its sink IPv6", err)
		}
		lost = append(append(lost, i.Addr6.Masked()), i.networks...)
	}
	for _, prefix := range lost {
		err = nl.RouteReplace(&netlink.Route{
			LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK, Priority: sinkMetric,
			Dst: ipNet(prefix),
		})
		if err != nil {
			return i.failed("adding the route to its sink", err)
		}
	}
	return nil
}

// sinkMetric makes the kernel prefer the route of the link itself, whose metric is 0.
const sinkMetric = 1 << 20
