package nat_test

import (
	"context"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"testing"
	"time"

	"outlive/lab"
	"outlive/lab/labtest"
	"outlive/lab/units"
	"outlive/nat"
	"outlive/nat/model"
)

var (
	sequences = flag.Int("sequences", 2000, "how many random packet sequences the property test sends, over all NATs together; for a long series 20000 or more")
	only      = flag.String("nat", "", "the one behaviour to test")
	seedFlag  = flag.Uint64("seed", 0, "what they are drawn from; 0 means that the test chooses and says it")
)

// blockHolders is how many groups of hosts are known to the NAT when it is made, so
// that they have blocks of ports.
const blockHolders = 100

// natUnderTest is a NAT with both of its ends in the hands of the test.
type natUnderTest struct {
	*wire
	*nat.NAT
	topology *lab.Topology
	profile  nat.Profile
	place    model.Place
	used     group
}

// setUp makes phone ── cell ── server with a NAT of the profile, the rules of which
// are edited first.
func setUp(ctx context.Context, p nat.Profile, edit func(string) string) (_ *natUnderTest, err error) {
	n := &natUnderTest{profile: p.Complete()}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	n.topology, err = lab.Build(ctx, lab.TopologySpec{
		Uplinks: []lab.UplinkSpec{{Name: "cell", NATs: []string{"cell"}}},
		Devices: []lab.DeviceSpec{{Name: "phone", Uplinks: []string{"cell"}}},
	})
	if err != nil {
		return nil, err
	}
	for g := range group(blockHolders) {
		n.place.Inside = append(n.place.Inside, g.host(0), g.host(1))
	}
	if n.NAT, n.place.Pool, err = nat.InstallEdited(ctx, n.topology.Host("cell"), p, n.place.Inside, edit); err != nil {
		return nil, err
	}
	n.wire, err = openWire(n.topology)
	return n, err
}

func (n *natUnderTest) close() {
	if n.wire != nil {
		n.wire.close()
	}
	if n.NAT != nil {
		_ = n.Close()
	}
	if n.topology != nil {
		_ = n.topology.Close()
	}
}

// asIs leaves a ruleset as it is.
func asIs(rules string) string { return rules }

// play plays sequences through the NAT at once and gives what happened.
func (n *natUnderTest) play(all []sequence, spread time.Duration) ([]trace, error) {
	runs := make([]*run, len(all))
	keeps := n.profile.Ports.Allocation == nat.PortPreserve && n.profile.Ports.Block == 0
	for i, s := range all {
		runs[i] = newRun(n.used, s, n.place.Pool, keeps)
		n.used++
	}
	if n.used > groups {
		return nil, fmt.Errorf("a NAT has room for %d sequences", groups)
	}
	if err := onOneCPU(func() error { return n.wire.play(runs, spread) }); err != nil {
		return nil, err
	}
	var traces []trace
	for _, r := range runs {
		if !r.disturbed {
			traces = append(traces, r.trace)
		}
	}
	if lost := len(runs) - len(traces); lost > 2+len(runs)/20 {
		return nil, fmt.Errorf("%d of %d sequences disturbed each other, by ports that the NAT drew", lost, len(runs))
	}
	return traces, nil
}

// short gives a profile timeouts of one to three seconds, which stand to each other
// as its own do.
func short(p nat.Profile) nat.Profile {
	p = p.Complete()
	t := p.Timeouts
	scaled := func(d, established units.Duration) units.Duration {
		if d < established {
			return units.Duration(2 * time.Second)
		}
		return units.Duration(3 * time.Second)
	}
	s := func(n int) units.Duration { return units.Duration(time.Duration(n) * time.Second) }
	p.Timeouts = nat.Timeouts{
		TCPEstablished: s(3), TCPSynSent: s(2), TCPSynRecv: s(1), TCPFinWait: s(2), TCPCloseWait: s(1),
		TCPLastAck: s(1), TCPTimeWait: s(2), TCPClose: s(1),
		TCPMaxRetrans: scaled(t.TCPMaxRetrans, t.TCPEstablished), TCPUnacknowledged: scaled(t.TCPUnacknowledged, t.TCPEstablished),
		UDP: s(1), UDPStream: s(1),
	}
	if t.UDPStream > t.UDP {
		p.Timeouts.UDPStream = s(3)
	}
	return p.Complete()
}

