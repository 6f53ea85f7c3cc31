package arm

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/dockbell/dockbell/internal/delivery"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/subscription"
	"github.com/dockbell/dockbell/internal/tenant"
)

// eventGrid is the namespace of event subscriptions and what is around them.
const eventGrid = "Microsoft.EventGrid"

// The beginnings of its actions. A subscription is the same on its registry and
// under the system topic that stands for that; which of them a request names decides
// what its caller must be allowed.
const (
	aEventSubscription = eventGrid + "/eventSubscriptions"
	aSystemTopic       = eventGrid + "/systemTopics"
	aTopicSubscription = aSystemTopic + "/eventSubscriptions"
	aTopicType         = eventGrid + "/topicTypes"
)

// eventGridVersions are some that Event Grid has, of which any is taken here.
var eventGridVersions = []string{
	"2018-01-01", "2018-05-01-preview", "2019-01-01", "2019-06-01", "2020-06-01", "2020-10-15-preview", "2021-06-01-preview", "2021-10-15-preview",
	"2021-12-01", "2022-06-15", "2023-06-01-preview", "2023-12-15-preview", "2024-06-01-preview", "2024-12-15-preview", "2025-02-15",
	"2025-04-01-preview",
}

// readEventSubscription is what lists ask for, of each registry.
const readEventSubscription = aEventSubscription + "/read"

// eventSubscriptionRoutes are the operations on event subscriptions of a registry.
// On the short root they are at eventSubscriptions, without what goes before it.
func eventSubscriptionRoutes() []route {
	const path, action = "providers/" + eventGrid + "/eventSubscriptions", aEventSubscription
	all := subscriptionRoutesAt(ofRegistry, path, action)
	return append(all, endpointRoutes([]string{"providers", eventGrid, "eventSubscriptions", "*"}, action, eventSubscriptionEndpoint)...)
}

// subscriptionRoutesAt are those that there are under a system topic as well.
func subscriptionRoutesAt(within level, path, action string) []route {
	at := func(method, below, verb string, run func(*api, call) (answer, error)) route {
		return route{within, method, strings.Split(path+below, "/"), action + verb, false, run}
	}
	return []route{
		at(http.MethodGet, "", "/read", listEventSubscriptions),
		at(http.MethodPut, "/*", "/write", putEventSubscription),
		at(http.MethodPatch, "/*", "/write", patchEventSubscription),
		at(http.MethodDelete, "/*", "/delete", deleteEventSubscription),
		at(http.MethodGet, "/*", "/read", getEventSubscription),
		at(http.MethodPost, "/*/getFullUrl", "/getFullUrl/action", getFullURL),
		at(http.MethodPost, "/*/getDeliveryAttributes", "/getDeliveryAttributes/action", getDeliveryAttributes),
		at(http.MethodPost, "/*/validate", "/validate/action", validateEventSubscription), // not Event Grid's
	}
}

// subscribedTo is a registry as package subscription sees it.
func subscribedTo(r tenant.Registry) subscription.Registry {
	return subscription.Registry{ID: r.ID, Name: r.Name, ResourceID: r.ResourceID(), Location: r.Location}
}

// subscriptionName returns the name of the subscription that the path has.
func (c call) subscriptionName() string {
	if c.topic.name != "" {
		return c.inner
	}
	return c.name
}

// eventSubscriptionToWire shows a subscription where the path of the request has it.
func (c call) eventSubscriptionToWire(s subscription.Subscription) eventSubscriptionBody {
	at, kind := c.registry.ResourceID()+"/providers/"+aEventSubscription, aEventSubscription
	if c.topic.name != "" {
		at, kind = c.topic.id()+"/eventSubscriptions", aTopicSubscription
	}
	return c.showEventSubscription(c.registry, at, kind, s)
}

// showEventSubscription shows a subscription of a registry, and of what it failed
// with only what the caller is told.
func (c call) showEventSubscription(r tenant.Registry, at, kind string, s subscription.Subscription) eventSubscriptionBody {
	if !c.caller.May(aEventSubscription+"/write", r.ResourceID()) {
		s.StateWhy = ""
	}
	return eventSubscriptionToWire(r.ResourceID(), at, kind, s)
}

// What an answer to a change says of its progress. It is over by then; but the
// clients of Event Grid look again, and some read this answer wrong unless they do.
const (
	creating = "Creating"
	updating = "Updating"
)

// putEventSubscription creates or replaces, and answers 201 either way, which is all
// that clients take.
func putEventSubscription(a *api, c call) (answer, error) {
	var in eventSubscriptionInput
	if err := readBody(c.Request, &in); err != nil {
		return answer{}, err
	}
	def, err := in.definition()
	if err != nil {
		return answer{}, err
	}
	s, created, err := a.Subscriptions.Put(c.Context(), subscribedTo(c.registry), c.subscriptionName(), def, subscription.Actor(c.by()))
	if err != nil {
		return answer{}, err
	}
	c.note("to", a.hostOf(s), "created", created)
	body := c.eventSubscriptionToWire(s)
	body.Properties.ProvisioningState = updating
	if created {
		body.Properties.ProvisioningState = creating
	}
	return answer{http.StatusCreated, body}, nil
}

