package scenarios

import (
	"encoding/json"
	"go/ast"
	goparser "go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"

	"outlive/faults"
	"outlive/lab/units"
	"outlive/nat"
	"outlive/probes/heartbeat"
)

// schemaMaker makes the JSON Schema of the language from its types. It lives in a
// test so that the library it needs is not part of the program.
type schemaMaker struct{ jsonschema.Reflector }

func newSchemaMaker(t *testing.T) *schemaMaker {
	t.Helper()
	m := &schemaMaker{jsonschema.Reflector{
		FieldNameTag: "yaml", Anonymous: true, DoNotReference: true,
	}}
	m.Mapper = m.special
	m.LookupComment = func(t reflect.Type, field string) string {
		if t == reflect.TypeFor[plainEvent]() {
			return m.CommentMap["outlive/scenarios.eventKeys."+field]
		}
		if t == reflect.TypeFor[plainFirewall]() {
			return m.CommentMap["outlive/scenarios.firewallKeys."+field]
		}
		return ""
	}
	m.readComments(t)
	return m
}

// makeSchema is the whole schema as it stands in schema.json.
func makeSchema(t *testing.T) []byte {
	t.Helper()
	m := newSchemaMaker(t)
	s := m.ReflectFromType(reflect.TypeFor[file]())
	s.Version = jsonschema.Version
	s.Title = "outlive scenario"
	s.Description = "A network, a push server, devices, what happens to them, and what must hold."
	s.Definitions = jsonschema.Definitions{
		"duration": durations(),
		"nat":      m.nat(),
		"firewall": m.firewall(),
		"share":    {Type: "string", Pattern: `^[0-9]+(\.[0-9]+)?%$`},
	}
	m.describe(s, reflect.TypeFor[file]())
	return writeSchema(t, s)
}

// readComments takes the comments of the types in, each on one line. The library
// finds those of exported types, by the path that it read, so the root of the
// module is where to read from; ours it does not.
func (m *schemaMaker) readComments(t *testing.T) {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chdir(".."); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.Chdir(here); err != nil {
			t.Fatal(err)
		}
	}()
	for _, folder := range []string{"nat", "faults", "probes/heartbeat"} {
		if err := m.AddGoComments("outlive", folder, jsonschema.WithFullComment()); err != nil {
			t.Fatal(err)
		}
	}
	for _, source := range []string{"scenarios/document.go", "scenarios/profile_file.go"} {
		m.readOwnComments(t, source)
	}
	for key, comment := range m.CommentMap {
		m.CommentMap[key] = strings.Join(strings.Fields(comment), " ")
	}
}

// readOwnComments takes in those of the fields in a file of this package.
func (m *schemaMaker) readOwnComments(t *testing.T, source string) {
	t.Helper()
	tree, err := goparser.ParseFile(token.NewFileSet(), source, nil, goparser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		named, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if s, ok := named.Type.(*ast.StructType); ok {
			for _, f := range s.Fields.List {
				for _, name := range f.Names {
					m.CommentMap["outlive/scenarios."+named.Name.Name+"."+name.Name] = f.Doc.Text()
				}
			}
		}
		return false
	})
}

