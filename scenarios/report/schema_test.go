package report

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"

	generator "github.com/invopop/jsonschema"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"outlive/lab/labtest"
	"outlive/lab/units"
	"outlive/nat"
	"outlive/scenarios/verdict"
)

const schemaFile = "result.schema.json"

// generated is the JSON Schema of result.json, made from the types and their comments.
func generated(t *testing.T) []byte {
	t.Helper()
	r := &generator.Reflector{
		Anonymous: true,
		Mapper: func(t reflect.Type) *generator.Schema {
			switch t {
			case reflect.TypeFor[units.Seconds]():
				return &generator.Schema{Type: "number", Description: "Seconds."}
			case reflect.TypeFor[netip.AddrPort]():
				return &generator.Schema{Type: "string", Description: "An address and a port."}
			case reflect.TypeFor[nat.PortRange]():
				return &generator.Schema{Type: "string", Description: "The first and the last port, as in 2000-2999."}
			case reflect.TypeFor[json.RawMessage]():
				return generator.TrueSchema
			}
			return nil
		},
	}
	for _, dir := range []string{".", "../verdict", "../../lab", "../../nat"} {
		if err := r.AddGoComments("outlive/scenarios/report", dir); err != nil {
			t.Fatal(err)
		}
	}
	s := r.Reflect(&Result{})
	// Go's embedded pointer: its fields are there or not, all together.
	s.Definitions["Summary"].Required = []string{"unit", "count"}
	s.Title = "The result of one scenario run by outlive (" + Schema + ")"
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

func TestSchemaIsFresh(t *testing.T) {
	labtest.Golden(t, schemaFile, string(generated(t)))
}

func TestResultsFollowTheSchema(t *testing.T) {
	c := jsonschema.NewCompiler()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(generated(t)))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.AddResource(schemaFile, doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	validate := func(text []byte) error {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return schema.Validate(v)
	}
	for _, r := range append(results(t), New(Run{}, truth(), nil, verdict.Judge(verdict.Input{Truth: truth()}))) {
		var b bytes.Buffer
		if err := Write(&b, r); err != nil {
			t.Fatal(err)
		}
		if err := validate(b.Bytes()); err != nil {
			t.Errorf("%s: %v", r.Scenario, err)
		}
	}
	for name, text := range map[string]string{
		"nothing":           `{}`,
		"an unknown field":  `{"schema": "outlive-result/1", "colour": "green"}`,
		"a list of results": `[]`,
	} {
		if validate([]byte(text)) == nil {
			t.Errorf("the schema takes %s", name)
		}
	}
}
