package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"outlive/lab/feature"
)

// wire is a veth pair between two hosts. Where its far end is a bridge, the veth's
// far end is a port of that bridge.
type wire struct {
	near, far *Interface
	port      string // name of the port, if far is a bridge
	portIndex int
}

// lay makes the pair with both ends in place: moving a link costs more than
// making it, and its name might be taken where it is made.
func (w *wire) lay() error {
	farName, farMAC := w.far.Name, w.far.MAC
	if w.port != "" {
		farName, farMAC = w.port, portMAC(w.near.MAC)
	}
	veth := &netlink.Veth{
		LinkAttrs: w.near.attrs(), PeerTxQLen: -1,
		PeerName: farName, PeerHardwareAddr: farMAC, PeerNamespace: netlink.NsFd(w.far.Host.NS.FD()),
	}
	err := w.near.Host.NS.Netlink().LinkAdd(veth)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = &feature.Unsupported{
			Feature: "a pair of virtual Ethernet interfaces", Needs: "the kernel option CONFIG_VETH",
			Remedy: "load its module: sudo modprobe veth", Err: err,
		}
	}
	if err != nil {
		return fmt.Errorf("laying the wire from %s of host %s to %s of host %s: %w",
			w.near.Name, w.near.Host.Name, farName, w.far.Host.Name, err)
	}
	far, err := w.far.Host.NS.Netlink().LinkByName(farName)
	if err != nil {
		return fmt.Errorf("finding interface %s of host %s: %w", farName, w.far.Host.Name, err)
	}
	if w.port == "" {
		w.far.Index = far.Attrs().Index
		if err := w.far.Host.NS.Netlink().LinkSetUp(far); err != nil {
			return w.far.failed("bringing it up", err)
		}
		return nil
	}
	w.portIndex = far.Attrs().Index
	return w.plugIn()
}

// attrs are those with which an interface is made, up, and in its place.
func (i *Interface) attrs() netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name, a.Index, a.HardwareAddr = i.Name, i.Index, i.MAC
	a.Namespace = netlink.NsFd(i.Host.NS.FD())
	a.Flags = net.FlagUp
	return a
}

// plugIn makes the far end a port of the bridge. The bridge is told where the
// device is and never floods: nobody's capture shows somebody else's packets.
func (w *wire) plugIn() error {
	nl, port := w.far.Host.NS.Netlink(), w.portLink()
	steps := []struct {
		doing string
		do    func() error
	}{
		{"joining the bridge", func() error { return nl.LinkSetMasterByIndex(port, w.far.Index) }},
		{"turning off learning", func() error { return nl.LinkSetLearning(port, false) }},
		{"turning off flooding", func() error { return nl.LinkSetFlood(port, false) }},
		{"entering the device's address", func() error { return nl.NeighSet(w.fdbEntry()) }},
		{"bringing it up", func() error { return nl.LinkSetUp(port) }},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("port %s of host %s: %s: %w", w.port, w.far.Host.Name, s.doing, err)
		}
	}
	return nil
}

func (w *wire) portLink() netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: w.port, Index: w.portIndex}}
}

// fdbEntry is a static entry of the bridge's forwarding table: "static" is
// NUD_NOARP there, NUD_PERMANENT would mean an address of the bridge itself.
func (w *wire) fdbEntry() *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex: w.portIndex, Family: unix.AF_BRIDGE, Flags: netlink.NTF_MASTER,
		State: netlink.NUD_NOARP, HardwareAddr: w.near.MAC,
	}
}

// addBridge makes the LAN side that devices attach to. Without multicast snooping
// it sends no queries; spanning tree is off unless asked for.
func (i *Interface) addBridge() error {
	snooping := false
	err := i.Host.NS.Netlink().LinkAdd(&netlink.Bridge{LinkAttrs: i.attrs(), MulticastSnooping: &snooping})
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = &feature.Unsupported{
			Feature: "a virtual Ethernet bridge", Needs: "the kernel option CONFIG_BRIDGE",
			Remedy: "load its module: sudo modprobe bridge", Err: err,
		}
	}
	if err != nil {
		return i.failed("making the bridge", err)
	}
	// With br_netfilter loaded (by Docker, say) the rules would see its packets twice.
	for _, key := range []string{"net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"} {
		err = i.Host.NS.SetSysctl(key, "0")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return i.failed("keeping the rules away from the bridge", err)
		}
	}
	return nil
}
