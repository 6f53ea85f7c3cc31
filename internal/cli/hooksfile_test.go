package cli

import (
	"maps"
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
	f.Add("&a webhooks: {*a : *a}\n")
	f.Add("---\n---\n- !!binary aGVsbG8=\n...")
	f.Fuzz(func(t *testing.T, file string) {
		const secret = "hunter2 and more"
		read := func() ([]wantedHook, error) {
			r := &hooksReader{file: "hooks.yaml", getenv: func(name string) string {
				if name == "SECRET" {
					return secret
				}
				return ""
			}}
			return r.read([]byte(file))
		}
		hooks, err := read()
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
		again, err := read()
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
