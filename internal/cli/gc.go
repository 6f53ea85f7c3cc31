package cli

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

// collections is what the commands about garbage collection share.
type collections struct {
	env  Env
	conn connection
	out  output
}

func gcCommand(env Env) *cobra.Command {
	g := &collections{env: env, conn: connection{env: env}, out: output{env: env}}
	group := &cobra.Command{
		Use:     "gc",
		Short:   "Remove blobs and uploads that nothing needs any more.",
		Example: "  dockbell gc run --dry-run\n  dockbell gc status",
		Args:    cobra.ArbitraryArgs,
		RunE:    runGroup,
	}
	group.AddCommand(g.run(), g.status(), g.list(), g.cancel())
	return group
}

// command completes a command about collections.
func (g *collections) command(cmd *cobra.Command, run func(context.Context, *connected) error) *cobra.Command {
	cmd.Flags().SortFlags = false
	return g.conn.command(cmd, &g.out, nil, run)
}

func (g *collections) run() *cobra.Command {
	var dryRun, noWait bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Start a garbage collection, in all registries of a server.",
		Long: "Start a garbage collection, in all registries of a server, and show how far it is. Pushes and pulls go on meanwhile.\n" +
			"A blob that no manifest refers to is condemned first; it goes in the next collection after the grace time (serve --collect-grace),\n" +
			"which follows by itself unless that is off, and only if nobody has used it. Interrupting the command leaves the collection running.",
		Example: "  dockbell gc run --dry-run\n  dockbell gc run --no-wait",
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only count what would go")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "do not wait for the end")
	Group(cmd.Flags(), "How")
	return g.command(cmd, func(ctx context.Context, c *connected) error {
		started, err := c.StartCollection(ctx, dryRun)
		if err != nil {
			return err
		}
		if noWait {
			g.env.hint("next: dockbell gc status")
			return g.out.print(collectionView(started), g.out.collectionTable(started))
		}
		ended, err := g.follow(ctx, c, started)
		if err != nil {
			return err
		}
		if err := endedWell(ended); err != nil {
			return err
		}
		if ended.Condemned > 0 && !dryRun {
			g.hintSecond(ctx, c)
		}
		return g.out.print(collectionView(ended), g.out.collectionTable(ended))
	})
}

// follow waits for the end of a collection and shows on standard error how far it is.
func (g *collections) follow(ctx context.Context, c *connected, started controlclient.Collection) (controlclient.Collection, error) {
	f := following[controlclient.Collection]{
		env:  g.env,
		runs: func(c controlclient.Collection) bool { return c.State == controlclient.CollectionRunning },
		tell: func(c controlclient.Collection) (float64, string) {
			return c.Progress, fmt.Sprintf("collection %d: %s", c.ID, collectionFigures(c))
		},
		ask:       func(ctx context.Context) (controlclient.Collection, error) { return c.Collection(ctx, started.ID) },
		leftAlone: fmt.Sprintf("interrupted, and collection %d goes on: dockbell gc cancel ends it", started.ID),
	}
	return f.follow(ctx, started)
}

// collectionFigures says what a collection has come to.
func collectionFigures(c controlclient.Collection) string {
	verb := "freed"
	if c.DryRun {
		verb = "to free"
	}
	text := fmt.Sprintf("%d manifests looked at, %s %s", c.Manifests, bytesWord(c.Bytes+c.FileBytes), verb)
	if c.Condemned > 0 {
		text += fmt.Sprintf(", %d condemned", c.Condemned)
	}
	return text
}

// endedWell fails for a collection that did not come to its end.
func endedWell(c controlclient.Collection) error {
	switch c.State {
	case controlclient.CollectionDone:
		return nil
	case controlclient.CollectionFailed:
		return fault.New(fault.Internal, "collection %d failed: %s", c.ID, c.Error)
	}
	return fault.New(fault.Conflict, "collection %d was %s after %s: what it did is done, and the next one begins anew", c.ID, c.State, collectionFigures(c))
}

// hintSecond tells when what was condemned goes.
func (g *collections) hintSecond(ctx context.Context, c *connected) {
	all, err := c.Collections(ctx)
	switch {
	case err != nil: // it is no more than a hint
	case all.NextAt.IsZero():
		g.env.hint("next: dockbell gc run, after the grace time: what was condemned goes then")
	default:
		g.env.hint("what was condemned goes at %s, unless somebody uses it", all.NextAt.Local().Format(time.RFC3339))
	}
}

// noCollection is said where there is none to show.
const noCollection = "there was no collection yet: dockbell gc run --dry-run shows what one would remove"

func (g *collections) status() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show the garbage collection that runs, or the last one.",
		Example: "  dockbell gc status\n  dockbell gc status --query state -o tsv",
	}
	return g.command(cmd, func(ctx context.Context, c *connected) error {
		all, err := c.Collections(ctx)
		if err != nil {
			return err
		}
		if !all.NextAt.IsZero() {
			g.env.hint("the next one begins by itself at %s", all.NextAt.Local().Format(time.RFC3339))
		}
		if len(all.Newest) == 0 {
			return fault.New(fault.NotFound, noCollection)
		}
		newest := all.Newest[0]
		return g.out.print(collectionView(newest), g.out.collectionTable(newest))
	})
}

func (g *collections) list() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the newest garbage collections, newest first.",
		Example: "  dockbell gc list -o wide",
	}
	return g.command(cmd, func(ctx context.Context, c *connected) error {
		all, err := c.Collections(ctx)
		if err != nil {
			return err
		}
		t := g.out.collectionTable(all.Newest...)
		t.empty = noCollection
		return g.out.print(views(all.Newest, collectionView), t)
	})
}

func (g *collections) cancel() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "cancel",
		Short:   "End the garbage collection that runs: what it has done is done.",
		Example: "  dockbell gc cancel",
	}
	return g.command(cmd, func(ctx context.Context, c *connected) error {
		all, err := c.Collections(ctx)
		if err != nil {
			return err
		}
		if len(all.Newest) == 0 || all.Newest[0].State != controlclient.CollectionRunning {
			return fault.New(fault.Conflict, "no collection runs: dockbell gc list shows those there were")
		}
		id := all.Newest[0].ID
		if _, err := c.CancelCollection(ctx, id); err != nil {
			return err
		}
		g.env.hint("cancelling collection %d: dockbell gc status tells when it has ended", id)
		return nil
	})
}

func collectionView(c controlclient.Collection) map[string]any { return decodedObject(c.Raw) }

func (o *output) collectionTable(all ...controlclient.Collection) table {
	t := table{header: []string{"ID", "STATUS", "STARTED", "BY", "TOOK", "MANIFESTS", "CONDEMNED", "BLOBS", "UPLOADS", "FILES", "FREED"}}
	for _, c := range all {
		status, took := c.State, ""
		switch {
		case c.State == controlclient.CollectionRunning:
			status = fmt.Sprintf("%s %d %%", c.State, int(c.Progress*100))
		case c.DryRun:
			status += " (dry run)"
		}
		if !c.EndedAt.IsZero() {
			took = inWords(c.EndedAt.Sub(c.StartedAt))
		}
		row := []string{strconv.FormatInt(c.ID, 10), status, o.when(c.StartedAt), c.StartedBy, took}
		for _, n := range []int64{c.Manifests, c.Condemned, c.Blobs, c.Uploads, c.Files} {
			row = append(row, strconv.FormatInt(n, 10))
		}
		t.rows = append(t.rows, append(row, bytesWord(c.Bytes+c.FileBytes)))
	}
	return t
}
