package cli

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"outlive/lab/sandbox/image"
	"outlive/scenarios"
	"outlive/scenarios/report"
)

func newImage(s *State) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "The virtual machine of the engine warp; normally never typed",
		Long: `The engine warp runs scenarios in a virtual machine, whose image is a kernel with
this program. 'outlive run' builds what it needs on first use; here it can be
done beforehand, looked at and removed. Everything is in the user's cache.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newImageBuild(s), newImageStatus(s), newImageClean(s))
	return cmd
}

func newImageBuild(s *State) *cobra.Command {
	var kernel string
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build the image and test it, where that has not been done",
		Long: `Build fetches the kernel's package with apt (no privilege is needed), puts the
image together, starts it once to keep its state, and runs a scenario twice to see
whether it gives the same both times.

Exit code: 0 it is ready, 3 it cannot be built.`,
		Example: "  outlive image build\n  outlive image build --kernel ~/linux-6.12/pkg",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			img, err := scenarios.BuildImage(cmd.Context(), kernel, func(text string) { fmt.Fprintln(s.Stderr, text) })
			if err != nil {
				return &exitError{exitLab, err}
			}
			fmt.Fprintf(s.Stdout, "kernel  %s%s\nimage   %s\n", img.Kernel, substitute(img.Substitute), img.Dir)
			fmt.Fprintf(s.Stdout, "test    %s\n", exactness(img.SelfTest))
			return nil
		},
	}
	cmd.Flags().StringVar(&kernel, "kernel", "", "folder with vmlinuz and lib/modules to use instead of Debian's package, from now on; without it, Debian's again")
	return cmd
}

func newImageStatus(s *State) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "What is in the cache, and whether it is whole",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			state, err := image.Status(cmd.Context())
			if err != nil {
				return &exitError{exitLab, err}
			}
			fmt.Fprintf(s.Stdout, "cache   %s\n", state.Dir)
			if len(state.Entries) == 0 {
				fmt.Fprintln(s.Stdout, "\nThere is nothing in it: the first run on the engine warp builds the image.")
			}
			for _, e := range state.Entries {
				if err := s.entry(e); err != nil {
					return &exitError{exitLab, err}
				}
			}
			return nil
		},
	}
}

// entry prints one folder of the cache.
func (s *State) entry(e image.Entry) error {
	word := "kernel"
	if e.Image {
		word = "image"
	}
	fmt.Fprintf(s.Stdout, "\n%-6s  %s\n        kernel %s%s\n        %s on the disk", word, e.Path, e.Kernel, substitute(e.Substitute), megabytes(e.Size))
	if !e.Used.IsZero() {
		fmt.Fprintf(s.Stdout, ", last used %s", e.Used.Format("2006-01-02 15:04"))
	}
	if e.InUse {
		fmt.Fprint(s.Stdout, ", in use")
	}
	fmt.Fprintln(s.Stdout)
	if e.Broken != nil {
		fmt.Fprintf(s.Stdout, "        BROKEN: %v; what needs it builds it anew\n", e.Broken)
		return nil
	}
	if !e.Image {
		return nil
	}
	tests, err := scenarios.SelfTests(e.Path)
	if err != nil {
		return err
	}
	for _, version := range slices.Sorted(maps.Keys(tests)) {
		fmt.Fprintf(s.Stdout, "        with QEMU %s: %s\n", version, exactness(tests[version]))
	}
	return nil
}

func newImageClean(s *State) *cobra.Command {
	return &cobra.Command{
		Use:   "clean",
		Short: "Remove everything from the cache that is not in use",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			freed, kept, err := image.Clean(cmd.Context())
			if err != nil {
				return &exitError{exitLab, err}
			}
			fmt.Fprintf(s.Stdout, "%s freed\n", megabytes(freed))
			for _, k := range kept {
				fmt.Fprintf(s.Stdout, "%s is in use and stays\n", k)
			}
			return nil
		},
	}
}

func substitute(is bool) string {
	if is {
		return ", not the one that outlive was made with: compare no hashes with those of other machines"
	}
	return ""
}

// exactness says in words what a self-test found.
func exactness(r report.Repeats) string {
	switch {
	case r.Exact == nil:
		return "not tested"
	case *r.Exact:
		return "exact: two runs gave the same packets and events, to the nanosecond"
	}
	return "not exact: two runs differed: " + r.Difference
}

// megabytes writes a size on the disk.
func megabytes(bytes int64) string { return fmt.Sprintf("%d MB", (bytes+1<<19)>>20) }
