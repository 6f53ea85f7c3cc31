package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/controlclient"
)

func (e *endpoints) deadLetters() *cobra.Command {
	group := &cobra.Command{
		Use:   "dead-letters",
		Short: "List, ring again or forget what was given up for " + e.a + ".",
		Long: "List, ring again or forget what was given up for " + e.a + ": events that it was owed and did not take in time.\n" +
			"Many that were given up for one reason are one dead letter.",
		Example: e.example("dead-letters list", "") + "\n" + e.example("dead-letters redrive", "--all"),
		Args:    cobra.ArbitraryArgs,
		RunE:    runGroup,
	}
	group.AddCommand(e.listDeadLetters(), e.redrive(), e.purge())
	return group
}

func (e *endpoints) listDeadLetters() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List what was given up for " + e.a + ", newest first.",
		Example: e.example("dead-letters list", ""),
	}
	return e.command(cmd, []string{"name"}, nil, func(ctx context.Context, c *connected, registry string) error {
		all, err := c.DeadLetters(ctx, e.endpoint(registry))
		if err != nil {
			return err
		}
		t := e.out.deadLetterTable(all)
		t.empty = "nothing was given up for " + e.kind + " " + e.name
		return e.out.print(views(all, deadLetterView), t)
	})
}

// choice is which dead letters a command is for.
type choice struct {
	ids numberList
	all bool
}

func (c *choice) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Var(&c.ids, "ids", "these, by the ids that dead-letters list shows, separated by blanks")
	flags.BoolVar(&c.all, "all", false, "all there are")
	Group(flags, "Which dead letters")
}

// chosen returns the ids on the wire.
func (c *choice) chosen() (controlclient.DeadLetterIDs, error) {
	if c.all == (c.ids.numbers != nil) {
		return nil, Usage("say which dead letters: either --ids, as dead-letters list shows them, or --all")
	}
	return c.ids.numbers, nil
}

func (e *endpoints) redrive() *cobra.Command {
	var which choice
	var p pace
	cmd := &cobra.Command{
		Use:     "redrive",
		Short:   "Ring " + e.a + " once more for what was given up, by a replay.",
		Example: e.example("dead-letters redrive", "--all") + "\n" + e.example("dead-letters redrive", "--ids 4 7 --max-per-minute 60"),
	}
	define := func(cmd *cobra.Command) {
		which.flags(cmd)
		p.flags(cmd.Flags())
	}
	return e.command(cmd, []string{"name"}, define, func(ctx context.Context, c *connected, registry string) error {
		ids, err := which.chosen()
		if err != nil {
			return err
		}
		return e.run(ctx, c, registry, controlclient.ReplayRequest{DeadLetters: &ids, MaxPerMinute: p.perMinute.get()}, p)
	})
}

func (e *endpoints) purge() *cobra.Command {
	var which choice
	cmd := &cobra.Command{
		Use:     "purge",
		Short:   "Forget dead letters; the log of their attempts stays.",
		Example: e.example("dead-letters purge", "--ids 4"),
	}
	return e.command(cmd, []string{"name"}, which.flags, func(ctx context.Context, c *connected, registry string) error {
		ids, err := which.chosen()
		if err != nil {
			return err
		}
		events, err := c.PurgeDeadLetters(ctx, e.endpoint(registry), ids)
		if err != nil {
			return err
		}
		text := fmt.Sprint(events)
		return e.out.print(map[string]any{"purged": float64(events)}, table{header: []string{"EVENTS FORGOTTEN"}, rows: [][]string{{text}}})
	})
}
