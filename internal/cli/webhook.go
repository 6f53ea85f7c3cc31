package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/controlclient"
)

// What the flags of a webhook may say.
var (
	webhookActions  = []string{"push", "delete", "quarantine", "chart_push", "chart_delete"}
	webhookStatuses = []string{"enabled", "disabled"}
)

// webhooks is what the webhook commands share: the flags that all of them have.
type webhooks struct {
	env            Env
	conn           connection
	out            output
	registry, name string
}

func webhookCommand(env Env) *cobra.Command {
	h := &webhooks{env: env, conn: connection{env: env}, out: output{env: env}}
	group := &cobra.Command{
		Use:     "webhook",
		Short:   "Make, change and watch the webhooks of a registry.",
		Example: "  dockbell webhook create -r contoso -n deployhook --uri https://hooks.example.net/acr --actions push delete\n  dockbell webhook list-events -r contoso -n deployhook",
		Args:    cobra.ArbitraryArgs,
		RunE:    runGroup,
	}
	group.AddCommand(
		h.create(),
		h.list(),
		h.show(),
		h.update(),
		h.delete(),
		h.ping(),
		h.listEvents(),
		h.getConfig(),
	)
	return group
}

// command completes a webhook command: it adds the shared flags, --name if that
// is among the required ones, and those define adds (nil for none); run is called
// with the server and the registry.
func (h *webhooks) command(cmd *cobra.Command, required []string, define func(*cobra.Command), run func(context.Context, *connected, string) error) *cobra.Command {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVarP(&h.registry, "registry", "r", "", "registry `name`; else DOCKBELL_REGISTRY, else the only one there is")
	if slices.Contains(required, "name") {
		flags.StringVarP(&h.name, "name", "n", "", "webhook `name`, 5 to 50 letters and digits")
	}
	resourceGroupFlag(cmd)
	Group(flags, "Which webhook")
	if define != nil {
		define(cmd)
		Group(flags, "What it does")
	}
	h.out.flags(flags)
	h.conn.flags(flags)
	cmd.Args = NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := require(cmd, required...); err != nil {
			return err
		}
		c, err := h.conn.connect()
		if err != nil {
			return err
		}
		registry, err := c.registryName(cmd.Context(), h.registry)
		if err != nil {
			return err
		}
		return c.explain(run(cmd.Context(), c, registry))
	}
	return cmd
}

// settings are the flags that say what a webhook does.
type settings struct {
	uri, scope    string
	actions       wordList
	headers, tags pairList
	status        choiceValue
}

func (s *settings) flags(cmd *cobra.Command) {
	s.actions.allowed, s.status.allowed = webhookActions, webhookStatuses
	flags := cmd.Flags()
	flags.StringVar(&s.uri, "uri", "", "`URI` to ring, for example https://hooks.example.net/acr; kept secret")
	flags.Var(&s.actions, "actions", "what rings, separated by blanks: "+strings.Join(webhookActions, " "))
	flags.Var(&s.headers, "headers", `headers to send, as name=value separated by blanks, values kept secret; "" for none`)
	flags.StringVar(&s.scope, "scope", "", "which images ring: `repo:tag`, repo:*, or empty for all; repo alone is repo:latest")
	flags.Var(&s.status, "status", "whether it rings")
	flags.Var(&s.tags, "tags", `tags of the webhook, as name=value separated by blanks; "" for none`)
}

// warnOfScope says what a scope without a tag means, which surprises.
func (h *webhooks) warnOfScope(scope string) {
	if scope != "" && !strings.Contains(scope, ":") {
		h.env.warn("scope %s means %s:latest: for every tag of the repository use %s:*", scope, scope, scope)
	}
}

func (h *webhooks) create() *cobra.Command {
	s := settings{status: choiceValue{value: "enabled"}}
	var location string
	cmd := &cobra.Command{
		Use:     "create",
		Short:   "Create a webhook, or replace the one of that name.",
		Example: "  dockbell webhook create --registry contoso --name deployhook --uri https://hooks.example.net/acr --actions push delete \\\n      --headers \"Authorization=Bearer s3cret\" X-Env=prod --scope 'team/web:*'",
	}
	define := func(cmd *cobra.Command) {
		s.flags(cmd)
		cmd.Flags().StringVarP(&location, "location", "l", "", "`region` whose changes ring; else the registry's")
	}
	run := func(ctx context.Context, c *connected, registry string) error {
		h.warnOfScope(s.scope)
		def := s.definition()
		def.Location = location
		if location == "" {
			r, err := c.Registry(ctx, registry)
			if err != nil {
				return err
			}
			def.Location = r.Location
		}
		w, err := c.PutWebhook(ctx, registry, h.name, def)
		if err != nil {
			return err
		}
		h.env.hint("next: dockbell webhook ping -r %s -n %s", registry, w.Name)
		return h.out.print(webhookView(w), webhookTable(w))
	}
	return h.command(cmd, []string{"name", "uri", "actions"}, define, run)
}

