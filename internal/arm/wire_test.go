package arm

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/delivery"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/subscription"
)

func TestEveryKindHasAStatus(t *testing.T) {
	t.Parallel()
	for kind := fault.Internal; kind <= fault.Unavailable; kind++ {
		status, code := statusAndCode(fault.New(kind, "x"))
		if status < 400 || code == "" {
			t.Errorf("%s: %d %q", kind, status, code)
		}
		if got, ok := kinds[kind]; !ok || got.status != status {
			t.Errorf("%s has no entry", kind)
		}
	}
	if len(kinds) != int(fault.Unavailable)+1 {
		t.Errorf("the table has %d kinds", len(kinds))
	}
}

func TestCodes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		fault *fault.Error
		want  string
	}{
		{fault.New(fault.NotFound, "x").WithCode("RegistryResourceNotFound"), "404 RegistryResourceNotFound"},
		{fault.New(fault.NotFound, "x"), "404 ResourceNotFound"},
		{fault.New(fault.Quota, "x"), "403 QuotaExceeded"},
		{fault.New(fault.Unauthenticated, "x").WithCode("UNAUTHORIZED"), "401 AuthenticationFailed"}, // the data plane's code
		{fault.As(errors.New("a bug")), "500 InternalServerError"},
	} {
		status, code := statusAndCode(tt.fault)
		if got := fmt.Sprint(status, " ", code); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.fault, got, tt.want)
		}
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ body, want string }{
		{``, "the request has no body: this operation needs a JSON object"},
		{"  \n", "the request has no body: this operation needs a JSON object"},
		{`null`, "the request body must be a JSON object, not null"},
		{`[]`, "the request body must be a JSON object, not an array"},
		{`"x"`, "the request body must be a JSON object, not a string"},
		{`{`, "the request body is not valid JSON: unexpected end of JSON input at line 1, column 1"},
		{"{\n  \"location\": local\n}", "the request body is not valid JSON: invalid character 'l' looking for beginning of value at line 2, column 15"},
		{`{} x`, "the request body is not valid JSON: invalid character 'x' after top-level value at line 1, column 4"},
		{`{"location": 7}`, "location is of the wrong type: it must be a string, not a number"},
		{`{"tags": "x"}`, "tags is of the wrong type: it must be an object whose members are strings, not a string"},
		{`{"tags": {"a": 1}}`, "tags is of the wrong type: it must be a string, not a number"},
		{`{"properties": []}`, "properties is of the wrong type: it must be an object, not an array"},
		{`{"properties": {"actions": "push"}}`, "properties.actions is of the wrong type: it must be an array of strings, not a string"},
		{`{"properties": {"actions": [1]}}`, "properties.actions is of the wrong type: it must be a string, not a number"},
		{`{"properties": {"status": true}}`, "properties.status is of the wrong type: it must be a string, not a bool"},
		{`{"properties": {"customHeaders": {"a": {}}}}`, "properties.customHeaders is of the wrong type: it must be a string, not an object"},
		{`{}`, ""},
		{`{"unknown": [1, {"x": null}], "Properties": {"Scope": "a:b", "other": 1}}`, ""},
	} {
		var in webhookInput
		err := decode([]byte(tt.body), &in)
		switch f := fault.As(err); {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.body, err)
		case tt.want != "" && (f == nil || f.Kind != fault.Invalid || f.Code != "InvalidRequestContent" || f.Message != tt.want):
			t.Errorf("%s:\n got %v\nwant %s", tt.body, err, tt.want)
		}
	}
}

