package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

func (e *endpoints) redeliver() *cobra.Command {
	var id string
	cmd := &cobra.Command{
		Use:     "redeliver",
		Short:   "Ring " + e.a + " once more for one event.",
		Long:    "Ring " + e.a + " once more for one event, be it delivered, refused or given up.\n" + e.again,
		Example: e.example("redeliver", "--event f7e3acdb-d1a7-41c6-8f0e-a32d3eff2949"),
	}
	define := func(cmd *cobra.Command) {
		cmd.Flags().StringVar(&id, "event", "", "`id` of the event, as list-events shows it")
		Group(cmd.Flags(), "Which event")
	}
	return e.command(cmd, []string{"name", "event"}, define, func(ctx context.Context, c *connected, registry string) error {
		r, err := c.Redeliver(ctx, e.endpoint(registry), id)
		if err != nil {
			return err
		}
		e.env.hint("next: %s --replay %d", e.line("list-events", registry, e.name), r.ID)
		return e.out.print(replayView(r), e.out.replayTable(r))
	})
}

// pace is how a replay runs, and whether the command waits for its end.
type pace struct {
	perMinute number[int]
	noWait    bool
}

func (p *pace) flags(flags *pflag.FlagSet) {
	flags.Var(&p.perMinute, "max-per-minute", "the most deliveries in a minute; else as the receiver takes them")
	flags.BoolVar(&p.noWait, "no-wait", false, "do not wait until everything was sent")
	Group(flags, "How")
}

func (e *endpoints) replay() *cobra.Command {
	var (
		since, until    moment
		after, upto     number[int64]
		failed, refused bool
		actions         = wordList{allowed: webhookActions}
		repository, uri string
		p               pace
	)
	elsewhere := ""
	if e.another {
		elsewhere = " --uri https://audit.example.net/acr"
	}
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Ring " + e.a + " once more for many events.",
		Long: "Ring " + e.a + " once more for many events: those of a time, or of an outcome, that it asks for " + e.today + ".\n" +
			"The server does it, at whatever pace the receiver takes; the command shows how far it is. Interrupting the command leaves the replay running.",
		Example: e.example("replay", "--failed --since 2h") + "\n" +
			e.example("replay", "--since 2026-11-20 --until 2026-11-21 --repository 'team/*'"+elsewhere),
	}
	define := func(cmd *cobra.Command) {
		flags := cmd.Flags()
		flags.Var(&since, "since", "events from then on: an age like 2h or 3d, a date in UTC, or RFC 3339")
		flags.Var(&until, "until", "events before then")
		flags.Var(&after, "after", "events behind this `position`; 0 for all that are kept")
		flags.Var(&upto, "upto", "events up to this `position`")
		flags.BoolVar(&failed, "failed", false, "events that it should have had and does not have")
		flags.BoolVar(&refused, "refused", false, "events that it answered with a refusal")
		flags.Var(&actions, "actions", "events of these actions")
		flags.StringVar(&repository, "repository", "", "events of this `repository`; a * at the end stands for any rest")
		Group(flags, "Which events")
		if e.another {
			flags.StringVar(&uri, "uri", "", "`URI` to ring in place of the webhook's, without the webhook's headers; kept secret")
		}
		p.flags(flags)
	}
	return e.command(cmd, []string{"name"}, define, func(ctx context.Context, c *connected, registry string) error {
		if since.IsZero() && until.IsZero() && after.value == nil && upto.value == nil && !failed && !refused {
			return Usage("say which events are to ring once more: with --since, --until, --after, --upto, --failed or --refused; --after 0 is all that are kept")
		}
		if failed && refused {
			return Usage("an event failed or was refused, never both: give one of --failed and --refused")
		}
		request := controlclient.ReplayRequest{
			From: since.Time, Until: until.Time, After: after.get(), Upto: upto.get(),
			Actions: actions.words, Repository: repository, ServiceURI: uri, MaxPerMinute: p.perMinute.get(),
		}
		switch {
		case failed:
			request.Only = "undelivered"
		case refused:
			request.Only = "refused"
		}
		return e.run(ctx, c, registry, request, p)
	})
}

// run starts a replay, waits for its end if that is asked for, and prints it.
func (e *endpoints) run(ctx context.Context, c *connected, registry string, request controlclient.ReplayRequest, p pace) error {
	r, err := c.StartReplay(ctx, e.endpoint(registry), request)
	if err != nil {
		return err
	}
	if p.noWait {
		e.env.hint("next: %s --id %d", e.line("replays show", registry, e.name), r.ID)
	} else {
		if r, err = e.follow(ctx, c, registry, r); err != nil {
			return err
		}
		if r.State == controlclient.ReplayCancelled {
			return fault.New(fault.Conflict, "replay %d was cancelled after %s", r.ID, replayFigures(r))
		}
		if r.Dead > 0 {
			e.env.hint("next: %s", e.line("dead-letters list", registry, e.name))
		} else if r.Matched > 0 {
			e.env.hint("next: %s --replay %d", e.line("list-events", registry, e.name), r.ID)
		}
	}
	return e.out.print(replayView(r), e.out.replayTable(r))
}

