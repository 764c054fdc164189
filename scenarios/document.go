package scenarios

import (
	"reflect"
	"strings"

	"outlive/faults"
	"outlive/lab/units"
	"outlive/nat"
	"outlive/probes/heartbeat"
)

// file is a scenario file as it is written: the types of the language. Keys that
// have a default other than zero are pointers; check fills them in, and
// what it made of them is written as Resolved. The JSON Schema is generated from
// these types too, and takes its descriptions from their comments.
type file struct {
	root *node

	// The scenario's name, the same as the file's without its ending: lower-case letters, digits and hyphens.
	Name string `yaml:"name"`
	// One sentence on what the scenario teaches.
	Summary string `yaml:"summary,omitempty"`
	// How long the scenario runs from the start of the clients, at most 31d.
	Duration *units.Duration `yaml:"duration"`
	// What every choice that the lab makes itself is drawn from. Default 1.
	Seed *uint64 `yaml:"seed,omitempty"`
	// The access networks by name, each with the NATs between its devices and the server.
	Network entries[uplinkKeys] `yaml:"network"`
	// The push server under test. Left out, it is the built-in server of the line protocol.
	Server serverKeys `yaml:"server,omitempty"`
	// The simulated phones by name, each with one client.
	Devices entries[deviceKeys] `yaml:"devices"`
	// What the virtual machine of the warp engine needs besides the programs and what belongs to them.
	Guest guestKeys `yaml:"guest,omitempty"`
	// Pushes and faults, each at an instant.
	Events []eventKeys `yaml:"events,omitempty"`
	// What must hold for the verdict to be pass, one line each: "count(detect.client) == 1".
	Expect []string `yaml:"expect,omitempty"`
}

// uplinkKeys is one access network.
type uplinkKeys struct {
	// The NAT on the way to the server: the name of a profile, the path of a profile file, a profile written out, or a list of several, device side first.
	NAT natChain `yaml:"nat,omitempty"`
	// The IPv6 firewall on the way to the server: the name of a firewall profile, or a profile written out. Without a NAT beside it the network has IPv6 only; without it, IPv4 only.
	Firewall *firewallKeys `yaml:"firewall,omitempty"`
}

// firewallKeys is an IPv6 firewall: a firewall profile of the catalogue, with or without changes.
type firewallKeys struct {
	at *node

	// The name of the firewall profile that the other keys change. Left out, they change the Linux kernel's timeouts and a firewall that drops every late packet.
	Base        string `yaml:"profile,omitempty"`
	nat.Profile `yaml:",inline"`
}

// natChain is one NAT or several in a row.
type natChain []natKeys

// natKeys is a NAT: a profile of the catalogue or of a file, with or without changes.
type natKeys struct {
	at *node

	// The name of the profile, or the path of the profile file, that the other keys change. Left out, they change the Linux kernel's timeouts and a NAT that drops every late packet.
	Base        string `yaml:"profile,omitempty"`
	nat.Profile `yaml:",inline"`
}

// serverKeys is the push server under test.
type serverKeys struct {
	// The server's command and its arguments, as a list. "{port}" and "{address}" stand for where it must listen. Left out, the built-in server is used.
	Run words `yaml:"run,flow,omitempty"`
	// Files and folders beside the scenario that the command needs in its working directory. Files that are arguments of the command need not be listed.
	Files []string `yaml:"files,flow,omitempty"`
	// What is spoken on the connection. Default line.
	Protocol string `yaml:"protocol,omitempty"`
	// Where the server listens. Default 1883 for mqtt and 7000 for line.
	Port *uint16 `yaml:"port,omitempty"`
	// After how long a silence of the client the built-in line server closes the connection. Left out, it never does.
	Idle units.Duration `yaml:"idle,omitempty"`
	// The heartbeat that the built-in line server sends to its clients. Default none.
	Heartbeat *heartbeat.Spec `yaml:"heartbeat,flow,omitempty"`
	// Run the command as root of the sandbox instead of as an ordinary user.
	Privileged bool `yaml:"privileged,omitempty"`
}

