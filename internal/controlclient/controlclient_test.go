package controlclient

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
)

func parse(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func client(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return New(parse(t, srv.URL), "dockbell", "s3cret", srv.Client())
}

var hook1 = Endpoint{OfWebhook, "contoso", "hook1"}

// TestHandshakesTakeTime: who creates a subscription waits for its receiver, longer
// than for the server.
func TestHandshakesTakeTime(t *testing.T) {
	t.Parallel()
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			io.WriteString(w, `{}`)
			return
		}
		<-r.Context().Done()
	})
	c.http.Timeout = time.Nanosecond // is for requests that no receiver is asked for
	def := EventSubscriptionWrite{}
	for name, call := range map[string]func() error{
		"put":      func() error { _, err := c.PutEventSubscription(t.Context(), "contoso", "on-push", def); return err },
		"patch":    func() error { _, err := c.PatchEventSubscription(t.Context(), "contoso", "on-push", def); return err },
		"validate": func() error { _, err := c.ValidateEventSubscription(t.Context(), "contoso", "on-push"); return err },
	} {
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.EventSubscription(t.Context(), "contoso", "on-push"); err == nil {
		t.Error("a question to the server has no time limit")
	}
}

// TestRequests checks method, path and body of every call.
func TestRequests(t *testing.T) {
	t.Parallel()
	enabled := "enabled"
	for _, tt := range []struct {
		name   string
		call   func(context.Context, *Client) error
		answer string
		want   string // method, path and body
	}{
		{"registries", func(ctx context.Context, c *Client) error { _, err := c.Registries(ctx); return err },
			`{"value":[]}`, "GET /api/v1/registries"},
		{"statistics", func(ctx context.Context, c *Client) error {
			all, err := c.Statistics(ctx, "contoso", StatisticsSpan{})
			if len(all.Each) != 1 || all.Each[0].Kind != OfWebhook || all.Each[0].Points[0].Refused != 2 || all.Delivered != 7 || all.P99 != 1.5 || all.Waiting != 3 || all.Raw == nil {
				return fmt.Errorf("read as %+v", all)
			}
			return err
		}, `{"step":"hour","waiting":3,"delivered":7,"p99Ms":1.5,"points":[],"value":[{"kind":"webhooks","name":"hook1","points":[{"at":"2026-03-14T09:00:00.0000000Z","refused":2}]}]}`,
			"GET /api/v1/registries/contoso/statistics"},
		{"statistics of a webhook", func(ctx context.Context, c *Client) error {
			_, err := c.EndpointStatistics(ctx, hook1, StatisticsSpan{Step: ByMinute, Since: time.Unix(60, 5)})
			return err
		}, `{}`, "GET /api/v1/registries/contoso/webhooks/hook1/statistics?since=1970-01-01T00%3A01%3A00Z&step=minute"},
		{"registry", func(ctx context.Context, c *Client) error { _, err := c.Registry(ctx, "contoso"); return err },
			`{}`, "GET /api/v1/registries/contoso"},
		{"audit log", func(ctx context.Context, c *Client) error {
			_, err := c.AuditLog(ctx, "", AuditFilter{After: time.Unix(0, 0), Before: time.Unix(1, 5e8), Actor: "a b", Action: "login/failed", Resource: "x", Outcome: "refused"}, 3)
			return err
		}, `{"value":[]}`, "GET /api/v1/auditLog?action=login%2Ffailed&actor=a+b&after=1970-01-01T00%3A00%3A00Z&before=1970-01-01T00%3A00%3A01.5Z&outcome=refused&resource=x"},
		{"audit log of a registry", func(ctx context.Context, c *Client) error {
			_, err := c.AuditLog(ctx, "contoso", AuditFilter{}, 3)
			return err
		}, `{"value":[]}`, "GET /api/v1/registries/contoso/auditLog"},
		{"signing keys", func(ctx context.Context, c *Client) error { _, err := c.SigningKeys(ctx); return err },
			`{"value":[]}`, "GET /api/v1/signingKeys"},
		{"rotate a signing key", func(ctx context.Context, c *Client) error { _, _, err := c.RotateSigningKey(ctx, true); return err },
			`{}`, `POST /api/v1/signingKeys/rotate {"revoke":true}`},
		{"webhooks", func(ctx context.Context, c *Client) error { _, err := c.Webhooks(ctx, "contoso"); return err },
			`{"value":[]}`, "GET /api/v1/registries/contoso/webhooks?expand=health"},
		{"webhook", func(ctx context.Context, c *Client) error { _, err := c.Webhook(ctx, "contoso", "a/b?c"); return err },
			`{}`, "GET /api/v1/registries/contoso/webhooks/a%2Fb%3Fc?expand=health"},
		{"put", func(ctx context.Context, c *Client) error {
			_, err := c.PutWebhook(ctx, "contoso", "hook1", WebhookCreate{Location: "local",
				Properties: WebhookCreateProperties{ServiceURI: "http://x", Actions: []string{"push"}}})
			return err
		}, `{}`, `PUT /api/v1/registries/contoso/webhooks/hook1 {"location":"local","properties":{"serviceUri":"http://x","actions":["push"]}}`},
		{"patch nothing", func(ctx context.Context, c *Client) error {
			_, err := c.PatchWebhook(ctx, "contoso", "hook1", WebhookUpdate{})
			return err
		}, `{}`, `PATCH /api/v1/registries/contoso/webhooks/hook1 {}`},
		{"patch status", func(ctx context.Context, c *Client) error {
			_, err := c.PatchWebhook(ctx, "contoso", "hook1", WebhookUpdate{Properties: WebhookUpdateProperties{Status: &enabled}})
			return err
		}, `{}`, `PATCH /api/v1/registries/contoso/webhooks/hook1 {"properties":{"status":"enabled"}}`},
		{"patch clears", func(ctx context.Context, c *Client) error {
			_, err := c.PatchWebhook(ctx, "contoso", "hook1", WebhookUpdate{Tags: map[string]string{},
				Properties: WebhookUpdateProperties{Scope: new(""), CustomHeaders: map[string]string{}}})
			return err
		}, `{}`, `PATCH /api/v1/registries/contoso/webhooks/hook1 {"tags":{},"properties":{"customHeaders":{},"scope":""}}`},
		{"ping", func(ctx context.Context, c *Client) error {
			id, err := c.Ping(ctx, "contoso", "hook1")
			if id != "e1" {
				t.Errorf("ping returns %q", id)
			}
			return err
		}, `{"id":"e1"}`, "POST /api/v1/registries/contoso/webhooks/hook1/ping"},
		{"config", func(ctx context.Context, c *Client) error {
			_, err := c.CallbackConfig(ctx, "contoso", "hook1")
			return err
		},
			`{}`, "POST /api/v1/registries/contoso/webhooks/hook1/getCallbackConfig"},
		{"events", func(ctx context.Context, c *Client) error {
			_, err := c.Events(ctx, hook1, EventFilter{})
			return err
		}, `{"value":[]}`, "POST /api/v1/registries/contoso/webhooks/hook1/listEvents"},
		{"some events", func(ctx context.Context, c *Client) error {
			_, err := c.Events(ctx, hook1, EventFilter{Outcome: "refused", Replay: 7})
			return err
		}, `{"value":[]}`, "POST /api/v1/registries/contoso/webhooks/hook1/listEvents?outcome=refused&replay=7"},
		{"put all", func(ctx context.Context, c *Client) error {
			_, err := c.PutWebhook(ctx, "contoso", "hook1", WebhookCreate{Properties: WebhookCreateProperties{
				RetryPolicy: &RetryPolicy{MaxDeliveryAttempts: new(1)}, SignatureHeaders: []string{"github"}, TLS: &WebhookTLS{CACertificates: "pem"}}})
			return err
		}, `{}`, `PUT /api/v1/registries/contoso/webhooks/hook1 {"properties":{"retryPolicy":{"maxDeliveryAttempts":1},"signatureHeaders":["github"],"tls":{"caCertificates":"pem"}}}`},
		{"patch clears all", func(ctx context.Context, c *Client) error {
			_, err := c.PatchWebhook(ctx, "contoso", "hook1", WebhookUpdate{Properties: WebhookUpdateProperties{
				RetryPolicy: &RetryPolicy{MaxPerMinute: new(0)}, SignatureHeaders: []string{}, TLS: &WebhookTLS{}}})
			return err
		}, `{}`, `PATCH /api/v1/registries/contoso/webhooks/hook1 {"properties":{"retryPolicy":{"maxPerMinute":0},"signatureHeaders":[],"tls":null}}`},
		{"pause", func(ctx context.Context, c *Client) error {
			_, err := c.PauseWebhook(ctx, "contoso", "hook1")
			return err
		},
			`{}`, "POST /api/v1/registries/contoso/webhooks/hook1/pause"},
		{"resume", func(ctx context.Context, c *Client) error {
			_, err := c.ResumeWebhook(ctx, "contoso", "hook1")
			return err
		},
			`{}`, "POST /api/v1/registries/contoso/webhooks/hook1/resume"},
		{"test", func(ctx context.Context, c *Client) error {
			id, err := c.Test(ctx, "contoso", "hook1", "push")
			if id != "e1" {
				t.Errorf("test returns %q", id)
			}
			return err
		}, `{"id":"e1"}`, `POST /api/v1/registries/contoso/webhooks/hook1/test {"action":"push"}`},
		{"rotate", func(ctx context.Context, c *Client) error {
			r, err := c.RotateSecret(ctx, "contoso", "hook1", 90*time.Minute)
			if r.SigningSecret != "whsec_eA==" || r.PreviousValidUntil.Unix() != 1741944413 {
				t.Errorf("rotate returns %+v", r)
			}
			return err
		}, `{"signingSecret":"whsec_eA==","previousValidUntil":"2025-03-14T09:26:53Z"}`, `POST /api/v1/registries/contoso/webhooks/hook1/rotateSecret {"overlapInMinutes":90}`},
		{"redeliver", func(ctx context.Context, c *Client) error {
			r, err := c.Redeliver(ctx, hook1, "e1")
			if r.ID != 3 || r.State != ReplayRunning || string(r.Raw) != `{"id":3,"state":"running"}` {
				t.Errorf("redeliver returns %+v", r)
			}
			return err
		}, `{"id":3,"state":"running"}`, `POST /api/v1/registries/contoso/webhooks/hook1/redeliver {"eventId":"e1"}`},
		{"replay everything", func(ctx context.Context, c *Client) error {
			_, err := c.StartReplay(ctx, hook1, ReplayRequest{})
			return err
		}, `{}`, `POST /api/v1/registries/contoso/webhooks/hook1/replays {}`},
		{"replay some", func(ctx context.Context, c *Client) error {
			_, err := c.StartReplay(ctx, hook1, ReplayRequest{
				From: time.Unix(1741944413, 0).UTC(), Until: time.Unix(1741944414, 0).UTC(), After: 1, Upto: 9, Only: "undelivered",
				Actions: []string{"push"}, Repository: "team/*", ServiceURI: "http://x", MaxPerMinute: 60})
			return err
		}, `{}`, `POST /api/v1/registries/contoso/webhooks/hook1/replays {"from":"2025-03-14T09:26:53Z","until":"2025-03-14T09:26:54Z","after":1,"upto":9,"only":"undelivered","actions":["push"],"repository":"team/*","serviceUri":"http://x","maxPerMinute":60}`},
		{"redrive some", func(ctx context.Context, c *Client) error {
			_, err := c.StartReplay(ctx, hook1, ReplayRequest{DeadLetters: &DeadLetterIDs{4, 2}})
			return err
		}, `{}`, `POST /api/v1/registries/contoso/webhooks/hook1/replays {"deadLetters":[4,2]}`},
		{"redrive all", func(ctx context.Context, c *Client) error {
			_, err := c.StartReplay(ctx, hook1, ReplayRequest{DeadLetters: &DeadLetterIDs{}})
			return err
		}, `{}`, `POST /api/v1/registries/contoso/webhooks/hook1/replays {"deadLetters":"all"}`},
		{"replays", func(ctx context.Context, c *Client) error { _, err := c.Replays(ctx, hook1); return err },
			`{"value":[]}`, "GET /api/v1/registries/contoso/webhooks/hook1/replays"},
		{"a replay", func(ctx context.Context, c *Client) error { _, err := c.Replay(ctx, hook1, 3); return err },
			`{}`, "GET /api/v1/registries/contoso/webhooks/hook1/replays/3"},
		{"cancel", func(ctx context.Context, c *Client) error {
			_, err := c.CancelReplay(ctx, hook1, 3)
			return err
		}, `{}`, "DELETE /api/v1/registries/contoso/webhooks/hook1/replays/3"},
		{"dead letters", func(ctx context.Context, c *Client) error {
			all, err := c.DeadLetters(ctx, hook1)
			if len(all) != 1 || all[0].Count != 12 || all[0].At.Unix() != 1741944413 || !all[0].EventTime.IsZero() {
				t.Errorf("dead letters: %+v", all)
			}
			return err
		}, `{"value":[{"id":4,"count":12,"reason":"gone","at":"2025-03-14T09:26:53Z"}]}`, "GET /api/v1/registries/contoso/webhooks/hook1/deadLetters"},
		{"purge some", func(ctx context.Context, c *Client) error {
			n, err := c.PurgeDeadLetters(ctx, hook1, DeadLetterIDs{4})
			if n != 12 {
				t.Errorf("purge returns %d", n)
			}
			return err
		}, `{"purged":12}`, `POST /api/v1/registries/contoso/webhooks/hook1/deadLetters/purge {"ids":[4]}`},
		{"purge all", func(ctx context.Context, c *Client) error {
			_, err := c.PurgeDeadLetters(ctx, hook1, nil)
			return err
		}, `{"purged":0}`, `POST /api/v1/registries/contoso/webhooks/hook1/deadLetters/purge {"ids":"all"}`},
		{"event subscriptions", func(ctx context.Context, c *Client) error {
			all, err := c.EventSubscriptions(ctx, "contoso", "")
			if len(all) != 1 || all[0].Properties.DeadLetterDestination.Container != "dead" || all[0].Properties.ExpirationTimeUTC.Unix() != 1741944413 || all[0].Health != nil {
				t.Errorf("event subscriptions: %+v", all)
			}
			return err
		}, `{"value":[{"properties":{"deadLetterDestination":{"endpointType":"StorageBlob","properties":{"blobContainerName":"dead"}},"expirationTimeUtc":"2025-03-14T09:26:53.0Z"}}]}`,
			"GET /api/v1/registries/contoso/eventSubscriptions?expand=health"},
		{"some event subscriptions", func(ctx context.Context, c *Client) error {
			_, err := c.EventSubscriptions(ctx, "contoso", "name eq 'a+b'")
			return err
		}, `{"value":[]}`, "GET /api/v1/registries/contoso/eventSubscriptions?expand=health&%24filter=name+eq+%27a%2Bb%27"},
		{"event subscription", func(ctx context.Context, c *Client) error {
			s, err := c.EventSubscription(ctx, "contoso", "on-push")
			if p := s.Properties; p.DeadLetterDestination != nil || !p.ExpirationTimeUTC.IsZero() || p.Destination.EndpointType != ToWebHook || s.Health.State != "ok" {
				t.Errorf("event subscription: %+v", s)
			}
			return err
		}, `{"properties":{"destination":{"endpointType":"WebHook","properties":{"endpointUrl":null}},"deadLetterDestination":null,"expirationTimeUtc":null,"labels":null},"health":{"state":"ok"}}`,
			"GET /api/v1/registries/contoso/eventSubscriptions/on-push?expand=health"},
		{"put event subscription", func(ctx context.Context, c *Client) error {
			_, err := c.PutEventSubscription(ctx, "contoso", "on-push", EventSubscriptionWrite{
				Destination: &Destination{EndpointType: ToWebHook, Properties: DestinationProperties{EndpointURL: "https://x/?a=b&c"}}, ExpirationTimeUTC: &Expiry{time.Unix(1741944413, 0)}})
			return err
		}, `{"properties":{"expirationTimeUtc":""}}`, `PUT /api/v1/registries/contoso/eventSubscriptions/on-push ` +
			`{"properties":{"destination":{"endpointType":"WebHook","properties":{"endpointUrl":"https://x/?a=b\u0026c"}},"expirationTimeUtc":"2025-03-14T09:26:53Z"}}`},
		{"patch nothing of an event subscription", func(ctx context.Context, c *Client) error {
			_, err := c.PatchEventSubscription(ctx, "contoso", "on-push", EventSubscriptionWrite{})
			return err
		}, `{}`, `PATCH /api/v1/registries/contoso/eventSubscriptions/on-push {}`},
		{"patch clears of an event subscription", func(ctx context.Context, c *Client) error {
			_, err := c.PatchEventSubscription(ctx, "contoso", "on-push", EventSubscriptionWrite{
				Destination: &Destination{EndpointType: ToKafka, Properties: DestinationProperties{DeliveryAttributeMappings: []DeliveryAttribute{}}},
				Filter:      &SubscriptionFilter{}, Labels: []string{}, ExpirationTimeUTC: &Expiry{}, DeadLetterDestination: &DeadLetterDestination{}})
			return err
		}, `{}`, `PATCH /api/v1/registries/contoso/eventSubscriptions/on-push ` +
			`{"destination":{"endpointType":"Kafka","properties":{"deliveryAttributeMappings":[]}},"filter":{},"labels":[],"expirationTimeUtc":null,"deadLetterDestination":null}`},
		{"delete event subscription", func(ctx context.Context, c *Client) error {
			existed, err := c.DeleteEventSubscription(ctx, "contoso", "on-push")
			if !existed {
				t.Error("it was there")
			}
			return err
		}, ``, "DELETE /api/v1/registries/contoso/eventSubscriptions/on-push"},
		{"full URL", func(ctx context.Context, c *Client) error {
			u, err := c.FullURL(ctx, "contoso", "on-push")
			if u != "https://x/?code=y" {
				t.Errorf("the full URL is %q", u)
			}
			return err
		}, `{"endpointUrl":"https://x/?code=y"}`, "POST /api/v1/registries/contoso/eventSubscriptions/on-push/getFullUrl"},
		{"delivery attributes", func(ctx context.Context, c *Client) error {
			all, err := c.DeliveryAttributes(ctx, "contoso", "on-push")
			if len(all) != 1 || *all[0].Properties.Value != "" || !*all[0].Properties.IsSecret {
				t.Errorf("delivery attributes: %+v", all)
			}
			return err
		}, `{"value":[{"name":"A","type":"Static","properties":{"value":"","isSecret":true}}]}`, "POST /api/v1/registries/contoso/eventSubscriptions/on-push/getDeliveryAttributes"},
		{"validate", func(ctx context.Context, c *Client) error {
			s, err := c.ValidateEventSubscription(ctx, "contoso", "on-push")
			if s.Properties.StateReason != "why" {
				t.Errorf("validate returns %+v", s)
			}
			return err
		}, `{"properties":{"provisioningState":"AwaitingManualAction","provisioningStateReason":"why"}}`, "POST /api/v1/registries/contoso/eventSubscriptions/on-push/validate"},
		{"pause an event subscription", func(ctx context.Context, c *Client) error {
			_, err := c.PauseEventSubscription(ctx, "contoso", "on-push")
			return err
		}, `{}`, "POST /api/v1/registries/contoso/eventSubscriptions/on-push/pause"},
		{"resume an event subscription", func(ctx context.Context, c *Client) error {
			_, err := c.ResumeEventSubscription(ctx, "contoso", "on-push")
			return err
		}, `{}`, "POST /api/v1/registries/contoso/eventSubscriptions/on-push/resume"},
		{"events of an event subscription", func(ctx context.Context, c *Client) error {
			_, err := c.Events(ctx, Endpoint{OfEventSubscription, "contoso", "on-push"}, EventFilter{})
			return err
		}, `{"value":[]}`, "POST /api/v1/registries/contoso/eventSubscriptions/on-push/listEvents"},
		{"event types", func(ctx context.Context, c *Client) error { _, err := c.EventTypes(ctx); return err },
			`{"value":[]}`, "GET /providers/Microsoft.EventGrid/topicTypes/Microsoft.ContainerRegistry.Registries/eventTypes?api-version=2022-06-15"},
		{"scope maps", func(ctx context.Context, c *Client) error {
			all, err := c.ScopeMaps(ctx, "contoso")
			if len(all) != 1 || all[0].Name != "_repositories_pull" || all[0].Properties.Type != "SystemDefined" {
				t.Errorf("scope maps: %+v", all)
			}
			return err
		}, `{"value":[{"name":"_repositories_pull","properties":{"type":"SystemDefined"}}]}`, "GET /api/v1/registries/contoso/scopeMaps"},
		{"scope map", func(ctx context.Context, c *Client) error { _, err := c.ScopeMap(ctx, "contoso", "a/b"); return err },
			`{}`, "GET /api/v1/registries/contoso/scopeMaps/a%2Fb"},
		{"put scope map", func(ctx context.Context, c *Client) error {
			_, err := c.PutScopeMap(ctx, "contoso", "map1", ScopeMapWrite{Description: new("d"), Actions: []string{"repositories/hello/content/read"}})
			return err
		}, `{}`, `PUT /api/v1/registries/contoso/scopeMaps/map1 {"properties":{"description":"d","actions":["repositories/hello/content/read"]}}`},
		{"patch scope map", func(ctx context.Context, c *Client) error {
			_, err := c.PatchScopeMap(ctx, "contoso", "map1", ScopeMapWrite{Description: new("")})
			return err
		}, `{}`, `PATCH /api/v1/registries/contoso/scopeMaps/map1 {"properties":{"description":""}}`},
		{"delete scope map", func(ctx context.Context, c *Client) error {
			_, err := c.DeleteScopeMap(ctx, "contoso", "map1")
			return err
		},
			``, "DELETE /api/v1/registries/contoso/scopeMaps/map1"},
		{"tokens", func(ctx context.Context, c *Client) error {
			all, err := c.Tokens(ctx, "contoso")
			if len(all) != 1 || all[0].Properties.Credentials.Passwords[0] != (TokenPassword{Name: "password1", Expiry: "2030-01-01T00:00:00Z"}) {
				t.Errorf("tokens: %+v", all)
			}
			return err
		}, `{"value":[{"properties":{"credentials":{"passwords":[{"name":"password1","expiry":"2030-01-01T00:00:00Z"}]}}}]}`, "GET /api/v1/registries/contoso/tokens"},
		{"token", func(ctx context.Context, c *Client) error { _, err := c.Token(ctx, "contoso", "ci"); return err },
			`{}`, "GET /api/v1/registries/contoso/tokens/ci"},
		{"put token", func(ctx context.Context, c *Client) error {
			_, err := c.PutToken(ctx, "contoso", "ci", TokenWrite{ScopeMapID: "/map", Status: "enabled"})
			return err
		}, `{}`, `PUT /api/v1/registries/contoso/tokens/ci {"properties":{"scopeMapId":"/map","status":"enabled"}}`},
		{"keep a password", func(ctx context.Context, c *Client) error {
			_, err := c.PatchToken(ctx, "contoso", "ci", TokenWrite{Credentials: &TokenCredentials{Passwords: []TokenPassword{{Name: "password2"}}}})
			return err
		}, `{}`, `PATCH /api/v1/registries/contoso/tokens/ci {"properties":{"credentials":{"passwords":[{"name":"password2"}]}}}`},
		{"keep no password", func(ctx context.Context, c *Client) error {
			_, err := c.PatchToken(ctx, "contoso", "ci", TokenWrite{Credentials: &TokenCredentials{Passwords: []TokenPassword{}}})
			return err
		}, `{}`, `PATCH /api/v1/registries/contoso/tokens/ci {"properties":{"credentials":{"passwords":[]}}}`},
		{"delete token", func(ctx context.Context, c *Client) error { _, err := c.DeleteToken(ctx, "contoso", "ci"); return err },
			``, "DELETE /api/v1/registries/contoso/tokens/ci"},
		{"generate", func(ctx context.Context, c *Client) error {
			g, err := c.GenerateCredentials(ctx, "contoso", "/token", "", time.Time{})
			if g.Username != "ci" || g.Passwords[1].Value != "b" {
				t.Errorf("generate returns %+v", g)
			}
			return err
		}, `{"username":"ci","passwords":[{"name":"password1","value":"a"},{"name":"password2","value":"b"}]}`,
			`POST /api/v1/registries/contoso/generateCredentials {"tokenId":"/token"}`},
		{"generate one for a time", func(ctx context.Context, c *Client) error {
			_, err := c.GenerateCredentials(ctx, "contoso", "/token", "password1", time.Unix(1741944413, 0).UTC())
			return err
		}, `{}`, `POST /api/v1/registries/contoso/generateCredentials {"tokenId":"/token","name":"password1","expiry":"2025-03-14T09:26:53Z"}`},
	} {
		var got string
		c := client(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			got = strings.TrimSpace(r.Method + " " + r.RequestURI + " " + string(body))
			if user, password, _ := r.BasicAuth(); user != "dockbell" || password != "s3cret" {
				t.Errorf("%s: credentials are %s, %s", tt.name, user, password)
			}
			io.WriteString(w, tt.answer)
		})
		if err := tt.call(t.Context(), c); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

func TestDeleteSaysWhetherThereWasOne(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]bool{200: true, 204: false} {
		c := client(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) })
		if existed, err := c.DeleteWebhook(t.Context(), "contoso", "hook1"); err != nil || existed != want {
			t.Errorf("%d: %v, %v", status, existed, err)
		}
	}
}

