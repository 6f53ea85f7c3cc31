package portal

import (
	"cmp"
	"net/http"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

// subscriptions are the other family of endpoints.
var subscriptions = &family{
	kind: controlclient.OfEventSubscription, section: "subscriptions", title: "Subscriptions", noun: "subscription",
	action: "Microsoft.EventGrid/eventSubscriptions", command: "dockbell event-subscription", get: getSubscription,
}

func init() {
	addFamily(subscriptions)
	const base = Root + "/registries/{registry}/subscriptions"
	addPages(
		route{"GET " + base, showSubscriptions},
		route{"POST " + base + "/{endpoint}/validate", validateSubscription},
		route{"POST " + base + "/{endpoint}/delete", deleteSubscription},
	)
	done["validated"] = "The receiver was asked once more."
	done["subscription-deleted"] = "The subscription is deleted."
	done["subscription-created"] = "The subscription is there."
	done["subscription-changed"] = "The subscription is changed."
}

// subscriptionList is what the page of all event subscriptions shows.
type subscriptionList struct {
	Rows    []subscriptionRow
	Total   int // without a filter
	States  []choiceLink
	State   string
	Search  string
	Add     string // address of the form; empty for who may not
	Command string
}

// subscriptionRow is an event subscription as a row.
type subscriptionRow struct {
	endpointRow
	Kind, Destination string
	Types             []string
}

// judgeSubscription is judge for a subscription, whose receiver may not have agreed.
func judgeSubscription(s controlclient.EventSubscription) verdict {
	v := judge(s.Health)
	switch s.Properties.ProvisioningState {
	case controlclient.SubscriptionAwaiting:
		v.Badge, v.trouble, v.Lead = badge{"wait", "Awaiting consent"}, 2, "Its receiver was sent an address that a person has to open before anything is sent."
	case controlclient.SubscriptionFailed:
		v.Badge, v.trouble, v.Lead = badge{"bad", "Not agreed"}, 1, "Its receiver has not agreed to be told of events."
	default:
		return v
	}
	v.Since, v.Because, v.Next = time.Time{}, "", time.Time{}
	return v
}

// destinationWords says where a subscription is told of events.
func destinationWords(d controlclient.Destination) string {
	p := d.Properties
	switch d.EndpointType {
	case controlclient.ToNatsJetStream:
		return strings.Join(p.Servers, ", ") + " " + p.Subject
	case controlclient.ToKafka:
		return strings.Join(p.Servers, ", ") + " " + p.Topic
	}
	return p.EndpointBaseURL
}

// kindWords are the names of the types of destinations.
var kindWords = map[string]string{controlclient.ToWebHook: "Web hook", controlclient.ToNatsJetStream: "NATS JetStream", controlclient.ToKafka: "Kafka"}

// shortType leaves out of an event type what they all begin with.
func shortType(t string) string { return t[strings.LastIndexByte(t, '.')+1:] }

func shortTypes(types []string) (short []string) {
	for _, t := range types {
		short = append(short, shortType(t))
	}
	return short
}

func newSubscriptionRow(registry string, s controlclient.EventSubscription) subscriptionRow {
	r := subscriptionRow{
		endpointRow: endpointRow{Name: s.Name, Link: pathIn(registry, "subscriptions", s.Name), Verdict: judgeSubscription(s)},
		Kind:        cmp.Or(kindWords[s.Properties.Destination.EndpointType], s.Properties.Destination.EndpointType),
		Destination: destinationWords(s.Properties.Destination), Types: shortTypes(s.Properties.Filter.IncludedEventTypes),
	}
	if s.Health != nil {
		r.Health, r.LastStatus = *s.Health, lastStatus(*s.Health)
	}
	return r
}

func showSubscriptions(p *portal, w http.ResponseWriter, v *visit) error {
	reg, err := v.api.Registry(v.Context(), v.registry)
	if err != nil {
		return err
	}
	all, err := v.api.EventSubscriptions(v.Context(), v.registry, "")
	if err != nil {
		return err
	}
	l := subscriptionList{
		Total: len(all), State: v.URL.Query().Get("state"), Search: strings.TrimSpace(v.URL.Query().Get("q")),
		Command: "dockbell event-subscription create -n on-push --source-resource-id " + reg.ID + " --endpoint https://hooks.example.net/events",
	}
	l.States = v.stateLinks(l.State, l.Search)
	if v.visitor.May(subscriptions.action+"/write", reg.ID) {
		l.Add = v.path("subscriptions", "new")
	}
	days, err := v.lastDays(controlclient.OfEventSubscription)
	if err != nil {
		return err
	}
	for _, s := range all {
		r := newSubscriptionRow(reg.Name, s)
		r.Day = days[s.Name]
		if r.Verdict.inState(l.State) && r.mentions(l.Search, r.Destination) {
			l.Rows = append(l.Rows, r)
		}
	}
	byTrouble(l.Rows, func(r subscriptionRow) endpointRow { return r.endpointRow })
	return p.render(w, v.Request, v, http.StatusOK, "subscriptions", page{Title: "Subscriptions", Section: "subscriptions", Body: l})
}

// getSubscription implements family.get.
func getSubscription(v *visit, reg controlclient.Registry, name string) (*endpoint, error) {
	s, err := v.api.EventSubscription(v.Context(), reg.Name, name)
	if err != nil {
		return nil, err
	}
	p := s.Properties
	e := &endpoint{Name: s.Name, Health: s.Health, Verdict: judgeSubscription(s), Format: p.EventDeliverySchema, Actions: logActions}
	if p.ProvisioningState == controlclient.SubscriptionAwaiting || p.ProvisioningState == controlclient.SubscriptionFailed {
		e.Unagreed, e.Why = true, p.StateReason
	}
	add := func(term string, code bool, values ...string) {
		if len(values) > 0 && values[0] != "" {
			e.Settings = append(e.Settings, setting{term, values, code})
		}
	}
	add("Destination", false, cmp.Or(kindWords[p.Destination.EndpointType], p.Destination.EndpointType))
	add("Address", true, destinationWords(p.Destination))
	add("Schema", true, p.EventDeliverySchema)
	add("Event types", false, shortTypes(p.Filter.IncludedEventTypes)...)
	add("Subject begins with", true, p.Filter.SubjectBeginsWith)
	add("Subject ends with", true, p.Filter.SubjectEndsWith)
	var conditions []string
	for _, f := range p.Filter.AdvancedFilters {
		conditions = append(conditions, filterLine(f))
	}
	add("Conditions", true, conditions...)
	add("Retries", false, policyWords(p.RetryPolicy)...)
	add("Labels", false, p.Labels...)
	if !p.ExpirationTimeUTC.IsZero() {
		add("Ends", false, p.ExpirationTimeUTC.UTC().Format("2006-01-02 15:04 UTC"))
	}
	if d := p.DeadLetterDestination; d != nil {
		add("Container of dead letters", true, d.Container)
	}
	var attributes []string
	for _, a := range p.Destination.Properties.DeliveryAttributeMappings {
		attributes = append(attributes, a.Name)
	}
	add("Delivery attributes", true, attributes...)
	return e, nil
}

func validateSubscription(p *portal, w http.ResponseWriter, v *visit) error {
	name := v.PathValue("endpoint")
	if _, err := v.api.ValidateEventSubscription(v.Context(), v.registry, name); err != nil {
		return err
	}
	return back(w, v, v.path("subscriptions", name), "validated")
}

func deleteSubscription(p *portal, w http.ResponseWriter, v *visit) error {
	name := v.PathValue("endpoint")
	existed, err := v.api.DeleteEventSubscription(v.Context(), v.registry, name)
	if err == nil && !existed {
		err = fault.New(fault.NotFound, "there is no event subscription %.80q any more", name)
	}
	if err != nil {
		return err
	}
	return back(w, v, v.path("subscriptions"), "subscription-deleted")
}
