package cli

import (
	"maps"
	"reflect"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/fault"
)

// FuzzHooksFile: whatever a file holds, it is read into webhooks that keep the
// rules, or refused in one sentence that begins with the file's name and holds no
// secret; and reading it again is the same.
func FuzzHooksFile(f *testing.F) {
	f.Add("webhooks:\n- {name: deployhook, uri: 'http://x/${SECRET}', actions: [push], headers: {A: '${SECRET}', B: '$${x}'}}\n")
	f.Add("webhooks:\n- name: deployhook\n  uri: &a https://x\n  actions: [push, push]\n  tags: {a: *a}\n  retryPolicy: {order: none, maxPerMinute: 5}\n---\nwebhooks: []\n")
	f.Add("webhooks: &w [*w]\n")
	f.Add("eventSubscriptions:\n- {name: on-push, endpoint: 'https://x/${SECRET}', filter: {advancedFilters: [{key: a, operatorType: NumberInRange, values: [[1, 2], '3,4']}]}, deliveryAttributeMappings: [{name: A, value: '${SECRET}', isSecret: true}], retryPolicy: {maxDeliveryAttempts: 3}}\n")
	f.Add("eventSubscriptions:\n- {name: to-kafka, endpoint: 'kafka://k,k2:1/t', broker: {mode: binary, key: none, username: u, password: '${SECRET}', tls: {ca: '${SECRET}'}}, labels: [a], expirationTimeUtc: 2030-01-01}\n- {name: n, endpoint: 'nats://${SECRET}'}\n")
	f.Add("&a webhooks: {*a : *a}\n")
	f.Add("---\n---\n- !!binary aGVsbG8=\n...")
	f.Fuzz(func(t *testing.T, file string) {
		const secret = "hunter2 and more"
		read := func() (wanted, error) {
			r := &hooksReader{file: "hooks.yaml", getenv: func(name string) string {
				if name == "SECRET" {
					return secret
				}
				return ""
			}}
			return r.read([]byte(file))
		}
		w, err := read()
		hooks := w.hooks
		if err != nil {
			message := sentence(err)
			if !fault.Is(err, fault.Invalid) || !strings.HasPrefix(message, "hooks.yaml") || strings.Contains(message, secret) || strings.Contains(message, "\n") {
				t.Errorf("refused with %v", err)
			}
			return
		}
		names := map[string]bool{}
		for _, h := range hooks {
			key := strings.ToLower(h.name)
			if names[key] || checkHookName(h.name) != nil || checkHookURI(h.uri) != nil || checkHookScope(h.scope) != nil || len(h.actions) == 0 || h.policy.Check() != nil {
				t.Errorf("%+v breaks a rule", h)
			}
			names[key] = true
		}
		for _, s := range w.subscriptions {
			key := "event subscription " + strings.ToLower(s.name)
			p := s.destination.Properties
			if names[key] || checkSubscriptionName(s.name) != nil || p.EndpointURL == "" && (len(p.Servers) == 0 || p.Subject+p.Topic == "") || s.attempts < 1 || s.attempts > 30 || s.ttl < 1 || s.ttl > 1440 {
				t.Errorf("%+v breaks a rule", s)
			}
			names[key] = true
		}
		w2, err := read()
		again := w2.hooks
		if err == nil && !reflect.DeepEqual(w2.subscriptions, w.subscriptions) {
			t.Errorf("read again: %+v in place of %+v", w2.subscriptions, w.subscriptions)
		}
		if err != nil || len(again) != len(hooks) {
			t.Fatalf("read again: %d webhooks in place of %d, %v", len(again), len(hooks), err)
		}
		for i, h := range hooks {
			if a := again[i]; a.place != h.place || a.uri != h.uri || !maps.Equal(a.headers, h.headers) {
				t.Errorf("read again: %+v in place of %+v", a, h)
			}
		}
	})
}

func TestExpand(t *testing.T) {
	t.Parallel()
	r := &hooksReader{getenv: func(name string) string { return map[string]string{"A": "1", "B_2": "${A}"}[name] }}
	for text, want := range map[string]string{
		"":                "",
		"plain $5 $A $$":  "plain $5 $A $$",
		"${A}":            "1",
		"x${A}y${A}":      "x1y1",
		"${B_2}":          "${A}", // what a variable holds is not read again
		"$${A}":           "${A}",
		"$${A}${A}":       "${A}1",
		"$$${A}":          "$${A}",
		"}{${A}}":         "}{1}",
		"https://x/?k=$$": "https://x/?k=$$",
	} {
		if got, err := r.expand(text); got != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"${", "${}", "${A", "${A B}", "${1}", "${C}", "x${A}${ }"} {
		if got, err := r.expand(text); err == nil || got != "" {
			t.Errorf("%s: %q", text, got)
		}
	}
}
