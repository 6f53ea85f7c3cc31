package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

// subscriptions is what the commands about event subscriptions share.
type subscriptions struct{ endpoints }

func subscriptionCommand(env Env) *cobra.Command {
	s := &subscriptions{endpoints{
		resources: ofRegistry(env, "event subscription", "event subscription `name`, 3 to 64 letters, digits and dashes"),
		of:        controlclient.OfEventSubscription,
		group:     "event-subscription",
		a:         "an event subscription",
		sample:    "on-push",
		trying:    "show",
		again:     "The event has the id that it had, so that a receiver can tell.",
		today:     "by its filter of today",
	}}
	s.source = new(sourceID)
	pause, resume := holding[controlclient.EventSubscription]{
		pause:  (*controlclient.Client).PauseEventSubscription,
		resume: (*controlclient.Client).ResumeEventSubscription,
		print:  func(sub controlclient.EventSubscription) error { return s.print(sub) },
	}.commands(&s.endpoints, "")
	writing := *s // its --username and --password are the broker's
	writing.conn.storedUser, writing.source = true, new(sourceID)
	group := &cobra.Command{
		Use:   "event-subscription",
		Short: "Tell HTTP receivers, NATS or Kafka of what happens in a registry, as Event Grid does.",
		Example: "  dockbell event-subscription create -r contoso -n on-push --endpoint https://hooks.example.net/in \\\n" +
			"      --event-delivery-schema CloudEventSchemaV1_0 --included-event-types Microsoft.ContainerRegistry.ImagePushed\n" +
			"  dockbell event-subscription create -r contoso -n to-nats --endpoint nats://nats.example.net:4222/registry.events\n" +
			"  dockbell event-subscription list-events -r contoso -n on-push",
		Args: cobra.ArbitraryArgs,
		RunE: runGroup,
	}
	group.AddCommand(
		writing.create(),
		s.list(),
		s.show(),
		writing.update(),
		s.delete(),
		s.eventTypes(),
		s.validate(),
		s.listEvents(),
		pause,
		resume,
		s.redeliver(),
		s.replay(),
		s.replays(),
		s.deadLetters(),
	)
	return group
}

func (s *subscriptions) create() *cobra.Command {
	var want subscriptionSettings
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Create an event subscription, or replace the one of that name.",
		Long: "Create an event subscription, or replace the one of that name. An HTTP receiver is asked first whether it agrees: one that\n" +
			"does not answer as Event Grid's handshake has it is refused, and nothing is kept.\n" +
			"--username and --password are for a broker; whoever creates is the user of dockbell login, or of DOCKBELL_USERNAME and\n" +
			"DOCKBELL_PASSWORD.",
		Example: "  dockbell event-subscription create -r contoso -n on-push --endpoint 'https://hooks.example.net/in?code=s3cret' \\\n" +
			"      --event-delivery-schema CloudEventSchemaV1_0 --included-event-types Microsoft.ContainerRegistry.ImagePushed \\\n" +
			"      --subject-begins-with team/ --advanced-filter data.target.tag StringBeginsWith v1. v2. \\\n" +
			"      --delivery-attribute-mapping X-Token static s3cret true --deadletter-endpoint dead\n" +
			"  dockbell event-subscription create -r contoso -n to-kafka --endpoint kafka://k1.example.net:9092,k2.example.net:9092/registry --mode binary",
	}
	run := func(ctx context.Context, c *connected, registry string) error {
		def, err := want.definition(s.env, cmd.Flags())
		if err != nil {
			return err
		}
		if _, err := c.PutEventSubscription(ctx, registry, s.name, def); err != nil {
			return err
		}
		sub, err := s.written(ctx, c, registry)
		if err != nil {
			return err
		}
		if !s.env.warnOfState(registry, sub) {
			s.env.hint("next: %s", s.line("list-events", registry, sub.Name))
		}
		return s.print(sub)
	}
	return s.command(cmd, []string{"name", "endpoint"}, want.flags, run)
}

// topicType is what Event Grid calls registries as sources of events.
const topicType = "Microsoft.ContainerRegistry.Registries"

