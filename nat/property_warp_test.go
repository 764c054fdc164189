package nat_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"outlive/lab/labtest"
	"outlive/lab/sandbox"
	"outlive/lab/sandbox/warp"
	"outlive/nat"
)

// order is what the guest is to examine.
type order struct {
	// Names are those of profiles of the catalogue.
	Names     []string
	Seed      uint64
	Sequences int
}

const propertyJob = "nat-property"

func init() {
	sandbox.Register(propertyJob, func(ctx context.Context, data []byte, report io.Writer) error {
		var o order
		if err := json.Unmarshal(data, &o); err != nil {
			return err
		}
		failed := make([]error, len(o.Names))
		var mu sync.Mutex
		var all sync.WaitGroup
		for i, name := range o.Names {
			all.Go(func() {
				said, err := o.examine(ctx, name)
				failed[i] = err
				mu.Lock()
				defer mu.Unlock()
				if _, err := fmt.Fprintf(report, "%s: %s\n", name, said); err != nil {
					failed[i] = err
				}
			})
		}
		all.Wait()
		return errors.Join(failed...)
	})
}

// examine examines one NAT and says what it found.
func (o order) examine(ctx context.Context, name string) (string, error) {
	named, _ := nat.Lookup(name)
	n, err := setUp(ctx, named.Profile, asIs)
	if err != nil {
		return "it could not be made", err
	}
	defer n.close()
	g := o.generator(named.Profile)
	sequences := make([]sequence, o.Sequences)
	for i := range sequences {
		sequences[i] = g.sequence()
	}
	said, d, err := n.examine(sequences, time.Minute)
	if err != nil || d == nil {
		return said, err
	}
	if shorter, err := n.shrink(d); err == nil {
		d = shorter
	}
	return strings.TrimSpace(d.String()), fmt.Errorf("kernel and model disagree on %s", name)
}

// generator draws sequences around a profile's own timeouts.
func (o order) generator(p nat.Profile) *generator {
	g := &generator{Rand: seedOf(o.Seed, p.Name)}
	g.suit(p)
	for _, timeout := range p.Timeouts.List() {
		if d := timeout.Value.D(); strings.HasPrefix(timeout.Name, "tcp_") || strings.HasPrefix(timeout.Name, "udp") {
			g.timeouts = append(g.timeouts, d)
			g.longest = max(g.longest, 2*d)
		}
	}
	slices.Sort(g.timeouts)
	g.timeouts = slices.Compact(g.timeouts)
	return g
}

// longestReal bounds the timeouts that are waited for: three hours of virtual time
// take minutes of an ordinary one where the machine is busy.
var longestReal = flag.Duration("longest", 10*time.Minute, "the longest idle timeout that the property test waits for in virtual time; 3h for all but those of a day and more")

// The property holds for the catalogue's own timeouts of minutes and hours, too: all
// of its NATs side by side in one virtual machine.
func TestKernelIsTheModelInVirtualTime(t *testing.T) {
	t.Parallel()
	o := order{Seed: chooseSeed(), Sequences: 20}
	length := time.Duration(0)
	for _, named := range nat.Profiles() {
		if p := named.Profile; p.Timeouts.TCPEstablished.D() <= *longestReal {
			o.Names = append(o.Names, p.Name)
			// The rest is for a disagreement to be made short.
			length = max(length, 4*o.generator(p).longest)
		}
	}
	data, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	g, err := warp.Start(t.Context(), warp.Spec{
		Job: propertyJob, Data: data, Dir: t.TempDir(), Hosts: 3 * len(o.Names), Seed: o.Seed, Length: length,
		Report: func(line []byte) { t.Logf("%s", line) },
		Stderr: t.Output(),
	})
	labtest.SkipUnsupported(t, err)
	if err := g.Wait(); err != nil {
		t.Fatalf("-seed %d: %+v", o.Seed, err)
	}
}
