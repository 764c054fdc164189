// Package verdict holds what was observed against what was expected, and says
// why. It is pure: evidence and expectations go in, verdicts with their reasons
// and stories come out. It has no clock and does no I/O, so the same evidence
// always gets the same verdict.
//
// # How exact the figures are
//
// Instants of packets are the kernel's receive stamps, in nanoseconds. The death
// of a connection whose mapping expired is the last packet that refreshed the
// mapping plus the idle timeout, which conntrack keeps to one jiffy (at most
// 10 ms). A notice by FIN, RST or SYN is the instant of that packet; a notice by
// closing a socket, of which nothing shows on the wire, and a kernel's give-up
// are known to within the few milliseconds between two looks at the socket.
// Expectations are compared as exactly as the figures stand, without a
// tolerance: set limits further from the expected value than that.
package verdict

import "slices"

// Verdict is the judgement on an expectation or on a whole scenario.
type Verdict string

// The verdicts.
const (
	// Pass: what was expected was observed.
	Pass Verdict = "pass"
	// Fail: something else was observed.
	Fail Verdict = "fail"
	// Inconclusive: the evidence does not carry a verdict. It is never green.
	Inconclusive Verdict = "inconclusive"
)

// worst is the verdict of several together: fail if any fails, else inconclusive
// if any is, else pass. Nothing at all is inconclusive.
func worst(verdicts ...Verdict) Verdict {
	switch {
	case slices.Contains(verdicts, Fail):
		return Fail
	case len(verdicts) == 0 || slices.Contains(verdicts, Inconclusive):
		return Inconclusive
	}
	return Pass
}
