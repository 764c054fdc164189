package verdict

import (
	"fmt"
	"time"

	"outlive/lab/units"
)

// Instant writes an instant of scenario time with milliseconds, as reports and
// stories show it: "9.100s", "12m04.100s", "1h02m04.100s".
func Instant(at units.Seconds) string {
	sign := ""
	d := at.D()
	if d < 0 {
		sign, d = "-", -d
	}
	d = d.Round(time.Millisecond)
	h, m, rest := int64(d/time.Hour), int64(d%time.Hour/time.Minute), (d % time.Minute).Milliseconds()
	switch {
	case h > 0:
		return fmt.Sprintf("%s%dh%02dm%02d.%03ds", sign, h, m, rest/1000, rest%1000)
	case m > 0:
		return fmt.Sprintf("%s%dm%02d.%03ds", sign, m, rest/1000, rest%1000)
	}
	return fmt.Sprintf("%s%d.%03ds", sign, rest/1000, rest%1000)
}

// length writes a length of time with as many digits as people read.
func length(s units.Seconds) string { return units.Duration(readable(s.D())).String() }

// readable rounds a length of time to what people read of it.
func readable(d time.Duration) time.Duration {
	switch {
	case d >= time.Second:
		return d.Round(time.Millisecond)
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}

// reason puts an explanation behind a sentence, if there is one.
func reason(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}