// special gives the schema of types that YAML can say in a way of its own.
func (m *schemaMaker) special(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[units.Duration]():
		return &jsonschema.Schema{Ref: "#/$defs/duration"}
	case reflect.TypeFor[units.Share]():
		return &jsonschema.Schema{Ref: "#/$defs/share"}
	case reflect.TypeFor[entries[uplinkKeys]]():
		s := m.entries(uplinkForm.String(), reflect.TypeFor[uplinkKeys]())
		s.AdditionalProperties.AnyOf = []*jsonschema.Schema{{Required: []string{"nat"}}, {Required: []string{"firewall"}}}
		return s
	case reflect.TypeFor[entries[deviceKeys]]():
		return m.entries(deviceForm.String(), reflect.TypeFor[deviceKeys]())
	case reflect.TypeFor[natChain]():
		one := &jsonschema.Schema{Ref: "#/$defs/nat"}
		return anyOf(one, &jsonschema.Schema{Type: "array", Items: one, MinItems: number(1), MaxItems: number(maxNATs)})
	case reflect.TypeFor[firewallKeys](), reflect.TypeFor[*firewallKeys]():
		return &jsonschema.Schema{Ref: "#/$defs/firewall"}
	case reflect.TypeFor[words]():
		// A plain 7 is a number to YAML and a word to a command.
		return &jsonschema.Schema{Type: "array", MinItems: number(1), Items: anyOf(
			&jsonschema.Schema{Type: "string"}, &jsonschema.Schema{Type: "number"}, &jsonschema.Schema{Type: "boolean"})}
	case reflect.TypeFor[eventKeys]():
		return m.events()
	case reflect.TypeFor[nat.LateLAN]():
		return oneOfWords("drop", "reset", "revive", "remap")
	case reflect.TypeFor[nat.LateWAN]():
		return oneOfWords("drop", "reset")
	case reflect.TypeFor[nat.Behaviour]():
		return oneOfWords(string(nat.EndpointIndependent), string(nat.AddressDependent), string(nat.AddressAndPortDependent))
	case reflect.TypeFor[nat.PortAllocation]():
		return oneOfWords(string(nat.PortPreserve), string(nat.PortRandom))
	case reflect.TypeFor[nat.PortRange]():
		return &jsonschema.Schema{Type: "string", Pattern: `^[0-9]+-[0-9]+$`}
	case reflect.TypeFor[nat.RefreshDirection]():
		return oneOfWords(string(nat.RefreshBoth), string(nat.RefreshOutbound))
	case reflect.TypeFor[nat.WhenFull]():
		return oneOfWords(string(nat.RefuseNew), string(nat.EvictOldest))
	}
	return nil
}

// sub is the schema of a struct within the whole.
func (m *schemaMaker) sub(t reflect.Type) *jsonschema.Schema {
	s := m.ReflectFromType(t)
	s.Version = ""
	m.describe(s, t)
	return s
}

// describe puts right what the library cannot know of a struct of ours.
func (m *schemaMaker) describe(s *jsonschema.Schema, t reflect.Type) {
	set := func(key string, change func(*jsonschema.Schema)) {
		if p, ok := s.Properties.Get(key); ok {
			change(p)
		}
	}
	set("seed", func(p *jsonschema.Schema) { p.Minimum = "0" })
	set("port", func(p *jsonschema.Schema) { p.Minimum, p.Maximum = "1", "65535" })
	set("ip", func(p *jsonschema.Schema) { p.Enum = []any{4, 6} })
	set("count", func(p *jsonschema.Schema) { p.Minimum, p.Maximum = "1", json.Number(itoa(maxDevices)) })
	set("name", func(p *jsonschema.Schema) { p.Pattern = nameForm.String() })
	set("protocol", func(p *jsonschema.Schema) { p.Enum = anySlice(protocolNames()) })
	// A plain 5 is a number to YAML.
	set("version", func(p *jsonschema.Schema) { p.Type, p.Enum = "", []any{"3.1.1", "5", 5} })
	set("expect", func(p *jsonschema.Schema) { p.MinItems = number(1) })
	set("uplinks", func(p *jsonschema.Schema) { p.MinItems, p.UniqueItems = number(1), true })
	set("heartbeat", func(p *jsonschema.Schema) {
		var names []string
		for _, k := range heartbeat.Policies() {
			names = append(names, k.Name)
		}
		if policy, ok := p.Properties.Get("policy"); ok {
			policy.Enum = anySlice(names)
		}
	})
	set("server", func(p *jsonschema.Schema) { m.describe(p, reflect.TypeFor[serverKeys]()) })
}

func (m *schemaMaker) entries(pattern string, t reflect.Type) *jsonschema.Schema {
	return &jsonschema.Schema{
		Type: "object", MinProperties: number(1),
		PropertyNames:        &jsonschema.Schema{Pattern: pattern},
		AdditionalProperties: m.sub(t),
	}
}

// nat is one NAT: a name, a profile file, or a profile written out.
func (m *schemaMaker) nat() *jsonschema.Schema {
	s := m.sub(reflect.TypeFor[natKeys]())
	if p, ok := s.Properties.Get("profile"); ok {
		p.Type, p.AnyOf = "", []*jsonschema.Schema{profileNames(), profilePaths()}
	}
	return anyOf(profileNames(), profilePaths(), s)
}

