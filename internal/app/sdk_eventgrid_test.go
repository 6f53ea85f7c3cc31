package app_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/eventgrid/armeventgrid/v2"
)

// told is a receiver of event subscriptions, in Event Grid's schema or CloudEvents.
type told struct {
	*httptest.Server
	events chan string // types and subjects of the events that came with its secret

	mu       sync.Mutex
	silent   bool   // takes the question, and leaves it to a person to agree
	callback string // address by which that person does
}

func newTold(t *testing.T) *told {
	r := &told{events: make(chan string, 32)}
	r.Server = httptest.NewServer(r)
	t.Cleanup(func() { r.CloseClientConnections(); r.Close() })
	return r
}

func (r *told) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if req.Method == http.MethodOptions {
		if r.callback = req.Header.Get("WebHook-Request-Callback"); !r.silent {
			w.Header().Set("WebHook-Allowed-Origin", "*")
		}
		return
	}
	type event struct {
		EventType, Type, Subject string
		Data                     struct{ ValidationCode, ValidationURL string }
	}
	var all []event
	var body json.RawMessage
	if json.NewDecoder(req.Body).Decode(&body) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if json.Unmarshal(body, &all) != nil {
		all = make([]event, 1)
		json.Unmarshal(body, &all[0])
	}
	if req.Header.Get("Aeg-Event-Type") == "SubscriptionValidation" {
		if r.callback = all[0].Data.ValidationURL; !r.silent {
			fmt.Fprintf(w, `{"validationResponse":%q}`, all[0].Data.ValidationCode)
		}
		return
	}
	for _, e := range all {
		r.events <- fmt.Sprint(e.EventType, e.Type, " ", e.Subject, " ", req.Header.Get("X-Secret"), req.URL.RawQuery)
	}
}

// be makes the receiver silent, or not, and returns where the newest question could
// be answered by hand.
func (r *told) be(silent bool) (callback string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.silent = silent
	return r.callback
}

// settled waits for a change that says of itself that it goes on, as Event Grid's do:
// the clients look again at once and find that it is over.
func settled[T any](t *testing.T) func(*runtime.Poller[T], error) T {
	return func(p *runtime.Poller[T], err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		result, err := p.PollUntilDone(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("the client waited %s for what was done already", took)
		}
		return result
	}
}