// deviceKeys is a simulated phone with one client.
type deviceKeys struct {
	// The access networks that it can use; the first one is used. Default all, in the network's order.
	Uplinks []string `yaml:"uplinks,flow,omitempty"`
	// The version of IP by which the client reaches the server, 4 or 6. Default 6 where the first uplink has it (a firewall), as RFC 6724 prefers, and 4 elsewhere.
	IP *int `yaml:"ip,omitempty"`
	// Makes a fleet of so many devices, called phone-1, phone-2 and so on.
	Count *int `yaml:"count,omitempty"`
	// The client's command and its arguments, as a list. "{server}", "{port}", "{device}" and "{topic}" are replaced. Left out, the built-in client is used.
	Run words `yaml:"run,flow,omitempty"`
	// Files and folders beside the scenario that the command needs in its working directory. Files that are arguments of the command need not be listed.
	Files []string `yaml:"files,flow,omitempty"`
	// The version of MQTT that the built-in client speaks. Default 3.1.1.
	Version string `yaml:"version,omitempty"`
	// The keep alive that the built-in MQTT client announces, in whole seconds. Default its heartbeat's interval.
	KeepAlive *units.Duration `yaml:"keepalive,omitempty"`
	// When the built-in client sends a heartbeat, and what it concludes from silence. Default none.
	Heartbeat *heartbeat.Spec `yaml:"heartbeat,flow,omitempty"`
	// How the built-in client comes back after it has lost its connection.
	Reconnect *heartbeat.ReconnectSpec `yaml:"reconnect,flow,omitempty"`
	// Run the command as root of the sandbox instead of as an ordinary user.
	Privileged bool `yaml:"privileged,omitempty"`
	// What must hold of this device, each line as in the scenario's own expect.
	Expect []string `yaml:"expect,omitempty"`
}

// guestKeys is what a guest of the warp engine takes along.
type guestKeys struct {
	// Files and folders of this machine, by their absolute paths. They are in the guest under the same paths; on the live engine the programs see them anyway.
	Files []string `yaml:"files,flow,omitempty"`
	// A folder whose contents are the root of the guest's file system, such as an unpacked container image: an absolute path, or one from the scenario's folder. Only the warp engine has it.
	Root string `yaml:"root,omitempty"`
}

// eventKeys is a push or a fault, with the keys of the fault beside it.
type eventKeys struct {
	at     *node
	params faults.Fault

	// When it happens, from the start of the clients.
	At *units.Duration `yaml:"at,omitempty"`
	// What it happens after, for the first time: a device and a protocol event, "phone.connack".
	After string `yaml:"after,omitempty"`
	// How long after that. Default at once.
	Plus *units.Duration `yaml:"plus,omitempty"`
	// The device that is sent a push.
	Push string `yaml:"push,omitempty"`
	// The fault that happens. Its own keys stand beside it.
	Fault string `yaml:"fault,omitempty"`
}

// words is a command: a list, never one text, so that nothing has to guess where
// its arguments end.
type words []string

func (w *words) decode(l *loader, n *node, what string) {
	if n.kind == scalar && !n.empty {
		l.report(n, "", "%s must be a list of the command and its arguments: write [%s]", what, clip(strings.Join(quoteWords(strings.Fields(n.text)), ", ")))
		return
	}
	l.decode(n, reflect.ValueOf((*[]string)(w)).Elem(), what)
}

