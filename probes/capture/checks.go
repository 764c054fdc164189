package capture

import (
	"context"
	"fmt"

	"outlive/lab/feature"
	"outlive/lab/netns"
)

// Checks are what captures need of the machine. They are to be tried inside a
// sandbox: outside, an ordinary user may not open a packet socket.
func Checks() []feature.Check {
	return []feature.Check{{
		Name: "packet capture",
		Try: func(context.Context) (string, error) {
			ns, err := netns.New()
			if err != nil {
				return "", err
			}
			defer ns.Close()
			var g *ring
			if err := ns.Do(func() (err error) {
				g, err = openRing("lo", minSlots)
				return err
			}); err != nil {
				return "", err
			}
			if err := g.close(); err != nil {
				return "", fmt.Errorf("closing the packet socket: %w", err)
			}
			return "AF_PACKET ring, TPACKET_V2", nil
		},
	}}
}
