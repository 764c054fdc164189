package nat

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"outlive/lab/feature"
	"outlive/lab/labtest"
)

// An independent client of RFC 5780, coturn's turnutils_natdiscovery, finds the
// mapping and the filtering that the profile says, for every type of NAT that there is
// and for every profile of the catalogue. It finds hairpinning where the filter lets
// everybody in: it sends to itself from a port that it has not sent to. It asks coturn's
// server, which needs two addresses and two ports of each:
//
//	phone ── cell ── server (198.51.100.1 and .2, ports 3478 and 3479)
func TestNATDiscovery(t *testing.T) {
	for _, p := range discovered() {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			labtest.Run(t, func(t *testing.T) {
				p = p.Complete()
				l := build(t, p)
				l.startTURN(t)
				want := map[string]string{
					"Mapping":   words(p.Mapping) + " Mapping",
					"Filtering": words(p.Filtering) + " Filtering",
				}
				for _, test := range []struct{ option, about string }{{"-m", "Mapping"}, {"-f", "Filtering"}} {
					if got := l.discover(t, test.option, test.about); got != want[test.about] {
						t.Errorf("natdiscovery %s says %q, the profile %q", test.option, got, want[test.about])
					}
				}
				if p.Mapping == EndpointIndependent {
					said := l.coturn(t, "turnutils_natdiscovery", "-H", "-L", l.phone.Interfaces[0].Addr.Addr().String(), "198.51.100.1")
					want := p.Hairpin && p.Filtering == EndpointIndependent
					if got := strings.Contains(said, "successful hairpinning"); got != want {
						t.Errorf("natdiscovery -H: hairpinning %v, want %v:\n%s", got, want, said)
					}
				}
			})
		})
	}
}

// What the client says without a NAT that does as asked is not what it says with one:
// the same test with rules changed behind the NAT's back.
func TestNATDiscoverySabotage(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		l := build(t, profile(5*time.Minute, LANDrop, WANDrop))
		l.startTURN(t)
		l.iptables(t, strings.Fields("-t nat -R POSTROUTING 1 -o wan+ -j MASQUERADE --random-fully")...)
		if got, want := l.discover(t, "-m", "Mapping"), words(AddressAndPortDependent)+" Mapping"; got != want {
			t.Errorf("natdiscovery says %q, want %q", got, want)
		}
	})
}

// discovered are all types of NAT and the profiles of the catalogue.
func discovered() []Profile {
	behaviours := []Behaviour{EndpointIndependent, AddressDependent, AddressAndPortDependent}
	var all []Profile
	for _, mapping := range behaviours {
		for _, filtering := range behaviours {
			for _, allocation := range []PortAllocation{PortPreserve, PortRandom} {
				all = append(all, Profile{
					Name:    fmt.Sprintf("%s mapping, %s filtering, %s", mapping, filtering, allocation),
					Mapping: mapping, Filtering: filtering, Ports: Ports{Allocation: allocation},
				})
			}
		}
	}
	for _, filtering := range behaviours {
		all = append(all, Profile{Name: fmt.Sprintf("hairpinning, %s filtering", filtering), Filtering: filtering, Hairpin: true})
	}
	for _, n := range Profiles() {
		all = append(all, n.Profile)
	}
	return all
}

// words are a behaviour as the client writes it.
func words(b Behaviour) string {
	return map[Behaviour]string{
		EndpointIndependent: "Endpoint Independent", AddressDependent: "Address Dependent",
		AddressAndPortDependent: "Address and Port Dependent",
	}[b]
}

var classified = regexp.MustCompile(`NAT with (.* (?:Mapping|Filtering))!`)

// discover runs the client on the phone and gives its words.
func (l *natLab) discover(t *testing.T, option, about string) string {
	t.Helper()
	// Without the local address it would take the one that reaches the server, which
	// is the same; its hairpin test needs it.
	said := l.coturn(t, "turnutils_natdiscovery", option, "-L", l.phone.Interfaces[0].Addr.Addr().String(), "198.51.100.1")
	found := classified.FindStringSubmatch(said)
	if found == nil || !strings.HasSuffix(found[1], about) {
		t.Fatalf("natdiscovery %s gave no answer:\n%s", option, said)
	}
	return found[1]
}

// coturn runs one of coturn's clients on the phone to its end.
func (l *natLab) coturn(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(within(t, time.Minute), coturnTool(t, name), args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := l.phone.NS.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, said.String())
	}
	return said.String()
}

func coturnTool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		labtest.SkipUnsupported(t, &feature.Unsupported{
			Feature: "an independent client of RFC 5780", Needs: "coturn's " + name,
			Remedy: "install it: sudo apt-get install coturn", Err: err,
		})
	}
	return path
}

// startTURN gives the server a second address and starts coturn there. It returns
// when all four endpoints answer.
func (l *natLab) startTURN(t *testing.T) {
	t.Helper()
	nl := l.server.NS.Netlink()
	lo, err := nl.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	second := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(198, 51, 100, 2), Mask: net.CIDRMask(32, 32)}}
	if err := nl.AddrAdd(lo, second); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(within(t, time.Minute), coturnTool(t, "turnserver"),
		"-n", "--no-tls", "--no-dtls", "--no-cli", "-L", "198.51.100.1", "-L", "198.51.100.2",
		"--log-file", "stdout", "--pidfile", filepath.Join(dir, "pid"), "-b", filepath.Join(dir, "db"))
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := l.server.NS.Start(cmd); err != nil {
		t.Fatal(err)
	}
	answered := false
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if !answered {
			t.Logf("turnserver said:\n%s", said.String())
		}
	})
	for _, address := range []string{"198.51.100.1:3478", "198.51.100.1:3479", "198.51.100.2:3478", "198.51.100.2:3479"} {
		l.awaitSTUN(t, address)
	}
	answered = true
}

// awaitSTUN asks an endpoint for a binding until it answers.
func (l *natLab) awaitSTUN(t *testing.T, address string) {
	t.Helper()
	conn, err := l.server.NS.Dial(t.Context(), "udp4", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// A binding request without attributes (RFC 8489 §5).
	request := append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, "twelve bytes"...)
	for limit := time.Now().Add(20 * time.Second); time.Now().Before(limit); {
		_ = conn.SetDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := conn.Write(request); err != nil {
			// Nobody listens yet: the kernel has said so.
			time.Sleep(time.Millisecond)
			continue
		}
		if n, err := conn.Read(make([]byte, 1500)); err == nil && n >= 20 {
			return
		}
	}
	t.Fatalf("%s did not answer", address)
}