func TestBodyLimit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		size int
		kind fault.Kind
	}{{maxBody, fault.Invalid}, {maxBody + 1, fault.TooLarge}} {
		r := httptest.NewRequest(http.MethodPut, "/", strings.NewReader(strings.Repeat(" ", tt.size)))
		r.Body = http.MaxBytesReader(httptest.NewRecorder(), r.Body, maxBody)
		if err := readBody(r, new(webhookInput)); fault.As(err).Kind != tt.kind {
			t.Errorf("%d bytes: %v", tt.size, err)
		}
	}
	r := httptest.NewRequest(http.MethodPut, "/", io.MultiReader(strings.NewReader("{"), brokenReader{}))
	if err := readBody(r, new(webhookInput)); !fault.Is(err, fault.Invalid) {
		t.Errorf("a body that breaks off: %v", err)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestChange shows the three states of a PATCH's members.
func TestChange(t *testing.T) {
	t.Parallel()
	const (
		noneOfACR  = `{"Tags":null,"ServiceURI":null,"CustomHeaders":null,"Status":null,"Scope":null,"Actions":null`
		noneOfOurs = `,"Policy":null,"SignatureHeaders":null,"TLS":null,"Format":null,"Handshake":null,"EventTypePrefix":null,"FlatData":null}`
		nothing    = noneOfACR + noneOfOurs
	)
	for _, tt := range []struct{ body, want string }{
		{`{}`, nothing},
		{`{"properties":{}}`, nothing},
		{`{"properties":null}`, nothing},
		{`{"location":"elsewhere"}`, nothing},
		{`{"tags":{"a":"b"},"properties":{"serviceUri":"http://x","customHeaders":{"A":"B"},"status":"disabled","scope":"x:y","actions":["push"]}}`,
			`{"Tags":{"a":"b"},"ServiceURI":"http://x","CustomHeaders":{"A":"B"},"Status":"disabled","Scope":"x:y","Actions":["push"]` + noneOfOurs},
		{`{"tags":{},"properties":{"customHeaders":{},"scope":"","actions":[]}}`,
			`{"Tags":{},"ServiceURI":null,"CustomHeaders":{},"Status":null,"Scope":"","Actions":[]` + noneOfOurs},
		{`{"tags":null,"properties":{"customHeaders":null,"scope":null}}`,
			`{"Tags":{},"ServiceURI":null,"CustomHeaders":{},"Status":null,"Scope":"","Actions":null` + noneOfOurs},
		{`{"properties":{"status":null}}`, "properties.status cannot be null"},
		{`{"properties":{"serviceUri":null}}`, "properties.serviceUri cannot be null"},
		{`{"properties":{"actions":null}}`, "properties.actions cannot be null"},
		{`{"properties":{"retryPolicy":{"timeoutInSeconds":5,"order":"none","maxPerMinute":0}}}`,
			noneOfACR + `,"Policy":{"Timeout":5000000000,"MaxAttempts":null,"TTL":null,"Order":"none","PerMinute":0},"SignatureHeaders":null,"TLS":null,"Format":null,"Handshake":null,"EventTypePrefix":null,"FlatData":null}`},
		{`{"properties":{"retryPolicy":{"timeoutInSeconds":null,"maxDeliveryAttempts":1,"eventTimeToLiveInMinutes":10080,"order":null,"maxPerMinute":null}}}`,
			noneOfACR + `,"Policy":{"Timeout":10000000000,"MaxAttempts":1,"TTL":604800000000000,"Order":"tag","PerMinute":0},"SignatureHeaders":null,"TLS":null,"Format":null,"Handshake":null,"EventTypePrefix":null,"FlatData":null}`},
		{`{"properties":{"retryPolicy":null,"signatureHeaders":null,"tls":null}}`,
			noneOfACR + `,"Policy":{"Timeout":10000000000,"MaxAttempts":30,"TTL":259200000000000,"Order":"tag","PerMinute":0},"SignatureHeaders":[],"TLS":{"CA":"","Certificate":"","Key":""},"Format":null,"Handshake":null,"EventTypePrefix":null,"FlatData":null}`},
		{`{"properties":{"format":"CloudEvents","handshake":"none"}}`,
			noneOfACR + `,"Policy":null,"SignatureHeaders":null,"TLS":null,"Format":"CloudEvents","Handshake":"none","EventTypePrefix":null,"FlatData":null}`},
		{`{"properties":{"eventTypePrefix":"com.example","flatData":true}}`,
			noneOfACR + `,"Policy":null,"SignatureHeaders":null,"TLS":null,"Format":null,"Handshake":null,"EventTypePrefix":"com.example","FlatData":true}`},
		{`{"properties":{"eventTypePrefix":null,"flatData":null}}`,
			noneOfACR + `,"Policy":null,"SignatureHeaders":null,"TLS":null,"Format":null,"Handshake":null,"EventTypePrefix":"","FlatData":false}`},
		{`{"properties":{"format":null,"handshake":null}}`,
			noneOfACR + `,"Policy":null,"SignatureHeaders":null,"TLS":null,"Format":"acr","Handshake":"","EventTypePrefix":null,"FlatData":null}`},
		{`{"properties":{"retryPolicy":{},"signatureHeaders":["github"],"tls":{"caCertificates":"a","clientCertificate":"b","clientKey":"c"}}}`,
			noneOfACR + `,"Policy":{"Timeout":null,"MaxAttempts":null,"TTL":null,"Order":null,"PerMinute":null},"SignatureHeaders":["github"],"TLS":{"CA":"YQ==","Certificate":"Yg==","Key":"Yw=="},"Format":null,"Handshake":null,"EventTypePrefix":null,"FlatData":null}`},
		{`{"properties":{"retryPolicy":{"timeoutInSeconds":31}}}`, "properties.retryPolicy.timeoutInSeconds is 31: use 1 to 30"},
		{`{"properties":{"retryPolicy":{"timeoutInSeconds":0}}}`, "properties.retryPolicy.timeoutInSeconds is 0: use 1 to 30"},
		{`{"properties":{"retryPolicy":{"maxDeliveryAttempts":31}}}`, "properties.retryPolicy.maxDeliveryAttempts is 31: use 1 to 30"},
		{`{"properties":{"retryPolicy":{"eventTimeToLiveInMinutes":9223372036854775807}}}`, "properties.retryPolicy.eventTimeToLiveInMinutes is 9223372036854775807: use 1 to 10080"},
		{`{"properties":{"retryPolicy":{"maxPerMinute":-1}}}`, "properties.retryPolicy.maxPerMinute is -1: use 0 to 600000"},
	} {
		var in webhookInput
		if err := decode([]byte(tt.body), &in); err != nil {
			t.Errorf("%s: %v", tt.body, err)
			continue
		}
		change, err := in.change()
		if err != nil {
			if strings.HasPrefix(tt.want, "{") || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("%s: %v", tt.body, err)
			}
			continue
		}
		got, err := json.Marshal(change)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.body, got, tt.want)
		}
	}
}

