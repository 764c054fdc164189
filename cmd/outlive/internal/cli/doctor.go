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
		Long: `Doctor tries everything that a lab needs, in a sandbox, and says for what is
missing how to get it. Nothing of the machine is changed.

Exit code: 0 a lab can run here, 3 something that it needs is missing.`,
		Example: "  outlive doctor",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			missing := 0
			for _, c := range scenarios.Checks() {
				if !s.examine(cmd.Context(), c) {
					missing++
				}
			}
			if missing > 0 {
				fmt.Fprintf(s.Stdout, "\n%s: a lab cannot run here yet.\n", units.Count(missing, "thing", "things")+" missing")
				return &exitError{code: exitLab}
			}
			fmt.Fprintln(s.Stdout, "\nA lab can run here.")
			return nil
		},
	}
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