// TestPages checks that all pages are read with GET, and from this server
// whatever host the links name.
func TestPages(t *testing.T) {
	t.Parallel()
	var asked []string
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.RawQuery)
		n := len(asked)
		p := map[string]any{"value": []map[string]string{{"id": fmt.Sprint("e", n)}}}
		if n < 3 {
			p["nextLink"] = fmt.Sprintf("https://evil.example%s?$skiptoken=%d", r.URL.Path, n)
		}
		json.NewEncoder(w).Encode(p)
	})
	events, err := c.Events(t.Context(), hook1, EventFilter{})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, e := range events {
		ids = append(ids, e.ID)
	}
	if got := strings.Join(ids, " "); got != "e1 e2 e3" {
		t.Errorf("events %s", got)
	}
	if got := strings.Join(asked, ", "); got != "POST , GET $skiptoken=1, GET $skiptoken=2" {
		t.Errorf("asked %s", got)
	}
}

// TestOnePage checks that a list can be read page by page, each behind the one before.
func TestOnePage(t *testing.T) {
	t.Parallel()
	var asked []string
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RequestURI())
		p := map[string]any{"value": []map[string]string{{"name": "one"}}}
		if r.FormValue("$skiptoken") == "" {
			p["nextLink"] = "https://evil.example/else?a=b&$skiptoken=1%2B2"
		}
		json.NewEncoder(w).Encode(p)
	})
	for name, read := range map[string]func(after string) (n int, next string, err error){
		"/auditLog?outcome=failed": func(after string) (int, string, error) {
			p, err := c.AuditPage(t.Context(), "contoso", AuditFilter{Outcome: "failed"}, after)
			return len(p.Value), p.Next, err
		},
		"/tokens": func(after string) (int, string, error) {
			p, err := c.TokensPage(t.Context(), "contoso", after)
			return len(p.Value), p.Next, err
		},
		"/scopeMaps": func(after string) (int, string, error) {
			p, err := c.ScopeMapsPage(t.Context(), "contoso", after)
			return len(p.Value), p.Next, err
		},
	} {
		asked = nil
		n, next, err := read("")
		if err != nil || n != 1 || next != "1+2" {
			t.Errorf("%s: %d, next %q, %v", name, n, next, err)
		}
		if n, next, err = read(next); err != nil || n != 1 || next != "" {
			t.Errorf("%s, the second page: %d, next %q, %v", name, n, next, err)
		}
		path, query, _ := strings.Cut(name, "?")
		path = "/api/v1/registries/contoso" + path
		first, second := path, path+"?"+url.Values{skipToken: {"1+2"}}.Encode()
		if query != "" {
			first, second = path+"?"+query, second+"&"+query
		}
		if !slices.Equal(asked, []string{first, second}) {
			t.Errorf("%s: asked %s", name, strings.Join(asked, " "))
		}
	}
}

