package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"outlive/lab/units"
)

func newShow(s *State) *cobra.Command {
	return &cobra.Command{
		Use:   "show [KIND] NAME",
		Short: "Show one thing of the lists, whole",
		Long: `Show writes a scenario of the catalogue as it stands in its file, a NAT profile
with its figures, their source and the rules that make it, or what a fault, a
policy or a metric is. KIND is needed only where two kinds have the same name;
without it the first of them is shown, in the order of 'outlive list'.`,
		Example: "  outlive show quickstart > mine.yaml\n  outlive show cn-mobile-2g3g\n  outlive show faults mapping-expire",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(_ *cobra.Command, args []string) error {
			from, name := kinds, args[len(args)-1]
			if len(args) == 2 {
				k, err := kindNamed(args[0])
				if err != nil {
					return err
				}
				from = []kind{k}
			}
			var known []string
			for _, k := range from {
				for _, e := range k.entries() {
					known = append(known, e.name)
					if e.name != name {
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
			hint := "see 'outlive list'"
			if meant := units.Closest(name, known); meant != "" {
				hint = fmt.Sprintf("did you mean %q?", meant)
			}
			return fmt.Errorf("nothing is called %q; %s", name, hint)
		},
	}
}

// kindNamed finds a kind of things.
func kindNamed(name string) (kind, error) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })
	if i < 0 {
		return kind{}, fmt.Errorf("there is no kind %q to list; there are %s", name, strings.Join(kindNames(), ", "))
	}
	return kinds[i], nil
}

func kindNames() []string {
	var names []string
	for _, k := range kinds {
		names = append(names, k.name)
	}
	return names
}
