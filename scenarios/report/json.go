package report

import (
	"encoding/json"
	"fmt"
	"io"
)

// Write writes one result as result.json has it. The schema is in
// result.schema.json beside this file's source.
func Write(w io.Writer, r Result) error {
	return encode(w, r)
}

// WriteJSON writes several results as one JSON array.
func WriteJSON(w io.Writer, results []Result) error {
	if results == nil {
		results = []Result{}
	}
	return encode(w, results)
}

func encode(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	// Expectations hold < and >, and nobody reads this inside of HTML.
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("writing the result as JSON: %w", err)
	}
	return nil
}
