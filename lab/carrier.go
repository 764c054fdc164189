package lab

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
)

// carrierLimit bounds the wait for the kernel to notice that a link has come or
// gone. It takes microseconds; the limit is for a machine that stands still.
const carrierLimit = 5 * time.Second

// awaitCarrier waits until the kernel sends packets by the interface (up), or drops
// them because its cable is pulled (not up). Until the kernel has noticed a new
// link, the first packets on it are lost, which TCP takes a second to mend.
func (i *Interface) awaitCarrier(ctx context.Context, up bool) error {
	if err := i.Host.awaitCarrier(ctx, i.Index, up); err != nil {
		return i.failed(fmt.Sprintf("waiting for its carrier (wanted: %v)", up), err)
	}
	return nil
}

// awaitUp waits until the wire carries packets. The far end of a veth that is no
// port has come up last, at once and for both.
func (w *wire) awaitUp(ctx context.Context) error {
	if err := w.near.awaitCarrier(ctx, true); err != nil {
		return err
	}
	if w.port == "" {
		return nil
	}
	// The bridge uses a port, and then has a carrier, when the port has one.
	if err := w.far.Host.awaitCarrier(ctx, w.portIndex, true); err != nil {
		return fmt.Errorf("port %s of host %s: waiting for its carrier: %w", w.port, w.far.Host.Name, err)
	}
	return w.far.awaitCarrier(ctx, true)
}

func (h *Host) awaitCarrier(ctx context.Context, index int, up bool) error {
	// Asking makes the kernel notice at once, since Linux 6.9. Only older ones need the wait.
	if is, err := h.hasCarrier(index); err != nil || is == up {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, carrierLimit)
	defer cancel()
	changes, err := h.NS.LinkChanges(ctx)
	if err != nil {
		return err
	}
	for {
		if is, err := h.hasCarrier(index); err != nil || is == up {
			return err
		}
		if _, ok := <-changes; ok {
			continue
		}
		if ctx.Err() == nil {
			return errors.New("the kernel dropped messages about links")
		}
		return context.Cause(ctx)
	}
}

func (h *Host) hasCarrier(index int) (bool, error) {
	link, err := h.NS.Netlink().LinkByIndex(index)
	if err != nil {
		return false, err
	}
	return link.Attrs().OperState == netlink.OperUp, nil
}