// plainFirewall is firewallKeys without its way of being special.
type plainFirewall firewallKeys

// firewall is an IPv6 firewall: a name, or a profile written out without what only a NAT has.
func (m *schemaMaker) firewall() *jsonschema.Schema {
	var names []string
	for _, p := range nat.FirewallProfiles() {
		names = append(names, p.Profile.Name)
	}
	s := m.sub(reflect.TypeFor[plainFirewall]())
	if p, ok := s.Properties.Get("profile"); ok {
		p.Enum = anySlice(names)
	}
	for _, key := range []string{"mapping", "ports", "pool", "hairpin", "limits"} {
		s.Properties.Delete(key)
	}
	return anyOf(oneOfWords(names...), s)
}

// profileNames is the name of a profile of the catalogue.
func profileNames() *jsonschema.Schema {
	var names []string
	for _, p := range nat.Profiles() {
		names = append(names, p.Profile.Name)
	}
	return oneOfWords(names...)
}

// profilePaths is the path of a profile file.
func profilePaths() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: `/|\.ya?ml$`}
}

// makeProfileSchema is the whole schema of profile files as it stands in profile.schema.json.
func makeProfileSchema(t *testing.T) []byte {
	t.Helper()
	m := newSchemaMaker(t)
	s := m.ReflectFromType(reflect.TypeFor[profileFile]())
	s.Version = jsonschema.Version
	s.Title = "outlive NAT profile"
	s.Description = "How one NAT behaves, in a file of its own: a scenario beside it takes it with \"nat: ./FILE\"."
	keys := m.sub(reflect.TypeFor[natKeys]())
	for p := keys.Properties.Oldest(); p != nil; p = p.Next() {
		s.Properties.Set(p.Key, p.Value)
	}
	if p, ok := s.Properties.Get("profile"); ok {
		p.Type, p.AnyOf = "", []*jsonschema.Schema{profileNames()}
	}
	s.MinProperties = number(1)
	s.Definitions = jsonschema.Definitions{"duration": durations()}
	return writeSchema(t, s)
}

// durations is a duration.
func durations() *jsonschema.Schema {
	return anyOf(&jsonschema.Schema{Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?(d|h|m|s|ms|us|ns))+$`}, &jsonschema.Schema{Const: 0})
}

func writeSchema(t *testing.T, s *jsonschema.Schema) []byte {
	t.Helper()
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
}

// plainEvent is eventKeys without its way of being special.
type plainEvent eventKeys

// events is one event: a push, or one of the faults.
func (m *schemaMaker) events() *jsonschema.Schema {
	common := func(fault string) *jsonschema.Schema {
		s := m.sub(reflect.TypeFor[plainEvent]())
		s.OneOf = []*jsonschema.Schema{{Required: []string{"at"}}, {Required: []string{"after"}}}
		s.DependentRequired = map[string][]string{"plus": {"after"}}
		if fault == "" {
			s.Properties.Delete("fault")
			s.Required = []string{"push"}
			return s
		}
		s.Properties.Delete("push")
		p, _ := s.Properties.Get("fault")
		p.Type, p.Const = "", fault
		s.Required = []string{"fault"}
		return s
	}
	all := []*jsonschema.Schema{common("")}
	for _, kind := range faults.Kinds() {
		s := common(kind.Name)
		s.Description = kind.Summary
		own := m.sub(reflect.TypeOf(kind.New()).Elem())
		for p := own.Properties.Oldest(); p != nil; p = p.Next() {
			s.Properties.Set(p.Key, p.Value)
		}
		s.Required = append(s.Required, own.Required...)
		all = append(all, s)
	}
	return anyOf(all...)
}

func anyOf(s ...*jsonschema.Schema) *jsonschema.Schema { return &jsonschema.Schema{AnyOf: s} }

// oneOfWords is one of several fixed words.
func oneOfWords(list ...string) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Enum: anySlice(list)}
}

func anySlice(in []string) []any {
	var out []any
	for _, s := range in {
		out = append(out, s)
	}
	return out
}

func number(n uint64) *uint64 { return &n }
