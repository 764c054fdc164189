package netns

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// LinkChanges gives a channel that has a value after a link of the namespace has
// changed: made, removed, up, down, with or without a carrier. Several changes may
// be one value. The channel is closed when ctx ends, or earlier if the kernel
// dropped messages because nobody read them in time.
func (n *NS) LinkChanges(ctx context.Context) (<-chan struct{}, error) {
	ctx, cancel := context.WithCancel(ctx)
	at := netns.NsHandle(n.FD())
	updates := make(chan netlink.LinkUpdate)
	err := netlink.LinkSubscribeWithOptions(updates, ctx.Done(), netlink.LinkSubscribeOptions{Namespace: &at})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("watching the links of a network namespace: %w", err)
	}
	changes := make(chan struct{}, 1)
	go func() {
		defer cancel()
		defer close(changes)
		for range updates {
			select {
			case changes <- struct{}{}:
			default:
			}
		}
	}()
	return changes, nil
}
