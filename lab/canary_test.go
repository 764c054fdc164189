package lab

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"

	"outlive/lab/netns"
)

// keeper sees when namespaces are gone: each gets a wire into the keeper's, which
// the kernel removes with the namespace at the other end. There is no other way to
// ask, as a namespace that nothing refers to cannot be named.
type keeper struct {
	ns      *netns.NS
	updates chan netlink.LinkUpdate
	wires   int
}

func newKeeper(tb testing.TB) *keeper {
	tb.Helper()
	ns, err := netns.New()
	if err != nil {
		tb.Fatal(err)
	}
	k := &keeper{ns: ns, updates: make(chan netlink.LinkUpdate, 4096)}
	done := make(chan struct{})
	at := vnetns.NsHandle(ns.FD())
	if err := netlink.LinkSubscribeWithOptions(k.updates, done, netlink.LinkSubscribeOptions{Namespace: &at}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { close(done); ns.Close() })
	return k
}

// watch puts a canary into each host of a lab.
func (k *keeper) watch(tb testing.TB, t *Topology) {
	tb.Helper()
	for _, h := range t.Hosts() {
		k.wires++
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.Namespace = fmt.Sprintf("canary%d", k.wires), netlink.NsFd(k.ns.FD())
		err := k.ns.Netlink().LinkAdd(&netlink.Veth{
			LinkAttrs: attrs, PeerTxQLen: -1, PeerName: "canary", PeerNamespace: netlink.NsFd(h.NS.FD()),
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
}

// awaitGone waits until no canary is left.
func (k *keeper) awaitGone(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 30*time.Second)
	defer cancel()
	for {
		links, err := k.ns.Netlink().LinkList()
		// An interrupted dump is no failure: it comes again with the next change.
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			tb.Fatal(err)
		}
		if err == nil && len(links) == 1 {
			return // the loopback interface
		}
		select {
		case <-k.updates:
		case <-ctx.Done():
			tb.Fatalf("%d namespaces are still there 30 s after their labs were closed", len(links)-1)
		}
	}
}
