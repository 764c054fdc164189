package units

import (
	"fmt"
	"strings"
	"time"
)

// Seconds is a length or an instant of scenario time that is written to JSON as
// a decimal number of seconds, exact to the nanosecond: 12.000345678. The zero
// value is the start of the scenario. Negative instants lie before it.
type Seconds time.Duration

// D is the same value as a time.Duration.
func (s Seconds) D() time.Duration { return time.Duration(s) }

// MarshalJSON writes a JSON number with up to nine decimals.
func (s Seconds) MarshalJSON() ([]byte, error) {
	n, sign := int64(s), ""
	if n < 0 {
		n, sign = -n, "-"
	}
	text := fmt.Sprintf("%s%d.%09d", sign, n/1e9, n%1e9)
	text = strings.TrimRight(text, "0")
	return []byte(strings.TrimSuffix(text, ".")), nil
}

// UnmarshalJSON reads what MarshalJSON writes, without the rounding of a float64.
func (s *Seconds) UnmarshalJSON(b []byte) error {
	d, err := time.ParseDuration(string(b) + "s")
	if err != nil {
		return fmt.Errorf("reading %q as seconds: not a decimal number", b)
	}
	*s = Seconds(d)
	return nil
}
