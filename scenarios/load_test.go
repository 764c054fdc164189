package scenarios

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"outlive/faults"
	"outlive/lab/labtest"
	"outlive/lab/units"
	"outlive/nat"
	"outlive/probes/flow"
	"outlive/probes/heartbeat"
	"outlive/scenarios/verdict"
)

// seconds is a whole number of seconds as scenario files have them.
func seconds(n int) units.Duration { return units.Duration(n) * units.Duration(time.Second) }

// load loads a text as the file good.yaml in a folder of files.
func load(t *testing.T, text string, files fs.FS, set ...string) *Scenario {
	t.Helper()
	s, err := Load(Source{Name: "good.yaml", Path: "good.yaml", FS: files, Data: []byte(text)}, LoadOptions{Set: set})
	if err != nil {
		t.Fatalf("Load:\n%v", err)
	}
	return s
}

const least = `
name: good
duration: 30s
network: {cell: {nat: carrier}}
devices: {phone: {}}
expect: [count(death) == 0]
`

// TestLoadLeast: the least that says something, and every default in it.
func TestLoadLeast(t *testing.T) {
	s := load(t, least, nil)
	carrier, ok := nat.Lookup("carrier")
	if !ok {
		t.Fatal("no profile carrier")
	}
	expect, err := verdict.Parse("count(death) == 0")
	if err != nil {
		t.Fatal(err)
	}
	expect.Line = 6
	want := &Scenario{
		Name: "good", Duration: seconds(30), Seed: 1,
		Uplinks: []Uplink{{Name: "cell", NATs: []NAT{{Name: "cell", Profile: carrier.Profile.Complete()}}}},
		Server:  Server{Protocol: "line", Port: 7000, Heartbeat: heartbeat.Spec{Policy: "none"}},
		Devices: []Device{{Name: "phone", Uplinks: []string{"cell"}, IP: 4, Client: Client{
			Heartbeat: heartbeat.Spec{Policy: "none"},
			Reconnect: heartbeat.ReconnectSpec{}.WithDefaults(),
		}}},
		Expect: []verdict.Expectation{expect},
	}
	if diff := cmp.Diff(want, s, cmpopts.IgnoreFields(Scenario{}, "Source", "Resolved")); diff != "" {
		t.Error(diff)
	}
}

const whole = `
name: good
summary: Everything that the language has.
duration: 1h
seed: 7
network:
  wifi: {nat: {profile: linux, timeouts: {tcp_established: 5s}, late: {lan: drop}}}
  cell: {nat: [openwrt, {timeouts: {tcp_established: 4s}}]}
server:
  run: [./serve, -c, broker.conf, --port, "{port}", 7]
  files: [certs/]
  protocol: mqtt
  port: 2883
  privileged: true
devices:
  phone:
    uplinks: [cell, wifi]
    count: 2
    version: 5
    heartbeat: {interval: 4m}
    reconnect: {first: 100ms, jitter: 0%}
    expect: [count(detect.client) == 1]
  tablet:
    keepalive: 0s
  watch:
    run: [mosquitto_sub, -h, "{server}", -t, "{topic}"]
events:
  - {after: phone.connack, plus: 50ms, push: phone}
  - {at: 20s, fault: nat-reboot, on: cell.2}
  - {at: 5s, push: phone-2}
  - {at: 5s, fault: mapping-expire, device: tablet, on: wifi}
  - {at: 5s, push: phone}
guest: {files: [/etc/ssl/certs], root: /srv/rootfs}
expect:
  - push.delivered == 100%
`

func wholeFiles() fs.FS {
	return fstest.MapFS{"serve": {Mode: 0o755}, "broker.conf": {}, "certs/server.pem": {}}
}

