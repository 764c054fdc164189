package scenarios

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"outlive/nat"
)

const router = `
summary: The router in the corner.
profile: openwrt
timeouts: {tcp_established: 10m}
late: {lan: drop}
`

// routerProfile is what that file says.
func routerProfile() nat.Profile {
	base, _ := nat.Lookup("openwrt")
	p := base.Profile
	p.Timeouts.TCPEstablished, p.Late.LAN = seconds(600), nat.LANDrop
	p.Name = ""
	return p
}

// TestProfileFile: a profile in a file beside the scenario is a profile like any other,
// as it is, changed, and in a row; what is changed is written whole, and what is not
// keeps its file.
func TestProfileFile(t *testing.T) {
	files := fstest.MapFS{"router.yaml": {Data: []byte(router)}, "nats/other.yml": {Data: []byte("\ufefftimeouts: {udp: 45s}\r\n")}}
	with := func(nats string) string { return strings.Replace(least, "nat: carrier", "nat: "+nats, 1) }
	named := routerProfile()
	named.Name = "./router.yaml"
	changed := routerProfile()
	changed.Late.WAN = nat.WANReset
	other := nat.Profile{Timeouts: nat.Timeouts{UDP: seconds(45)}}.Complete()
	other.Name = "./nats/other.yml"
	for _, c := range []struct {
		nats  string
		want  []nat.Profile
		files []string
	}{
		{"./router.yaml", []nat.Profile{named}, []string{"router.yaml"}},
		{"router.yaml", []nat.Profile{named}, []string{"router.yaml"}},
		{"{profile: ./router.yaml}", []nat.Profile{named}, []string{"router.yaml"}},
		{"{profile: ./router.yaml, late: {wan: reset}}", []nat.Profile{changed}, nil},
		{"[./router.yaml, ./nats/../nats/other.yml, router.yaml]", []nat.Profile{named, other, named}, []string{"router.yaml", "nats/other.yml"}},
	} {
		t.Run(c.nats, func(t *testing.T) {
			s := load(t, with(c.nats), files)
			var got []nat.Profile
			for _, n := range s.Uplinks[0].NATs {
				got = append(got, n.Profile)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.files, s.profileFiles()); diff != "" {
				t.Errorf("the files that the result folder needs: %s", diff)
			}
			roundTrip(t, s)
		})
	}
	if _, err := Load(Source{Path: "good.yaml", Data: []byte(with("./router.yaml"))}, LoadOptions{}); err == nil {
		t.Error("a profile file was read where there are no files")
	}
}

// TestProfileFileTravels: the result folder of a scenario with a profile file holds
// what it takes to load and run the scenario again from there.
func TestProfileFileTravels(t *testing.T) {
	files := fstest.MapFS{"nats/router.yaml": {Data: []byte(router)}}
	s := load(t, strings.Replace(least, "nat: carrier", "nat: ./nats/router.yaml", 1), files)
	dir, err := prepare(s, filepath.Join(t.TempDir(), "result"))
	if err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(filepath.Join(dir, "nats", "router.yaml"))
	if err != nil || string(kept) != router {
		t.Errorf("the profile file in the result folder: %v\n%s", err, kept)
	}
	again, err := loadResolved(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, again, sameScenario); diff != "" {
		t.Errorf("loaded from the result folder it differs:\n%s", diff)
	}
	found, err := Find([]string{dir})
	if err != nil || len(found) != 1 || filepath.Base(found[0].Path) != scenarioFile {
		t.Errorf("what there is to run in the result folder: %v, %v", found, err)
	}

	taken := fstest.MapFS{"result.json/x.yaml": {Data: []byte(router)}}
	s = load(t, strings.Replace(least, "nat: carrier", "nat: result.json/x.yaml", 1), taken)
	if _, err := prepare(s, filepath.Join(t.TempDir(), "result")); err == nil || !strings.Contains(err.Error(), "call it something else") {
		t.Errorf("a profile file that would take the place of the result: %v", err)
	}
}

