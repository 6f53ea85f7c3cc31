package arm_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/arm"
	"github.com/dockbell/dockbell/internal/delivery"
)

const onPush = registry + grid + "/eventSubscriptions/on-push" + version

// TestEventSubscriptionLife shows what clients of Event Grid see.
func TestEventSubscriptionLife(t *testing.T) {
	t.Parallel()
	tr := &transcript{plane: newPlane(t)}
	const short = arm.Root + "/contoso/eventSubscriptions/on-push"
	ofAz := `{"properties":{"destination":{"endpointType":"WebHook","properties":{"endpointUrl":"https://receiver.example/events?code=s3cret","maxEventsPerBatch":10,"preferredBatchSizeInKilobytes":64,` +
		`"deliveryAttributeMappings":[{"name":"Authorization","type":"Static","properties":{"value":"Bearer s3cret","isSecret":true}},{"name":"X-Repository","type":"Dynamic","properties":{"sourceField":"data.target.repository"}}]}},` +
		`"filter":{"subjectBeginsWith":"hello","subjectEndsWith":":v1","includedEventTypes":["Microsoft.ContainerRegistry.ImagePushed"],"isSubjectCaseSensitive":false,` +
		`"advancedFilters":[{"operatorType":"StringIn","key":"data.action","values":["push"]},{"operatorType":"NumberGreaterThan","key":"data.target.size","value":5.0}]},` +
		`"labels":["a"],"expirationTimeUtc":"2200-01-01T00:00:00.000Z","eventDeliverySchema":"CloudEventSchemaV1_0","retryPolicy":{"maxDeliveryAttempts":30,"eventTimeToLiveInMinutes":1440},` +
		`"deadLetterDestination":{"endpointType":"StorageBlob","properties":{"resourceId":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a","blobContainerName":"dead"}}}}`
	ofTerraform := `{"properties":{"destination":{"endpointType":"WebHook","properties":{"endpointUrl":"https://receiver.example/events?code=s3cret","maxEventsPerBatch":null,"preferredBatchSizeInKilobytes":null,` +
		`"azureActiveDirectoryTenantId":"","azureActiveDirectoryApplicationIdOrUri":"","minimumTlsVersionAllowed":null,"deliveryAttributeMappings":null}},"filter":{"subjectBeginsWith":"","subjectEndsWith":"",` +
		`"includedEventTypes":null,"isSubjectCaseSensitive":false,"enableAdvancedFilteringOnArrays":false,"advancedFilters":null},"labels":null,"expirationTimeUtc":"","eventDeliverySchema":"EventGridSchema",` +
		`"retryPolicy":{"maxDeliveryAttempts":5,"eventTimeToLiveInMinutes":60},"deadLetterDestination":null,"deliveryWithResourceIdentity":null,"deadLetterWithResourceIdentity":null}}`
	for _, x := range []struct{ method, target, body string }{
		{"GET", registry + grid + "/eventSubscriptions" + version, ""},
		{"GET", onPush, ""},
		{"PUT", onPush, ofAz},
		{"GET", onPush, ""},
		{"GET", strings.ToLower(short), ""},
		// As az updates, which knows neither address nor secrets.
		{"PATCH", onPush, `{"destination":{"endpointType":"WebHook","properties":{"maxEventsPerBatch":10,"preferredBatchSizeInKilobytes":64,"deliveryAttributeMappings":[{"name":"Authorization","type":"Static","properties":{"value":"Hidden","isSecret":true}}]}},` +
			`"filter":{"subjectBeginsWith":"bye"},"retryPolicy":{"maxDeliveryAttempts":30,"eventTimeToLiveInMinutes":1440}}`},
		{"POST", strings.Replace(onPush, version, "/getFullUrl"+version, 1), ""},
		{"POST", strings.Replace(onPush, version, "/getDeliveryAttributes"+version, 1), ""},
		// Attributes that are not said stay, and null takes them away.
		{"PATCH", onPush, `{"destination":{"endpointType":"WebHook","properties":{"endpointUrl":"https://receiver.example/other"}},"labels":null,"expirationTimeUtc":null,"deadLetterDestination":null}`},
		{"POST", short + "/getDeliveryAttributes", ""},
		{"PATCH", onPush, `{"destination":{"endpointType":"WebHook","properties":{"deliveryAttributeMappings":null}},"eventDeliverySchema":"inputeventschema","retryPolicy":{"maxDeliveryAttempts":3}}`},
		{"GET", onPush, ""},
		{"PUT", onPush, ofTerraform},
		{"GET", short + "?expand=health", ""},
		{"PUT", short, `{"properties":{"eventDeliverySchema":"CloudEventV01Schema"}}`},
		{"GET", registry + grid + "/eventSubscriptions?$top=100&api-version=2022-06-15", ""},
		{"POST", short + "/validate", ""},
		{"POST", short + "/listEvents", ""},
		{"POST", short + "/redeliver", `{"eventId":"e1","serviceUri":"https://receiver.example/other"}`},
		{"GET", short + "/replays/x", ""},
		{"DELETE", onPush, ""},
		{"DELETE", onPush, ""},
		{"PATCH", onPush, `{"labels":["a"]}`},
		{"POST", short + "/getFullUrl", ""},
		{"POST", short + "/nothing", ""},
		{"POST", short, ""},
	} {
		tr.exchange(x.method, x.target, x.body)
	}
	tr.noSecrets(t)
	golden(t, "eventsubscription.txt", tr.String())
}

