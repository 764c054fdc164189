package main_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The built-in clients of a fleet are one process, each in its own device, and that of a
// device alone is another. What ends a process ends the clients in it, and no other.
//
//	phone-1 ──┐
//	phone-2 ──┼── NAT cell ── server
//	tablet  ──┘
func TestFleet(t *testing.T) {
	dir := t.TempDir()
	scenario := `name: fleet
duration: 6s
network:
  cell: {nat: linux}
devices:
  phone: {count: 2, heartbeat: {policy: fixed, interval: 1s}}
  tablet: {heartbeat: {policy: fixed, interval: 1s}}
expect: [count(death) == 0]
`
	if err := os.WriteFile(filepath.Join(dir, "fleet.yaml"), []byte(scenario), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "run", "fleet.yaml", "--engine", "live", "--out", "out")
	cmd.Dir = dir
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	for lines.Scan() && !strings.Contains(lines.Text(), "is the one asked for") {
	}
	running := map[string][]int{}
	for _, p := range descendants(cmd.Process.Pid) {
		running[comm(p.pid)] = append(running[comm(p.pid)], p.pid)
	}
	if len(running["outlive-fleet"]) != 1 || len(running["outlive-client"]) != 1 {
		t.Errorf("want one process for the fleet and one for the other device, got %v", running)
	}
	for _, pid := range running["outlive-fleet"] {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}
	rest, err := io.ReadAll(stderr)
	if err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d, want 1\n%s", code, rest)
	}
	result := filepath.Join(dir, "out", "fleet")
	died := map[string]string{}
	for _, c := range resultIn(t, result).Connections {
		died[c.Device] += c.CauseKind
	}
	if diff := cmp.Diff(map[string]string{"phone-1": "client-exit", "phone-2": "client-exit", "tablet": ""}, died); diff != "" {
		t.Errorf("what the connections died of (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"phone-1", "phone-2"}, exitsIn(t, result)); diff != "" {
		t.Errorf("the hosts whose programs ended (-want +got):\n%s", diff)
	}
	for i, device := range []string{"phone-1", "phone-2", "tablet"} {
		want := netip.AddrFrom4([4]byte{10, 64, 0, byte(2 + i)})
		if got := firstLocal(t, result, device); got != want {
			t.Errorf("the client of %s connected from %s, want %s", device, got, want)
		}
	}
}

// exitsIn are the hosts of which a run says that their programs ended by themselves.
func exitsIn(t *testing.T, dir string) (hosts []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "events.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var e struct{ Kind, Host string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Kind == "client-exit" {
			hosts = append(hosts, e.Host)
		}
	}
	slices.Sort(hosts)
	return hosts
}

// firstLocal is the address from which the client of a device says that it connected first.
func firstLocal(t *testing.T, dir, device string) netip.Addr {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "client-"+device+".log"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var e struct {
			Event string
			Local netip.AddrPort
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Event == "connected" {
			return e.Local.Addr()
		}
	}
	return netip.Addr{}
}
