package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newCheck(s *State) *cobra.Command {
	var set []string
	cmd := &cobra.Command{
		Use:   "check SCENARIO...",
		Short: "Find every mistake that can be found without building the lab",
		Long: `Check reads scenarios as run does and reports every mistake of every file in
one pass, with file, line, column and what would be right. It needs no privilege.

Exit code: 0 no mistakes, 2 mistakes.`,
		Example: `  outlive check mine.yaml
  outlive check scenarios/
  outlive check mine.yaml --set duration=10m`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			todo, err := load(s, args, set)
			if err != nil {
				return err
			}
			for _, t := range todo {
				fmt.Fprintf(s.Stdout, "%s: ok (%d devices, %d events, %d expectations, %s)\n",
					t.Source.Name, len(t.Devices), len(t.Events), len(t.Expect), t.Duration)
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&set, "set", nil, "change a value of the scenario first: --set duration=10m")
	return cmd
}
