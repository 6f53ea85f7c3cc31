package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// groupKey is the annotation that says under which heading help shows a flag.
const groupKey = "dockbell_group"

// Group puts all flags of a set that have no heading yet under one in help.
func Group(flags *pflag.FlagSet, heading string) {
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Annotations[groupKey] == nil {
			flags.SetAnnotation(f.Name, groupKey, []string{heading}) // fails only for a flag that is not there
		}
	})
}

// help prints a sentence, an example, the commands below, and the flags under
// their headings.
func help(cmd *cobra.Command, _ []string) {
	helpIntroduction(cmd)
	helpCommands(cmd.OutOrStdout(), cmd)
	helpFlags(cmd.OutOrStdout(), cmd)
}

// HelpWith has help for cmd show usages, made elsewhere, in place of the flags.
func HelpWith(cmd *cobra.Command, usages func() string) {
	cmd.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		helpIntroduction(cmd)
		fmt.Fprint(cmd.OutOrStdout(), "\n"+usages())
	})
}

func helpIntroduction(cmd *cobra.Command) {
	out := cmd.OutOrStdout()
	text := cmd.Long
	if text == "" {
		text = cmd.Short
	}
	fmt.Fprintln(out, text)
	if cmd.Example != "" {
		fmt.Fprintf(out, "\nExample:\n%s\n", strings.TrimRight(cmd.Example, "\n"))
	}
}

func helpCommands(out io.Writer, cmd *cobra.Command) {
	var names, texts []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names, texts = append(names, sub.Name()), append(texts, sub.Short)
		}
	}
	if names == nil {
		return
	}
	width := len(slices.MaxFunc(names, func(a, b string) int { return len(a) - len(b) }))
	fmt.Fprintln(out, "\nCommands:")
	for i, name := range names {
		fmt.Fprintf(out, "  %-*s   %s\n", width, name, texts[i])
	}
	fmt.Fprintf(out, "\n%s <command> --help says more of each.\n", cmd.CommandPath())
}

func helpFlags(out io.Writer, cmd *cobra.Command) {
	const other = "Flags"
	var headings []string
	groups := map[string]*pflag.FlagSet{}
	visit := func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		heading := other
		if h := f.Annotations[groupKey]; h != nil {
			heading = h[0]
		}
		if groups[heading] == nil {
			headings = append(headings, heading)
			groups[heading] = pflag.NewFlagSet(heading, pflag.ContinueOnError)
			groups[heading].SortFlags = false
		}
		groups[heading].AddFlag(f)
	}
	cmd.LocalFlags().SortFlags = false
	cmd.LocalFlags().VisitAll(visit)
	cmd.InheritedFlags().VisitAll(visit)
	for _, heading := range headings {
		fmt.Fprintf(out, "\n%s:\n%s", heading, groups[heading].FlagUsages())
	}
}