// TestDefinitionPolicy shows what a PUT's members beyond ACR's become.
func TestDefinitionPolicy(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ body, want string }{
		{`{}`, `10s 30 72h0m0s tag 0 [] false`},
		{`{"properties":{"retryPolicy":null,"signatureHeaders":null}}`, `10s 30 72h0m0s tag 0 [] false`},
		{`{"properties":{"retryPolicy":{"timeoutInSeconds":5,"order":"repository","maxPerMinute":60},"signatureHeaders":["flux"]}}`, `5s 30 72h0m0s repository 60 [flux] false`},
		{`{"properties":{"retryPolicy":{"maxDeliveryAttempts":1,"eventTimeToLiveInMinutes":5,"order":null}}}`, `10s 1 5m0s tag 0 [] false`},
		{`{"properties":{"tls":null}}`, `10s 30 72h0m0s tag 0 [] true`},
		{`{"properties":{"retryPolicy":{"timeoutInSeconds":300}}}`, "properties.retryPolicy.timeoutInSeconds is 300: use 1 to 30"},
	} {
		var in webhookInput
		if err := decode([]byte(tt.body), &in); err != nil {
			t.Errorf("%s: %v", tt.body, err)
			continue
		}
		def, err := in.definition()
		var got string
		if err != nil {
			got = err.Error()
		} else {
			p := def.Policy
			got = fmt.Sprint(p.Timeout, p.MaxAttempts, " ", p.TTL, " ", p.Order, " ", p.PerMinute, " ", def.SignatureHeaders, " ", def.TLS != nil)
		}
		if got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.body, got, tt.want)
		}
	}
}