// noSecrets looks for secrets in all answers but those that are there for them.
func (tr *transcript) noSecrets(t *testing.T) {
	t.Helper()
	for exchange := range strings.SplitSeq(tr.String(), "\n> ") {
		request, answer, _ := strings.Cut(exchange, "\n< ")
		asks := strings.Contains(request, "/getFullUrl") || strings.Contains(request, "/getDeliveryAttributes")
		if strings.Contains(answer, "s3cret") && !asks {
			t.Errorf("%s\nshows a secret: %s", request, answer)
		}
	}
}

// TestEventSubscriptionRefusals has a sentence for each thing that is not possible,
// and leaves nothing behind.
func TestEventSubscriptionRefusals(t *testing.T) {
	t.Parallel()
	tr := &transcript{plane: newPlane(t)}
	put := func(members string) { tr.exchange("PUT", onPush, `{"properties":{`+members+`}}`) }
	const web = `"destination":{"endpointType":"WebHook","properties":{"endpointUrl":"https://receiver.example/?code=s3cret"}}`
	of := func(kind, properties string) string {
		return `"destination":{"endpointType":"` + kind + `","properties":{` + properties + `}}`
	}
	for _, members := range []string{
		``,
		`"destination":null`,
		`"destination":"https://receiver.example"`,
		`"destination":{}`,
		of("WebHook", ``),
		of("webhook", `"endpointUrl":"ftp://receiver.example/?code=s3cret"`),
		of("WebHook", `"endpointUrl":"https://receiver.example","maxEventsPerBatch":5001`),
		of("WebHook", `"endpointUrl":"https://receiver.example","preferredBatchSizeInKilobytes":0`),
		of("WebHook", `"endpointUrl":"https://receiver.example","maxEventsPerBatch":"ten"`),
		of("WebHook", `"endpointUrl":"https://receiver.example","azureActiveDirectoryTenantId":"t"`),
		of("WebHook", `"endpointUrl":"https://receiver.example","minimumTlsVersionAllowed":"1.4"`),
		of("WebHook", `"endpointUrl":"https://receiver.example","deliveryAttributeMappings":"X-A"`),
		of("WebHook", `"endpointUrl":"https://receiver.example","deliveryAttributeMappings":[{"name":"X-A"}]`),
		of("WebHook", `"endpointUrl":"https://receiver.example","deliveryAttributeMappings":[{"name":"X-A","type":"Static","properties":{"sourceField":"id"}}]`),
		of("WebHook", `"endpointUrl":"https://receiver.example","deliveryAttributeMappings":[{"name":"X-A","type":"Dynamic","properties":{"value":"s3cret"}}]`),
		of("WebHook", `"endpointUrl":"https://receiver.example","deliveryAttributeMappings":[{"name":"X-A","type":"Dynamic","properties":{"sourceField":"id","value":"s3cret"}}]`),
		of("WebHook", `"endpointUrl":"https://receiver.example","deliveryAttributeMappings":[{"name":"aeg-x","type":"Static","properties":{"value":"s3cret"}}]`),
		of("WebHook", `"endpointUrl":"https://receiver.example","deliveryAttributeMappings":[{"name":"X-A","type":"Static","properties":{"value":"Hidden","isSecret":true}}]`),
		of("AzureFunction", `"resourceId":"x"`), of("EventHub", ``), of("ServiceBusQueue", ``), of("ServiceBusTopic", ``), of("HybridConnection", ``),
		of("StorageQueue", ``), of("NamespaceTopic", ``), of("MonitorAlert", ``), of("PartnerDestination", ``), of("Pigeon", ``),
		of("Kafka", ``),
		of("Kafka", `"servers":["127.0.0.1:9092"],"topic":"t","subject":"s"`),
		of("Kafka", `"servers":["127.0.0.1:9092"],"topic":"t","mode":"loud"`),
		of("Kafka", `"servers":["127.0.0.1:9092"],"topic":"t","tls":{"enabled":false,"ca":"PEM"}`),
		of("NatsJetStream", `"servers":["127.0.0.1:4222"],"subject":"s","mechanism":"PLAIN"`),
		of("NatsJetStream", `"servers":"127.0.0.1:4222","subject":"s"`),
		web + `,"filter":{"includedEventTypes":["Microsoft.ContainerRegistry.ImagePulled"]}`,
		web + `,"filter":{"advancedFilters":[{"operatorType":"StringIs","key":"data.action","values":["push"]}]}`,
		web + `,"filter":"all"`,
		web + `,"eventDeliverySchema":"CustomInputSchema"`,
		web + `,"eventDeliverySchema":"XML"`,
		web + `,"expirationTimeUtc":"tomorrow"`,
		web + `,"expirationTimeUtc":"2020-01-01T00:00:00Z"`,
		web + `,"retryPolicy":{"maxDeliveryAttempts":0}`,
		web + `,"retryPolicy":{"eventTimeToLiveInMinutes":1441}`,
		web + `,"labels":"a"`,
		web + `,"deadLetterDestination":{"endpointType":"Folder"}`,
		web + `,"deadLetterDestination":{"endpointType":"StorageBlob","properties":{"resourceId":"x","blobContainerName":"../x"}}`,
		web + `,"deliveryWithResourceIdentity":{"identity":{"type":"SystemAssigned"},` + web + `}`,
		web + `,"deadLetterWithResourceIdentity":{"identity":{"type":"SystemAssigned"}}`,
	} {
		put(members)
	}
	tr.exchange("PUT", onPush, `{}`)
	tr.exchange("PUT", onPush, `{`+web+`}`)
	tr.exchange("PUT", strings.Replace(onPush, "on-push", "a_b", 1), `{"properties":{`+web+`}}`)
	tr.receivers.status = 404
	put(web)
	tr.exchange("GET", onPush, "")
	tr.receivers.status = 0
	put(web)
	for _, body := range []string{`{"properties":{"labels":[]}}`, `{"destination":null}`, `{"labels":7}`, `{"retryPolicy":{"maxDeliveryAttempts":31}}`, ``} {
		tr.exchange("PATCH", onPush, body)
	}
	for _, query := range []string{"$top=0", "$top=101", "$top=x", "$filter=name", "$skiptoken=%C3%A9"} {
		tr.exchange("GET", registry+grid+"/eventSubscriptions"+version+"&"+query, "")
	}
	tr.noSecrets(t)
	golden(t, "eventsubscription_refusals.txt", tr.String())
}

