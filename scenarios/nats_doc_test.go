package scenarios

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"outlive/lab/labtest"
	"outlive/nat"
)

// The list of profiles in docs/nats.md is held to the catalogue, and so are its
// examples to the language.
func TestNATsDoc(t *testing.T) {
	const doc = "../docs/nats.md"
	b, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	labtest.Golden(t, doc, replacePart(t, string(b), "profiles", profilesTable()))
	for i, example := range strings.Split(string(b), "```yaml\n")[1:] {
		example, _, _ = strings.Cut(example, "```")
		src := Source{Path: "example.yaml", Data: []byte(example)}
		if strings.HasPrefix(example, "# my-nat.yaml") {
			if _, err := LoadProfile(src); err != nil {
				t.Errorf("example %d: %v", i+1, err)
			}
			continue
		}
		// An example may show a part of a scenario only.
		whole := example
		if !strings.Contains(example, "devices:") {
			whole = "name: example\nduration: 20m\n" + example + "devices: {phone: {}}\nexpect: [count(death) == 0]\n"
		}
		l := &loader{src: Source{FS: fstest.MapFS{"my-nat.yaml": {Data: []byte(router)}}, Path: "scenario.yaml", Data: []byte(whole)}}
		if l.load(LoadOptions{}); len(l.err.Problems) > 0 {
			t.Errorf("example %d:\n%v", i+1, &l.err)
		}
	}
}

// profilesTable has a table for each family of profiles.
func profilesTable() string {
	var b strings.Builder
	family := nat.Family("")
	for _, n := range nat.Profiles() {
		if n.Family != family {
			if family != "" {
				b.WriteString("\n")
			}
			family = n.Family
			fmt.Fprintf(&b, "**%s**\n\n| profile | TCP | | UDP without / with answers | | maps by, lets in by | late from device / server | source |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n",
				strings.ToUpper(string(family[:1]))+string(family[1:]))
		}
		p, tcp, udp := n.Profile, n.Origin("timeouts.tcp_established"), n.Origin("timeouts.udp")
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s / %s | %s | %s, %s | %s / %s | %s |\n", p.Name,
			p.Timeouts.TCPEstablished, howSure(tcp), p.Timeouts.UDP, p.Timeouts.UDPStream, howSure(udp), p.Mapping, p.Filtering,
			p.Late.LAN, p.Late.WAN, saying(tcp))
	}
	return b.String()
}

func howSure(o nat.Origin) string {
	if o.Says != "" {
		return string(o.Sure) + " *"
	}
	return string(o.Sure)
}

func saying(o nat.Origin) string {
	if o.Says == "" {
		return o.Source
	}
	return fmt.Sprintf("%s Says: %s.", o.Source, o.Says)
}