// FuzzDecode checks that no body does worse than an Invalid fault with a short
// message.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{}`, `null`, `{"properties":{"actions":[1]}}`, `{"properties":{"retryPolicy":{"order":1},"tls":{}}}`, `{"tags":{"a":null}}`, "{\n\"", `[]`, "\xff"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var in webhookInput
		err := decode(body, &in)
		if err == nil {
			_, ofPut := in.definition()
			_, ofPatch := in.change()
			err = cmp.Or(ofPut, ofPatch)
		}
		if err != nil && (!fault.Is(err, fault.Invalid) || len(fault.As(err).Message) > 500) {
			t.Fatalf("%q: %v", body, err)
		}
	})
}

// FuzzSelection checks that whatever asks for a replay is refused as Invalid, or
// says something.
func FuzzSelection(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"from":"2026-03-14T09:26:53Z","until":"2026-03-14T09:26:53.1+14:00","only":"refused","repository":"a*"}`,
		`{"after":1,"upto":2,"actions":["push","PUSH"]}`, `{"deadLetters":[1],"after":0}`, `{"deadLetters":"all"}`, `{"deadLetters":null}`,
		`{"deadLetters":[null]}`, `{"deadLetters":[1e3]}`, `{"from":"0000-00-00T00:00:00Z"}`, `{"deadLetters":"all","deadletters":[]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var in replayInput
		err := decodeStrict(body, &in)
		var s delivery.Selection
		if err == nil {
			s, err = in.selection()
		}
		if err != nil {
			if !fault.Is(err, fault.Invalid) || len(fault.As(err).Message) > 500 {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		switch {
		case s.From.UnixNano() < 0 && !s.From.IsZero(), !s.Until.IsZero() && !s.Until.After(s.From), s.After < 0, s.Upto != 0 && s.Upto <= s.After,
			s.DeadLetters != nil && (len(s.DeadLetters) == 0 || s.AllDeadLetters || s.After != 0),
			slices.ContainsFunc(s.DeadLetters, func(id int64) bool { return id <= 0 }):
			t.Fatalf("%q: %+v", body, s)
		}
	})
}

