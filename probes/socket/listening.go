package socket

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

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
		listens, unreachable, err := listeners(d, port)
		if listens || err != nil {
			return err
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

// listeners says whether some program listens on the port as Listening wants it, and if
// none does, where others do.
func listeners(d *diag, port uint16) (listens bool, unreachable []string, err error) {
	all, err := d.list(1<<stateListen, port)
	for _, i := range all {
		switch {
		case i.onlyIPv6:
			unreachable = append(unreachable, fmt.Sprintf("%s, which takes no IPv4", i.local))
		case i.local.Addr().IsLoopback():
			unreachable = append(unreachable, fmt.Sprintf("%s, which no other host can reach", i.local))
		default:
			return true, nil, nil
		}
	}
	return false, unreachable, err
}

// Deserted waits until no program listens any more as Listening wants it: at once if
// none does. It sleeps until the kernel frees a socket of the namespace. The error is that
// of ctx if it ends first.
func Deserted(ctx context.Context, ns *netns.NS, port uint16) error {
	lookups, err := openDiag(ns, 0)
	if err != nil {
		return err
	}
	events, err := openDiag(ns, groupDestroyed)
	if err != nil {
		return errors.Join(err, lookups.close())
	}
	// Closing them ends the waiting for events.
	stop := context.AfterFunc(ctx, func() { _ = events.close() })
	err = deserted(ctx, lookups, events, port)
	if stop() {
		err = errors.Join(err, events.close())
	}
	return errors.Join(err, lookups.close())
}

func deserted(ctx context.Context, lookups, events *diag, port uint16) error {
	for {
		listens, _, err := listeners(lookups, port)
		if !listens || err != nil {
			return err
		}
		_, err = events.destroyed()
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("waiting for nobody to listen on TCP port %d: %w", port, context.Cause(ctx))
		case err != nil && !errors.Is(err, unix.ENOBUFS):
			return fmt.Errorf("waiting for nobody to listen on TCP port %d: %w", port, err)
		}
	}
}
