package main_test

import (
	"strings"
	"testing"
)

// TestAnotherNAT runs scenarios of the catalogue with another NAT than theirs. What they
// expect hangs on that NAT and nothing else, so it must not hold any more, and the lab
// must have no doubt about the NAT that it was given instead.
func TestAnotherNAT(t *testing.T) {
	for _, tt := range []struct{ scenario, set, says string }{
		{"unacknowledged-push", "network.home.nat.1.timeouts.tcp_unacknowledged=1h", "✗ count(death) == 1"},
		{"outbound-only-listener", "network.cell.nat.refresh={direction: outbound, ignore_ack: true}", "✗ count(death) == 0"},
		{"outbound-only-server-pings", "network.cell.nat.refresh={direction: outbound}", "✗ count(death) == 1"},
		{"table-full-refuses", "network.cell.nat.limits={mappings: 60}", "✗ slow: count(refused) > 0"},
		{"table-full-evicts", "network.cell.nat.limits={mappings: 60, when_full: evict-oldest}", "✗ quiet: count(death) == 1"},
		{"table-full-evicts", "network.cell.nat.limits={mappings: 20}", "✗ quiet: count(death) == 1"},
	} {
		t.Run(tt.scenario+" "+tt.set, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			got := steady(t, func(attempt string) outcome {
				return outlive(t, binary, dir, "run", tt.scenario, "--engine", "live", "--set", tt.set, "--out", attempt)
			})
			if got.code != 1 || !strings.Contains(got.stdout, tt.says) {
				t.Errorf("exit code %d, want 1 and %q\n%s\n%s", got.code, tt.says, got.stdout, got.stderr)
			}
		})
	}
}
