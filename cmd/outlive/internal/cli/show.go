package cli

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"outlive/lab/units"
	"outlive/scenarios"
)

func newShow(s *State) *cobra.Command {
	return &cobra.Command{
		Use:   "show [KIND] NAME",
		Short: "Show one thing of the lists, whole",
		Long: `Show writes a scenario of the catalogue as it stands in its file, a NAT profile
of the catalogue or of a file with its figures, where each is from, how sure it
is, and the rules that make it, or what a fault, a policy or a metric is. KIND is needed only where two kinds have the same name;
without it the first of them is shown, in the order of 'outlive list'.`,
		Example: "  outlive show quickstart > mine.yaml\n  outlive show cn-mobile-2g3g\n  outlive show ./my-nat.yaml\n  outlive show faults mapping-expire",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(_ *cobra.Command, args []string) error {
			from, name := kinds, args[len(args)-1]
			if isPath(name) {
				return showFile(s, name)
			}
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

// isPath says whether an argument means a file rather than a name of the lists.
func isPath(arg string) bool {
	return strings.ContainsRune(arg, filepath.Separator) || filepath.Ext(arg) == ".yaml" || filepath.Ext(arg) == ".yml"
}

// showFile shows a NAT profile that is in a file.
func showFile(s *State, name string) error {
	sources, err := scenarios.Find([]string{name})
	if err != nil {
		return err
	}
	if len(sources) != 1 || !scenarios.IsProfile(sources[0]) {
		return fmt.Errorf("%s is no NAT profile; to look at a scenario, open it, or 'outlive check %[1]s'", name)
	}
	n, err := scenarios.LoadProfile(sources[0])
	if err != nil {
		fmt.Fprintln(s.Stderr, err)
		return &exitError{code: exitUsage}
	}
	writeProfile(s.Stdout, n)
	return nil
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