func (s *subscriptions) list() *cobra.Command {
	var location, filter, ofType string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the event subscriptions of a registry, or of all in a location, and how each fares.",
		Example: "  dockbell event-subscription list -r contoso -o table\n" +
			"  dockbell event-subscription list -r contoso --odata-query \"contains(name, 'push')\"",
	}
	cmd.Flags().SortFlags = false
	s.whichFlags(cmd, false)
	cmd.Flags().StringVarP(&location, "location", "l", "", "those of all registries in this `region`")
	cmd.Flags().StringVar(&ofType, "topic-type-name", "", "`type` of source, of which there is one: "+topicType)
	cmd.Flags().StringVar(&filter, "odata-query", "", "those whose name this OData `filter` takes: contains(name, 'push'), name eq 'on-push'")
	Group(cmd.Flags(), "Which event subscriptions")
	return s.conn.command(cmd, &s.out, nil, func(ctx context.Context, c *connected) error {
		if ofType != "" && !strings.EqualFold(ofType, topicType) {
			return Usage("--topic-type-name %s: there is no such source of events here, only %s", ofType, topicType)
		}
		registries, err := s.listed(ctx, c, location)
		if err != nil {
			return err
		}
		all := []controlclient.EventSubscription{}
		for _, registry := range registries {
			some, err := c.EventSubscriptions(ctx, registry, filter)
			if err != nil {
				return err
			}
			all = append(all, some...)
		}
		t := s.out.subscriptionTable(all...)
		if len(registries) == 1 {
			c.addDelivered(ctx, &s.out, &t, s.endpoint(registries[0]))
		}
		switch {
		case filter != "":
			t.empty = "no event subscription has such a name: leave out --odata-query to see all"
		case location != "":
			t.empty = "there are no event subscriptions in location " + location
		default:
			t.empty = "registry " + registries[0] + " has no event subscriptions: dockbell event-subscription create -r " + registries[0] + " -n on-push --endpoint https://hooks.example.net/in"
		}
		return s.out.print(views(all, subscriptionView), t)
	})
}

// listed returns the registries whose subscriptions list is for: one, or all of a
// location.
func (s *subscriptions) listed(ctx context.Context, c *connected, location string) ([]string, error) {
	if location == "" || s.registry != "" {
		registry, err := c.registryName(ctx, s.registry)
		if err == nil {
			err = s.source.check(ctx, c, registry)
		}
		return []string{registry}, err
	}
	all, err := c.Registries(ctx)
	var names []string
	for _, r := range all {
		if normalLocation(r.Location) == normalLocation(location) {
			names = append(names, r.Name)
		}
	}
	return names, err
}

func (s *subscriptions) show() *cobra.Command {
	var address, secrets truth
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show one event subscription, and how it fares.",
		Example: "  dockbell event-subscription show -r contoso -n on-push\n" +
			"  dockbell event-subscription show -r contoso -n on-push --include-full-endpoint-url --query destination.endpointUrl -o tsv",
	}
	define := func(cmd *cobra.Command) {
		alias(cmd.Flags(), map[string]string{"include-attrib-secret": "include-static-delivery-attribute-secret"})
		address.flag(cmd.Flags(), "include-full-endpoint-url", "show the address with its query, which may be secret")
		secrets.flag(cmd.Flags(), "include-static-delivery-attribute-secret", "show secret delivery attributes in clear; also --include-attrib-secret")
	}
	return s.command(cmd, []string{"name"}, define, func(ctx context.Context, c *connected, registry string) error {
		sub, err := c.EventSubscription(ctx, registry, s.name)
		if err != nil {
			return err
		}
		view := subscriptionView(sub)
		destination, _ := view["destination"].(map[string]any)
		if address.given() && sub.Properties.Destination.EndpointType == controlclient.ToWebHook && destination != nil {
			url, err := c.FullURL(ctx, registry, s.name)
			if err != nil {
				return err
			}
			destination["endpointUrl"] = url
		}
		if secrets.given() && destination != nil {
			attributes, err := c.DeliveryAttributes(ctx, registry, s.name)
			if err != nil {
				return err
			}
			destination["deliveryAttributeMappings"] = views(attributes, attributeView)
		}
		s.hintState(registry, sub)
		return s.out.print(view, s.out.subscriptionTable(sub))
	})
}

func (s *subscriptions) update() *cobra.Command {
	var want subscriptionSettings
	cmd := &cobra.Command{
		Use:   "update",
		Short: "Change an event subscription; what is not given stays as it is.",
		Long: "Change an event subscription; what is not given stays as it is. Lists are replaced, and \"\" clears one.\n" +
			"At another address, or with another schema, an HTTP receiver is asked again whether it agrees.\n" +
			"--username and --password are for a broker, as in create. Of the three PEM files giving one replaces all;\n" +
			"--tls false, and after that --tls, goes back to the system's authorities.",
		Example: "  dockbell event-subscription update -r contoso -n on-push --subject-ends-with :latest --labels production\n" +
			"  dockbell event-subscription update -r contoso -n on-push --advanced-filter data.action StringIn push --deadletter-endpoint \"\"",
	}
	return s.command(cmd, []string{"name"}, want.flags, func(ctx context.Context, c *connected, registry string) error {
		change, err := want.changes(s.env, cmd.Flags(), func() (controlclient.EventSubscription, error) {
			return c.EventSubscription(ctx, registry, s.name)
		})
		if err != nil {
			return err
		}
		if _, err := c.PatchEventSubscription(ctx, registry, s.name, change); err != nil {
			return err
		}
		sub, err := s.written(ctx, c, registry)
		if err != nil {
			return err
		}
		s.env.warnOfState(registry, sub)
		return s.print(sub)
	})
}

