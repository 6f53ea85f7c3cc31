package portal

import (
	"slices"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/controlclient"
)

func TestMapLines(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		actions []string
		want    []mapLine
	}{
		{nil, nil},
		{[]string{"repositories/*/content/read"}, []mapLine{{"*", "pull"}}},
		{
			[]string{"repositories/a/metadata/write", "repositories/team/*/content/write", "repositories/a/content/read", "repositories/team/*/content/read", "repositories/a/content/read"},
			[]mapLine{{"a", "pull, change metadata"}, {"team/*", "pull, push"}},
		},
		{[]string{"repositories/content/read/content/delete"}, []mapLine{{"content/read", "delete"}}},
		{[]string{"gateway/x/config/read", "repositories/a/content/fly"}, []mapLine{{"", "gateway/x/config/read"}, {"", "repositories/a/content/fly"}}},
	} {
		if got := mapLines(tt.actions); !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.actions, got, tt.want)
		}
	}
}

func TestTokenState(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		status   string
		expiries []string
		want     state
	}{
		{"enabled", nil, state{"wait", "no password"}},
		{"enabled", []string{""}, state{"good", "enabled"}},
		{"enabled", []string{"2026-11-20T11:59:59Z"}, state{"bad", "passwords expired"}},
		{"enabled", []string{"2026-11-20T12:00:00Z", "2026-11-20T12:00:01.0000000Z"}, state{"good", "enabled"}},
		{"disabled", []string{""}, state{"pause", "disabled"}},
	} {
		var token controlclient.Token
		token.Properties.Status = tt.status
		for _, e := range tt.expiries {
			token.Properties.Credentials.Passwords = append(token.Properties.Credentials.Passwords, controlclient.TokenPassword{Expiry: e})
		}
		if got := tokenState(token, now); got != tt.want {
			t.Errorf("%s %q: %v, want %v", tt.status, tt.expiries, got, tt.want)
		}
	}
	for in, want := range map[time.Duration]string{-time.Second: "expired", 0: "expired", time.Hour: "expires soon", 8 * 24 * time.Hour: "good"} {
		if got := passwordState(now.Add(in), now); got.Text != want {
			t.Errorf("in %s: %v, want %s", in, got, want)
		}
	}
	if got := passwordState(time.Time{}, now); got.Text != "does not expire" {
		t.Errorf("without an expiry: %v", got)
	}
}

func TestActionWords(t *testing.T) {
	t.Parallel()
	const m = "Microsoft.ContainerRegistry/"
	for action, want := range map[string]string{
		m + "registries/write":                                                  "created or changed a registry",
		m + "registries/scopeMaps/delete":                                       "deleted a scope map",
		m + "registries/webhooks/ping/action":                                   "pinged a webhook",
		m + "registries/webhooks/replays/cancel/action":                         "cancelled a replay",
		m + "registries/webhooks/getCallbackConfig/action":                      "read the address and the secrets of a webhook",
		m + "servicePrincipals/write":                                           "created or changed a service principal",
		m + "garbageCollections/cancel/action":                                  "cancelled a garbage collection",
		m + "registries/login/failed":                                           "failed to log in",
		"Microsoft.EventGrid/eventSubscriptions/write":                          "created or changed an event subscription",
		"Microsoft.EventGrid/systemTopics/eventSubscriptions/delete":            "deleted an event subscription",
		"Microsoft.EventGrid/systemTopics/eventSubscriptions/getFullUrl/action": "read the address of an event subscription",
		"Microsoft.Resources/subscriptions/resourceGroups/delete":               "deleted a resource group",
		m + "registries/webhooks/unheardOf/action":                              m + "registries/webhooks/unheardOf/action",
		m + "write": m + "write",
		"<b>":       "<b>",
		"":          "",
	} {
		if got := actionWords(action); got != want {
			t.Errorf("%s: %q, want %q", action, got, want)
		}
	}
}

func TestTargetWords(t *testing.T) {
	t.Parallel()
	const registry = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/contoso"
	for id, want := range map[string]string{
		registry:                  "registry contoso",
		registry + "/webhooks/ci": "contoso: webhooks/ci",
		registry + "/providers/Microsoft.EventGrid/eventSubscriptions/x": "contoso: eventSubscriptions/x",
		"/subscriptions/s":                  "the server",
		"/":                                 "the server",
		"/subscriptions/s/resourceGroups/g": "resource group g",
		"/api/v1/servicePrincipals/id":      "service principal id",
		"app@sha256:00":                     "app@sha256:00",
	} {
		if got := targetWords(id); got != want {
			t.Errorf("%s: %q, want %q", id, got, want)
		}
	}
	for scope, want := range map[string]string{
		"/": "all registries", "/subscriptions/s": "all registries", "/SUBSCRIPTIONS/s/resourceGroups/G": "resource group G", "/subscriptions/s/resourceGroups/g": "resource group g",
		registry: "this registry", registry + "2": "", registry[:len(registry)-1]: "", registry + "/": "this registry",
	} {
		if got, ok := reach(scope, registry); got != want || ok != (want != "") {
			t.Errorf("%s: %q, want %q", scope, got, want)
		}
	}
	for id, want := range map[string]string{registry: "/subscriptions/s", "": ""} {
		if got := subscriptionOf([]controlclient.Registry{{ID: id}}); got != want {
			t.Errorf("%s is in %q, want %q", id, got, want)
		}
	}
	if got := subscriptionOf(nil); got != "/" {
		t.Errorf("of no registry: %q", got)
	}
}

// TestMenusLeadToPages: whatever the server's menu has is there.
func TestMenusLeadToPages(t *testing.T) {
	t.Parallel()
	there := map[string]bool{}
	for _, rt := range pages {
		there[rt.pattern] = true
	}
	for _, m := range serverMenu {
		if !there["GET "+serverPath(m.page)] {
			t.Errorf("the server's menu has %s, which is no page", m.page)
		}
	}
}
