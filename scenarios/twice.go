package scenarios

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/pcapgo"

	"outlive/lab"
	"outlive/lab/units"
	"outlive/scenarios/report"
)

// runAgain runs a scenario a second time, of which the first is in dir and has been
// judged, and says what came of comparing them. Where both are the same the second one is
// removed.
func (o Options) runAgain(ctx context.Context, s *Scenario, dir string, first report.Run) (report.Repeats, error) {
	o.tell(EventEngine, "once more, with the same seed")
	again := o
	again.Dir, again.Progress, again.Tick = filepath.Join(dir, againFolder), nil, nil
	if _, err := prepare(s, again.Dir); err != nil {
		return first.Repeats, fmt.Errorf("running it a second time: %w", err)
	}
	second := report.Run{File: first.File, Folder: filepath.Join(first.Folder, againFolder), Engine: first.Engine, EngineWhy: first.EngineWhy, Ran: time.Now()}
	err := again.runGuest(ctx, s, again.Dir, &second)
	if ctx.Err() != nil {
		// Whoever ends it has not shown that they differ.
		return first.Repeats, errors.New("the second run was interrupted, and nothing was compared")
	}
	// A result folder as any other, to be looked at beside the first.
	if _, err = conclude(s, again.Dir, second, err); err != nil {
		return first.Repeats, fmt.Errorf("running it a second time: %w", err)
	}
	found, err := difference(dir, again.Dir)
	if err != nil {
		return first.Repeats, fmt.Errorf("comparing the two runs: %w", err)
	}
	if found == "" {
		err = os.RemoveAll(again.Dir)
	}
	return report.Repeats{Exact: new(found == ""), ExactBy: report.ByTwice, Difference: found}, err
}

// difference says in what two runs of one scenario differ first, by the scenario's
// time, or nothing if their captures and events are the same to the last byte.
func difference(one, other string) (string, error) {
	ev, err := readEvidence(one)
	if err != nil {
		return "", err
	}
	unlikePackets := func(a, b io.Reader) (*unlike, error) { return unlikePackets(a, b, ev.truth.Start) }
	var first *unlike
	for _, part := range []struct {
		file    string
		compare func(one, other io.Reader) (*unlike, error)
	}{{eventsFile, unlikeEvents}, {captureFile, unlikePackets}} {
		found, err := compareFiles(filepath.Join(one, part.file), filepath.Join(other, part.file), part.compare)
		if err != nil {
			return "", err
		}
		if found != nil && (first == nil || found.at < first.at) {
			first = found
		}
	}
	if first == nil {
		return "", nil
	}
	return first.text, nil
}

// unlike is the first place in which two files differ.
type unlike struct {
	at   units.Seconds
	text string
}

// compareFiles looks for the place of a difference only where there is one.
func compareFiles(one, other string, compare func(one, other io.Reader) (*unlike, error)) (*unlike, error) {
	a, err := os.Open(one)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	b, err := os.Open(other)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	sumA, errA := sum(a)
	sumB, errB := sum(b)
	if err := errors.Join(errA, errB); err != nil || sumA == sumB {
		return nil, err
	}
	_, errA = a.Seek(0, io.SeekStart)
	_, errB = b.Seek(0, io.SeekStart)
	if err := errors.Join(errA, errB); err != nil {
		return nil, err
	}
	found, err := compare(a, b)
	if err != nil {
		return nil, err
	}
	if found == nil {
		// It lies in what is not looked at one by one, as the options of a capture.
		found = &unlike{text: fmt.Sprintf("%s has the sha256 %s in the one and %s in the other", filepath.Base(one), sumA, sumB)}
	}
	return found, nil
}

// sum is the sha256 of a file.
func sum(r io.Reader) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func hashFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return sum(f)
}

