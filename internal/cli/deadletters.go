package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/controlclient"
)

func (h *webhooks) deadLetters() *cobra.Command {
	group := &cobra.Command{
		Use:   "dead-letters",
		Short: "List, ring again or forget what was given up for a webhook.",
		Long: "List, ring again or forget what was given up for a webhook: events that it was owed and did not take in time.\n" +
			"Many that were given up for one reason are one dead letter.",
		Example: "  dockbell webhook dead-letters list -r contoso -n deployhook\n  dockbell webhook dead-letters redrive -r contoso -n deployhook --all",
		Args:    cobra.ArbitraryArgs,
		RunE:    runGroup,
	}
	group.AddCommand(h.listDeadLetters(), h.redrive(), h.purge())
	return group
}

func (h *webhooks) listDeadLetters() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List what was given up for a webhook, newest first.",
		Example: "  dockbell webhook dead-letters list -r contoso -n deployhook",
	}
	return h.command(cmd, []string{"name"}, nil, func(ctx context.Context, c *connected, registry string) error {
		all, err := c.DeadLetters(ctx, registry, h.name)
		if err != nil {
			return err
		}
		t := h.out.deadLetterTable(all)
		t.empty = "nothing was given up for webhook " + h.name
		return h.out.print(views(all, deadLetterView), t)
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

func (h *webhooks) redrive() *cobra.Command {
	var which choice
	var p pace
	cmd := &cobra.Command{
		Use:     "redrive",
		Short:   "Ring a webhook once more for what was given up, by a replay.",
		Example: "  dockbell webhook dead-letters redrive -r contoso -n deployhook --all\n  dockbell webhook dead-letters redrive -r contoso -n deployhook --ids 4 7 --max-per-minute 60",
	}
	define := func(cmd *cobra.Command) {
		which.flags(cmd)
		p.flags(cmd.Flags())
	}
	return h.command(cmd, []string{"name"}, define, func(ctx context.Context, c *connected, registry string) error {
		ids, err := which.chosen()
		if err != nil {
			return err
		}
		return h.run(ctx, c, registry, controlclient.ReplayRequest{DeadLetters: &ids, MaxPerMinute: p.perMinute.get()}, p)
	})
}

func (h *webhooks) purge() *cobra.Command {
	var which choice
	cmd := &cobra.Command{
		Use:     "purge",
		Short:   "Forget dead letters; the log of their attempts stays.",
		Example: "  dockbell webhook dead-letters purge -r contoso -n deployhook --ids 4",
	}
	return h.command(cmd, []string{"name"}, which.flags, func(ctx context.Context, c *connected, registry string) error {
		ids, err := which.chosen()
		if err != nil {
			return err
		}
		events, err := c.PurgeDeadLetters(ctx, registry, h.name, ids)
		if err != nil {
			return err
		}
		text := fmt.Sprint(events)
		return h.out.print(map[string]any{"purged": float64(events)}, table{header: []string{"EVENTS FORGOTTEN"}, rows: [][]string{{text}}})
	})
}
