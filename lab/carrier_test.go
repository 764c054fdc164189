package lab

import (
	"context"
	"errors"
	"testing"
	"time"

	"outlive/lab/labtest"
)

// TestAwaitCarrier waits for a link that comes back only later, as an older kernel
// makes the lab wait for every new link.
func TestAwaitCarrier(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		topology := build(t, oneNAT)
		if err := topology.Unplug("server:cell"); err != nil {
			t.Fatal(err)
		}
		wan := topology.Interface("cell:wan")
		gone, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := wan.awaitCarrier(gone, true); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while it is unplugged: got %v; want the end of the context", err)
		}
		done := make(chan error, 1)
		go func() { done <- wan.awaitCarrier(t.Context(), true) }()
		if err := topology.Replug("server:cell"); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