// TestHealth checks that health is read, times and all, and kept as it came.
func TestHealth(t *testing.T) {
	t.Parallel()
	const health = `{"state":"failing","consecutiveFailures":5,"firstFailure":"2025-03-14T09:26:53Z","lastError":"connect","waiting":3,"behind":40,"deadLetters":2}`
	c := client(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, `{"name":"hook1","health":%s}`, health) })
	w, err := c.Webhook(t.Context(), "contoso", "hook1")
	if err != nil || w.Health == nil {
		t.Fatalf("%+v, %v", w, err)
	}
	want := Health{State: "failing", ConsecutiveFailures: 5, FirstFailure: time.Unix(1741944413, 0).UTC(), LastError: "connect", Waiting: 3, Behind: 40, DeadLetters: 2, Raw: []byte(health)}
	if !reflect.DeepEqual(*w.Health, want) {
		t.Errorf("got %+v, want %+v", *w.Health, want)
	}
}

func TestEndlessPages(t *testing.T) {
	t.Parallel()
	c := client(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, `{"nextLink":"%s"}`, r.URL.Path) })
	if _, err := c.Webhooks(t.Context(), "contoso"); err == nil || !strings.Contains(err.Error(), "without an end") {
		t.Errorf("error is %v", err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status  int
		body    string
		kind    fault.Kind
		code    string
		message string
	}{
		{400, `{"error":{"code":"InvalidRequestContent","message":"no location"}}`, fault.Invalid, "InvalidRequestContent", "no location"},
		{401, `{"error":{"code":"AuthenticationFailed","message":"who?"}}`, fault.Unauthenticated, "AuthenticationFailed", "who?"},
		{403, `{"error":{"code":"AuthorizationFailed","message":"not you"}}`, fault.Denied, "AuthorizationFailed", "not you"},
		{403, `{"error":{"code":"QuotaExceeded","message":"2 of 2"}}`, fault.Quota, "QuotaExceeded", "2 of 2"},
		{404, `{"error":{"code":"ResourceNotFound","message":"no hook"}}`, fault.NotFound, "ResourceNotFound", "no hook"},
		{421, `{"error":{"code":"MisdirectedRequest","message":"--domain"}}`, fault.NotFound, "MisdirectedRequest", "--domain"},
		{409, `{"error":{"code":"Conflict","message":"moved"}}`, fault.Conflict, "Conflict", "moved"},
		{429, `{"error":{"code":"TooManyRequests","message":"slow"}}`, fault.Unavailable, "TooManyRequests", "slow"},
		{500, `{"error":{"code":"InternalServerError","message":"a bug"}}`, fault.Internal, "InternalServerError", "a bug"},
		{404, `<html>nginx</html>`, fault.NotFound, "", "is this the address of a dockbell server?"},
		{502, ``, fault.Internal, "", "answered 502 Bad Gateway"},
		{200, `<html>nginx</html>`, fault.Internal, "", "is this the address of a dockbell server?"},
		{200, `[]`, fault.Internal, "", "is this the address of a dockbell server?"},
		{400, "Client sent an HTTP request to an HTTPS server.\n", fault.Invalid, "", "use https://"},
	} {
		c := client(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(tt.status)
			io.WriteString(w, tt.body)
		})
		_, err := c.Webhook(t.Context(), "contoso", "hook1")
		f := fault.As(err)
		if f == nil || f.Kind != tt.kind || f.Code != tt.code || !strings.Contains(f.Message, tt.message) {
			t.Errorf("%d %s: %+v", tt.status, tt.body, f)
		}
	}
}

