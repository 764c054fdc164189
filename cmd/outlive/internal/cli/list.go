package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"outlive/faults"
	"outlive/probes/client"
	"outlive/probes/heartbeat"
	"outlive/scenarios"
	"outlive/scenarios/verdict"
)

// entry is one thing that list names and show shows.
type entry struct {
	name, summary string
	// whole writes all there is to know of it.
	whole func(io.Writer)
}

// kind is a kind of things, from the registry of the package that owns it.
type kind struct {
	name, summary string
	entries       func() []entry
	// table writes them all where a line each does not do; nil: a line each.
	table func(w io.Writer, width int)
}

// kinds is what can be listed. What is new in a registry shows up by itself.
var kinds = []kind{
	{"scenarios", "the catalogue: run any of them by name", scenarioEntries, nil},
	{"nat", "profiles of NATs, for `nat:` in a scenario", natEntries, writeProfiles},
	{"firewalls", "profiles of IPv6 firewalls, for `firewall:` in a scenario", firewallEntries, nil},
	{"faults", "what an event can cause, with `fault:`", faultEntries, nil},
	{"policies", "heartbeat policies, for `heartbeat: {policy: …}`", policyEntries, nil},
	{"protocols", "protocols of the built-in client and server", protocolEntries, nil},
	{"metrics", "what an expectation can speak of", metricEntries, nil},
}

func scenarioEntries() []entry {
	var out []entry
	for _, src := range scenarios.Catalogue() {
		s, err := scenarios.Load(src, scenarios.LoadOptions{})
		if err != nil {
			// A test loads every scenario of the catalogue.
			continue
		}
		out = append(out, entry{s.Name, s.Summary, func(w io.Writer) { _, _ = w.Write(src.Data) }})
	}
	return out
}

func faultEntries() []entry {
	var out []entry
	for _, k := range faults.Kinds() {
		out = append(out, entry{k.Name, k.Summary, func(w io.Writer) {
			fmt.Fprintf(w, "%s\n\n%s\n\n  - {at: 5s, fault: %s%s}\n", k.Name, k.Summary, k.Name, parameters(k))
		}})
	}
	return out
}

func policyEntries() []entry {
	var out []entry
	for _, k := range heartbeat.Policies() {
		out = append(out, entry{k.Name, k.Summary, nil})
	}
	return out
}

func protocolEntries() []entry {
	var out []entry
	for _, p := range client.Protocols() {
		out = append(out, entry{p.Name, p.Summary, nil})
	}
	return out
}

func metricEntries() []entry {
	var out []entry
	for _, m := range verdict.Metrics() {
		out = append(out, entry{m.Name, m.Definition, func(w io.Writer) {
			fmt.Fprintf(w, "%s (%s)\n\n%s\n\nAsked as: ", m.Name, m.Unit, m.Definition)
			for i, a := range m.Aggregates {
				if i > 0 {
					fmt.Fprint(w, ", ")
				}
				if a == verdict.Bare {
					fmt.Fprint(w, m.Name)
				} else {
					fmt.Fprintf(w, "%s(%s)", a, m.Name)
				}
			}
			fmt.Fprintln(w)
		}})
	}
	return out
}

// parameters writes a fault's own keys as an example.
func parameters(k faults.Kind) string {
	var b strings.Builder
	for _, name := range faults.Parameters(k) {
		fmt.Fprintf(&b, ", %s: …", name)
	}
	return b.String()
}

func newList(s *State) *cobra.Command {
	return &cobra.Command{
		Use:       "list [KIND]",
		Short:     "List scenarios, NAT profiles, IPv6 firewalls, faults, policies, protocols, metrics",
		Example:   "  outlive list\n  outlive list scenarios\n  outlive list nat",
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: kindNames(),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				t := tabwriter.NewWriter(s.Stdout, 0, 0, 2, ' ', 0)
				for _, k := range kinds {
					fmt.Fprintf(t, "%s\t%d\t%s\n", k.name, len(k.entries()), k.summary)
				}
				_ = t.Flush()
				return nil
			}
			k, err := kindNamed(args[0])
			if err != nil {
				return err
			}
			width := min(max(s.Width, 60), 100)
			if k.table != nil {
				k.table(s.Stdout, width)
			} else {
				writeEntries(s.Stdout, k.entries(), width)
			}
			return nil
		},
	}
}

// writeEntries writes names with their summaries, wrapped beside them.
func writeEntries(w io.Writer, entries []entry, width int) {
	column := 0
	for _, e := range entries {
		column = max(column, len(e.name)+2)
	}
	for _, e := range entries {
		fmt.Fprintf(w, "%-*s", column, e.name)
		at := column
		for i, word := range strings.Fields(e.summary) {
			if i > 0 && at+1+len([]rune(word)) > width {
				fmt.Fprintf(w, "\n%*s", column, "")
				at = column
			} else if i > 0 {
				fmt.Fprint(w, " ")
				at++
			}
			fmt.Fprint(w, word)
			at += len([]rune(word))
		}
		fmt.Fprintln(w)
	}
}
