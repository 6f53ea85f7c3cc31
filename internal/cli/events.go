package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

// inRegistry is how a command that is not about one webhook finds its server and
// registry.
type inRegistry struct {
	conn     connection
	registry string
}

func (r *inRegistry) flags(flags *pflag.FlagSet) {
	registryFlag(flags, &r.registry)
	Group(flags, "Which registry")
}

// run connects and calls do with the server and the registry's name.
func (r *inRegistry) run(ctx context.Context, do func(c *connected, registry string) error) error {
	c, err := r.conn.connect()
	if err != nil {
		return err
	}
	registry, err := c.registryName(ctx, r.registry)
	if err != nil {
		return err
	}
	return c.explain(do(c, registry))
}

// How many events a command shows or ends after.
const (
	shownEvents    = 20
	maxShownEvents = 1000 // what the server gives in one page
)

// events is what the commands of the feed share.
type events struct {
	env Env
	in  inRegistry
	out output

	after int64
	limit int
}

func eventsCommand(env Env) *cobra.Command {
	group := &cobra.Command{
		Use:     "events",
		Short:   "Show what happened in a registry, or what happens now.",
		Example: "  dockbell events list -r contoso\n  dockbell events tail -r contoso",
		Args:    cobra.ArbitraryArgs,
		RunE:    runGroup,
	}
	newEvents := func() *events {
		return &events{env: env, in: inRegistry{conn: connection{env: env}}, out: output{env: env}}
	}
	group.AddCommand(newEvents().list(), newEvents().tail())
	return group
}

func (e *events) list() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the newest events of a registry, or those behind a position.",
		Long: "List the newest events of a registry, the newest last; with --after those behind a position.\n" +
			"A position is the place of an event in the order of commits, over all registries of the server.",
		Example: "  dockbell events list -r contoso\n  dockbell events list -r contoso --after 1200 --limit 1000 -o json",
		Args:    NoArgs,
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	e.in.flags(flags)
	flags.Int64Var(&e.after, "after", 0, "begin behind this `position`; 0 is the beginning of what there ever was")
	flags.IntVar(&e.limit, "limit", shownEvents, "the most events to show, a `number` from 1 to 1000")
	Group(flags, "Which events")
	e.out.flags(flags)
	e.in.conn.flags(flags)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if e.limit < 1 || e.limit > maxShownEvents {
			return Usage("--limit: %d is out of range: use 1 to %d", e.limit, maxShownEvents)
		}
		given := cmd.Flags().Changed("after")
		return e.in.run(cmd.Context(), func(c *connected, registry string) error {
			page, err := e.page(cmd.Context(), c, registry, given)
			if err != nil {
				return e.expired(err, "list", registry)
			}
			t := e.out.feedTable(page.Entries)
			t.empty = "nothing happened in registry " + registry + " yet: docker push " + c.server.Host + "/hello/world:v1"
			if given {
				t.empty = "nothing happened in registry " + registry + " behind position " + strconv.FormatInt(e.after, 10) + " yet: dockbell events tail -r " + registry
			}
			return e.out.print(views(page.Entries, feedView), t)
		})
	}
	return cmd
}

func (e *events) page(ctx context.Context, c *connected, registry string, given bool) (controlclient.FeedPage, error) {
	if given {
		return c.FeedAfter(ctx, registry, e.after, e.limit)
	}
	return c.FeedLast(ctx, registry, e.limit)
}

// expired says how to go on where events are not kept any more.
func (e *events) expired(err error, command, registry string) error {
	gone, ok := controlclient.ExpiredIn(err)
	if !ok {
		return err
	}
	return fault.Wrap(err, fault.OutOfRange, "events behind position %d are not kept any more, the oldest has position %d: go on with dockbell events %s -r %s --after %d",
		e.after, gone.Oldest, command, registry, gone.Oldest-1)
}