// seedOf gives each NAT a seed of its own.
func seedOf(seed uint64, name string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// draw draws sequences for a NAT with short timeouts.
func draw(r *rand.Rand, p nat.Profile, n int) []sequence {
	g := &generator{Rand: r, timeouts: []time.Duration{time.Second, 2 * time.Second, 3 * time.Second}, longest: 10 * time.Second}
	g.suit(p)
	all := make([]sequence, n)
	for i := range all {
		all[i] = g.sequence()
	}
	return all
}

// A kernel NAT does what the model says, packet by packet, whatever is sent: random
// sequences with timeouts of one to three seconds, through every NAT of the catalogue
// and every combination of behaviours, all at once. By default these are some thirty
// sequences for each; -sequences asks for more, -nat for one NAT, -seed for the same ones again.
func TestKernelIsTheModel(t *testing.T) {
	t.Parallel()
	seed := chooseSeed()
	profiles := underTest()
	each := (*sequences + len(profiles) - 1) / len(profiles)
	labtest.Run(t, func(t *testing.T) {
		for _, p := range profiles {
			t.Run(p.Name, func(t *testing.T) {
				t.Parallel()
				n, err := setUp(t.Context(), p, asIs)
				labtest.SkipUnsupported(t, err)
				t.Cleanup(n.close)
				said, d, err := n.examine(draw(seedOf(seed, p.Name), p, each), 4*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				if d != nil {
					short, err := n.shrink(d)
					if err != nil {
						t.Error(err)
					}
					t.Fatalf("kernel and model disagree (-seed %d -sequences %d):\n%s", seed, *sequences, short)
				}
				t.Log(said)
			})
		}
	})
}

// fullTables is how many NATs with a small table there are: each has it for one sequence.
const fullTables = 30

// A table of mappings is one for all inside hosts, so that each of these NATs meets
// one sequence only.
func TestFullTableIsTheModel(t *testing.T) {
	t.Parallel()
	seed := chooseSeed()
	labtest.Run(t, func(t *testing.T) {
		for i := range fullTables {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				p := short(nat.Profile{Mapping: behaviours[i%len(behaviours)].profile.Mapping, Limits: nat.Limits{Mappings: 4, Subscriber: 3}})
				n, err := setUp(t.Context(), p, asIs)
				labtest.SkipUnsupported(t, err)
				t.Cleanup(n.close)
				_, d, err := n.examine(draw(seedOf(seed, t.Name()), p, 1), 0)
				if err != nil {
					t.Fatal(err)
				}
				if d != nil {
					t.Fatalf("kernel and model disagree (-seed %d):\n%s", seed, d)
				}
			})
		}
	})
}

func chooseSeed() uint64 {
	if *seedFlag != 0 {
		return *seedFlag
	}
	return rand.Uint64()
}

// examine plays sequences and compares what happened with the model. It says how
// much that was, or gives the first disagreement.
func (n *natUnderTest) examine(all []sequence, spread time.Duration) (string, *disagreement, error) {
	traces, err := n.play(all, spread)
	if err != nil {
		return "", nil, err
	}
	count := map[string]int{}
	for _, tr := range traces {
		for _, e := range tr {
			count[e.kind()]++
		}
		d, err := compare(n.profile, n.place, tr)
		if err != nil {
			return "", nil, err
		}
		if d != nil {
			return "", d, nil
		}
	}
	return fmt.Sprintf("%d sequences: %v", len(traces), count), nil, nil
}

// underTest are the NATs that the property is tested on: the catalogue, every
// behaviour of conntrack's own translation, and the combinations of the others.
func underTest() []nat.Profile {
	var all []nat.Profile
	add := func(name string, p nat.Profile) {
		if p = short(p); *only == "" || *only == name {
			p.Name = name
			all = append(all, p)
		}
	}
	for _, lan := range []nat.LateLAN{nat.LANDrop, nat.LANReset, nat.LANRevive, nat.LANRemap} {
		for _, wan := range []nat.LateWAN{nat.WANDrop, nat.WANReset} {
			add(fmt.Sprintf("late-%s-%s", lan, wan), nat.Profile{Late: nat.Late{LAN: lan, WAN: wan}})
		}
	}
	for _, b := range behaviours {
		add(b.name, b.profile)
	}
	for _, n := range nat.Profiles() {
		add(n.Profile.Name, n.Profile)
	}
	return all
}
