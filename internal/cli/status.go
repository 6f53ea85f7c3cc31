package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

// summary is what status shows: a server, its registries and what is wrong.
type summary struct {
	Address     string
	Server      controlclient.Server
	Registries  []registrySummary
	Collections *controlclient.Collections // nil: the user may not know
	Troubles    []trouble
}

// registrySummary is a registry at a glance.
type registrySummary struct {
	controlclient.Registry
	Usages             []controlclient.Usage
	Webhooks           map[string]int // how many fare so, by the word for it; nil: the user may not know
	EventSubscriptions map[string]int
	Waiting, Behind    int64
	DeadLetters        int64
	LastHour, LastDay  controlclient.Counts
}

// deadLetters is the state of an endpoint of which there is no more to say than that
// events to it were given up.
const deadLetters = "deadLetters"

// trouble is something that a person should look at, and what to do.
type trouble struct {
	Kind, Registry, Name string // registry and name are empty for what is the server's
	State                string // as health has it, or a word of ours
	Reason               string
	Since                time.Time // zero: not known
	Health               *controlclient.Health
	Next                 string // a command line
}

func statusCommand(env Env) *cobra.Command {
	conn, out := connection{env: env}, output{env: env}
	var registry string
	var check bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show in one screen how a server and its registries fare.",
		Long: "Show in one screen how a server and its registries fare: what was delivered in the last hour and day, what waits, and what is wrong, each\n" +
			"with the command that is next. It exits with 0 if the server answered; with --check only if nothing is wrong.",
		Example: "  dockbell status\n  dockbell status -r contoso -o json --query troubles\n  dockbell status --check -o none || page-somebody",
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().StringVarP(&registry, "registry", "r", "", "only this registry, by `name`; else DOCKBELL_REGISTRY, else all")
	cmd.Flags().BoolVar(&check, "check", false, "exit with 1 if something is wrong")
	Group(cmd.Flags(), "What it does")
	return conn.command(cmd, &out, nil, func(ctx context.Context, c *connected) error {
		s, err := c.summary(ctx, c.named(registry))
		if err != nil {
			return err
		}
		if err := out.printOr(summaryView(s), func() error { return out.writeSummary(s) }); err != nil {
			return err
		}
		if check && len(s.Troubles) > 0 {
			return fault.New(fault.Conflict, "%s", troubleCount(len(s.Troubles)))
		}
		return nil
	})
}

func troubleCount(n int) string {
	if n == 1 {
		return "1 thing is wrong: dockbell status names it"
	}
	return fmt.Sprintf("%d things are wrong: dockbell status names them", n)
}

// summary asks for all of it. Of what the user may not read nothing is said.
func (c *connected) summary(ctx context.Context, only string) (summary, error) {
	s := summary{Address: c.String()}
	var err error
	if s.Server, err = c.Server(ctx); err != nil {
		return s, err
	}
	if !s.Server.Ready {
		s.Troubles = append(s.Troubles, trouble{Kind: "server", Name: s.Address, State: "notReady", Reason: s.Server.Reason, Next: "look at the server's log"})
	}
	var registries []controlclient.Registry
	if only != "" {
		registries = make([]controlclient.Registry, 1)
		registries[0], err = c.Registry(ctx, only)
	} else {
		registries, err = c.Client.Registries(ctx)
	}
	if err != nil && s.Server.Ready {
		return s, err
	}
	if err != nil { // which is no wonder
		return s, nil
	}
	for _, r := range registries {
		one, troubles, err := c.summaryOf(ctx, r)
		if err != nil {
			return s, err
		}
		s.Registries, s.Troubles = append(s.Registries, one), append(s.Troubles, troubles...)
	}
	collections, err := readable(c.Collections(ctx))
	if err != nil {
		return s, err
	}
	s.Collections = collections
	if collections != nil && len(collections.Newest) > 0 && collections.Newest[0].State == controlclient.CollectionFailed {
		last := collections.Newest[0]
		s.Troubles = append(s.Troubles, trouble{Kind: "garbage collection", Name: fmt.Sprint(last.ID), State: "failed", Reason: last.Error, Since: last.EndedAt, Next: "dockbell gc run"})
	}
	return s, nil
}

