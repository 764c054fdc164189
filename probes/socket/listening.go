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

// Families are versions of IP, one bit each.
type Families uint8

// The versions of IP.
const (
	IPv4 Families = 1 << iota
	IPv6
)

// Listening waits until a program in the namespace listens on the TCP port, at
// addresses that other hosts can reach over each of the versions of IP. It waits as long as
// ctx allows; the error then wraps the context's and says what was seen instead.
func Listening(ctx context.Context, ns *netns.NS, port uint16, over Families) error {
	d, err := openDiag(ns, 0)
	if err != nil {
		return err
	}
	err = listening(ctx, d, port, over)
	return errors.Join(err, d.close())
}

func listening(ctx context.Context, d *diag, port uint16, over Families) error {
	tick := time.NewTicker(listenPoll)
	defer tick.Stop()
	for {
		served, elsewhere, err := listeners(d, port, over)
		if served == over || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			seen := "nothing does"
			if elsewhere != nil {
				seen = "only at " + strings.Join(elsewhere, " and ")
			}
			return fmt.Errorf("waiting for a program to listen on TCP port %d: %s: %w", port, seen, context.Cause(ctx))
		}
	}
}

// listeners says over which versions of IP, of those asked about, other hosts reach
// programs that listen on the port, and of the listeners that they do not reach over all of them, where they are.
func listeners(d *diag, port uint16, over Families) (served Families, elsewhere []string, err error) {
	all, err := d.list(1<<stateListen, port)
	for _, i := range all {
		takes := i.takes()
		switch {
		case i.local.Addr().IsLoopback():
			elsewhere = append(elsewhere, fmt.Sprintf("%s, which no other host can reach", i.local))
			continue
		case over&^takes&IPv4 != 0:
			elsewhere = append(elsewhere, fmt.Sprintf("%s, which takes no IPv4", i.local))
		case over&^takes != 0:
			elsewhere = append(elsewhere, fmt.Sprintf("%s, which takes no IPv6", i.local))
		}
		served |= takes & over
	}
	return served, elsewhere, err
}

// takes says over which versions of IP a listener takes connections.
func (i info) takes() Families {
	switch {
	case i.local.Addr().Is4():
		return IPv4
	case i.local.Addr().IsUnspecified() && !i.onlyIPv6:
		return IPv4 | IPv6
	}
	return IPv6
}

// Deserted waits until no program listens any more where other hosts can reach it: at once if
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
		served, _, err := listeners(lookups, port, IPv4|IPv6)
		if served == 0 || err != nil {
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
