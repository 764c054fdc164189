package socket

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"outlive/lab/netns"
)

// listenPoll is how often Listening looks. The kernel tells nobody that a program
// listens, so that there is nothing to wait for.
const listenPoll = 5 * time.Millisecond

// Listening waits until a program in the namespace listens on the TCP port, at an
// address that other hosts can reach over IPv4. It waits as long as ctx allows; the
// error then wraps the context's and says what was seen instead.
func Listening(ctx context.Context, ns *netns.NS, port uint16) error {
	d, err := openDiag(ns, 0)
	if err != nil {
		return err
	}
	err = listening(ctx, d, port)
	return errors.Join(err, d.close())
}

func listening(ctx context.Context, d *diag, port uint16) error {
	tick := time.NewTicker(listenPoll)
	defer tick.Stop()
	for {
		all, err := d.list(1<<stateListen, port)
		if err != nil {
			return err
		}
		var unreachable []string
		for _, i := range all {
			switch {
			case i.onlyIPv6:
				unreachable = append(unreachable, fmt.Sprintf("%s, which takes no IPv4", i.local))
			case i.local.Addr().IsLoopback():
				unreachable = append(unreachable, fmt.Sprintf("%s, which no other host can reach", i.local))
			default:
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			seen := "nothing does"
			if unreachable != nil {
				seen = "only at " + strings.Join(unreachable, " and ")
			}
			return fmt.Errorf("waiting for a program to listen on TCP port %d: %s: %w", port, seen, context.Cause(ctx))
		}
	}
}
