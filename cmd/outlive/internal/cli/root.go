package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// Main runs the command line and returns the exit code.
func Main(process *State) int {
	stdout := &output{w: process.Stdout}
	state := *process
	state.Stdout = stdout
	s := &state
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	interrupted := make(chan struct{})
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-done:
			return
		case <-s.Signals:
		}
		close(interrupted)
		fmt.Fprintln(s.Stderr, "\nending the lab and writing what there is; again to end at once")
		cancel()
		select {
		case <-done:
		case <-s.Signals:
			s.Exit(exitInterrupted)
		}
	}()

	root := newRoot(s)
	root.SetArgs(s.Args)
	root.SetOut(s.Stdout)
	root.SetErr(s.Stderr)
	err := root.ExecuteContext(ctx)
	code := codeOf(err)
	if stdout.err != nil && !errors.Is(err, stdout.err) {
		code = worse(code, exitLab)
		fmt.Fprintln(s.Stderr, "outlive:", stdout.err)
	}
	var quiet *exitError
	if err != nil && (!errors.As(err, &quiet) || quiet.err != nil) {
		fmt.Fprintln(s.Stderr, "outlive:", err)
	}
	select {
	case <-interrupted:
		return exitInterrupted
	default:
		return code
	}
}

func newRoot(s *State) *cobra.Command {
	root := &cobra.Command{
		Use:   "outlive",
		Short: "Does a long-lived connection outlive the network, and who notices when it does not?",
		Long: `outlive is a network impairment lab for long-lived connections.

It builds a network out of the real Linux kernel (namespaces, conntrack,
iptables), runs an unmodified push server and a client in it, lets a NAT forget
or a server die at an exact moment, captures packets at every point, and judges
from the captures who noticed, and when. What takes hours runs in virtual time.`,
		Example: `  outlive run quickstart                 the first verdict, in a quarter of a minute
  outlive run carrier-30m-heartbeat-28m  three hours of a carrier, in virtual time
  outlive list scenarios                 what there is to run
  outlive show nat-reboot > mine.yaml    a scenario to start from
  outlive check mine.yaml                every mistake in it, with line and column
  outlive run mine.yaml --junit out.xml  a gate for CI
  outlive doctor                         what this machine can do`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w\nsee '%s --help'", err, cmd.CommandPath())
	})
	root.AddCommand(newRun(s), newCheck(s), newList(s), newShow(s), newReport(s), newImage(s), newDoctor(s))
	return root
}