// TestBrokersOnTheWire: what is secret is not shown, and "Hidden" keeps it.
func TestBrokersOnTheWire(t *testing.T) {
	t.Parallel()
	tr := &transcript{plane: newPlane(t)}
	const short = arm.Root + "/contoso/eventSubscriptions/"
	for _, x := range []struct{ method, target, body string }{
		{"PUT", short + "to-kafka", `{"properties":{"destination":{"endpointType":"kafka","properties":{"servers":["broker.example:9093"],"topic":"events","mode":"binary","key":"subject","username":"ci","password":"s3cret","mechanism":"SCRAM-SHA-512","tls":{"enabled":true},` +
			`"deliveryAttributeMappings":[{"name":"X-Env","type":"Static","properties":{"value":"prod"}}]}}}}`},
		{"GET", short + "to-kafka", ""},
		{"PATCH", short + "to-kafka", `{"destination":{"endpointType":"Kafka","properties":{"servers":["broker.example:9093"],"topic":"others","username":"ci","password":"Hidden","mechanism":"SCRAM-SHA-512","tls":{"enabled":true}}}}`},
		{"GET", short + "to-kafka", ""},
		{"PUT", short + "to-nats", `{"properties":{"destination":{"endpointType":"NatsJetStream","properties":{"servers":["nats.example:4222"],"subject":"registry.events","token":"s3cret"}}}}`},
		{"GET", short + "to-nats", ""},
		{"POST", short + "to-nats/validate", ""},
		{"POST", short + "to-nats/getFullUrl", ""},
		{"POST", short + "to-nats/getDeliveryAttributes", ""},
	} {
		tr.exchange(x.method, x.target, x.body)
	}
	tr.noSecrets(t)
	golden(t, "brokers.txt", tr.String())
}