// quoteWords writes words as they must stand in a YAML list in brackets.
func quoteWords(in []string) []string {
	var out []string
	for _, w := range in {
		if strings.ContainsAny(w, "{}[],:#&*!|>'\"%@`") {
			w = `"` + strings.ReplaceAll(strings.ReplaceAll(w, `\`, `\\`), `"`, `\"`) + `"`
		}
		out = append(out, w)
	}
	return out
}

func (c *natChain) decode(l *loader, n *node, what string) {
	if n.kind != list {
		*c = make(natChain, 1)
		(*c)[0].decode(l, n, what)
		return
	}
	if len(n.items) == 0 {
		l.report(n, "", "%s is empty: name at least one NAT profile", what)
		return
	}
	*c = make(natChain, len(n.items))
	for i, item := range n.items {
		(*c)[i].decode(l, item, what)
	}
}

func (k *natKeys) decode(l *loader, n *node, what string) {
	k.at = n
	switch {
	case n.spoilt:
		return
	case n.empty:
		l.report(n, "", "%s is empty: name a NAT profile", what)
		return
	case n.kind == list:
		l.report(n, "", "a list of NATs cannot hold another list")
		return
	case n.kind == scalar:
		k.lookup(l, n, n.text)
		return
	}
	k.Profile = nat.Default()
	// The profile comes first, so that the keys beside it change it.
	if base := n.get("profile"); base != nil && base.kind == scalar && !base.empty && !base.spoilt {
		k.lookup(l, base, base.text)
	}
	l.decodeFields(n, what, reflect.ValueOf(k).Elem())
}

func (k *firewallKeys) decode(l *loader, n *node, what string) {
	k.at = n
	switch {
	case n.spoilt:
		return
	case n.empty:
		l.report(n, "", "%s is empty: name a firewall profile", what)
		return
	case n.kind == list:
		l.report(n, "", "an uplink has one IPv6 firewall, not a list of them")
		return
	case n.kind == scalar:
		k.lookup(l, n, n.text)
		return
	}
	k.Profile = nat.Profile{}.CompleteFirewall()
	if base := n.get("profile"); base != nil && base.kind == scalar && !base.empty && !base.spoilt {
		k.lookup(l, base, base.text)
	}
	l.decodeFields(n, what, reflect.ValueOf(k).Elem())
}

func (k *firewallKeys) lookup(l *loader, n *node, name string) {
	named, ok := nat.LookupFirewall(name)
	if !ok {
		var names []string
		for _, p := range nat.FirewallProfiles() {
			names = append(names, p.Profile.Name)
		}
		l.unknownName(n, "firewall profile", name, names)
		return
	}
	k.Base, k.Profile = name, named.Profile
}

func (k *natKeys) lookup(l *loader, n *node, name string) {
	if clean, ok := profilePath(name); ok {
		if p := l.profileFile(n, clean); p != nil {
			k.Base, k.Profile = profileName(clean), p.keys.Complete()
		}
		return
	}
	named, ok := nat.Lookup(name)
	if !ok {
		var names []string
		for _, p := range nat.Profiles() {
			names = append(names, p.Profile.Name)
		}
		l.unknownName(n, "NAT profile", name, names)
		return
	}
	k.Base, k.Profile = name, named.Profile
}

// MarshalYAML writes the profile whole, so that a later change of the catalogue
// does not change a scenario that was resolved before.
func (c natChain) MarshalYAML() (any, error) {
	if len(c) == 1 {
		return c[0], nil
	}
	return []natKeys(c), nil
}

func (e *eventKeys) decode(l *loader, n *node, what string) {
	e.at = n
	structs := []reflect.Value{reflect.ValueOf(e).Elem()}
	switch {
	case n.empty:
		l.empty(n, reflect.TypeFor[string](), what)
		return
	case n.kind != mapping:
		l.mistyped(n, reflect.TypeFor[eventKeys](), what)
		return
	}
	if f := n.get("fault"); f != nil && f.kind == scalar && !f.empty && !f.spoilt {
		kind, ok := faults.Lookup(f.text)
		if !ok {
			var names []string
			for _, k := range faults.Kinds() {
				names = append(names, k.Name)
			}
			l.unknownName(f, "fault", f.text, names)
			// Its keys cannot be told from mistakes, so they are let pass.
			n = n.only("at", "after", "plus", "push", "fault")
		} else {
			what = "the fault " + kind.Name
			e.params = kind.New()
			structs = append(structs, reflect.ValueOf(e.params).Elem())
		}
	}
	l.decodeFields(n, what, structs...)
}

// MarshalYAML writes the event and its fault's parameters as one mapping.
func (e eventKeys) MarshalYAML() (any, error) {
	type plain eventKeys
	m := yamlMapping{flow: true, parts: []yamlPart{{value: plain(e)}}}
	if e.params != nil {
		m.parts = append(m.parts, yamlPart{value: e.params})
	}
	return m, nil
}

// unknownName reports a name that nothing has.
func (l *loader) unknownName(n *node, what, name string, names []string) {
	if l.full() {
		names = nil
	}
	if suggestion := units.Closest(name, names); suggestion != "" {
		l.report(n, suggestion, "no %s is called %q", what, clip(name))
		return
	}
	there := "there are " + units.List(names)
	switch len(names) {
	case 0:
		there = "there is none"
	case 1:
		there = "there is only " + names[0]
	}
	if len(names) > 12 {
		there = "there are " + strings.Join(names[:10], ", ") + " and others"
	}
	l.report(n, "", "no %s is called %q; %s", what, clip(name), there)
}
