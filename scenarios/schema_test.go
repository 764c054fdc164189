package scenarios

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"outlive/faults"
	"outlive/lab/labtest"
	"outlive/nat"
	"outlive/probes/heartbeat"
)

func itoa(n int) string { return strconv.Itoa(n) }

// TestSchemaIsFresh fails when the language has changed and schema.json or
// profile.schema.json has not; go generate ./scenarios writes it anew.
func TestSchemaIsFresh(t *testing.T) {
	labtest.Golden(t, "schema.json", string(makeSchema(t)))
	labtest.Golden(t, "profile.schema.json", string(makeProfileSchema(t)))
}

// TestSchemaKnowsTheRegistries: a new profile, fault, protocol or policy shows up
// in the schema by itself.
func TestSchemaKnowsTheRegistries(t *testing.T) {
	made := string(makeSchema(t))
	want := protocolNames()
	for _, p := range nat.Profiles() {
		want = append(want, p.Profile.Name)
	}
	for _, k := range faults.Kinds() {
		want = append(want, k.Name)
	}
	for _, k := range heartbeat.Policies() {
		want = append(want, k.Name)
	}
	for _, word := range want {
		if !strings.Contains(made, strconv.Quote(word)) {
			t.Errorf("the schema does not know %q", word)
		}
	}
}

// TestProfileSchema: what a profile file may say is in its schema, and what it may not is not.
func TestProfileSchema(t *testing.T) {
	text, err := os.ReadFile("profile.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	s := compile(t, text)
	for _, name := range []string{"good", "mistakes", "list", "nothing"} {
		data, err := os.ReadFile(filepath.Join("testdata/broken/nats", name+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(t, s, data); (err == nil) != (name == "good") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, p := range nat.Profiles() {
		if err := validate(t, s, []byte("profile: "+p.Profile.Name)); err != nil {
			t.Errorf("%s: %v", p.Profile.Name, err)
		}
	}
}

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	return compile(t, Schema())
}

func compile(t *testing.T, text []byte) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("scenario.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("scenario.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// validate holds a scenario against the schema as an editor does.
func validate(t *testing.T, s *jsonschema.Schema, data []byte) error {
	t.Helper()
	var value any
	if err := yaml.Load(data, &value); err != nil {
		return err
	}
	// Through JSON, so that numbers and keys are what the validator knows.
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return s.Validate(instance)
}

// TestSchemaAcceptsTheCatalogue: every scenario of the catalogue, as written and
// as resolved, is valid by the schema.
func TestSchemaAcceptsTheCatalogue(t *testing.T) {
	s := compileSchema(t)
	for _, src := range Catalogue() {
		t.Run(src.Name, func(t *testing.T) {
			if err := validate(t, s, src.Data); err != nil {
				t.Errorf("as written: %v", err)
			}
			loaded, err := Load(src, LoadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if err := validate(t, s, loaded.Resolved); err != nil {
				t.Errorf("as resolved: %v\n%s", err, loaded.Resolved)
			}
		})
	}
}

// TestSchemaRefuses: what an editor should mark. The schema cannot know all that
// Load knows; these are the mistakes that it must find.
func TestSchemaRefuses(t *testing.T) {
	s := compileSchema(t)
	for _, name := range []string{
		"unknown-key", "unknown-key-everywhere", "missing-everything", "bare-number", "wrong-unit", "share-without-percent",
		"wrong-types", "negative", "number-too-large", "boolean-words", "name-form", "no-uplinks", "no-nat", "unknown-profile",
		"late-word", "nat-behaviours", "uplink-names", "command-as-text", "protocol-unknown", "empty-command", "no-devices", "device-names",
		"event-without-instant", "event-without-deed", "fault-unknown", "fault-unknown-key", "nothing-expected", "mqtt-values", "guest-keys",
	} {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("testdata/broken", name+".yaml"))
			if err != nil {
				t.Fatal(err)
			}
			if err := validate(t, s, data); err == nil {
				t.Error("the schema accepts it")
			}
		})
	}
}
