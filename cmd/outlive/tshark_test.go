package main_test

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"outlive/lab/feature"
	"outlive/lab/labtest"
	"outlive/scenarios/report"
)

// agreement is how far our times may lie from those that tshark's reading of the
// same capture gives. Both come from the same stamps: the bound is for mistakes.
const agreement = 5 * time.Millisecond

// TestTimesAgreeWithTshark works out from tshark's dissection alone when a
// connection died and who showed when that it knew, and holds result.json
// against it.
//
//	phone ── NAT cell (forgets after 4 s) ── server
//	slow ── IPv6 firewall cell (forgets after 4 s) ── server
func TestTimesAgreeWithTshark(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		labtest.SkipUnsupported(t, &feature.Unsupported{Feature: "reading captures with tshark", Needs: "the package tshark", Remedy: "apt-get install tshark", Err: err})
	}
	const idle = 4 * time.Second
	for _, scenario := range []string{"heartbeat-longer-silent", "heartbeat-longer-reset", "mosquitto-sub-longer", "server-pings-only", "ipv6-firewall"} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			var dir string
			got := steady(t, func(attempt string) outcome {
				dir = filepath.Join(t.TempDir(), attempt)
				return outlive(t, binary, t.TempDir(), "run", scenario, "--out", dir)
			})
			if got.code != 0 {
				t.Fatalf("exit code %d\n%s%s", got.code, got.stdout, got.stderr)
			}
			result := resultIn(t, filepath.Join(dir, scenario))
			frames := dissect(t, tshark, filepath.Join(dir, scenario, "capture.pcapng"), result.Started)
			died := 0
			for _, c := range result.Connections {
				if c.Died == nil {
					continue
				}
				died++
				compare(t, "death", lastThrough(frames, c)+idle, c.Died.D())
				compareNotice(t, "client", firstSign(frames, c, c.Device+":cell", c.Client.String(), true), c.ClientNoticed, c.ClientNoticedBy)
				compareNotice(t, "server", firstSign(frames, c, "server:cell", c.Server.String(), false), c.ServerNoticed, c.ServerNoticedBy)
			}
			if died == 0 {
				t.Error("no connection died: nothing was compared")
			}
		})
	}
}

// frame is a TCP segment as tshark sees it.
type frame struct {
	at            time.Duration
	point         string
	src, dst      string
	syn, fin, rst bool
	ack           bool
	seq           string
	length        string
}

// dissect lets tshark read a capture.
func dissect(t *testing.T, tshark, file string, zero time.Time) []frame {
	t.Helper()
	cmd := exec.Command(tshark, "-n", "-r", file, "-Y", "tcp", "-T", "fields", "-E", "separator=|",
		"-e", "frame.time_epoch", "-e", "frame.interface_name", "-e", "ip.src", "-e", "tcp.srcport", "-e", "ip.dst", "-e", "tcp.dstport",
		"-e", "tcp.flags", "-e", "tcp.seq_raw", "-e", "tcp.len", "-e", "ipv6.src", "-e", "ipv6.dst")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, &stderr)
	}
	var frames []frame
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) != 11 {
			t.Fatalf("tshark said %q", line)
		}
		seconds, nanos, _ := strings.Cut(f[0], ".")
		s, err1 := strconv.ParseInt(seconds, 10, 64)
		n, err2 := strconv.ParseInt((nanos + "000000000")[:9], 10, 64)
		flags, err3 := strconv.ParseUint(strings.TrimPrefix(f[6], "0x"), 16, 16)
		if err1 != nil || err2 != nil || err3 != nil {
			t.Fatalf("tshark said %q", line)
		}
		frames = append(frames, frame{
			at: time.Unix(s, n).Sub(zero), point: f[1], src: endOf(f[2], f[9], f[3]), dst: endOf(f[4], f[10], f[5]),
			fin: flags&1 != 0, syn: flags&2 != 0, rst: flags&4 != 0, ack: flags&16 != 0, seq: f[7], length: f[8],
		})
	}
	return frames
}

// endOf is an address and a port, of which tshark has the address of one family.
func endOf(four, six, port string) string {
	if four == "" {
		return "[" + six + "]:" + port
	}
	return four + ":" + port
}

// outside is the client's end as the server sees it: nothing translates IPv6.
func outside(c report.Connection) string {
	if len(c.Mapped) == 0 {
		return c.Client.String()
	}
	return c.Mapped[0].String()
}

// lastThrough is when a packet of the connection last came out of the NAT, on
// either side, having gone in on the other.
func lastThrough(frames []frame, c report.Connection) time.Duration {
	type identity struct {
		toServer bool
		seq, len string
		flags    [4]bool
	}
	id := func(f frame, toServer bool) identity {
		return identity{toServer, f.seq, f.length, [4]bool{f.syn, f.fin, f.rst, f.ack}}
	}
	inside, outside := c.Client.String(), outside(c)
	seen := map[identity]string{}
	var last time.Duration
	for _, f := range frames {
		if f.at >= c.Died.D() {
			break
		}
		var i identity
		switch {
		case f.point == "cell:lan" && f.src == inside, f.point == "cell:wan" && f.src == outside:
			i = id(f, true)
		case f.point == "cell:lan" && f.dst == inside, f.point == "cell:wan" && f.dst == outside:
			i = id(f, false)
		default:
			continue
		}
		if other, ok := seen[i]; ok && other != f.point {
			last = f.at
		}
		seen[i] = f.point
	}
	return last
}

// firstSign is the first packet after the death by which an end shows that it
// knows: its FIN or RST, or for a client the SYN of the next connection.
func firstSign(frames []frame, c report.Connection, point, end string, client bool) *time.Duration {
	for _, f := range frames {
		if f.point != point || f.at < c.Died.D() {
			continue
		}
		own := f.src == end && (client || f.dst == outside(c))
		if own && (f.fin || f.rst) || client && f.syn && !f.ack && f.src != end {
			return &f.at
		}
	}
	return nil
}

func compareNotice[T interface{ D() time.Duration }](t *testing.T, who string, want *time.Duration, got *T, by string) {
	t.Helper()
	switch {
	case by == "close":
		// Nothing of it is on the wire; it cannot come after what is.
		if want != nil && (*got).D() > *want {
			t.Errorf("%s closed its socket at %s, after its packet at %s", who, (*got).D(), *want)
		}
	case want == nil && got == nil:
	case want == nil || got == nil:
		t.Errorf("%s noticed: tshark says %v, result.json says %v by %q", who, want, got, by)
	default:
		compare(t, who+" noticed", *want, (*got).D())
	}
}

func compare(t *testing.T, what string, want, got time.Duration) {
	t.Helper()
	if d := (got - want).Abs(); d > agreement {
		t.Errorf("%s: tshark says %s, result.json says %s: %s apart", what, want, got, d)
	} else {
		t.Logf("%s: tshark says %s, result.json says %s", what, want, got)
	}
}