func (e *events) tail() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Print what happens in a registry, as it happens.",
		Long: "Print what happens in a registry, as it happens, a line per event. When the connection is lost it is made\n" +
			"again, and nothing is left out or printed twice. Ctrl-C ends it.",
		Example: "  dockbell events tail -r contoso\n  dockbell events tail -r contoso --after 1200 -o json | jq .event.target.tag",
		Args:    NoArgs,
	}
	format := choiceValue{allowed: []string{"json", "table"}}
	flags := cmd.Flags()
	flags.SortFlags = false
	e.in.flags(flags)
	flags.Int64Var(&e.after, "after", 0, "begin behind this `position`, not with what happens now")
	flags.IntVar(&e.limit, "limit", 0, "end after this `number` of events; 0 for never")
	Group(flags, "Which events")
	flags.VarP(&format, "output", "o", "table, a line per event, on a terminal, and json, an object per line, elsewhere, unless given")
	Group(flags, "Output")
	e.in.conn.flags(flags)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if e.limit < 0 {
			return Usage("--limit: %d is below zero: use 0 for no end", e.limit)
		}
		given := cmd.Flags().Changed("after")
		return e.in.run(cmd.Context(), func(c *connected, registry string) error {
			if !given {
				end, err := c.FeedLast(cmd.Context(), registry, 0)
				if err != nil {
					return err
				}
				e.after = end.Next
			}
			e.env.hint("what happens in registry %s from here on; Ctrl-C ends it", registry)
			err := e.watch(cmd.Context(), c, registry, format.value)
			if err == nil && cmd.Context().Err() != nil {
				e.env.hint("to go on from here: dockbell events tail -r %s --after %d", registry, e.after)
			}
			return e.expired(err, "tail", registry)
		})
	}
	return cmd
}

// watch prints events as they come, until ctx ends or there were enough.
func (e *events) watch(ctx context.Context, c *connected, registry, format string) error {
	if format == "" {
		format = "json"
		if e.env.StdoutTerminal {
			format = "table"
		}
	}
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	var columns columns
	printed := 0
	return e.env.follow(ctx, c.String(), func(ctx context.Context, opened func()) error {
		return c.FollowFeed(ctx, registry, e.after, opened, func(entry controlclient.FeedEntry) error {
			if err := e.printEntry(&columns, format, entry); err != nil {
				return err
			}
			e.after = entry.Position
			if printed++; printed == e.limit {
				enough()
				return ctx.Err()
			}
			return nil
		})
	})
}

func (e *events) printEntry(columns *columns, format string, entry controlclient.FeedEntry) error {
	if format == "json" {
		var line bytes.Buffer
		if err := json.Compact(&line, entry.Raw); err != nil {
			return err
		}
		line.WriteByte('\n')
		_, err := e.env.Stdout.Write(line.Bytes())
		return err
	}
	_, err := fmt.Fprintln(e.env.Stdout, columns.line(append([]string{toSecond(entry.Event.Timestamp)}, feedCells(entry)...)...))
	return err
}

func feedView(e controlclient.FeedEntry) map[string]any { return decodedObject(e.Raw) }

func (o *output) feedTable(entries []controlclient.FeedEntry) table {
	t := table{header: []string{"POSITION", "TIME", "ACTION", "IMAGE", "DIGEST", "WHO"}}
	for _, e := range entries {
		at, err := time.Parse(time.RFC3339, e.Event.Timestamp)
		when := o.when(at)
		if err != nil {
			when = e.Event.Timestamp
		}
		t.rows = append(t.rows, append([]string{strconv.FormatInt(e.Position, 10), when}, feedCells(e)...))
	}
	return t
}

// feedCells returns what is shown of an event, behind its time.
func feedCells(e controlclient.FeedEntry) []string {
	who := firstOf(e.Actor, e.Cause)
	if e.Sample {
		who = strings.TrimSpace(who + " (sample)")
	}
	return []string{e.Event.Action, e.Event.Image(), shortDigest(e.Event.Target.Digest), who}
}

// shortDigest returns what people tell digests apart by.
func shortDigest(digest string) string {
	const enough = 12
	_, hex, _ := strings.Cut(digest, ":")
	if len(hex) > enough {
		hex = hex[:enough]
	}
	return hex
}