func patchEventSubscription(a *api, c call) (answer, error) {
	var in eventSubscriptionMembers
	if err := readBody(c.Request, &in); err != nil {
		return answer{}, err
	}
	change, err := in.change()
	if err != nil {
		return answer{}, err
	}
	s, err := a.Subscriptions.Patch(c.Context(), subscribedTo(c.registry), c.subscriptionName(), change, subscription.Actor(c.by()))
	if err != nil {
		return answer{}, err
	}
	c.note("to", a.hostOf(s))
	body := c.eventSubscriptionToWire(s)
	body.Properties.ProvisioningState = updating
	return answer{http.StatusCreated, body}, nil
}

// deleteEventSubscription answers 204 when there was nothing to delete.
func deleteEventSubscription(a *api, c call) (answer, error) {
	err := a.Subscriptions.Delete(c.Context(), subscribedTo(c.registry), c.subscriptionName())
	if fault.Is(err, fault.NotFound) {
		return answer{status: http.StatusNoContent}, nil
	}
	return answer{status: http.StatusOK}, err
}

// hostOf returns whom a subscription tells, as scheme://name:port.
func (a *api) hostOf(s subscription.Subscription) string {
	terms, _ := a.Subscriptions.Terms(s.RegistryID, s.ID) // none for one deleted in between
	return terms.Host
}

// eventSubscription returns the subscription that the path names.
func (a *api) eventSubscription(c call) (subscription.Subscription, error) {
	return a.Subscriptions.Get(c.Context(), subscribedTo(c.registry), c.subscriptionName())
}

func getEventSubscription(a *api, c call) (answer, error) {
	health, err := asksHealth(c.URL.Query())
	if err != nil {
		return answer{}, err
	}
	s, err := a.eventSubscription(c)
	if err != nil {
		return answer{}, err
	}
	if health {
		return a.subscriptionWithHealth(c, s)
	}
	return answer{http.StatusOK, c.eventSubscriptionToWire(s)}, nil
}

// subscriptionWithHealth answers with a subscription and how it fares.
func (a *api) subscriptionWithHealth(c call, s subscription.Subscription) (answer, error) {
	all, err := a.Deliveries.Health(c.Context(), s.ID)
	if err != nil {
		return answer{}, err
	}
	body := c.eventSubscriptionToWire(s)
	if h, ok := all[s.ID]; ok {
		body.Health = c.subscriptionHealth(c.registry, s, h)
	}
	return answer{http.StatusOK, body}, nil
}

func (c call) subscriptionHealth(r tenant.Registry, s subscription.Subscription, h delivery.Health) *healthBody {
	state := ""
	if s.State != subscription.Succeeded {
		state = "awaitingConsent"
	}
	body := healthToWire(h, state)
	if !c.caller.May(aEventSubscription+"/write", r.ResourceID()) {
		body.LastStatus, body.LastError = 0, ""
	}
	return body
}

// eventSubscriptionEndpoint returns the subscription that the path names.
func eventSubscriptionEndpoint(a *api, c call) (endpoint, error) {
	s, err := a.eventSubscription(c)
	if err != nil {
		return endpoint{}, err
	}
	return endpoint{
		id: s.ID, list: "eventSubscriptions", name: s.Name, host: a.hostOf(s),
		ready: func(elsewhere bool) error {
			switch {
			case elsewhere:
				return invalidContent("serviceUri is for webhooks: an event subscription tells only the receiver that agreed to it; make another subscription, or leave serviceUri out")
			case s.State != subscription.Succeeded:
				return fault.New(fault.Conflict, "nothing is sent to event subscription %s, because its receiver has not agreed: %s; POST …/validate asks it again", s.Name, s.StateWhy)
			}
			return nil
		},
		show: func() (answer, error) { return a.subscriptionWithHealth(c, s) },
	}, nil
}

type fullURLBody struct {
	URL string `json:"endpointUrl"`
}

// getFullURL answers what no other operation does: the address with its query.
func getFullURL(a *api, c call) (answer, error) {
	s, err := a.eventSubscription(c)
	if err != nil {
		return answer{}, err
	}
	full, err := a.Subscriptions.FullURL(c.Context(), subscribedTo(c.registry), c.subscriptionName())
	if err != nil {
		return answer{}, err
	}
	c.note("to", a.hostOf(s))
	return answer{http.StatusOK, fullURLBody{full}}, nil
}

// getDeliveryAttributes answers what no other operation does: attributes with their
// secrets.
func getDeliveryAttributes(a *api, c call) (answer, error) {
	s, err := a.eventSubscription(c)
	if err != nil {
		return answer{}, err
	}
	all, err := a.Subscriptions.Attributes(c.Context(), subscribedTo(c.registry), c.subscriptionName())
	if err != nil {
		return answer{}, err
	}
	c.note("to", a.hostOf(s))
	return answer{http.StatusOK, listBody[attributeBody]{Value: append([]attributeBody{}, attributesToWire(all, true)...)}}, nil
}

