package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/controlclient"
)

// shownEntries is how many entries audit list shows unless it is told.
const shownEntries = 50

// auditOutcomes are what can have come of an action.
var auditOutcomes = []string{"succeeded", "refused", "failed"}

func auditCommand(env Env) *cobra.Command {
	group := &cobra.Command{
		Use:     "audit",
		Short:   "Show who did or tried what: changes, reads of secrets, failed logins.",
		Example: "  dockbell audit list --since 2h\n  dockbell audit list -r contoso --outcome refused",
		Args:    cobra.ArbitraryArgs,
		RunE:    runGroup,
	}
	group.AddCommand(auditList(env))
	return group
}

func auditList(env Env) *cobra.Command {
	conn, out := connection{env: env}, output{env: env}
	var registry string
	var since, until moment
	var f controlclient.AuditFilter
	top := shownEntries
	outcome := choiceValue{allowed: auditOutcomes}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the newest entries of the audit log, the newest first.",
		Long: "List the newest entries of the audit log, the newest first. Failed logins come a minute late: those of one\n" +
			"minute that are alike are one entry, with their number.",
		Example: "  dockbell audit list --since 2h --action login/failed\n  dockbell audit list -r contoso --actor ci-build --action registries/webhooks -o wide",
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVarP(&registry, "registry", "r", "", "registry `name`; else DOCKBELL_REGISTRY, else the whole server")
	flags.Var(&since, "since", "from this time on: 2h ago, a date, or 2026-11-20T15:04:05Z")
	flags.Var(&until, "until", "before this time")
	flags.StringVar(&f.Actor, "actor", "", "of this user `name` only")
	flags.StringVar(&f.Action, "action", "", "only actions that begin with this `text`, such as registries/webhooks or login/failed")
	flags.StringVar(&f.Resource, "resource", "", "only resources with this `text` in their id")
	flags.Var(&outcome, "outcome", "only those that came to this")
	flags.IntVar(&top, "top", top, "the most entries to show, a `number` from 1 on")
	Group(flags, "Which entries")
	return conn.command(cmd, &out, nil, func(ctx context.Context, c *connected) error {
		if top < 1 {
			return Usage("--top: %d is out of range: use 1 or more", top)
		}
		if registry = firstOf(registry, env.Getenv("DOCKBELL_REGISTRY")); registry != "" {
			name, err := c.registryName(ctx, registry)
			if err != nil {
				return err
			}
			registry = name
		}
		f.After, f.Before, f.Outcome = since.Time, until.Time, outcome.value
		entries, err := c.AuditLog(ctx, registry, f, top)
		if err != nil {
			return err
		}
		return out.print(views(entries, auditView), out.auditTable(entries))
	})
}

func auditView(e controlclient.AuditEntry) map[string]any {
	return map[string]any{
		"action": e.Action, "actor": e.Actor, "actorKind": e.ActorKind, "client": e.Client, "correlationId": e.CorrelationID, "count": float64(e.Count),
		"detail": e.Detail, "outcome": e.Outcome, "registry": e.Registry, "requestId": e.RequestID, "resourceId": e.ResourceID, "time": moment3339(e.Time),
	}
}

func (o *output) auditTable(entries []controlclient.AuditEntry) table {
	t := table{
		header: []string{"TIME", "ACTOR", "ACTION", "RESOURCE", "OUTCOME", "CLIENT"},
		empty:  "nothing of that is in the audit log",
	}
	full := o.format.value == wide
	if full {
		t.header = append(t.header, "TIMES", "DETAIL")
	}
	for _, e := range entries {
		outcome := e.Outcome
		if e.Count > 1 && !full {
			outcome = fmt.Sprintf("%s (%d)", outcome, e.Count)
		}
		row := []string{
			o.when(e.Time), firstOf(e.Actor, "("+strings.ToLower(e.ActorKind)+")"), strings.TrimPrefix(e.Action, "Microsoft.ContainerRegistry/"), shortResource(e.ResourceID), outcome, e.Client,
		}
		if full {
			row = append(row, fmt.Sprint(e.Count), e.Detail)
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// shortResource cuts from an id what is the same for all: what leads to a registry,
// a resource group or a service principal.
func shortResource(id string) string {
	for _, lead := range []string{"/registries/", "/resourceGroups/", "/servicePrincipals/"} {
		if i := strings.LastIndex(strings.ToLower(id), strings.ToLower(lead)); i >= 0 {
			return id[i+len(lead):]
		}
	}
	if strings.HasPrefix(id, "/subscriptions/") && strings.Count(id, "/") == 2 {
		return "(server)"
	}
	return id
}