// TestLoadProfile: a profile file by itself, with the origin of each figure.
func TestLoadProfile(t *testing.T) {
	got, err := LoadProfile(Source{Name: "my/router.yaml", Path: "my/router.yaml", Data: []byte(router)})
	if err != nil {
		t.Fatal(err)
	}
	want := routerProfile()
	want.Name = "my/router.yaml"
	if diff := cmp.Diff(want, got.Profile); diff != "" {
		t.Error(diff)
	}
	if got.Summary != "The router in the corner." {
		t.Errorf("summary %q", got.Summary)
	}
	base, _ := nat.Lookup("openwrt")
	for field, sure := range map[string]nat.Sureness{
		"timeouts.tcp_established": "set here", "late.lan": "set here",
		"timeouts.udp": base.Origin("timeouts.udp").Sure, "late.wan": nat.Chosen, "mapping": base.Origin("mapping").Sure,
	} {
		if o := got.Origin(field); o.Sure != sure {
			t.Errorf("%s is %s, want %s", field, o.Sure, sure)
		}
	}

	_, err = LoadProfile(Source{Path: "r.yaml", Data: []byte("late: {lan: rst}\n")})
	var bad *LoadError
	if !errors.As(err, &bad) || len(bad.Problems) != 1 || bad.Problems[0].File != "r.yaml" || bad.Problems[0].Suggestion != "reset" {
		t.Errorf("LoadProfile gives %v", err)
	}
}

// TestIsProfile tells profiles from scenarios, and from what is neither.
func TestIsProfile(t *testing.T) {
	for text, want := range map[string]bool{
		router: true, "late: {lan: drop}": true, "summary: x\ntimeouts: {}": true, "name: x\nlate: {}": true,
		least: false, "summary: x": false, "devices: {}\nlate: {}": false, "- late": false, "late: {": false, "": false,
	} {
		if got := IsProfile(Source{Data: []byte(text)}); got != want {
			t.Errorf("IsProfile(%q) is %v", text, got)
		}
	}
}

// TestFindLeavesProfilesOut: a folder's NAT profiles are not scenarios, whether one of
// its scenarios needs them or not, whether they are in order or not.
func TestFindLeavesProfilesOut(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"good.yaml": strings.Replace(least, "nat: carrier", "nat: [linux, {profile: ./nats/broken.yaml}]", 1), "router.yaml": router, "nats/broken.yaml": "late: {",
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	found, err := Find([]string{dir})
	if err != nil || len(found) != 1 || filepath.Base(found[0].Path) != "good.yaml" {
		t.Errorf("found %v, %v", found, err)
	}
}

// FuzzProfileFile: no text of a profile file makes loading panic, by itself or from a
// scenario; what is wrong with it has its place in it; and a scenario that loads with it
// loads again as resolved.
func FuzzProfileFile(f *testing.F) {
	f.Add([]byte(router))
	files, err := filepath.Glob("testdata/broken/nats/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	text := strings.Replace(least, "nat: carrier", "nat: [./router.yaml, {profile: ./router.yaml, timeouts: {udp: 40s}}]", 1)
	f.Fuzz(func(t *testing.T, data []byte) {
		beside := fstest.MapFS{"router.yaml": {Data: data}}
		_, alone := LoadProfile(Source{Path: "router.yaml", Data: data})
		s, err := Load(Source{Path: "scenario.yaml", FS: beside, Data: []byte(text)}, LoadOptions{})
		if err == nil {
			if alone != nil {
				t.Fatalf("a scenario takes what is wrong by itself: %v", alone)
			}
			again, err := Load(Source{Path: "scenario.yaml", FS: beside, Data: s.Resolved}, LoadOptions{})
			if err != nil || string(again.Resolved) != string(s.Resolved) {
				t.Fatalf("as resolved it is another one: %v\n%s", err, s.Resolved)
			}
			return
		}
		var bad *LoadError
		if !errors.As(err, &bad) || len(bad.Problems) == 0 {
			t.Fatalf("not a *LoadError with problems: %v", err)
		}
		for _, p := range bad.Problems {
			if p.File == "router.yaml" {
				p.File = "scenario.yaml"
				inText(t, p, data, "")
			} else {
				inText(t, p, []byte(text), "")
			}
		}
	})
}