// TestSystemTopics makes them, and has them come and go with subscriptions.
func TestSystemTopics(t *testing.T) {
	t.Parallel()
	tr := &transcript{plane: newPlane(t)}
	const topics = group + grid + "/systemTopics"
	for _, x := range []struct{ method, target, body string }{
		{"GET", topics + version, ""},
		{"GET", registry + grid + "/extensionTopics/default" + version, ""},
		{"PUT", onPush, subscribe},
		{"GET", registry + grid + "/extensionTopics/default" + version, ""},
		{"GET", subscription + grid + "/systemTopics" + version, ""},
		{"GET", subscription + "/resources?$filter=resourceType%20eq%20'Microsoft.EventGrid/systemTopics'&api-version=2021-04-01", ""},
		{"GET", topics + "/Contoso-Topic" + version, ""},
		{"PUT", topics + "/Contoso-Topic" + version, strings.Replace(makeTopic, `"location"`, `"tags":{"team":"web"},"identity":{"type":"None"},"location"`, 1)},
		{"PUT", topics + "/contoso-topic" + version, makeTopic},
		{"PATCH", topics + "/contoso-topic" + version, `{"tags":{"a":"b"}}`},
		{"PATCH", topics + "/contoso-topic" + version, `{}`},
		{"GET", topics + version, ""},
		{"GET", topics + "/contoso-topic/eventSubscriptions" + version, ""},
		{"GET", topics + "/contoso-topic/eventSubscriptions/on-push" + version, ""},
		{"PATCH", topics + "/contoso-topic/eventSubscriptions/on-push" + version, `{"labels":["a"]}`},
		{"PUT", topics + "/contoso-topic/eventSubscriptions/another" + version, subscribe},
		{"POST", topics + "/contoso-topic/eventSubscriptions/another/getFullUrl" + version, ""},
		{"GET", registry + grid + "/eventSubscriptions/another" + version, ""},
		{"DELETE", topics + "/contoso-topic" + version, ""},
		{"DELETE", topics + "/contoso-topic/eventSubscriptions/another" + version, ""},
		{"DELETE", onPush, ""},
		{"GET", topics + "/contoso-topic" + version, ""},
		{"DELETE", topics + "/contoso-topic" + version, ""},
		{"DELETE", topics + "/contoso-topic" + version, ""},
		{"GET", topics + version, ""},
		{"PUT", topics + "/a_b" + version, makeTopic},
		{"PUT", topics + "/one-topic" + version, `{"location":"westeurope"}`},
		{"PUT", topics + "/one-topic" + version, strings.Replace(makeTopic, "contoso", "nosuch", 1)},
		{"PUT", topics + "/one-topic" + version, strings.Replace(makeTopic, "westeurope", "mars", 1)},
		{"PUT", topics + "/one-topic" + version, strings.Replace(makeTopic, "microsoft.containerregistry.registries", "Microsoft.Storage.StorageAccounts", 1)},
		{"PUT", topics + "/one-topic" + version, strings.Replace(makeTopic, `"location"`, `"identity":{"type":"SystemAssigned"},"location"`, 1)},
		{"PUT", topics + "/one-topic" + version, makeTopic},
		{"PUT", topics + "/two-topic" + version, makeTopic},
		{"PUT", topics + "/ONE-topic" + version, strings.Replace(makeTopic, "contoso", "fabrikam", 1)},
		{"PUT", strings.Replace(topics, "dockbell", "nosuch", 1) + "/one-topic" + version, makeTopic},
		{"PUT", topics + "/nosuch/eventSubscriptions/on-push" + version, subscribe},
	} {
		tr.exchange(x.method, x.target, x.body)
	}
	tr.noSecrets(t)
	golden(t, "systemtopics.txt", tr.String())
}