// follow waits for the end of a replay and shows on standard error how far it is.
func (e *endpoints) follow(ctx context.Context, c *connected, registry string, started controlclient.Replay) (controlclient.Replay, error) {
	f := following[controlclient.Replay]{
		env:  e.env,
		runs: func(r controlclient.Replay) bool { return r.State == controlclient.ReplayRunning },
		tell: func(r controlclient.Replay) (float64, string) {
			return fraction(r), fmt.Sprintf("replay %d: %s", r.ID, replayFigures(r))
		},
		ask: func(ctx context.Context) (controlclient.Replay, error) {
			return c.Replay(ctx, e.endpoint(registry), started.ID)
		},
		leftAlone: fmt.Sprintf("interrupted, and replay %d goes on: %s --id %d ends it", started.ID, e.line("replays cancel", registry, e.name), started.ID),
	}
	return f.follow(ctx, started)
}

// fraction is how much of a replay is done, 0 to 1: what was looked at, less the
// share of it that is still under way.
func fraction(r controlclient.Replay) float64 {
	done := 1.0
	if r.ToLook > 0 {
		done = float64(r.Looked) / float64(r.ToLook)
	}
	if r.Matched > 0 {
		done *= float64(r.Delivered+r.Refused+r.Dead) / float64(r.Matched)
	}
	return done
}

// replayFigures says how far a replay is.
func replayFigures(r controlclient.Replay) string {
	text := fmt.Sprintf("%d of %d looked at, %d matched", r.Looked, r.ToLook, r.Matched)
	if r.Delivered > 0 {
		text += fmt.Sprintf(", %d delivered", r.Delivered)
	}
	if r.Refused > 0 {
		text += fmt.Sprintf(", %d refused", r.Refused)
	}
	if r.Dead > 0 {
		text += fmt.Sprintf(", %d given up", r.Dead)
	}
	if waiting := r.Matched - r.Delivered - r.Refused - r.Dead; waiting > 0 {
		text += fmt.Sprintf(", %d under way", waiting)
	}
	return text
}

func (e *endpoints) replays() *cobra.Command {
	group := &cobra.Command{
		Use:     "replays",
		Short:   "List, look at and cancel the replays of " + e.a + ".",
		Example: e.example("replays list", "") + "\n" + e.example("replays cancel", "--id 3"),
		Args:    cobra.ArbitraryArgs,
		RunE:    runGroup,
	}
	list := e.command(&cobra.Command{
		Use:     "list",
		Short:   "List the replays of " + e.a + ", newest first.",
		Example: e.example("replays list", ""),
	}, []string{"name"}, nil, func(ctx context.Context, c *connected, registry string) error {
		all, err := c.Replays(ctx, e.endpoint(registry))
		if err != nil {
			return err
		}
		t := e.out.replayTable(all...)
		t.empty = fmt.Sprintf("%s %s has no replays: %s --failed", e.kind, e.name, e.line("replay", registry, e.name))
		return e.out.print(views(all, replayView), t)
	})
	show := e.oneReplay(&cobra.Command{
		Use:     "show",
		Short:   "Show how far a replay is.",
		Example: e.example("replays show", "--id 3"),
	}, (*controlclient.Client).Replay)
	cancel := e.oneReplay(&cobra.Command{
		Use:     "cancel",
		Short:   "End a replay: what it has not sent yet is not sent.",
		Example: e.example("replays cancel", "--id 3"),
	}, (*controlclient.Client).CancelReplay)
	group.AddCommand(list, show, cancel)
	return group
}

// oneReplay completes a command that does something with one replay.
func (e *endpoints) oneReplay(cmd *cobra.Command, do func(c *controlclient.Client, ctx context.Context, of controlclient.Endpoint, id int64) (controlclient.Replay, error)) *cobra.Command {
	var id number[int64]
	define := func(cmd *cobra.Command) {
		cmd.Flags().Var(&id, "id", "`id` of the replay")
		Group(cmd.Flags(), "Which replay")
	}
	return e.command(cmd, []string{"name", "id"}, define, func(ctx context.Context, c *connected, registry string) error {
		r, err := do(c.Client, ctx, e.endpoint(registry), id.get())
		if err != nil {
			return err
		}
		return e.out.print(replayView(r), e.out.replayTable(r))
	})
}
