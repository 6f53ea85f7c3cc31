package controlclient

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestFeedRequests checks method, path and body of the calls about the feed and
// listeners.
func TestFeedRequests(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		call   func(context.Context, *Client) error
		answer string
		want   string // method, path and body
	}{
		{"after", func(ctx context.Context, c *Client) error {
			page, err := c.FeedAfter(ctx, "contoso", 41, 20)
			if page.Next != 44 || len(page.Entries) != 1 || page.Entries[0].Position != 42 || string(page.Entries[0].Raw) != `{"position":42}` {
				t.Errorf("after returns %+v", page)
			}
			return err
		}, `{"value":[{"position":42}],"next":44}`, "GET /api/v1/registries/contoso/events?after=41&limit=20"},
		{"last", func(ctx context.Context, c *Client) error { _, err := c.FeedLast(ctx, "contoso", 20); return err },
			`{"value":[],"next":44}`, "GET /api/v1/registries/contoso/events?last=20"},
		{"listener", func(ctx context.Context, c *Client) error {
			w, err := c.CreateListener(ctx, "contoso", ListenerCreate{Scope: "team/*:*"})
			if w.Name != "listenab" || !w.Properties.Listener {
				t.Errorf("create returns %+v", w)
			}
			return err
		}, `{"name":"listenab","properties":{"listener":true}}`, `POST /api/v1/registries/contoso/listeners {"scope":"team/*:*"}`},
		{"answer", func(ctx context.Context, c *Client) error {
			return c.Report(ctx, "contoso", "listenab", DeliveryResult{Attempt: "a1", Status: 500, Headers: map[string]string{"X": "y"}, Body: "boom", DurationMs: 1.5})
		}, ``, `POST /api/v1/registries/contoso/listeners/listenab/results {"attempt":"a1","status":500,"headers":{"X":"y"},"body":"boom","durationMs":1.5}`},
		{"no answer", func(ctx context.Context, c *Client) error {
			return c.Report(ctx, "contoso", "listenab", DeliveryResult{Attempt: "a1", Error: "connect", Message: "nobody"})
		}, ``, `POST /api/v1/registries/contoso/listeners/listenab/results {"attempt":"a1","durationMs":0,"error":"connect","message":"nobody"}`},
		{"delete", func(ctx context.Context, c *Client) error { return c.DeleteListener(ctx, "contoso", "listenab") },
			``, "DELETE /api/v1/registries/contoso/listeners/listenab"},
	} {
		var got string
		c := client(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			got = strings.TrimSpace(r.Method + " " + r.RequestURI + " " + string(body))
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

func TestImage(t *testing.T) {
	t.Parallel()
	for want, fill := range map[string]func(*EventBody){
		"":                           func(e *EventBody) {},
		"team/web":                   func(e *EventBody) { e.Target.Repository = "team/web" },
		"team/web:v1":                func(e *EventBody) { e.Target.Repository, e.Target.Tag = "team/web", "v1" },
		"webhook deployhook failing": func(e *EventBody) { e.Target.Webhook, e.Target.Condition = "deployhook", "failing" },
		"wordpress-5":                func(e *EventBody) { e.Target.Name, e.Target.Version = "wordpress", "5" },
	} {
		var e EventBody
		fill(&e)
		if got := e.Image(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
