package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"outlive/scenarios"
)

func newCheck(s *State) *cobra.Command {
	var set []string
	cmd := &cobra.Command{
		Use:   "check SCENARIO|PROFILE...",
		Short: "Find every mistake that can be found without building the lab",
		Long: `Check reads scenarios as run does, and NAT profiles in files, and reports every mistake of every file in
one pass, with file, line, column and what would be right. It needs no privilege.

Exit code: 0 no mistakes, 2 mistakes.`,
		Example: `  outlive check mine.yaml
  outlive check scenarios/
  outlive check my-nat.yaml
  outlive check mine.yaml --set duration=10m`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			sources, err := scenarios.Find(args)
			if err != nil {
				return err
			}
			sources, err = checkProfiles(s, sources)
			todo, scenarioErr := loadAll(s, sources, set)
			if err = errors.Join(err, scenarioErr); err != nil {
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

// checkProfiles checks the NAT profiles among the files and gives the others.
func checkProfiles(s *State, sources []scenarios.Source) (others []scenarios.Source, err error) {
	for _, src := range sources {
		if !scenarios.IsProfile(src) {
			others = append(others, src)
			continue
		}
		n, wrong := scenarios.LoadProfile(src)
		if wrong != nil {
			fmt.Fprintln(s.Stderr, wrong)
			err = &exitError{code: exitUsage}
			continue
		}
		t := n.Profile.Timeouts
		fmt.Fprintf(s.Stdout, "%s: ok (NAT profile, TCP %s, UDP %s / %s, late packets %s / %s)\n",
			src.Name, t.TCPEstablished, t.UDP, t.UDPStream, n.Profile.Late.LAN, n.Profile.Late.WAN)
	}
	return others, err
}
