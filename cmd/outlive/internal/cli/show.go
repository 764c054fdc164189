package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func newShow(s *State) *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "Show one thing of the lists, whole",
		Long: `Show writes a scenario of the catalogue as it stands in its file, a NAT profile
with its figures, their source and the rules that make it, or what a fault, a
policy or a metric is.`,
		Example: "  outlive show quickstart > mine.yaml\n  outlive show cn-mobile-2g3g\n  outlive show detect.client",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			for _, k := range kinds {
				for _, e := range k.entries() {
					if e.name != args[0] {
						continue
					}
					if e.whole != nil {
						e.whole(s.Stdout)
					} else {
						fmt.Fprintf(s.Stdout, "%s\n\n%s\n", e.name, e.summary)
					}
					return nil
				}
			}
			return fmt.Errorf("nothing is called %q; see 'outlive list' for %s", args[0], strings.Join(kindNames(), ", "))
		},
	}
}

func kindNames() []string {
	var names []string
	for _, k := range kinds {
		names = append(names, k.name)
	}
	return names
}
