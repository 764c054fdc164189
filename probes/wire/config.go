package wire

import (
	"encoding/json"
	"fmt"
	"strings"
)

// ReadConfig reads the configuration of a program from its arguments, of which
// there must be one: JSON, without keys that the configuration does not have.
func ReadConfig(args []string, config any) error {
	if len(args) != 1 {
		return fmt.Errorf("reading a configuration: it is one argument, as JSON, and there are %d", len(args))
	}
	decoder := json.NewDecoder(strings.NewReader(args[0]))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(config); err != nil {
		return fmt.Errorf("reading a configuration: %w", err)
	}
	return nil
}