// TestLoadWhole: everything that the language has, at once.
func TestLoadWhole(t *testing.T) {
	s := load(t, whole, wholeFiles())
	t.Run("NATs", func(t *testing.T) {
		linux, _ := nat.Lookup("linux")
		changed := linux.Profile
		changed.Name, changed.Timeouts.TCPEstablished, changed.Late.LAN = "", seconds(5), nat.LANDrop
		home, _ := nat.Lookup("openwrt")
		second := nat.Profile{Timeouts: nat.Timeouts{TCPEstablished: seconds(4)}}.Complete()
		want := []Uplink{
			{Name: "wifi", NATs: []NAT{{Name: "wifi", Profile: changed}}},
			{Name: "cell", NATs: []NAT{{Name: "cell.1", Profile: home.Profile}, {Name: "cell.2", Profile: second}}},
		}
		if diff := cmp.Diff(want, s.Uplinks); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("server", func(t *testing.T) {
		want := Server{
			Run: []string{"./serve", "-c", "broker.conf", "--port", "{port}", "7"}, Files: []string{"certs", "serve", "broker.conf"},
			Protocol: "mqtt", Port: 2883, Privileged: true,
		}
		if diff := cmp.Diff(want, s.Server); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("devices", func(t *testing.T) {
		none := heartbeat.Spec{Policy: "none"}
		quick := heartbeat.ReconnectSpec{First: units.Duration(100 * time.Millisecond), Jitter: new(units.Share)}.WithDefaults()
		phone := Device{Uplinks: []string{"cell", "wifi"}, IP: 4, Client: Client{
			Version: "5", KeepAlive: seconds(240),
			Heartbeat: heartbeat.Spec{Policy: "fixed", Interval: seconds(240), Deadline: seconds(10)}, Reconnect: quick,
		}}
		both := []string{"wifi", "cell"}
		one, two := phone, phone
		one.Name, two.Name = "phone-1", "phone-2"
		one.Fleet, two.Fleet = "phone", "phone"
		want := []Device{
			one, two,
			{Name: "tablet", Uplinks: both, IP: 4, Client: Client{Version: "3.1.1", Heartbeat: none, Reconnect: heartbeat.ReconnectSpec{}.WithDefaults()}},
			{Name: "watch", Uplinks: both, IP: 4, Client: Client{Run: []string{"mosquitto_sub", "-h", "{server}", "-t", "{topic}"}}},
		}
		if diff := cmp.Diff(want, s.Devices); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("events", func(t *testing.T) {
		plus := units.Duration(50 * time.Millisecond)
		want := []Event{
			{At: seconds(5), Push: "phone-2"},
			{At: seconds(5), FaultName: "mapping-expire", Fault: &faults.MappingExpire{Device: "tablet", On: "wifi"}},
			{At: seconds(5), Push: "phone-1"},
			{At: seconds(5), Push: "phone-2"},
			{At: seconds(20), FaultName: "nat-reboot", Fault: &faults.NATReboot{On: "cell.2"}},
			{After: "phone-1.connack", Plus: plus, Push: "phone-1"},
			{After: "phone-2.connack", Plus: plus, Push: "phone-2"},
		}
		if diff := cmp.Diff(want, s.Events); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("guest", func(t *testing.T) {
		if diff := cmp.Diff(Guest{Files: []string{"/etc/ssl/certs"}, Root: "/srv/rootfs"}, s.Guest); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("expectations", func(t *testing.T) {
		var got []string
		for _, e := range s.Expect {
			got = append(got, strings.TrimSpace(e.Device+" "+e.Text))
		}
		want := []string{"push.delivered == 100%", "phone-1 count(detect.client) == 1", "phone-2 count(detect.client) == 1"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// TestResolved: a scenario as resolved loads again to the same scenario and to
// the same text, and is written the way the golden file shows.
func TestResolved(t *testing.T) {
	for name, text := range map[string]string{"least": least, "whole": whole} {
		t.Run(name, func(t *testing.T) {
			s := load(t, text, wholeFiles())
			roundTrip(t, s)
			labtest.Golden(t, "testdata/resolved-"+name+".yaml", string(s.Resolved))
		})
	}
	for _, src := range Catalogue() {
		t.Run(src.Name, func(t *testing.T) {
			s, err := Load(src, LoadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			roundTrip(t, s)
		})
	}
}

func roundTrip(t *testing.T, s *Scenario) {
	t.Helper()
	again, err := Load(Source{Path: "scenario.yaml", FS: s.Source.FS, Data: s.Resolved}, LoadOptions{})
	if err != nil {
		t.Fatalf("loading it again:\n%v\n%s", err, s.Resolved)
	}
	if diff := cmp.Diff(s, again, sameScenario); diff != "" {
		t.Errorf("loaded again it differs (-first +again):\n%s\n%s", diff, s.Resolved)
	}
	if diff := cmp.Diff(string(s.Resolved), string(again.Resolved)); diff != "" {
		t.Errorf("resolved again it differs (-first +again):\n%s", diff)
	}
}

// sameScenario leaves out where things stand in a file.
var sameScenario = cmp.Options{
	cmpopts.EquateEmpty(),
	cmpopts.IgnoreFields(Scenario{}, "Source", "Resolved"),
	cmpopts.IgnoreFields(verdict.Expectation{}, "Line"),
}

// TestGood: spellings that are right although they look odd.
func TestGood(t *testing.T) {
	with := func(change ...string) string { return strings.NewReplacer(change...).Replace(least) }
	for _, c := range []struct{ name, text string }{
		{"byte order mark", "\ufeff" + least},
		{"line ends of Windows", strings.ReplaceAll(least, "\n", "\r\n")},
		{"old line ends", strings.ReplaceAll(least, "\n", "\r")},
		{"document start and end", "---" + least + "...\n"},
		{"quoted values", with("30s", `"30s"`, "carrier", "'carrier'")},
		{"block text", with("duration", "summary: >-\n  Folded over\n  two lines.\nduration")},
		{"zero without a unit", with("expect", "events: [{at: 0, push: phone}]\nexpect")},
		{"NAT list of one", with("nat: carrier", "nat: [carrier]")},
		{"profile without changes", with("nat: carrier", "nat: {profile: carrier}")},
		{"a word that YAML 1.1 reads as true", with("expect", "events: [{at: 1s, fault: nat-reboot, on: cell}]\nexpect")},
		{"a program that may write a file", with("expect", "server: {run: [serve, --log, out.json, -o, server.log]}\nexpect")},
		{"braces of another language", with("expect", `server: {run: [awk, "{print}", "{}"]}`+"\nexpect")},
		{"uplink that nobody uses", with("devices: {phone: {}}", "devices: {phone: {uplinks: [cell]}}", "network: {", "network: {wifi: {nat: linux}, ")},
		{"a digit in a name", with("cell", "g4")},
		{"expectation of one device only", with("{phone: {}}", "{phone: {expect: [count(death) == 0]}}", "expect: [count(death) == 0]\n", "")},
		{"silence of a command may be broken", with("phone: {}", "phone: {run: [client]}", "count(death) == 0", "max(heartbeat.interval) < 5s")},
	} {
		t.Run(c.name, func(t *testing.T) { roundTrip(t, load(t, c.text, nil)) })
	}
}

// TestName: where the name must be the file's, and where it may be any.
func TestName(t *testing.T) {
	for _, c := range []struct {
		path string
		ok   bool
	}{
		{"good.yaml", true}, {"a/b/good.yml", true}, {"scenario.yaml", true}, {"result/scenario.yaml", true}, {"", true},
		{"other.yaml", false}, {"good.yaml.yaml", false},
	} {
		_, err := Load(Source{Path: c.path, Data: []byte(least)}, LoadOptions{})
		if (err == nil) != c.ok {
			t.Errorf("%q: %v", c.path, err)
		}
	}
}

// TestSet: changes are applied in order, and what they change is checked like the rest.
func TestSet(t *testing.T) {
	s := load(t, whole, wholeFiles(),
		"seed=3", "seed=9", "duration=40s",
		"devices.tablet.heartbeat.interval=8s", // a mapping that was not there
		"network.wifi.nat.timeouts.tcp_established=90s",
		"network.cell.nat.1=carrier",
		"events.1.at=1s",
		"devices.watch={run: [nc, -v]}",
		"summary=One, with = in it",
	)
	roundTrip(t, s)
	tablet := s.Devices[2].Client
	got := []any{s.Seed, s.Duration, tablet.Heartbeat.Interval, tablet.KeepAlive, s.Uplinks[0].NATs[0].Profile.Timeouts.TCPEstablished,
		s.Uplinks[1].NATs[1].Profile.Name, s.Events[0].FaultName, s.Devices[3].Client.Run, s.Summary}
	want := []any{uint64(9), seconds(40), seconds(8), units.Duration(0), seconds(90), "carrier", "nat-reboot", []string{"nc", "-v"}, "One, with = in it"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestTooLarge: a file of more than a mebibyte is not even read as YAML.
func TestTooLarge(t *testing.T) {
	_, err := Load(Source{Path: "good.yaml", Data: []byte(least + strings.Repeat("#", maxSize))}, LoadOptions{})
	var bad *LoadError
	if !errors.As(err, &bad) || len(bad.Problems) != 1 {
		t.Fatalf("Load gives %v", err)
	}
	if want := "good.yaml:1:1: the file is larger than 1 MiB: that is no scenario"; bad.Error() != want {
		t.Errorf("got %q, want %q", bad.Error(), want)
	}
}

// TestGuest: what a guest takes along is named as the machine knows it, wherever the
// scenario lies when it is run again.
func TestGuest(t *testing.T) {
	machine := fstest.MapFS{"usr/share/zoneinfo/UTC": {}, "srv/rootfs/etc/passwd": {}}
	text := least + "guest: {files: [/usr/share//zoneinfo/], root: ../rootfs}\n"
	s, err := Load(Source{Name: "good.yaml", Path: "/srv/scenarios/good.yaml", Host: machine, Data: []byte(text)}, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Guest{Files: []string{"/usr/share/zoneinfo"}, Root: "/srv/rootfs"}, s.Guest); diff != "" {
		t.Error(diff)
	}
	roundTrip(t, s)
	// Read where it did not run, nothing of the machine is missed.
	if _, err := Load(Source{Path: "/elsewhere/scenario.yaml", Data: s.Resolved}, LoadOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := Load(Source{Path: "/elsewhere/good.yaml", Host: machine, Data: []byte(text)}, LoadOptions{}); err == nil {
		t.Error("a root that is not there was not missed")
	}
}

// TestManyProblems: a bad file cannot make a message without end, nor take long.
func TestManyProblems(t *testing.T) {
	for name, text := range map[string]string{
		"lines":    strings.Repeat("- x: 1\n", 100000),
		"texts":    least + "x: " + strings.Repeat("word ", 200000),
		"one line": least + "x: {" + strings.Repeat("a: 1, ", 100000) + "}\n",
		"unknown":  least + many(50000, "key%d: 1\n"),
		"brackets": strings.Repeat("[", maxSize),
		"braces":   strings.Repeat("{", maxSize),
		"names": "name: good\nduration: 30s\nnetwork: {cell: {nat: carrier}}\ndevices: {" + many(9000, "p%d: {}, ") + "z: {}}\nexpect: [count(death) == 0]\nevents:\n" +
			many(5000, "- {at: 1s, push: x%d}\n") + many(5000, "- {at: 1s, fault: mapping-expire, device: x%d}\n"),
		"quotes":   least + "x: [" + strings.Repeat("'', ", 100000) + "]\n",
		"comments": strings.Repeat("#\n", maxSize/2),
		"dashes":   strings.Repeat("- ", maxSize/2),
		"colons":   strings.Repeat("? ", maxSize/2),
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			_, err := Load(Source{Path: "good.yaml", Data: []byte(text)}, LoadOptions{})
			var bad *LoadError
			if !errors.As(err, &bad) {
				t.Fatalf("Load gives %v", err)
			}
			if len(bad.Problems) > maxProblems {
				t.Errorf("%d problems", len(bad.Problems))
			}
			if n := len(bad.Error()); n > 100000 {
				t.Errorf("the message has %d bytes", n)
			}
			t.Logf("%d bytes: %v, %d problems and %d more", len(text), time.Since(began).Round(time.Millisecond), len(bad.Problems), bad.More)
		})
	}
}

// TestProtocolEvents: every protocol of the registry has words that events can wait for.
func TestProtocolEvents(t *testing.T) {
	for _, name := range protocolNames() {
		if len(flow.EventNames(name)) == len(flow.EventNames("")) {
			t.Errorf("nothing can wait for a message of protocol %s", name)
		}
	}
}