// unlikeEvents finds the first line in which two journals differ.
func unlikeEvents(one, other io.Reader) (*unlike, error) {
	a, b := bufio.NewReader(one), bufio.NewReader(other)
	var at units.Seconds // of the scenario, as far as both agree
	for n := 1; ; n++ {
		x, errA := a.ReadBytes('\n')
		y, errB := b.ReadBytes('\n')
		ended := errors.Is(errA, io.EOF) || errors.Is(errB, io.EOF)
		if err := errors.Join(errA, errB); err != nil && !ended {
			return nil, err
		}
		if !bytes.Equal(x, y) {
			p, q := eventWords(x), eventWords(y)
			return &unlike{max(at, min(p.at, q.at)), fmt.Sprintf("line %d of %s: %s", n, eventsFile, inOneAndOther(p.text, q.text))}, nil
		}
		if ended {
			return nil, nil
		}
		at = max(at, eventWords(x).at)
	}
}

// eventWords says what a line of a journal tells.
func eventWords(line []byte) unlike {
	var e lab.Event
	if len(line) == 0 {
		return unlike{forever, "nothing more"}
	}
	if json.Unmarshal(line, &e) != nil {
		return unlike{0, fmt.Sprintf("%.60q", line)}
	}
	what := e.Kind
	if e.Host != "" {
		what += " of " + e.Host
	}
	if e.Text != "" {
		what += " (" + e.Text + ")"
	}
	return unlike{e.At, fmt.Sprintf("%s at %s", what, e.At.D())}
}

// forever is later than anything in a scenario.
const forever = units.Seconds(1<<63 - 1)

// unlikePackets finds the first packet in which two captures differ. Times are
// counted from the start of the scenario in the first.
func unlikePackets(one, other io.Reader, zero time.Time) (*unlike, error) {
	a, errA := newPackets(one, zero)
	b, errB := newPackets(other, zero)
	if err := errors.Join(errA, errB); err != nil {
		return nil, fmt.Errorf("reading %s: %w", captureFile, err)
	}
	for n := 1; ; n++ {
		x, errA := a.next()
		y, errB := b.next()
		if err := errors.Join(errA, errB); err != nil {
			return nil, fmt.Errorf("reading packet %d of %s: %w", n, captureFile, err)
		}
		if x.words() != y.words() || !bytes.Equal(x.data, y.data) {
			p, q := x.words(), y.words()
			text := fmt.Sprintf("packet %d of %s: %s", n, captureFile, inOneAndOther(p, q))
			if p == q {
				text = fmt.Sprintf("packet %d of %s, %s, has other bytes", n, captureFile, p)
			}
			return &unlike{min(x.at, y.at), text}, nil
		}
		if x.data == nil {
			return nil, nil
		}
	}
}

func inOneAndOther(one, other string) string {
	if one == other {
		return one + " with other details"
	}
	return one + " in the one, " + other + " in the other"
}

// packets reads a capture.
type packets struct {
	r    *pcapgo.NgReader
	zero time.Time
}

func newPackets(r io.Reader, zero time.Time) (*packets, error) {
	reader, err := pcapgo.NewNgReader(r, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	return &packets{reader, zero}, err
}

// capturedPacket is a packet; without data it is the capture's end.
type capturedPacket struct {
	at    units.Seconds
	point string
	data  []byte
}

func (p *packets) next() (capturedPacket, error) {
	data, ci, err := p.r.ReadPacketData()
	if errors.Is(err, io.EOF) {
		return capturedPacket{at: forever}, nil
	}
	if err != nil {
		return capturedPacket{}, err
	}
	return capturedPacket{units.Seconds(ci.Timestamp.Sub(p.zero)), p.point(ci), data}, nil
}

func (p *packets) point(ci gopacket.CaptureInfo) string {
	i, err := p.r.Interface(ci.InterfaceIndex)
	if err != nil {
		return fmt.Sprintf("interface %d", ci.InterfaceIndex)
	}
	return i.Name
}

func (c capturedPacket) words() string {
	if c.data == nil {
		return "nothing more"
	}
	return strings.TrimSpace(fmt.Sprintf("%d bytes at %s on %s", len(c.data), c.at.D(), c.point))
}
