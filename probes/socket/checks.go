package socket

import (
	"context"
	"errors"

	"outlive/lab/feature"
	"outlive/lab/netns"
)

// Checks are what watching sockets needs of the machine. They are to be tried
// inside a sandbox.
func Checks() []feature.Check {
	return []feature.Check{{
		Name: "socket diagnostics",
		Try: func(context.Context) (string, error) {
			ns, err := netns.New()
			if err != nil {
				return "", err
			}
			defer ns.Close()
			w := &Watcher{}
			if err := errors.Join(w.open(ns, eventBuffer), w.close()); err != nil {
				return "", err
			}
			return "look-ups and destroy events", nil
		},
	}}
}