func TestTopicTypes(t *testing.T) {
	t.Parallel()
	tr := &transcript{plane: newPlane(t)}
	const types = "/providers/Microsoft.EventGrid/topicTypes"
	for _, x := range []struct{ method, target string }{
		{"GET", types + version},
		{"GET", types + "/microsoft.containerregistry.registries" + version},
		{"GET", types + "/Microsoft.ContainerRegistry.Registries/eventTypes" + version},
		{"GET", types + "/Microsoft.Storage.StorageAccounts" + version},
		{"GET", types + "/Microsoft.Storage.StorageAccounts/eventTypes" + version},
		{"GET", subscription + "/providers/microsoft.eventgrid" + version},
		{"POST", subscription + "/providers/Microsoft.EventGrid/register" + version},
		{"GET", subscription + "/providers/Microsoft.Storage" + version},
		{"GET", "/providers/Microsoft.EventGrid" + version},
	} {
		tr.exchange(x.method, x.target, "")
	}
	golden(t, "topictypes.txt", tr.String())
}

// TestListsOfEventSubscriptions reads every list, with its filter and its pages.
func TestListsOfEventSubscriptions(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	fabrikam := strings.Replace(registry, "contoso", "fabrikam", 1)
	for i := range 25 {
		if w := p.do("PUT", fmt.Sprintf("%s%s/eventSubscriptions/on-%02d%s", registry, grid, i, version), subscribe); w.Code != http.StatusCreated {
			t.Fatal(w.Body)
		}
	}
	for _, name := range []string{"Zebra", "apple"} {
		if w := p.do("PUT", fabrikam+grid+"/eventSubscriptions/"+name+version, subscribe); w.Code != http.StatusCreated {
			t.Fatal(w.Body)
		}
	}
	type page struct {
		Value []struct {
			Name, ID   string
			Properties struct{ Topic string }
		}
		NextLink string
	}
	read := func(may func(action, scope string) bool, target string) (names []string, pages int) {
		t.Helper()
		for ; target != ""; pages++ {
			w := p.as(may, "GET", target, "")
			var got page
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
				t.Fatalf("%s: %d %s", target, w.Code, w.Body)
			}
			for _, s := range got.Value {
				names = append(names, s.Name)
				if !strings.HasSuffix(s.ID, "/providers/Microsoft.EventGrid/eventSubscriptions/"+s.Name) || !strings.Contains(s.Properties.Topic, "/providers/microsoft.containerregistry/registries/") {
					t.Errorf("%s: %+v", target, s)
				}
			}
			target = strings.TrimPrefix(got.NextLink, "http://contoso.azurecr.example")
		}
		return names, pages
	}
	all := func(string, string) bool { return true }
	inFabrikam := func(_, scope string) bool { return strings.HasSuffix(scope, "/fabrikam") }
	seesRegistries := func(action, _ string) bool { return action == "Microsoft.ContainerRegistry/registries/read" }
	const in = grid + "/locations/West%20Europe"
	for _, x := range []struct {
		may          func(action, scope string) bool
		target       string
		names, pages int
	}{
		{all, registry + grid + "/eventSubscriptions" + version, 25, 2},
		{all, arm.Root + "/contoso/eventSubscriptions?$top=5", 25, 5},
		{all, registry + grid + "/eventSubscriptions" + version + "&$top=100", 25, 1},
		{all, registry + grid + "/eventSubscriptions" + version + "&$top=100&$filter=contains(name,%20'ON-1')", 10, 1},
		{all, registry + grid + "/eventSubscriptions" + version + "&$filter=not%20(name%20eq%20'on-03'%20or%20contains(name,'1'))%20and%20name%20ne%20'on-00'", 11, 1},
		{all, subscription + in + "/eventSubscriptions" + version, 27, 2},
		{all, subscription + in + "/topicTypes/microsoft.containerregistry.REGISTRIES/eventSubscriptions" + version, 27, 2},
		{all, subscription + in + "/topicTypes/Microsoft.Storage.StorageAccounts/eventSubscriptions" + version, 0, 1},
		{all, group + in + "/eventSubscriptions" + version + "&$filter=contains(name,'e')", 2, 1},
		{all, group + in + "/topicTypes/Microsoft.ContainerRegistry.Registries/eventSubscriptions" + version + "&$top=1&$filter=contains(name,'e')", 2, 2},
		{all, subscription + grid + "/locations/eastus/eventSubscriptions" + version, 0, 1},
		{all, subscription + grid + "/eventSubscriptions" + version, 0, 1},
		{all, group + grid + "/topicTypes/Microsoft.ContainerRegistry.Registries/eventSubscriptions" + version, 0, 1},
		{inFabrikam, subscription + in + "/eventSubscriptions" + version, 2, 1},
		{seesRegistries, subscription + in + "/eventSubscriptions" + version, 0, 1},
	} {
		names, pages := read(x.may, x.target)
		slices.Sort(names)
		if len(slices.Compact(names)) != x.names || pages != x.pages {
			t.Errorf("%s: %q in %d pages, want %d in %d", x.target, names, pages, x.names, x.pages)
		}
	}
}

