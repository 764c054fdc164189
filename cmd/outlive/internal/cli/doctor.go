package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"outlive/lab/feature"
	"outlive/lab/units"
	"outlive/scenarios"
)

// doctorLimit is how long one check may take.
const doctorLimit = 10 * time.Second

func newDoctor(s *State) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "What this machine can do, what is missing, and what to do about it",
		Long: `Doctor tries everything that a lab needs, for each of the engines, and says for what
is missing how to get it. Nothing of the machine is changed.

Exit code: 0 a lab can run here on at least one engine, 3 something is missing for
each.`,
		Example: "  outlive doctor",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			live := s.section(cmd.Context(), "The engine live, in real time", scenarios.LiveChecks())
			warp := s.section(cmd.Context(), "The engine warp, in virtual time", scenarios.WarpChecks())
			s.section(cmd.Context(), "Programs that some scenarios need", scenarios.ProgramChecks())
			switch {
			case live > 0 && warp > 0:
				fmt.Fprintf(s.Stdout, "A lab cannot run here yet: %s missing for the engine live, %s for the engine warp.\n", things(live), things(warp))
				return &exitError{code: exitLab}
			case live > 0:
				fmt.Fprintf(s.Stdout, "A lab can run here on the engine warp alone; for the engine live %s missing.\n", things(live))
			case warp > 0:
				fmt.Fprintf(s.Stdout, "A lab can run here on the engine live alone; for the engine warp %s missing.\n", things(warp))
			default:
				fmt.Fprintln(s.Stdout, "A lab can run here, on both engines.")
			}
			return nil
		},
	}
}

func things(n int) string {
	if n == 1 {
		return "1 thing is"
	}
	return units.Count(n, "", "things") + " are"
}

// section tries the checks of one kind and counts those that the lab cannot do without.
func (s *State) section(ctx context.Context, title string, checks []feature.Check) (missing int) {
	fmt.Fprintln(s.Stdout, title)
	for _, c := range checks {
		if !s.examine(ctx, c) {
			missing++
		}
	}
	fmt.Fprintln(s.Stdout)
	return missing
}

// examine tries one thing and prints what came of it. It reports false where
// the lab cannot do without it.
func (s *State) examine(ctx context.Context, c feature.Check) bool {
	ctx, cancel := context.WithTimeout(ctx, doctorLimit)
	defer cancel()
	found, err := c.Try(ctx)
	if err == nil {
		fmt.Fprintf(s.Stdout, "ok       %s: %s\n", c.Name, found)
		return true
	}
	word := "MISSING"
	if c.Optional {
		word = "without"
	}
	if u := (*feature.Unsupported)(nil); errors.As(err, &u) {
		fmt.Fprintf(s.Stdout, "%s  %s: needs %s\n", word, c.Name, u.Needs)
		if u.Err != nil {
			fmt.Fprintf(s.Stdout, "         %v\n", u.Err)
		}
		if u.Remedy != "" {
			fmt.Fprintf(s.Stdout, "         → %s\n", u.Remedy)
		}
	} else {
		fmt.Fprintf(s.Stdout, "%s  %s: could not be tried: %v\n", word, c.Name, err)
	}
	return c.Optional
}