// TestRedirectsAreNotFollowed: the password must not go where the server says.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the redirect was followed")
	}))
	t.Cleanup(elsewhere.Close)
	c := client(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) })
	_, err := c.Registries(t.Context())
	if err == nil || !strings.Contains(err.Error(), "redirects to "+elsewhere.URL) {
		t.Errorf("error is %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	hung := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(hung.Close)
	cut := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, _ := w.(http.Hijacker).Hijack()
		conn.Close()
	}))
	t.Cleanup(cut.Close)

	for _, tt := range []struct {
		name, server string
		client       *http.Client
		want         string
	}{
		{"nobody listens", "http://" + closed.Addr().String(), &http.Client{}, "start the server with dockbell serve"},
		{"https to http", strings.Replace(plain.URL, "http:", "https:", 1), &http.Client{}, "use http://"},
		{"http to https", strings.Replace(secure.URL, "https:", "http:", 1), &http.Client{}, "use https://"},
		{"unknown authority", secure.URL, &http.Client{}, " --ca FILE, or DOCKBELL_CA=FILE"},
		{"no answer", hung.URL, &http.Client{Timeout: 20 * time.Millisecond}, "did not answer in time"},
		{"cut off", cut.URL, &http.Client{}, "closed the connection"},
		{"unknown name", "http://dockbell.test", &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.DNSError{Name: "dockbell.test", IsNotFound: true}
		}}}, "the name dockbell.test has no address"},
	} {
		_, err := New(parse(t, tt.server), "", "", tt.client).Registries(t.Context())
		f := fault.As(err)
		if f == nil || !strings.Contains(f.Message, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	c := client(t, func(w http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	if _, err := c.Registries(ctx); err == nil || fault.As(err).Message != "interrupted" {
		t.Errorf("error is %v", err)
	}
}
