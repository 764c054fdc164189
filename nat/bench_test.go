package nat

import (
	"testing"

	"outlive/lab"
	"outlive/lab/labtest"
	"outlive/lab/netns"
)

// Installing a NAT in a namespace: settings, one run of iptables-restore, settings read back.
func BenchmarkInstall(b *testing.B) {
	labtest.Benchmark(b, func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			ns, err := netns.New()
			if err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			n, err := Install(b.Context(), &lab.Host{Name: "cell", NS: ns}, Default())
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			n.Close()
			ns.Close()
			b.StartTimer()
		}
	})
}

// Looking up one mapping, as Watch does.
func BenchmarkLookUp(b *testing.B) {
	labtest.Benchmark(b, func(b *testing.B) {
		l := build(b, Default())
		l.sendFrom(b, 1)
		flows, err := l.table.dump()
		if err != nil || len(flows) != 1 {
			b.Fatalf("%d entries, %v", len(flows), err)
		}
		for b.Loop() {
			if _, ok, err := l.table.get(flows[0].TupleOrig); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
}

// The same with the longest of rulesets for nft that are usual.
func BenchmarkInstallNFT(b *testing.B) {
	labtest.Benchmark(b, func(b *testing.B) {
		p := Profile{
			Filtering: EndpointIndependent, Hairpin: true, Pool: Pool{Addresses: 4}, Limits: Limits{Mappings: 1000},
			Refresh: Refresh{Direction: RefreshOutbound},
		}
		for b.Loop() {
			b.StopTimer()
			ns, err := netns.New()
			if err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			n, err := Install(b.Context(), &lab.Host{Name: "cell", NS: ns}, p)
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			n.Close()
			ns.Close()
			b.StartTimer()
		}
	})
}
