package lab

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"outlive/lab/netns"
)

// keeper sees when namespaces are gone: each gets a wire into the keeper's, which
// the kernel removes with the namespace at the other end. There is no other way to
// ask, as a namespace that nothing refers to cannot be named.
type keeper struct {
	ns    *netns.NS
	wires int
}

func newKeeper(tb testing.TB) *keeper {
	tb.Helper()
	ns, err := netns.New()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { ns.Close() })
	return &keeper{ns: ns}
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
	var changes <-chan struct{}
	for {
		if changes == nil {
			var err error
			if changes, err = k.ns.LinkChanges(ctx); err != nil {
				tb.Fatal(err)
			}
		}
		links, err := k.ns.Netlink().LinkList()
		// An interrupted dump is no failure: it comes again with the next change.
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			tb.Fatal(err)
		}
		if err == nil && len(links) == 1 {
			return // the loopback interface
		}
		if _, ok := <-changes; ok {
			continue
		}
		if ctx.Err() != nil {
			tb.Fatalf("%d namespaces are still there 30 s after their labs were closed", len(links)-1)
		}
		changes = nil // too many at once
	}
}