// TestConfirmations: whoever has the address agrees, once; nobody else learns a
// thing.
func TestConfirmations(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.receivers.status = 202
	door := arm.Confirmations(p.config)
	open := func(method, target string, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, target, nil)
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		door.ServeHTTP(w, r)
		if h := w.Header(); h.Get("Cache-Control") != "no-store" || h.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s %s: %v", method, target, h)
		}
		return w
	}
	state := func() string {
		t.Helper()
		return answerOf[struct {
			Properties struct{ ProvisioningState string }
		}](t, p, "GET", onPush, "").Properties.ProvisioningState
	}
	const page = "text/html,application/xhtml+xml"
	for _, schema := range []string{"EventGridSchema", "CloudEventSchemaV1_0"} {
		if w := p.do("PUT", onPush, strings.Replace(subscribe, `{"properties":{`, `{"properties":{"eventDeliverySchema":"`+schema+`",`, 1)); w.Code != http.StatusCreated {
			t.Fatal(w.Body)
		}
		if got := state(); got != "AwaitingManualAction" {
			t.Fatalf("%s: %s before it is confirmed", schema, got)
		}
		w := p.do("POST", strings.Replace(onPush, version, "/redeliver"+version, 1), `{"eventId":"e1"}`)
		if w.Code != http.StatusConflict {
			t.Errorf("%s: redelivered before it is confirmed: %d %s", schema, w.Code, w.Body)
		}
		address := p.receivers.asked
		for target, want := range map[string]int{
			address + "x": 404,
			"https://contoso.azurecr.example/eventsubscriptions/on-push/validate":        404,
			"https://contoso.azurecr.example/eventsubscriptions/nosuch/validate?token=x": 404,
			"https://contoso.azurecr.example/eventsubscriptions/":                        404,
			address + "&webhook-allowed-rate=often":                                      400,
			strings.Replace(address, "/validate", "/validate/x", 1):                      404,
		} {
			if w := open("GET", target); w.Code != want || strings.Contains(w.Body.String(), "on-push") {
				t.Errorf("%s: %d %s", target, w.Code, w.Body)
			}
		}
		for _, method := range []string{"HEAD", "OPTIONS", "PUT"} {
			if w := open(method, address); w.Code == http.StatusOK {
				t.Errorf("%s: %d", method, w.Code)
			}
		}
		if got := state(); got != "AwaitingManualAction" {
			t.Fatalf("%s: %s before its address is opened", schema, got)
		}
		if schema == "EventGridSchema" {
			if w := open("GET", address, "Accept", page); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "<p>The event subscription is confirmed") || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
				t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
			}
		} else if w := open("POST", address, "WebHook-Allowed-Rate", "120"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `{"message":"The event`) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if got := state(); got != "Succeeded" {
			t.Errorf("%s: %s after it is confirmed", schema, got)
		}
		if w := open("GET", address); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "ResourceNotFound") {
			t.Errorf("again: %d %s", w.Code, w.Body)
		}
		if w := open("GET", address, "Accept", page); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "<p>Nothing waits") {
			t.Errorf("again: %d %s", w.Code, w.Body)
		}
	}
	confirmed := 0
	for _, e := range p.recorded(t) {
		if e.Action != "Microsoft.EventGrid/eventSubscriptions/confirm/action" {
			continue
		}
		if e.Outcome == "succeeded" {
			confirmed++
		}
		if e.Actor != "" || strings.Contains(fmt.Sprint(e), "token") {
			t.Errorf("on record %+v", e)
		}
	}
	if confirmed != 2 {
		t.Errorf("%d confirmations are on record, want 2", confirmed)
	}
}

