package scenarios

import (
	"bytes"
	_ "embed"
)

//go:generate go test -run ^TestSchemaIsFresh$ -update .

//go:embed schema.json
var schema []byte

// Schema is the JSON Schema (draft 2020-12) of scenario files, for editors. It is
// generated from the types of the language, and from the registries of NAT profiles,
// faults, protocols and heartbeat policies. Load knows more: what depends on other
// parts of a file, on other files and on sums is beyond a schema.
func Schema() []byte { return bytes.Clone(schema) }
