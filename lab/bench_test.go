package lab

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"outlive/lab/feature"
	"outlive/lab/labtest"
)

// oneNAT is the smallest network: phone ── [NAT cell] ── [server].
var oneNAT = TopologySpec{
	Uplinks: []UplinkSpec{{Name: "cell", NATs: []string{"cell"}}},
	Devices: []DeviceSpec{{Name: "phone", Uplinks: []string{"cell"}}},
}

// masquerade is a ruleset of the size that a NAT has. It declares no chains: in a
// new namespace the rules make them, and each declaration would cost iptables-nft
// 10 to 30 ms of waiting for the kernel when it closes its sockets.
const masquerade = `*filter
-A INPUT -i wan+ -j DROP
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A FORWARD -i lan+ -o wan+ -j ACCEPT
-A FORWARD -j DROP
COMMIT
*nat
-A POSTROUTING -o wan+ -j MASQUERADE
COMMIT
`

// BenchmarkSetUp measures a lab of one device, one NAT with its rules, and the
// server: Build with one iptables-restore beside it, and Close. The figures are
// medians.
func BenchmarkSetUp(b *testing.B) {
	labtest.Benchmark(b, func(b *testing.B) { measureBuild(b, withRules(b, oneNAT)) })
}

// BenchmarkBuild measures the same without rules.
func BenchmarkBuild(b *testing.B) {
	labtest.Benchmark(b, func(b *testing.B) { measureBuild(b, oneNAT) })
}

// withRules is the same topology with rules in its NATs.
func withRules(tb testing.TB, spec TopologySpec) TopologySpec {
	tb.Helper()
	tool := findRestore(tb)
	spec.Prepare = func(_ context.Context, nat *Host) error { return restore(nat, tool, masquerade) }
	return spec
}

func measureBuild(b *testing.B, spec TopologySpec) {
	keeper := newKeeper(b)
	var ups, closes []time.Duration
	for b.Loop() {
		start := time.Now()
		t, err := Build(b.Context(), spec)
		if err != nil {
			b.Fatal(err)
		}
		ups = append(ups, time.Since(start))
		keeper.watch(b, t)
		closing := time.Now()
		if err := t.Close(); err != nil {
			b.Fatal(err)
		}
		closes = append(closes, time.Since(closing))
		// The kernel takes the lab apart under the lock that the next one needs.
		keeper.awaitGone(b)
	}
	b.ReportMetric(float64(median(ups)), "ns/op")
	b.ReportMetric(milliseconds(median(ups)), "ms-up")
	b.ReportMetric(milliseconds(median(closes)), "ms-close")
}

// BenchmarkHundredLabs measures 100 labs with rules that are started together, from
// the first start until all are up, and the closing of all.
func BenchmarkHundredLabs(b *testing.B) {
	labtest.Benchmark(b, func(b *testing.B) {
		spec, keeper := withRules(b, oneNAT), newKeeper(b)
		var ups, closes []time.Duration
		for b.Loop() {
			start := time.Now()
			labs, err := buildTogether(b.Context(), 100, spec)
			if err != nil {
				b.Fatal(err)
			}
			ups = append(ups, time.Since(start))
			for _, t := range labs {
				keeper.watch(b, t)
			}
			closing := time.Now()
			for _, t := range labs {
				if err := t.Close(); err != nil {
					b.Fatal(err)
				}
			}
			closes = append(closes, time.Since(closing))
			keeper.awaitGone(b)
		}
		b.ReportMetric(float64(median(ups)), "ns/op")
		b.ReportMetric(milliseconds(median(ups)), "ms-all-up")
		b.ReportMetric(milliseconds(median(closes)), "ms-all-closed")
	})
}

// buildTogether builds n labs at once, each in a goroutine of its own.
func buildTogether(ctx context.Context, n int, spec TopologySpec) ([]*Topology, error) {
	labs, errs := make([]*Topology, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { labs[i], errs[i] = Build(ctx, spec) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return labs, nil
}

// restore installs rules in a host as package nat does: one iptables-restore.
func restore(h *Host, tool, rules string) error {
	cmd := exec.Command(tool)
	cmd.Stdin = strings.NewReader(rules)
	if err := h.NS.Start(cmd); err != nil {
		return err
	}
	return cmd.Wait()
}

func findRestore(tb testing.TB) string {
	tb.Helper()
	if path, err := exec.LookPath("iptables-restore"); err == nil {
		return path
	}
	// Not on an ordinary user's PATH everywhere.
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		path := filepath.Join(dir, "iptables-restore")
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	labtest.SkipUnsupported(tb, &feature.Unsupported{
		Feature: "installing rules", Needs: "iptables-restore",
		Remedy: "install the package iptables", Err: fs.ErrNotExist,
	})
	return ""
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func milliseconds(d time.Duration) float64 { return float64(d) / 1e6 }
