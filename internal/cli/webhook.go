package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

// What the flags of a webhook may say.
var (
	imageActions   = []string{"push", "delete", "quarantine", "chart_push", "chart_delete"}
	webhookActions = append(imageActions[:len(imageActions):len(imageActions)],
		"untag", "tag_moved", "referrer_attached", "pull", "webhook_failing")
	webhookStatuses = []string{"enabled", "disabled"}
	webhookFormats  = []string{"acr", "cloudevents", "cloudevents-binary", "github", "gitlab", "slack"}
	handshakes      = []string{"cloudevents", "none"}
)

// webhooks is what the webhook commands share.
type webhooks struct{ endpoints }

func webhookCommand(env Env) *cobra.Command {
	h := &webhooks{endpoints{
		resources: ofRegistry(env, "webhook", "webhook `name`, 5 to 50 letters and digits"),
		of:        controlclient.OfWebhook,
		group:     "webhook",
		a:         "a webhook",
		sample:    "deployhook",
		trying:    "ping",
		again:     "The request has the event's id, a fresh signature and the header Dockbell-Replay.",
		today:     "by its scope and actions of today",
		another:   true,
	}}
	pause, resume := holding[controlclient.Webhook]{
		pause:  (*controlclient.Client).PauseWebhook,
		resume: (*controlclient.Client).ResumeWebhook,
		print:  func(w controlclient.Webhook) error { return h.out.print(webhookView(w), h.out.webhookTable(w)) },
	}.commands(&h.endpoints, "\nA disabled webhook, by contrast, is owed nothing.")
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
		h.test(),
		h.handshake(),
		h.listEvents(),
		pause,
		resume,
		h.redeliver(),
		h.replay(),
		h.replays(),
		h.deadLetters(),
		h.getConfig(),
		h.rotateSecret(),
		h.verify(),
	)
	return group
}

// warnOfScope says what a scope without a tag means, which surprises.
func (env Env) warnOfScope(scope string) {
	if scope != "" && !strings.Contains(scope, ":") {
		env.warn("scope %s means %s:latest: for every tag of the repository use %s:*", scope, scope, scope)
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
		cmd.Flags().StringVarP(&location, "location", "l", "", "`region` whose changes ring; else the registry's")
		s.flags(cmd)
	}
	run := func(ctx context.Context, c *connected, registry string) error {
		h.env.warnOfScope(s.scope)
		def, err := s.definition(cmd.Flags())
		if err != nil {
			return err
		}
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
		if !h.env.warnOfConsent(registry, w) {
			h.env.hint("next: dockbell webhook ping -r %s -n %s", registry, w.Name)
		}
		return h.out.print(webhookView(w), h.out.webhookTable(w))
	}
	return h.command(cmd, []string{"name", "uri", "actions"}, define, run)
}

func (h *webhooks) list() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the webhooks of a registry, and how each fares.",
		Example: "  dockbell webhook list -r contoso -o table\n  dockbell webhook list -r contoso --query '[?health.state==`failing`].name' -o tsv",
	}
	return h.command(cmd, nil, nil, func(ctx context.Context, c *connected, registry string) error {
		all, err := c.Webhooks(ctx, registry)
		if err != nil {
			return err
		}
		t := h.out.webhookTable(all...)
		c.addDelivered(ctx, &h.out, &t, h.endpoint(registry))
		t.empty = "registry " + registry + " has no webhooks: dockbell webhook create -r " + registry + " -n deployhook --uri https://hooks.example.net/acr --actions push"
		return h.out.print(views(all, webhookView), t)
	})
}

func (h *webhooks) show() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show",
		Short:   "Show one webhook, and how it fares.",
		Example: "  dockbell webhook show -r contoso -n deployhook",
	}
	return h.command(cmd, []string{"name"}, nil, func(ctx context.Context, c *connected, registry string) error {
		w, err := c.Webhook(ctx, registry, h.name)
		if err != nil {
			return err
		}
		h.hintHealth(registry, w)
		return h.out.print(webhookView(w), h.out.webhookTable(w))
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
		h.deleted(registry, existed)
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
		return h.printSent(registry, id)
	})
}

// printSent prints the id of an event that was made for the webhook.
func (h *webhooks) printSent(registry, id string) error {
	h.env.hint("next: dockbell webhook list-events -r %s -n %s", registry, h.name)
	return h.out.print(map[string]any{"id": id}, table{header: []string{"ID"}, rows: [][]string{{id}}})
}

func (h *webhooks) test() *cobra.Command {
	action := choiceValue{allowed: webhookActions}
	cmd := &cobra.Command{
		Use:     "test",
		Short:   "Send a webhook a sample event, marked as one by the header Dockbell-Test.",
		Example: "  dockbell webhook test -r contoso -n deployhook --action push",
	}
	define := func(cmd *cobra.Command) {
		cmd.Flags().Var(&action, "action", "what the sample says happened")
	}
	return h.command(cmd, []string{"name", "action"}, define, func(ctx context.Context, c *connected, registry string) error {
		id, err := c.Test(ctx, registry, h.name, action.value)
		if err != nil {
			return err
		}
		return h.printSent(registry, id)
	})
}

func (h *webhooks) handshake() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "handshake",
		Short: "Ask a webhook's receiver whether it agrees to be rung.",
		Long: "Ask a webhook's receiver, by the handshake of CloudEvents, whether it agrees to be rung: before it does, nothing is sent to it.\n" +
			"The server asks by itself too, and again every few minutes.",
		Example: "  dockbell webhook handshake -r contoso -n deployhook",
	}
	return h.command(cmd, []string{"name"}, nil, func(ctx context.Context, c *connected, registry string) error {
		w, err := c.Handshake(ctx, registry, h.name)
		if err != nil {
			return err
		}
		if err := h.out.print(webhookView(w), h.out.webhookTable(w)); err != nil {
			return err
		}
		if agreed := w.Properties.Consent; agreed != nil && !agreed.Given {
			return fault.New(fault.Conflict, "the receiver of webhook %s did not agree to be rung: %s", w.Name, agreed.Reason)
		}
		return nil
	})
}

func (h *webhooks) getConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "get-config",
		Short:   "Show where a webhook rings, with which headers and signing secret, all in clear.",
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

func (h *webhooks) rotateSecret() *cobra.Command {
	overlap := span{24 * time.Hour}
	cmd := &cobra.Command{
		Use:   "rotate-secret",
		Short: "Give a webhook a new signing secret and print it.",
		Long: "Give a webhook a new signing secret and print it, in clear.\n" +
			"For the overlap every request is signed with both, so that its receiver can be changed at any time within it.",
		Example: "  dockbell webhook rotate-secret -r contoso -n deployhook --query signingSecret -o tsv\n  dockbell webhook rotate-secret -r contoso -n deployhook --overlap 0",
	}
	define := func(cmd *cobra.Command) {
		cmd.Flags().Var(&overlap, "overlap", "how long the previous secret signs too, 0 to 7d; 0 for a secret that leaked")
	}
	return h.command(cmd, []string{"name"}, define, func(ctx context.Context, c *connected, registry string) error {
		if overlap.Duration%time.Minute != 0 {
			return Usage("--overlap %s is not in whole minutes", &overlap)
		}
		r, err := c.RotateSecret(ctx, registry, h.name, overlap.Duration)
		if err != nil {
			return err
		}
		return h.out.print(rotationView(r), rotationTable(r))
	})
}