// readable turns a refusal for want of rights, or by a server that does not have it,
// into nothing.
func readable[T any](value T, err error) (*T, error) {
	if fault.Is(err, fault.Denied) || fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &value, nil
}

func (c *connected) summaryOf(ctx context.Context, r controlclient.Registry) (registrySummary, []trouble, error) {
	one := registrySummary{Registry: r}
	usages, err := readable(c.Usages(ctx, r.Name))
	if err != nil {
		return one, nil, err
	}
	if usages != nil {
		one.Usages = *usages
	}
	hooks, err := readable(c.Webhooks(ctx, r.Name))
	if err != nil {
		return one, nil, err
	}
	subscriptions, err := readable(c.EventSubscriptions(ctx, r.Name, ""))
	if err != nil {
		return one, nil, err
	}
	hour, err := readable(c.Statistics(ctx, r.Name, controlclient.StatisticsSpan{Step: controlclient.ByMinute}))
	if err != nil {
		return one, nil, err
	}
	day, err := readable(c.Statistics(ctx, r.Name, controlclient.StatisticsSpan{}))
	if err != nil {
		return one, nil, err
	}
	if hour != nil && day != nil {
		one.LastHour, one.LastDay = hour.Counts, day.Counts
	}
	var troubles []trouble
	add := func(counts map[string]int, t trouble) {
		counts[t.State]++
		if t.Health != nil {
			one.Waiting += t.Health.Waiting
			one.Behind += t.Health.Behind
			one.DeadLetters += t.Health.DeadLetters
		}
		if t.advise() {
			troubles = append(troubles, t)
		}
	}
	if hooks != nil {
		one.Webhooks = map[string]int{}
		for _, w := range *hooks {
			add(one.Webhooks, webhookTrouble(r.Name, w))
		}
	}
	if subscriptions != nil {
		one.EventSubscriptions = map[string]int{}
		for _, s := range *subscriptions {
			add(one.EventSubscriptions, subscriptionTrouble(r.Name, s))
		}
	}
	return one, troubles, nil
}

func webhookTrouble(registry string, w controlclient.Webhook) trouble {
	t := trouble{Kind: "webhook", Registry: registry, Name: w.Name, State: w.Properties.Status, Health: w.Health}
	if w.Health != nil {
		t.State = w.Health.State
	}
	switch agreed := w.Properties.Consent; {
	case t.State == "disabled":
		t.Reason = w.Properties.DisabledReason
	case t.State == "awaitingConsent" && agreed != nil:
		t.Reason = agreed.Reason
	}
	return t
}

func subscriptionTrouble(registry string, s controlclient.EventSubscription) trouble {
	t := trouble{Kind: "event-subscription", Registry: registry, Name: s.Name, State: s.Properties.ProvisioningState, Health: s.Health}
	switch {
	case s.Properties.ProvisioningState != controlclient.SubscriptionReady:
		t.State, t.Reason = "awaitingConsent", s.Properties.StateReason
	case s.Health != nil:
		t.State = s.Health.State
	}
	return t
}

// advise says since when an endpoint is as it is and what is to be done, and reports
// whether something is. What catches up does so alone, and what a person disabled is
// to be so.
func (t *trouble) advise() bool {
	h := t.Health
	if h == nil {
		h = &controlclient.Health{}
	}
	line := func(command, more string) string {
		return fmt.Sprintf("dockbell %s %s -r %s -n %s%s", t.Kind, command, t.Registry, t.Name, more)
	}
	t.Since = h.OldestUndelivered
	switch {
	case t.State == "failing":
		t.Since, t.Next = h.FirstFailure, line("list-events", " --outcome failed")
	case t.State == "paused":
		t.Since, t.Next = h.PausedAt, line("resume", "")
	case t.State == "awaitingConsent" && t.Kind == "webhook":
		t.Next = line("handshake", "")
	case t.State == "awaitingConsent":
		t.Next = line("validate", "")
	case t.State == "disabled" && t.Reason != "":
		t.Since, t.Next = h.FirstFailure, line("update", " --status enabled")
	case h.DeadLetters > 0:
		t.State, t.Since, t.Next = deadLetters, time.Time{}, line("dead-letters list", "")
	default:
		return false
	}
	return true
}