// definition returns the body of a create; location is left to the caller.
func (s *settings) definition() controlclient.WebhookCreate {
	return controlclient.WebhookCreate{
		Tags: s.tags.pairs,
		Properties: controlclient.WebhookCreateProperties{
			ServiceURI:    s.uri,
			CustomHeaders: s.headers.pairs,
			Status:        s.status.value,
			Scope:         s.scope,
			Actions:       s.actions.words,
		},
	}
}

func (h *webhooks) list() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the webhooks of a registry.",
		Example: "  dockbell webhook list -r contoso -o table",
	}
	return h.command(cmd, nil, nil, func(ctx context.Context, c *connected, registry string) error {
		all, err := c.Webhooks(ctx, registry)
		if err != nil {
			return err
		}
		t := webhookTable(all...)
		t.empty = "registry " + registry + " has no webhooks: dockbell webhook create -r " + registry + " -n deployhook --uri https://hooks.example.net/acr --actions push"
		return h.out.print(views(all, webhookView), t)
	})
}

func (h *webhooks) show() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show",
		Short:   "Show one webhook.",
		Example: "  dockbell webhook show -r contoso -n deployhook",
	}
	return h.command(cmd, []string{"name"}, nil, func(ctx context.Context, c *connected, registry string) error {
		w, err := c.Webhook(ctx, registry, h.name)
		if err != nil {
			return err
		}
		return h.out.print(webhookView(w), webhookTable(w))
	})
}

func (h *webhooks) delete() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "delete",
		Short:   "Delete a webhook, and with it what it has not delivered yet.",
		Example: "  dockbell webhook delete -r contoso -n deployhook",
	}
	return h.command(cmd, []string{"name"}, nil, func(ctx context.Context, c *connected, registry string) error {
		existed, err := c.DeleteWebhook(ctx, registry, h.name)
		if err != nil {
			return err
		}
		if existed {
			h.env.hint("deleted webhook %s of registry %s", h.name, registry)
		} else {
			h.env.hint("registry %s had no webhook %s: nothing was deleted", registry, h.name)
		}
		return nil
	})
}

func (h *webhooks) ping() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "ping",
		Short:   "Ring a webhook once, to try it.",
		Example: "  dockbell webhook ping -r contoso -n deployhook",
	}
	return h.command(cmd, []string{"name"}, nil, func(ctx context.Context, c *connected, registry string) error {
		id, err := c.Ping(ctx, registry, h.name)
		if err != nil {
			return err
		}
		h.env.hint("next: dockbell webhook list-events -r %s -n %s", registry, h.name)
		return h.out.print(map[string]any{"id": id}, table{header: []string{"ID"}, rows: [][]string{{id}}})
	})
}

func (h *webhooks) listEvents() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list-events",
		Short:   "List what was sent to a webhook and what it answered, newest first.",
		Example: "  dockbell webhook list-events -r contoso -n deployhook -o table",
	}
	return h.command(cmd, []string{"name"}, nil, func(ctx context.Context, c *connected, registry string) error {
		events, err := c.Events(ctx, registry, h.name, controlclient.EventFilter{})
		if err != nil {
			return err
		}
		t := eventTable(events)
		t.empty = "nothing was sent to webhook " + h.name + " yet: dockbell webhook ping -r " + registry + " -n " + h.name
		return h.out.print(views(events, eventView), t)
	})
}

func (h *webhooks) getConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "get-config",
		Short:   "Show where a webhook rings and with which headers, secrets in clear.",
		Example: "  dockbell webhook get-config -r contoso -n deployhook --query serviceUri -o tsv",
	}
	return h.command(cmd, []string{"name"}, nil, func(ctx context.Context, c *connected, registry string) error {
		cfg, err := c.CallbackConfig(ctx, registry, h.name)
		if err != nil {
			return err
		}
		return h.out.print(callbackView(cfg), callbackTable(cfg))
	})
}
