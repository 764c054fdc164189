package faults

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"outlive/lab"
	"outlive/lab/units"
)

var mappingPressure = Kind{
	Name:    "mapping-pressure",
	Summary: "A neighbour behind the same NAT opens many mappings at once. In a table of limited size they take the place of others, or leave none for new ones.",
	New:     func() Fault { return &MappingPressure{} },
}

// MappingPressure lets a bystander, who is none of the scenario's devices, begin many
// TCP connections through a NAT to an address that does not answer, as a scanner does. Each
// takes a mapping of the NAT's for its `tcp_syn_sent` timeout.
type MappingPressure struct {
	// On is the uplink, or one NAT of it ("cell.2"), behind which the bystander is. Behind
	// an uplink of several NATs it is behind the first, and uses all of them.
	On string `yaml:"on" json:"on"`
	// Mappings is how many connections it begins, at most MaxPressure. The NAT may well
	// give it fewer.
	Mappings int `yaml:"mappings" json:"mappings"`
	// For is how long it goes on: when the mappings have expired it begins the
	// connections again. Zero means that it begins them once.
	For units.Duration `yaml:"for,omitempty" json:"for,omitempty"`
}

// MaxPressure is how many mappings one bystander can open: it has no more ports that
// a program would use.
const MaxPressure = 1<<16 - firstPort

const firstPort = 1024

// Check wants a known uplink or NAT whose table is limited, and a number of mappings.
func (f *MappingPressure) Check(w World) []units.Problem {
	problems := w.checkOn(f.On)
	if len(problems) == 0 && !slices.ContainsFunc(w.behind(f.On), w.limited) {
		problems = append(problems, units.Problem{Field: "on", Text: fmt.Sprintf(
			"%s takes as many mappings as there are ports, so that nobody would feel the pressure: limit it, for example {profile: carrier, limits: {mappings: 100}}", f.On)})
	}
	switch {
	case f.Mappings == 0:
		problems = append(problems, units.Problem{Text: "this fault needs `mappings`, how many the neighbour opens"})
	case f.Mappings < 0 || f.Mappings > MaxPressure:
		problems = append(problems, units.Problem{Field: "mappings", Text: fmt.Sprintf("a neighbour can open 1 to %d mappings", MaxPressure)})
	}
	if f.For < 0 {
		problems = append(problems, units.Problem{Field: "for", Text: "a length of time cannot be negative"})
	}
	return problems
}

// limited says whether a NAT's table can be full. Of one that is not known it is assumed.
func (w World) limited(name string) bool {
	p, known := w.Profiles[name]
	return !known || p.CanBeFull()
}

// behind gives the NATs that a bystander's packets pass: on an uplink all of them,
// from one NAT on those after it too.
func (w World) behind(on string) []string {
	names := w.natNames(on)
	if _, whole := w.Uplinks[on]; whole {
		return names
	}
	uplink, _, _ := strings.Cut(on, ".")
	all := w.Uplinks[uplink]
	if i := slices.Index(all, on); i >= 0 {
		return all[i:]
	}
	return names
}

// Inject begins the connections and asserts that the NAT has mappings of them. That
// it has none is an error: such a fault could not have hurt anyone.
func (f *MappingPressure) Inject(ctx context.Context, l Lab) (Effect, error) {
	// An IPv6 firewall has no table that can be full.
	name := slices.DeleteFunc(l.natsOn(f.On), func(name string) bool { return l.NATs[name].Firewall() })[0]
	n := l.NATs[name]
	b, err := l.Topology.AddBystander(name)
	if err != nil {
		return Effect{}, fmt.Errorf("putting NAT %s under pressure: %w", name, err)
	}
	scanner, err := newScanner(b)
	if err != nil {
		return Effect{}, fmt.Errorf("putting NAT %s under pressure: %w", name, err)
	}
	// From here on there is pressure. A NAT that is full may take a while over each.
	at := time.Now()
	if err := scanner.begin(f.Mappings); err != nil {
		scanner.close()
		return Effect{}, fmt.Errorf("putting NAT %s under pressure: %w", name, err)
	}
	made, err := n.Strangers()
	if err == nil && made == 0 {
		err = errors.New("it gave the neighbour no mapping at all")
	}
	if err != nil {
		scanner.close()
		return Effect{}, fmt.Errorf("putting NAT %s under pressure: %w", name, err)
	}
	l.Go(func(ctx context.Context) error {
		defer scanner.close()
		again := n.Profile().Timeouts.TCPSynSent.D() + expiryLead
		for until := at.Add(f.For.D()); time.Now().Add(again).Before(until); {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(again):
			}
			if err := scanner.begin(f.Mappings); err != nil {
				return fmt.Errorf("keeping NAT %s under pressure: %w", name, err)
			}
		}
		return nil
	})
	return Effect{At: at, Text: fmt.Sprintf("a neighbour behind NAT %s began %s, and has %s", name,
		units.Count(f.Mappings, "connection", "connections"), units.Count(made, "mapping", "mappings"))}, nil
}

// expiryLead is how much later than their timeout mappings are surely gone.
const expiryLead = 50 * time.Millisecond

// scanner begins TCP connections to nowhere. It writes their first segments itself: a
// kernel would give each a socket and repeat it.
type scanner struct {
	fd   int
	from netip.Addr
}

func newScanner(b *lab.Host) (*scanner, error) {
	s := &scanner{fd: -1, from: b.Interfaces[0].Addr.Addr()}
	err := b.NS.Do(func() (err error) {
		s.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("opening a raw socket of its bystander: %w", err)
	}
	return s, nil
}

func (s *scanner) close() { _ = unix.Close(s.fd) }

// begin sends the SYNs of n connections, each from a port of its own.
func (s *scanner) begin(n int) error {
	to := &unix.SockaddrInet4{Addr: lab.Nowhere.As4()}
	for i := range n {
		err := unix.Sendto(s.fd, s.syn(uint16(firstPort+i)), 0, to)
		for errors.Is(err, unix.EINTR) {
			err = unix.Sendto(s.fd, s.syn(uint16(firstPort+i)), 0, to)
		}
		if err != nil {
			return fmt.Errorf("sending a SYN of its bystander: %w", err)
		}
	}
	return nil
}

// syn is the TCP header of a SYN to port 443 (RFC 9293 §3.1). Its checksum must be
// right, or no NAT would look at it.
func (s *scanner) syn(port uint16) []byte {
	const length, offset, flagSYN = 20, 5 << 4, 2
	b := make([]byte, length)
	binary.BigEndian.PutUint16(b[0:], port)
	binary.BigEndian.PutUint16(b[2:], 443)
	binary.BigEndian.PutUint32(b[4:], uint32(port)<<16)
	b[12], b[13] = offset, flagSYN
	binary.BigEndian.PutUint16(b[14:], 65535)
	sum := uint32(unix.IPPROTO_TCP + length)
	add := func(b []byte) {
		for i := 0; i < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
	}
	add(s.from.AsSlice())
	add(lab.Nowhere.AsSlice())
	add(b)
	for sum>>16 > 0 {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(b[16:], ^uint16(sum))
	return b
}