func TestResponseToWire(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		attempt delivery.Attempt
		want    string
	}{
		{"delivered", delivery.Attempt{Outcome: delivery.Delivered, Answer: &outbound.ResponseHead{Status: 200, Reason: "OK", Version: "1.1", Header: map[string]string{"Date": "x"}}},
			`{"content":"","headers":{"Date":"x"},"reasonPhrase":"OK","statusCode":"200","version":"1.1"}`},
		{"refused by the receiver", delivery.Attempt{Outcome: delivery.Refused, Answer: &outbound.ResponseHead{Status: 400, Reason: "Bad Request", Version: "2.0"}, Body: []byte("<no>")},
			`{"content":"<no>","reasonPhrase":"Bad Request","statusCode":"400","version":"2.0"}`},
		{"timeout", delivery.Attempt{Outcome: delivery.Failed, Class: outbound.Timeout, Message: "no answer in 5 s"},
			`{"content":"Operation timed out.","reasonPhrase":"GatewayTimeout","statusCode":"504"}`},
		{"dns", delivery.Attempt{Outcome: delivery.Failed, Class: outbound.DNS, Message: "hooks.test has no address"},
			`{"content":"hooks.test has no address","reasonPhrase":"BadGateway","statusCode":"502"}`},
		{"address policy", delivery.Attempt{Outcome: delivery.Failed, Class: outbound.Refused, Message: "10.0.0.1 is private"},
			`{"content":"10.0.0.1 is private","reasonPhrase":"BadGateway","statusCode":"502"}`},
		{"interrupted", delivery.Attempt{Outcome: delivery.Interrupted},
			`{"content":"Interrupted: the server stopped during this attempt; the receiver may have seen it.","reasonPhrase":"Interrupted","statusCode":""}`},
		{"shutdown", delivery.Attempt{Outcome: delivery.Failed, Class: outbound.Cancelled},
			`{"content":"Interrupted: the server stopped during this attempt; the receiver may have seen it.","reasonPhrase":"Interrupted","statusCode":""}`},
	} {
		w := httptest.NewRecorder()
		write(w, answer{200, responseToWire(tt.attempt)})
		if got := strings.TrimSpace(w.Body.String()); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

func TestParsePath(t *testing.T) {
	t.Parallel()
	const arm = "/subscriptions/S/resourceGroups/G/providers/Microsoft.ContainerRegistry/registries"
	for path, want := range map[string]string{
		"/api/v1/registries":                                                "short of 1: providers|Microsoft.ContainerRegistry|registries",
		"/api/v1/registries/":                                               "short of 1: providers|Microsoft.ContainerRegistry|registries",
		"/API/V1/Registries/Contoso":                                        "short of 3 Contoso:",
		"/api/v1/registries/contoso/webHooks/Ab":                            "short of 3 contoso: webHooks|Ab",
		"/api/v1/registries//webhooks":                                      "short of 3 : webhooks",
		"/api/v1/registries/contoso/eventsubscriptions/ab":                  "short of 3 contoso: providers|Microsoft.EventGrid|eventsubscriptions|ab",
		"/api/v1/registries/contoso/providers/Microsoft.EventGrid/anything": "short of 3 contoso: providers|Microsoft.EventGrid|anything",
		"/api/v1":                           "short of 0: api|v1",
		"/api/v1/registriesx":               "short of 0: api|v1|registriesx",
		"/":                                 "of 0:",
		"":                                  "of 0:",
		"/subscriptions":                    "of 0: subscriptions",
		"/subscriptions/":                   "of 0: subscriptions",
		"/subscriptions//x":                 "of 0: subscriptions||x",
		"/Subscriptions/S":                  "of 1 S:",
		"/subscriptions/S/resourcegroups":   "of 1 S: resourcegroups",
		"/subscriptions/S/resourcegroups/G": "of 2 S G:",
		"/subscriptions/S/resourceGroups/G/resources":            "of 2 S G: resources",
		"/subscriptions/S/providers/Microsoft.ContainerRegistry": "of 1 S: providers|Microsoft.ContainerRegistry",
		arm:              "of 2 S G: providers|Microsoft.ContainerRegistry|registries",
		arm + "/Contoso": "of 3 S G Contoso:",
		arm + "/Contoso/providers/microsoft.eventgrid/eventSubscriptions/ab":         "of 3 S G Contoso: providers|microsoft.eventgrid|eventSubscriptions|ab",
		strings.ToLower(arm) + "/contoso/webhooks/ab":                                "of 3 s g contoso: webhooks|ab",
		"/subscriptions/S/resourceGroups/G/providers/Microsoft.Storage/registries/x": "of 2 S G: providers|Microsoft.Storage|registries|x",
	} {
		p := parsePath(path)
		got := fmt.Sprint("of ", int(p.level))
		if p.short {
			got = "short " + got
		}
		for _, name := range []string{p.subscription, p.group} {
			if name != "" {
				got += " " + name
			}
		}
		if p.level == ofRegistry {
			got += " " + p.registry
		}
		got = strings.TrimSuffix(got+": "+strings.Join(p.rest, "|"), " ")
		if got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

// FuzzParsePath checks that what a path is within and what is left of it are the
// path, in order, and that a found route's names come from it.
func FuzzParsePath(f *testing.F) {
	for _, seed := range []string{
		"/api/v1/registries/contoso/eventSubscriptions/ab/validate", "/subscriptions/s/resourceGroups/g/providers/Microsoft.EventGrid/systemTopics/t/eventSubscriptions/e",
		"/api/v1/registries/contoso/webhooks/ab", "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/r/webhooks/w/ping",
		"/subscriptions/s/providers", "//", "/API/v1/Registries", "subscriptions/\u212A",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		p := parsePath(path)
		segments := splitPath(path)
		if p.level == ofSubscription && p.short {
			return // the rest is not in the path
		}
		within := strings.Split(p.sent, "/")[1:]
		if p.sent == "/" {
			within = nil
		}
		if !slices.Equal(append(within, p.shown()...), segments) {
			t.Fatalf("%q: %q and %q", path, p.sent, p.rest)
		}
		for _, name := range []string{p.subscription, p.group, p.registry} {
			if name != "" && !slices.Contains(segments, name) {
				t.Fatalf("%q has no %q", path, name)
			}
		}
		for _, method := range []string{"GET", "PUT", "POST", "DELETE", "PATCH", "HEAD"} {
			rt, names, err := findRoute(http.Header{}, method, p)
			if err != nil {
				if len(fault.As(err).Message) > 2000 {
					t.Fatal(err)
				}
				continue
			}
			if rt.level != p.level || rt.action == "" || rt.run == nil {
				t.Fatalf("%q leads to %+v", path, rt)
			}
			for _, name := range names {
				if name != "" && !slices.Contains(p.rest, name) {
					t.Fatalf("%q has no %q", path, name)
				}
			}
		}
	})
}

// TestEveryEventTypeIsDescribed, also those that are new.
func TestEveryEventTypeIsDescribed(t *testing.T) {
	t.Parallel()
	for _, name := range event.Types {
		if d := describedTypes[name]; d.shown == "" || !strings.HasPrefix(d.description, "Raised when ") {
			t.Errorf("%s: %+v", name, d)
		}
	}
	if len(describedTypes) != len(event.Types) {
		t.Errorf("%d types are described, and there are %d", len(describedTypes), len(event.Types))
	}
}

// FuzzEventSubscription checks that a body is either refused with a sentence, or means
// something of which every part is in its range.
func FuzzEventSubscription(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `{"properties":{"destination":{"endpointType":"WebHook","properties":{"endpointUrl":"https://a.example","deliveryAttributeMappings":[null,{"type":"static"}]}}}}`,
		`{"properties":{"destination":{"endpointType":"kafka","properties":{"servers":["a:1"],"topic":"t","tls":{"ca":"x"}}},"retryPolicy":{"maxDeliveryAttempts":3},"filter":null}}`,
		`{"destination":{"endpointType":"NatsJetStream","properties":{"mode":"BINARY","token":"x"}},"deadLetterDestination":null,"labels":null,"expirationTimeUtc":"2030-01-01T00:00:00+01:00"}`,
		`{"filter":{"advancedFilters":[{"operatorType":"NumberInRange","key":"a","values":[[1,2]]}]},"eventDeliverySchema":"CloudEventV01Schema","retryPolicy":{}}`,
		`{"destination":{"endpointType":"WebHook","properties":7}}`, `{"deadLetterDestination":{"endpointType":"storageblob","properties":[]}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		refused := func(err error) bool {
			if err != nil && (!fault.Is(err, fault.Invalid) || fault.As(err).Message == "" || len(fault.As(err).Message) > 2000) {
				t.Fatalf("%q: %v", body, err)
			}
			return err != nil
		}
		var in eventSubscriptionInput
		if !refused(decode(body, &in)) {
			def, err := in.definition()
			if !refused(err) && (def.MaxAttempts < 1 || def.MaxAttempts > 30 || def.TTL < time.Minute || def.TTL > 24*time.Hour ||
				def.Destination != nil && (def.Destination.Type == subscription.WebHook) != (def.Destination.Broker == nil)) {
				t.Fatalf("%q: %+v", body, def)
			}
		}
		var members eventSubscriptionMembers
		if !refused(decode(body, &members)) {
			change, err := members.change()
			if !refused(err) && (change.MaxAttempts == nil) != (change.TTL == nil) {
				t.Fatalf("%q: %+v", body, change)
			}
		}
	})
}

// FuzzNameFilter checks that a filter and its contrary never agree on a name.
func FuzzNameFilter(f *testing.F) {
	for _, seed := range []string{
		"", " ", "name eq 'a'", "NAME NE 'a'", "contains(name,'b')", "not contains( name , 'b' )", "name eq 'a' or name eq 'b' and not (name eq 'c')",
		"name eq 'it''s'", "name eq 'a' and", "((((", "not not not name eq 'x'", "namelist eq 'a'", "contains(name,'a')or name eq 'b'", "name eq 'a", "name eq a",
	} {
		f.Add(seed, "ab")
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		wants, err := parseNameFilter(text)
		if err != nil {
			if !fault.Is(err, fault.Invalid) || len(fault.As(err).Message) > 500 {
				t.Fatal(err)
			}
			return
		}
		if strings.TrimSpace(text) == "" {
			if !wants(name) {
				t.Fatalf("no filter hides %q", name)
			}
			return
		}
		no, err := parseNameFilter("not (" + text + ")")
		if err == nil && no(name) == wants(name) {
			t.Fatalf("%q and its contrary agree on %q", text, name)
		}
	})
}

func TestNameFilter(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                        "on-push on-delete It's",
		"name eq 'ON-push'":       "on-push",
		"name ne 'on-push'":       "on-delete It's",
		"contains(name, 'on')":    "on-push on-delete",
		"not contains(Name,'on')": "It's",
		"contains(name,'on') and not (name eq 'on-push')":                     "on-delete",
		"name eq 'x' or name eq 'on-push' and contains(name,'p')":             "on-push",
		"(name eq 'on-push' or name eq 'on-delete') and contains(name,'del')": "on-delete",
		"name eq 'it''s'":         "It's",
		"name":                    "error",
		"name eq":                 "error",
		"name eq on-push":         "error",
		"name eq 'on-push":        "error",
		"name eq 'a' name eq 'b'": "error",
		"name eq 'a' or":          "error",
		"(name eq 'a'":            "error",
		"names eq 'a'":            "error",
		"contains(name 'a')":      "error",
		"topic eq 'a'":            "error",
		strings.Repeat("(", 40) + "name eq 'a'" + strings.Repeat(")", 40): "error",
		"name eq '" + strings.Repeat("a", 3000) + "'":                     "error",
	} {
		wants, err := parseNameFilter(text)
		got := "error"
		if err == nil {
			var names []string
			for _, name := range []string{"on-push", "on-delete", "It's"} {
				if wants(name) {
					names = append(names, name)
				}
			}
			got = strings.Join(names, " ")
		}
		if got != want {
			t.Errorf("%.80s: %q, want %q", text, got, want)
		}
	}
}

func TestFindRoute(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		method, path string
		names        [2]string
		allow        string
		kind         fault.Kind // Internal: found
	}{
		{"GET", "", [2]string{}, "", fault.Internal},
		{"HEAD", "webhooks", [2]string{}, "", fault.Internal},
		{"GET", "webhooks/MyHook1", [2]string{"MyHook1"}, "", fault.Internal},
		{"POST", "webHooks/MyHook1/LISTEVENTS", [2]string{"MyHook1"}, "", fault.Internal},
		{"GET", "webhooks/MyHook1/listEvents", [2]string{"MyHook1"}, "", fault.Internal},
		{"GET", "webhooks/MyHook1/ping", [2]string{}, "POST", fault.Unsupported},
		{"POST", "webhooks/MyHook1", [2]string{}, "DELETE, GET, PATCH, PUT", fault.Unsupported},
		{"GET", "replications/eastus", [2]string{"eastus"}, "", fault.Internal},
		{"GET", "pipelineRuns", [2]string{}, "", fault.NotFound},
		{"patch", "tokens/ci-pull", [2]string{}, "DELETE, GET, PATCH, PUT", fault.Unsupported},
		{"PATCH", "TOKENS/ci-pull", [2]string{"ci-pull"}, "", fault.Internal},
		{"GET", "webhooks/a/b/c", [2]string{}, "", fault.NotFound},
		{"GET", "webhooks/a/b/c/d/e", [2]string{}, "", fault.NotFound},
	} {
		h := http.Header{}
		_, names, err := findRoute(h, tt.method, place{level: ofRegistry, rest: splitPath(tt.path)})
		if names != tt.names || h.Get("Allow") != tt.allow || (err != nil && fault.As(err).Kind != tt.kind) || (err == nil) != (tt.kind == fault.Internal) {
			t.Errorf("%s %s: names %q, allow %q, %v", tt.method, tt.path, names, h.Get("Allow"), err)
		}
	}
}

// FuzzPageToken checks that a token that is taken comes back the same.
func FuzzPageToken(f *testing.F) {
	for _, seed := range []string{"100-1.2.3.4", "-1", "1-", "99999999999999999999-x", "0100-x", "+1-x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		token, err := parsePageToken(url.Values{"$skiptoken": {text}})
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatal(err)
			}
			return
		}
		again, err := parsePageToken(url.Values{"$skiptoken": {token.String()}})
		if text != "" && (err != nil || again != token) {
			t.Fatalf("%q: %+v, then %+v, %v", text, token, again, err)
		}
	})
}