// validateEventSubscription asks the receiver once more whether it agrees.
func validateEventSubscription(a *api, c call) (answer, error) {
	s, err := a.Subscriptions.Validate(c.Context(), subscribedTo(c.registry), c.subscriptionName())
	if err != nil {
		return answer{}, err
	}
	c.note("to", a.hostOf(s), "state", s.State)
	return answer{http.StatusOK, c.eventSubscriptionToWire(s)}, nil
}

// listEventSubscriptions shows the subscriptions of a registry, on it or under its
// system topic.
func listEventSubscriptions(a *api, c call) (answer, error) {
	return a.listEventSubscriptions(c, []tenant.Registry{c.registry}, func(_ tenant.Registry, s subscription.Subscription) eventSubscriptionBody {
		return c.eventSubscriptionToWire(s)
	})
}

// listGlobalSubscriptions shows none: those are of sources that are in no place, and
// a registry is in one.
func listGlobalSubscriptions(a *api, c call) (answer, error) {
	return a.listEventSubscriptions(c, nil, nil)
}

// listRegionalSubscriptions shows those of registries in a location, and of a type
// of source if the path names one.
func listRegionalSubscriptions(a *api, c call) (answer, error) {
	location := tenant.NormalLocation(c.name)
	var there []tenant.Registry
	for _, r := range a.registriesIn(c) {
		if r.Location == location && (c.inner == "" || strings.EqualFold(c.inner, topicType)) && c.caller.May(readEventSubscription, r.ResourceID()) {
			there = append(there, r)
		}
	}
	return a.listEventSubscriptions(c, there, func(r tenant.Registry, s subscription.Subscription) eventSubscriptionBody {
		return c.showEventSubscription(r, r.ResourceID()+"/providers/"+aEventSubscription, aEventSubscription, s)
	})
}

// How many subscriptions are in a page, unless the client says.
const (
	subscriptionsPerPage     = 20
	mostSubscriptionsPerPage = 100
)

// listEventSubscriptions shows the subscriptions of registries by the registry's
// name and their own, in pages. The place of a page is the last of both before it.
func (a *api) listEventSubscriptions(c call, registries []tenant.Registry, show func(tenant.Registry, subscription.Subscription) eventSubscriptionBody) (answer, error) {
	query := c.URL.Query()
	most, err := parseTop(query)
	if err != nil {
		return answer{}, err
	}
	wanted, err := parseNameFilter(query.Get("$filter"))
	if err != nil {
		return answer{}, err
	}
	after := query.Get(skipToken)
	if strings.Trim(after, "abcdefghijklmnopqrstuvwxyz0123456789-/") != "" {
		return answer{}, badSkipToken(after)
	}
	health, err := asksHealth(query)
	if err != nil {
		return answer{}, err
	}
	list := listBody[eventSubscriptionBody]{Value: []eventSubscriptionBody{}}
	var shown []subscription.Subscription
	var of []tenant.Registry // of those shown
	last := ""
pages:
	for _, r := range registries { // by name
		all, err := a.sortedSubscriptions(c.Context(), r)
		if err != nil {
			return answer{}, err
		}
		for _, s := range all {
			key := r.Name + "/" + strings.ToLower(s.Name)
			if key <= after || !wanted(s.Name) {
				continue
			}
			if len(list.Value) == most {
				list.NextLink = nextLink(c.Request, last)
				break pages
			}
			list.Value, last = append(list.Value, show(r, s)), key
			shown, of = append(shown, s), append(of, r)
		}
	}
	if !health {
		return answer{http.StatusOK, list}, nil
	}
	return answer{http.StatusOK, list}, a.addSubscriptionHealth(c, of, shown, list.Value)
}

// addSubscriptionHealth gives each of bodies, which show subscriptions of registries,
// its health. One that was deleted in between has none.
func (a *api) addSubscriptionHealth(c call, of []tenant.Registry, shown []subscription.Subscription, bodies []eventSubscriptionBody) error {
	ids := make([]int64, len(shown))
	for i, s := range shown {
		ids[i] = s.ID
	}
	all, err := a.Deliveries.Health(c.Context(), ids...)
	for i, s := range shown {
		if h, ok := all[s.ID]; ok {
			bodies[i].Health = c.subscriptionHealth(of[i], s, h)
		}
	}
	return err
}

// sortedSubscriptions returns a registry's by name, without regard to case.
func (a *api) sortedSubscriptions(ctx context.Context, r tenant.Registry) ([]subscription.Subscription, error) {
	all, err := a.Subscriptions.List(ctx, subscribedTo(r))
	slices.SortFunc(all, func(x, y subscription.Subscription) int {
		return strings.Compare(strings.ToLower(x.Name), strings.ToLower(y.Name))
	})
	return all, err
}

// parseTop reads how many entries a page is to have.
func parseTop(query url.Values) (int, error) {
	text := query.Get("$top")
	if text == "" {
		return subscriptionsPerPage, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > mostSubscriptionsPerPage {
		return 0, invalidRequest("$top %q is out of range: use 1 to %d", clip(text), mostSubscriptionsPerPage)
	}
	return n, nil
}
