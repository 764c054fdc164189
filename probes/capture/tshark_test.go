package capture

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/feature"
	"outlive/lab/labtest"
)

// run runs one of Wireshark's tools and gives what it prints. Where the tool is
// not installed the test is skipped.
func run(t *testing.T, tool string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), tool, args...).Output()
	if errors.Is(err, exec.ErrNotFound) {
		labtest.SkipUnsupported(t, &feature.Unsupported{
			Feature: "comparing captures with Wireshark's tools", Needs: tool,
			Remedy: "install the packages tshark and wireshark-common", Err: err,
		})
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("%s: %v\n%s", tool, err, exit.Stderr)
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// Wireshark's tools see what we mean: points as interfaces, directions, addresses,
// one order of time, and the kernel's counts.
//
//	phone ── cell ── lan0 [NAT cell] wan0 ── cell [server]
func TestTsharkAgrees(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		topology, points := buildPath(t)
		dir := labtest.Dir(t)
		r := startCapture(t, dir, points, nil)
		s := newSender(t, topology, 1514)
		s.send(t)
		stopCapture(t, r)
		mergeCapture(t, dir)
		file := filepath.Join(dir, FileName)

		out := run(t, "tshark", "-n", "-r", file, "-T", "fields", "-E", "separator=/s",
			"-e", "frame.number", "-e", "frame.interface_name", "-e", "frame.packet_flags_direction", "-e", "frame.len", "-e", "frame.cap_len", "-e", "udp.dstport")
		var directions []string
		for i, line := range strings.Split(strings.TrimSpace(out), "\n") {
			fields := strings.Fields(line)
			if len(fields) != 6 || fields[0] != fmt.Sprint(i+1) || fields[3] != "1514" || fields[4] != "1514" || fields[5] != "9" {
				t.Errorf("tshark says of packet %d: %s", i+1, line)
				continue
			}
			// Versions differ in writing this number: 2 or 0x00000002.
			directions = append(directions, fields[1]+" "+fields[2][len(fields[2])-1:])
		}
		want := []string{"phone:cell 2", "cell:lan 1", "cell:wan 2", "server:cell 1"}
		if diff := cmp.Diff(want, directions); diff != "" {
			t.Errorf("points and directions (-want +tshark):\n%s", diff)
		}

		report := run(t, "capinfos", "-M", file)
		for _, want := range []string{
			"Strict time order:   True",
			"Number of packets:   4",
			"File timestamp precision:  nanoseconds (9)",
			"Name = phone:cell", "Name = server:cell",
			"Description = capture point 1 of 4",
			"Number of stat entries = 1",
			"Number of packets = 1",
		} {
			if !strings.Contains(strings.ToLower(report), strings.ToLower(want)) {
				t.Errorf("capinfos does not say %q:\n%s", want, report)
			}
		}
	})
}