func (s *subscriptions) delete() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "delete",
		Short:   "Delete an event subscription, and with it what it has not delivered yet.",
		Example: "  dockbell event-subscription delete -r contoso -n on-push",
	}
	return s.command(cmd, []string{"name"}, nil, func(ctx context.Context, c *connected, registry string) error {
		existed, err := c.DeleteEventSubscription(ctx, registry, s.name)
		if err != nil {
			return err
		}
		s.deleted(registry, existed)
		return nil
	})
}

func (s *subscriptions) eventTypes() *cobra.Command {
	conn, out := connection{env: s.env}, output{env: s.env}
	cmd := &cobra.Command{
		Use:     "event-types",
		Short:   "List the types of events that --included-event-types takes.",
		Example: "  dockbell event-subscription event-types -o table",
	}
	cmd.Flags().SortFlags = false
	return conn.command(cmd, &out, nil, func(ctx context.Context, c *connected) error {
		all, err := c.EventTypes(ctx)
		if err != nil {
			return err
		}
		return out.print(views(all, eventTypeView), eventTypeTable(all))
	})
}

func (s *subscriptions) validate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Ask the receiver of an event subscription once more whether it agrees.",
		Long: "Ask the receiver of an event subscription once more whether it agrees: for one that could not answer when it was\n" +
			"created, and did not open the address it was sent in time.",
		Example: "  dockbell event-subscription validate -r contoso -n on-push",
	}
	return s.command(cmd, []string{"name"}, nil, func(ctx context.Context, c *connected, registry string) error {
		sub, err := c.ValidateEventSubscription(ctx, registry, s.name)
		if err != nil {
			return err
		}
		if err := s.print(sub); err != nil {
			return err
		}
		if without := withoutValidation(registry, sub); without != "" {
			return fault.New(fault.Conflict, "%s", without)
		}
		return nil
	})
}

// written returns a subscription that was created or changed, as it is now. How it
// fares is not to be told of yet.
func (s *subscriptions) written(ctx context.Context, c *connected, registry string) (controlclient.EventSubscription, error) {
	sub, err := c.EventSubscription(ctx, registry, s.name)
	sub.Health = nil
	return sub, err
}

func (s *subscriptions) print(sub controlclient.EventSubscription) error {
	return s.out.print(subscriptionView(sub), s.out.subscriptionTable(sub))
}

// sourceID is the flag that names a registry by its ARM id, as az has it.
type sourceID struct {
	id       string // empty while the flag was not given
	registry *string
}

// Set takes the id of a registry.
func (s *sourceID) Set(id string) error {
	segments := strings.Split(strings.Trim(id, "/"), "/")
	is := func(i int, words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(segments[i], w) })
	}
	if len(segments) != 8 || !is(0, "subscriptions") || !is(2, "resourceGroups") || !is(4, "providers") ||
		!is(5, "Microsoft.ContainerRegistry") || !is(6, "registries") || slices.Contains(segments, "") {
		return Usage("%q is no id of a registry: use /subscriptions/…/resourceGroups/…/providers/Microsoft.ContainerRegistry/registries/NAME, as dockbell registry show --query id prints it, or -r NAME", clipped(id))
	}
	if name, _, _ := strings.Cut(*s.registry, "."); name != "" && !strings.EqualFold(name, segments[7]) {
		return Usage("it is the id of registry %s, and --registry is %s: give one of them", segments[7], *s.registry)
	}
	s.id, *s.registry = "/"+strings.Join(segments, "/"), segments[7]
	return nil
}

// String returns the id; nothing at first, which is the default that help shows.
func (s *sourceID) String() string { return s.id }

// Type returns the word for the value in help.
func (s *sourceID) Type() string { return "id" }

// check fails unless the registry is the one that the id names, if one was given.
func (s *sourceID) check(ctx context.Context, c *connected, registry string) error {
	if s == nil || s.id == "" {
		return nil
	}
	if name := s.id[strings.LastIndexByte(s.id, '/')+1:]; !strings.EqualFold(name, registry) {
		return Usage("--source-resource-id is the id of registry %s, and --registry is %s: give one of them", name, registry)
	}
	r, err := c.Registry(ctx, registry)
	if err == nil && !strings.EqualFold(r.ID, s.id) {
		err = fault.New(fault.NotFound, "%s is no registry of %s: the one called %s here has the id %s", s.id, c.server, r.Name, r.ID)
	}
	return err
}