// TestFailuresOfReceivers are told to those alone who may write subscriptions.
func TestFailuresOfReceivers(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.receivers.status = 202
	if w := p.do("PUT", onPush, subscribe); w.Code != http.StatusCreated {
		t.Fatal(w.Body)
	}
	p.engine.health = map[int64]delivery.Health{1: {State: delivery.Failing, LastStatus: 503, LastError: "dns"}}
	one := strings.Replace(onPush, version, version+"&expand=health", 1)
	for _, target := range []string{one, "/api/v1/registries/contoso/eventSubscriptions?expand=health"} {
		for reader, want := range map[bool]bool{true: false, false: true} {
			w := p.as(func(action, _ string) bool { return !reader || strings.HasSuffix(action, "/read") }, "GET", target, "")
			for _, words := range []string{`"provisioningStateReason":"the receiver`, `"lastStatus":503`, `"lastError":"dns"`} {
				if strings.Contains(w.Body.String(), words) != want {
					t.Errorf("%s, reader %t: %s: %s", target, reader, words, w.Body)
				}
			}
			if !strings.Contains(w.Body.String(), `"state":"awaitingConsent"`) {
				t.Errorf("%s, reader %t: %s", target, reader, w.Body)
			}
		}
	}
	if w := p.do("GET", "/api/v1/registries/contoso/eventSubscriptions", ""); strings.Contains(w.Body.String(), "health") {
		t.Errorf("health that nobody asked for: %s", w.Body)
	}
}
