package nat

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"outlive/lab"
	"outlive/lab/labtest"
	"outlive/lab/sandbox"
	"outlive/lab/units"
)

func TestMain(m *testing.M) {
	sandbox.Main()
	// These tests wait for timeouts more than they compute.
	if err := flag.Set("test.parallel", "32"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// natLab is the smallest lab: phone ── cell ── server, the NAT installed.
type natLab struct {
	*lab.Topology
	*NAT
	phone, server *lab.Host
}

// build makes phone ── cell ── server with a NAT of the given profile.
func build(t testing.TB, p Profile) *natLab {
	t.Helper()
	topology, err := lab.Build(t.Context(), lab.TopologySpec{
		Uplinks: []lab.UplinkSpec{{Name: "cell", NATs: []string{"cell"}}},
		Devices: []lab.DeviceSpec{{Name: "phone", Uplinks: []string{"cell"}}},
	})
	labtest.SkipUnsupported(t, err)
	t.Cleanup(func() { topology.Close() })
	n, err := Install(t.Context(), topology.Host("cell"), p)
	labtest.SkipUnsupported(t, err)
	t.Cleanup(func() { n.Close() })
	return &natLab{Topology: topology, NAT: n, phone: topology.Host("phone"), server: topology.Server()}
}

// profile makes a profile with an idle timeout for established TCP.
func profile(established time.Duration, lan LateLAN, wan LateWAN) Profile {
	return Profile{
		Timeouts: Timeouts{TCPEstablished: units.Duration(established)},
		Late:     Late{LAN: lan, WAN: wan},
	}
}

// combinations are all late-packet behaviours.
func combinations() []Late {
	var all []Late
	for _, lan := range []LateLAN{LANDrop, LANReset, LANRevive, LANRemap} {
		for _, wan := range []LateWAN{WANDrop, WANReset} {
			all = append(all, Late{LAN: lan, WAN: wan})
		}
	}
	return all
}

// useVariant makes "nf_tables" or "legacy" the iptables-restore that is found first.
func useVariant(t *testing.T, variant string) {
	t.Helper()
	name := map[string]string{"nf_tables": "iptables-nft", "legacy": "iptables-legacy"}[variant]
	dir := t.TempDir()
	for _, tool := range []string{"restore", "save"} {
		path, err := findTool(name + "-" + tool)
		labtest.SkipUnsupported(t, err)
		if err := os.Symlink(path, filepath.Join(dir, "iptables-"+tool)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// iptables changes the rules of a NAT behind its back.
func (l *natLab) iptables(t *testing.T, args ...string) {
	t.Helper()
	path, err := findTool("iptables")
	labtest.SkipUnsupported(t, err)
	cmd := exec.Command(path, args...)
	if err := l.host.NS.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("iptables %v: %v", args, err)
	}
}

// letIn adds rules, and lets packets through which they have sent to an inside host.
func letIn(ruleset string) func(*testing.T, *natLab) {
	return func(t *testing.T, l *natLab) {
		t.Helper()
		l.iptables(t, strings.Fields("-I FORWARD -m conntrack --ctstate DNAT -j ACCEPT")...)
		nftables(ruleset)(t, l)
	}
}

// exchange replaces the rules of a NAT by those of another profile that nft makes.
func (l *natLab) exchange(t *testing.T, p Profile) {
	t.Helper()
	p = p.Complete()
	if p.Backend() != BackendNFTables {
		t.Fatal("the other profile is not one for nft")
	}
	nftables("flush ruleset\n"+rulesFor(p, siteOf(l.host, p)))(t, l)
}

// nftables adds rules to those of a NAT behind its back.
func nftables(ruleset string) func(*testing.T, *natLab) {
	return func(t *testing.T, l *natLab) {
		t.Helper()
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(ruleset)
		var said strings.Builder
		cmd.Stderr = &said
		if err := l.host.NS.Start(cmd); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatalf("nft: %v: %s", err, said.String())
		}
	}
}

// cone are rules that let packets in to every inside endpoint that has sent, whose
// port the NAT must have kept: from whom the keys say, and on the way that enters names.
func cone(learn, find, enters string) string {
	return `
		table ip cone {
			map ends {
				type ` + strings.ReplaceAll(learn, "ip daddr", "ipv4_addr") + ` inet_proto . inet_service : ipv4_addr . inet_service
				size 65535
				flags dynamic
			}
			chain learn {
				type filter hook forward priority -10;
				oifname wan9 meta l4proto { tcp, udp } add @ends { ` + learn + ` ip protocol . th sport : ip saddr . th sport }
			}
			chain in {
				type nat hook prerouting priority -101;
				` + enters + ` meta l4proto { tcp, udp } dnat ip to ` + find + ` ip protocol . th dport map @ends
			}
		}`
}

// within gives a context with a limit.
func within(t testing.TB, limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}
