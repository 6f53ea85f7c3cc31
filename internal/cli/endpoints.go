package cli

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/controlclient"
)

// endpoints is what the commands about webhooks and about event subscriptions
// share: what was sent to one is listed, and sent once more, in the same way.
type endpoints struct {
	resources
	of      controlclient.EndpointKind
	group   string // the command that has the others
	a       string // the kind with its article
	sample  string // a name for examples
	trying  string // a command that has something sent, to one of which nothing was
	again   string // what help says of a request that is made once more
	today   string // by what of it a replay chooses events
	another bool   // a replay may ring another address
}

// endpoint is the one that a command is for.
func (e *endpoints) endpoint(registry string) controlclient.Endpoint {
	return controlclient.Endpoint{Kind: e.of, Registry: registry, Name: e.name}
}

// example is a command line for help.
func (e *endpoints) example(command, more string) string {
	line := fmt.Sprintf("  dockbell %s %s -r contoso -n %s", e.group, command, e.sample)
	if more != "" {
		line += " " + more
	}
	return line
}

// line is a command line that is likely next for an endpoint of that name.
func (e *endpoints) line(command, registry, name string) string {
	return fmt.Sprintf("dockbell %s %s -r %s -n %s", e.group, command, registry, name)
}

func (e *endpoints) listEvents() *cobra.Command {
	outcome := choiceValue{allowed: []string{"delivered", "refused", "failed", "interrupted"}}
	var replay number[int64]
	cmd := &cobra.Command{
		Use:     "list-events",
		Short:   "List what was sent to " + e.a + " and what it answered, newest first.",
		Example: e.example("list-events", "-o table") + "\n" + e.example("list-events", "--outcome failed"),
	}
	define := func(cmd *cobra.Command) {
		cmd.Flags().Var(&outcome, "outcome", "attempts that ended like this only")
		cmd.Flags().Var(&replay, "replay", "attempts of the replay of this `id` only")
		Group(cmd.Flags(), "Which events")
	}
	return e.command(cmd, []string{"name"}, define, func(ctx context.Context, c *connected, registry string) error {
		events, err := c.Events(ctx, e.endpoint(registry), controlclient.EventFilter{Outcome: outcome.value, Replay: replay.get()})
		if err != nil {
			return err
		}
		t := eventTable(events)
		t.empty = fmt.Sprintf("nothing was sent to %s %s yet: %s", e.kind, e.name, e.line(e.trying, registry, e.name))
		if outcome.value != "" || replay.value != nil {
			t.empty = fmt.Sprintf("no attempt of %s %s is like that: %s shows all", e.kind, e.name, e.line("list-events", registry, e.name))
		}
		return e.out.print(views(events, eventView), t)
	})
}

// holding is how an endpoint is paused and resumed, and printed afterwards.
type holding[T any] struct {
	pause, resume func(c *controlclient.Client, ctx context.Context, registry, name string) (T, error)
	print         func(T) error
}

// commands returns pause and resume; longer is what help of the former says beside.
func (h holding[T]) commands(e *endpoints, longer string) (pause, resume *cobra.Command) {
	pause = &cobra.Command{
		Use:     "pause",
		Short:   "Stop ringing: what happens waits, until resume or its time to live is over.",
		Long:    "Stop ringing: what happens waits, in its order, until dockbell " + e.group + " resume, or until its time to live is over." + longer,
		Example: e.example("pause", ""),
	}
	e.command(pause, []string{"name"}, nil, func(ctx context.Context, c *connected, registry string) error {
		held, err := h.pause(c.Client, ctx, registry, e.name)
		if err != nil {
			return err
		}
		e.env.hint("next: %s", e.line("resume", registry, e.name))
		return h.print(held)
	})
	resume = &cobra.Command{
		Use:     "resume",
		Short:   "Ring again, and begin with what waited.",
		Example: e.example("resume", ""),
	}
	e.command(resume, []string{"name"}, nil, func(ctx context.Context, c *connected, registry string) error {
		held, err := h.resume(c.Client, ctx, registry, e.name)
		if err != nil {
			return err
		}
		return h.print(held)
	})
	return pause, resume
}

// hintHealth says in a sentence how an endpoint fares that does not fare well, and
// what to do.
func (e *endpoints) hintHealth(registry, name string, health *controlclient.Health) {
	switch health.State {
	case "failing":
		since := ""
		if !health.FirstFailure.IsZero() {
			since = " for " + inWords(time.Since(health.FirstFailure))
		}
		next := ""
		if !health.NextAttempt.IsZero() {
			next = ", the next attempt is in " + inWords(time.Until(health.NextAttempt))
		}
		last := "got no answer (" + health.LastError + ")"
		if health.LastStatus != 0 {
			last = "got " + strconv.Itoa(health.LastStatus)
		}
		e.env.hint("failing%s: %d attempts in a row, the last of which %s; %s%s: %s --outcome failed",
			since, health.ConsecutiveFailures, last, waitingSentence(health), next, e.line("list-events", registry, name))
	case "catchingUp":
		e.env.hint("catching up: %s", waitingSentence(health))
	case "paused":
		e.env.hint("paused: %s until %s", waitingSentence(health), e.line("resume", registry, name))
	}
	if health.DeadLetters > 0 {
		e.env.hint("given up so far: %d, see %s", health.DeadLetters, e.line("dead-letters list", registry, name))
	}
}

// waitingSentence says how many events wait.
func waitingSentence(h *controlclient.Health) string {
	switch h.Waiting + h.Behind {
	case 0:
		return "nothing waits"
	case 1:
		return "1 event waits"
	}
	return waitingWord(h) + " events wait"
}
