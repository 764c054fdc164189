package cli

import (
	"github.com/spf13/cobra"

	"outlive/scenarios"
)

func newReport(s *State) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "report DIR",
		Short: "Judge the evidence in a result folder again",
		Long: `Report reads the capture and the events in a result folder, judges them anew,
writes result.json again and prints the verdict. The lab is not run.`,
		Example: "  outlive report outlive-results/20261123-101500/nat-reboot",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := scenarios.Report(args[0])
			if err != nil {
				return err
			}
			s.write(f, r)
			if code := codeOfVerdict(r.Verdict); code != exitPass {
				return &exitError{code: code}
			}
			return nil
		},
	}
	return cmd
}