// TestAzureEventGridSDK has Azure's own client do, over TLS, what a program for Event
// Grid does with a registry: on it, and under its system topic.
func TestAzureEventGridSDK(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, subscription, options := startOverTLS(t)
	receiver := newTold(t)
	clients, err := armeventgrid.NewClientFactory(subscription, anyToken{}, options)
	if err != nil {
		t.Fatal(err)
	}
	const group, registry, name = "dockbell", "dockbell", "on-push"
	scope := "subscriptions/" + subscription + "/resourceGroups/" + group + "/providers/Microsoft.ContainerRegistry/registries/" + registry
	subscriptions, topics, ofTopic, types := clients.NewEventSubscriptionsClient(), clients.NewSystemTopicsClient(), clients.NewSystemTopicEventSubscriptionsClient(), clients.NewTopicTypesClient()

	if n := count(t, types.NewListEventTypesPager("Microsoft.ContainerRegistry.Registries", nil), func(p armeventgrid.TopicTypesClientListEventTypesResponse) int {
		return len(slices.DeleteFunc(p.Value, func(e *armeventgrid.EventType) bool { return !*e.Properties.IsInDefaultSet }))
	}); n != 4 {
		t.Errorf("%d types of events in the default set", n)
	}
	if got, err := types.Get(ctx, "Microsoft.ContainerRegistry.Registries", nil); err != nil || *got.Properties.Provider != "Microsoft.ContainerRegistry" {
		t.Error(got, err)
	}
	if n := count(t, types.NewListPager(nil), func(p armeventgrid.TopicTypesClientListResponse) int { return len(p.Value) }); n != 1 {
		t.Errorf("%d topic types", n)
	}

	if _, err := subscriptions.Get(ctx, scope, name, nil); code(err) != "404 ResourceNotFound" {
		t.Errorf("before it is made: %v", err)
	}
	webhook := func(url string, secret string) *armeventgrid.WebHookEventSubscriptionDestination {
		return &armeventgrid.WebHookEventSubscriptionDestination{
			EndpointType: new(armeventgrid.EndpointTypeWebHook),
			Properties: &armeventgrid.WebHookEventSubscriptionDestinationProperties{
				EndpointURL: new(url),
				DeliveryAttributeMappings: []armeventgrid.DeliveryAttributeMappingClassification{&armeventgrid.StaticDeliveryAttributeMapping{
					Name: new("X-Secret"), Type: new(armeventgrid.DeliveryAttributeMappingTypeStatic),
					Properties: &armeventgrid.StaticDeliveryAttributeMappingProperties{Value: new(secret), IsSecret: new(true)},
				}},
			},
		}
	}
	made := settled[armeventgrid.EventSubscriptionsClientCreateOrUpdateResponse](t)(subscriptions.BeginCreateOrUpdate(ctx, scope, name, armeventgrid.EventSubscription{
		Properties: &armeventgrid.EventSubscriptionProperties{
			Destination: webhook(receiver.URL+"/in?code=s3cret", "s3cret;"),
			Filter: &armeventgrid.EventSubscriptionFilter{
				IncludedEventTypes: []*string{new("Microsoft.ContainerRegistry.ImagePushed")}, SubjectBeginsWith: new("app:"),
				AdvancedFilters: []armeventgrid.AdvancedFilterClassification{&armeventgrid.StringInAdvancedFilter{
					OperatorType: new(armeventgrid.AdvancedFilterOperatorTypeStringIn), Key: new("data.target.tag"), Values: []*string{new("v1"), new("v2")},
				}},
			},
			Labels: []*string{new("ci")}, ExpirationTimeUTC: new(time.Now().Add(time.Hour)),
		},
	}, nil))
	destination, ok := made.Properties.Destination.(*armeventgrid.WebHookEventSubscriptionDestination)
	if !ok || *made.Properties.ProvisioningState != armeventgrid.EventSubscriptionProvisioningStateSucceeded || destination.Properties.EndpointURL != nil ||
		*destination.Properties.EndpointBaseURL != receiver.URL+"/in" || *made.Properties.Topic == "" || len(made.Properties.Filter.AdvancedFilters) != 1 {
		t.Errorf("made %+v with %+v", made.Properties, destination)
	}
	s.push("app", "v1")
	s.push("app", "v3")
	s.push("other", "v1")
	if got := <-receiver.events; got != "Microsoft.ContainerRegistry.ImagePushed app:v1 s3cret;code=s3cret" {
		t.Errorf("the receiver is told %q", got)
	}

	// An update without the address and with the secret as it is shown keeps both.
	without := webhook("", "Hidden")
	without.Properties.EndpointURL = nil
	updated := settled[armeventgrid.EventSubscriptionsClientUpdateResponse](t)(subscriptions.BeginUpdate(ctx, scope, name, armeventgrid.EventSubscriptionUpdateParameters{
		Destination: without, Filter: &armeventgrid.EventSubscriptionFilter{SubjectBeginsWith: new("other")}, Labels: []*string{new("cd")},
	}, nil))
	if *updated.Properties.Labels[0] != "cd" || updated.Properties.ExpirationTimeUTC == nil || len(updated.Properties.Filter.IncludedEventTypes) != 4 {
		t.Errorf("updated %+v", updated.Properties)
	}
	s.push("app", "v4")
	s.push("other", "v2")
	if got := <-receiver.events; got != "Microsoft.ContainerRegistry.ImagePushed other:v2 s3cret;code=s3cret" {
		t.Errorf("the receiver is told %q", got)
	}
	if got, err := subscriptions.GetFullURL(ctx, scope, name, nil); err != nil || *got.EndpointURL != receiver.URL+"/in?code=s3cret" {
		t.Error(got, err)
	}
	attributes, err := subscriptions.GetDeliveryAttributes(ctx, scope, name, nil)
	if err != nil || len(attributes.Value) != 1 || *attributes.Value[0].(*armeventgrid.StaticDeliveryAttributeMapping).Properties.Value != "s3cret;" {
		t.Error(attributes, err)
	}

	// What Event Grid refuses is refused with its codes.
	unwilling := httptest.NewServer(http.NotFoundHandler())
	defer unwilling.Close()
	for want, d := range map[string]armeventgrid.EventSubscriptionDestinationClassification{
		"400 Url validation": webhook(unwilling.URL, "x"),
		"400 InvalidRequest": &armeventgrid.StorageQueueEventSubscriptionDestination{EndpointType: new(armeventgrid.EndpointTypeStorageQueue)},
	} {
		_, err := subscriptions.BeginCreateOrUpdate(ctx, scope, "refused", armeventgrid.EventSubscription{Properties: &armeventgrid.EventSubscriptionProperties{Destination: d}}, nil)
		if code(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	}

	// The same subscriptions are under the system topic.
	const topic = "registry-events"
	finish[armeventgrid.SystemTopicsClientCreateOrUpdateResponse](t)(topics.BeginCreateOrUpdate(ctx, group, topic, armeventgrid.SystemTopic{
		Location: new("local"), Properties: &armeventgrid.SystemTopicProperties{Source: new("/" + scope), TopicType: new("Microsoft.ContainerRegistry.Registries")},
	}, nil))
	finish[armeventgrid.SystemTopicsClientUpdateResponse](t)(topics.BeginUpdate(ctx, group, topic, armeventgrid.SystemTopicUpdateParameters{Tags: map[string]*string{"a": new("b")}}, nil))
	if got, err := topics.Get(ctx, group, topic, nil); err != nil || *got.Tags["a"] != "b" || *got.Properties.Source != "/"+scope {
		t.Error(got, err)
	}
	if got, err := clients.NewExtensionTopicsClient().Get(ctx, scope, nil); err != nil || !strings.HasSuffix(*got.Properties.SystemTopic, "/systemTopics/"+topic) {
		t.Error(got, err)
	}
	settled[armeventgrid.SystemTopicEventSubscriptionsClientCreateOrUpdateResponse](t)(ofTopic.BeginCreateOrUpdate(ctx, group, topic, "on-delete", armeventgrid.EventSubscription{
		Properties: &armeventgrid.EventSubscriptionProperties{
			Destination: webhook(receiver.URL, "x"), EventDeliverySchema: new(armeventgrid.EventDeliverySchemaCloudEventSchemaV10),
			Filter: &armeventgrid.EventSubscriptionFilter{IncludedEventTypes: []*string{new("Microsoft.ContainerRegistry.ImageDeleted")}},
		},
	}, nil))
	n := count(t, topics.NewListBySubscriptionPager(nil), func(p armeventgrid.SystemTopicsClientListBySubscriptionResponse) int { return len(p.Value) })
	n += count(t, topics.NewListByResourceGroupPager(group, nil), func(p armeventgrid.SystemTopicsClientListByResourceGroupResponse) int { return len(p.Value) })
	n += 10 * count(t, ofTopic.NewListBySystemTopicPager(group, topic, nil), func(p armeventgrid.SystemTopicEventSubscriptionsClientListBySystemTopicResponse) int {
		return len(p.Value)
	})
	n += 100 * count(t, subscriptions.NewListByResourcePager(group, "Microsoft.ContainerRegistry", "registries", registry, nil), func(p armeventgrid.EventSubscriptionsClientListByResourceResponse) int { return len(p.Value) })
	n += 1000 * count(t, subscriptions.NewListRegionalByResourceGroupForTopicTypePager(group, "local", "Microsoft.ContainerRegistry.Registries", nil), func(p armeventgrid.EventSubscriptionsClientListRegionalByResourceGroupForTopicTypeResponse) int {
		return len(p.Value)
	})
	n += 10000 * count(t, subscriptions.NewListGlobalBySubscriptionPager(nil), func(p armeventgrid.EventSubscriptionsClientListGlobalBySubscriptionResponse) int { return len(p.Value) })
	if n != 2222 {
		t.Errorf("the lists have %d, want 2222: two topics in two lists, two subscriptions in three, none in the global one", n)
	}
	if got, err := ofTopic.GetFullURL(ctx, group, topic, name, nil); err != nil || *got.EndpointURL != receiver.URL+"/in?code=s3cret" {
		t.Error(got, err)
	}

	// A receiver that leaves it to a person is told of nothing until that one opens
	// the address, without credentials.
	receiver.be(true)
	const later = "later"
	_, err = subscriptions.BeginCreateOrUpdate(ctx, scope, later, armeventgrid.EventSubscription{Properties: &armeventgrid.EventSubscriptionProperties{
		Destination: webhook(receiver.URL, "later;"), EventDeliverySchema: new(armeventgrid.EventDeliverySchemaCloudEventSchemaV10),
		Filter: &armeventgrid.EventSubscriptionFilter{SubjectBeginsWith: new("later")},
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.push("later", "v1")
	if got, err := subscriptions.Get(ctx, scope, later, nil); err != nil || *got.Properties.ProvisioningState != armeventgrid.EventSubscriptionProvisioningStateAwaitingManualAction {
		t.Errorf("%+v, %v", got.Properties, err)
	}
	select {
	case got := <-receiver.events:
		t.Errorf("before it agreed the receiver is told %q", got)
	default:
	}
	callback := receiver.be(false)
	browser := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.http.Transport.(*http.Transport).TLSClientConfig.RootCAs}}}
	defer browser.CloseIdleConnections()
	for _, want := range []int{http.StatusOK, http.StatusNotFound} {
		res, err := browser.Get(callback)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: %d, want %d", callback, res.StatusCode, want)
		}
	}
	if got := <-receiver.events; got != "Microsoft.ContainerRegistry.ImagePushed later:v1 later;" {
		t.Errorf("the receiver is told %q", got)
	}

	for _, gone := range []string{name, later} {
		finish[armeventgrid.EventSubscriptionsClientDeleteResponse](t)(subscriptions.BeginDelete(ctx, scope, gone, nil))
	}
	if _, err := topics.BeginDelete(ctx, group, topic, nil); code(err) != "409 Conflict" {
		t.Errorf("deleting a topic that has a subscription: %v", err)
	}
	finish[armeventgrid.SystemTopicEventSubscriptionsClientDeleteResponse](t)(ofTopic.BeginDelete(ctx, group, topic, "on-delete", nil))
	finish[armeventgrid.SystemTopicsClientDeleteResponse](t)(topics.BeginDelete(ctx, group, topic, nil))
	if _, err := topics.Get(ctx, group, topic, nil); code(err) != "404 ResourceNotFound" {
		t.Errorf("after it was deleted: %v", err)
	}
}
