package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/signature"
)

func TestRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := time.Unix(1741944413, 999)
	body := []byte(`{"id":"5f4c8c0e-7d1b-4a6e-9a25-2f6f0a6a7c11","action":"ping"}`)
	e := happened(event.Push, "web", "v1")
	e.ID = "5f4c8c0e-7d1b-4a6e-9a25-2f6f0a6a7c11"
	for _, tt := range []struct {
		name    string
		headers map[string]string
		want    http.Header // less the signature
	}{
		{"plain", nil, http.Header{
			"Content-Type":      {"application/json; charset=utf-8"},
			"User-Agent":        {"AzureContainerRegistry/1.0 (Dockbell/1.2.3)"},
			"Webhook-Id":        {"5f4c8c0e-7d1b-4a6e-9a25-2f6f0a6a7c11"},
			"Webhook-Timestamp": {"1741944413"},
		}},
		{"custom", map[string]string{"authorization": "Bearer s3cret", "X-Env": "prod", "content-type": "text/plain", "user-agent": "mine"}, http.Header{
			"Authorization":     {"Bearer s3cret"},
			"X-Env":             {"prod"},
			"Content-Type":      {"text/plain"},
			"User-Agent":        {"mine"},
			"Webhook-Id":        {"5f4c8c0e-7d1b-4a6e-9a25-2f6f0a6a7c11"},
			"Webhook-Timestamp": {"1741944413"},
		}},
	} {
		hook := w.put(contoso, tt.name+"hook", func(d *Definition) {
			d.ServiceURI, d.CustomHeaders = "https://$u:p@hooks.example.net/acr?x=1", tt.headers
		})
		got, ok := w.Request(ring.Call{Endpoint: hook.ID, Event: e, ACRBody: body, At: at})
		if !ok {
			t.Fatalf("%s: gone", tt.name)
		}

		// The signature, computed from what is sent alone.
		config, err := w.CallbackConfig(t.Context(), contoso, tt.name+"hook")
		if err != nil {
			t.Fatal(err)
		}
		secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(config.SigningSecret, "whsec_"))
		if err != nil {
			t.Fatal(err)
		}
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(got.Header.Get("webhook-id") + "." + got.Header.Get("webhook-timestamp") + "." + string(got.Body)))
		version, signature, _ := strings.Cut(got.Header.Get("webhook-signature"), ",")
		raw, err := base64.StdEncoding.DecodeString(signature)
		if err != nil || version != "v1" || !hmac.Equal(raw, mac.Sum(nil)) {
			t.Errorf("%s: signature %q does not verify", tt.name, got.Header.Get("webhook-signature"))
		}

		delete(got.Header, "Webhook-Signature")
		want := outbound.Request{
			URL: "https://$u:p@hooks.example.net/acr?x=1", Header: tt.want, Body: body, Timeout: 10 * time.Second,
			Public: []string{"Content-Type", "Content-Length", "User-Agent", "Webhook-Id", "Webhook-Timestamp", "Dockbell-Replay", "Dockbell-Test"},
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// TestRequestsAreApart checks that no request shares what another changes, and
// that each attempt is signed anew.
func TestRequestsAreApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hook := w.put(contoso, "deployhook", func(d *Definition) { d.CustomHeaders = map[string]string{"X-Env": "prod"} })
	e := happened(event.Push, "web", "v1")
	e.ID = "one"
	first, _ := w.Request(ring.Call{Endpoint: hook.ID, Event: e, ACRBody: []byte("{}"), At: time.Unix(1, 0)})
	first.Header.Set("X-Env", "changed")
	first.Header.Add("Webhook-Id", "changed")
	e.ID = "two"
	second, _ := w.Request(ring.Call{Endpoint: hook.ID, Event: e, ACRBody: []byte("{}"), At: time.Unix(2, 0)})
	if second.Header.Get("X-Env") != "prod" || !gocmp.Equal(second.Header["Webhook-Id"], []string{"two"}) || second.Header.Get("Webhook-Timestamp") != "2" {
		t.Errorf("second request: %v", second.Header)
	}
	if first.Header.Get("Webhook-Signature") == second.Header.Get("Webhook-Signature") {
		t.Error("two requests have one signature")
	}
}

// TestRequestFollowsTheWebhook has a delivery wait while its webhook changes: it
// goes to the new address, only pings go to one that is disabled, and nothing to
// one that is gone.
func TestRequestFollowsTheWebhook(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hook := w.put(contoso, "deployhook", nil)
	e := happened(event.Push, "web", "v1")
	uri, disabled := "https://new.example.net/", "disabled"
	w.patch(contoso, "deployhook", Change{ServiceURI: &uri})
	if r, ok := w.Request(ring.Call{Endpoint: hook.ID, Event: e, At: time.Now()}); !ok || r.URL != uri {
		t.Errorf("request to %s, %v", r.URL, ok)
	}
	w.patch(contoso, "deployhook", Change{Status: &disabled})
	if _, ok := w.Request(ring.Call{Endpoint: hook.ID, Event: e, At: time.Now()}); ok {
		t.Error("there is a request for a disabled webhook")
	}
	ping := happened(event.Ping, "", "")
	ping.OwedTo = hook.ID
	if _, ok := w.Request(ring.Call{Endpoint: hook.ID, Event: ping, At: time.Now()}); !ok {
		t.Error("there is no request for the ping of a disabled webhook")
	}
	if err := w.Delete(t.Context(), contoso, "deployhook"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []int64{hook.ID, hook.ID + 1, 0} {
		if _, ok := w.Request(ring.Call{Endpoint: id, Event: e, At: time.Now()}); ok {
			t.Errorf("there is a request for endpoint %d", id)
		}
	}
	e.Registry.ID = 99
	if _, ok := w.Request(ring.Call{Endpoint: hook.ID, Event: e, At: time.Now()}); ok {
		t.Error("there is a request for a registry without webhooks")
	}
}

// FuzzHeaders checks that whatever is taken can be sent: package net/http has
// rules of its own, and a header that breaks them would fail every delivery.
func FuzzHeaders(f *testing.F) {
	for _, name := range []string{"Authorization", "X-Env", "", "Host", "a b", "Webhook-Id", "X\r\nY", "ünï"} {
		f.Add(name, "value")
		f.Add(name, "a\r\nb: c")
	}
	transport := &http.Transport{}
	f.Fuzz(func(t *testing.T, name, value string) {
		err := checkHeaders(map[string]string{name: value})
		if err != nil {
			if len(value) > 8 && strings.Contains(err.Error(), value) && !strings.Contains(strconv.Quote(name)+name, value) {
				t.Fatalf("the message repeats the value %q: %v", value, err)
			}
			return
		}
		switch http.CanonicalHeaderKey(name) {
		case "Host", "Content-Length", "Transfer-Encoding", "Connection", "Webhook-Id":
			t.Fatalf("%q is taken", name)
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1:1/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(name, value)
		r.Close = true
		// Nothing listens on port 1: what is asked is whether the header is
		// refused before that is found out.
		if _, err := transport.RoundTrip(r); err != nil && strings.Contains(err.Error(), "invalid header") {
			t.Fatalf("%q: %q is taken, and cannot be sent: %v", name, value, err)
		}
	})
}

func BenchmarkRequest(b *testing.B) {
	s := &Store{userAgent: "AzureContainerRegistry/1.0 (Dockbell/1.2.3)"}
	r := record{Webhook: Webhook{ID: 1, Status: Enabled, Actions: []string{"push"}, Policy: ring.Default()}}
	r.ServiceURI, r.CustomHeaders, r.SigningSecret = "https://hooks.example.net/acr", map[string]string{"Authorization": "Bearer s3cret"}, signature.New().Reveal()
	h, err := s.newHook(r)
	if err != nil {
		b.Fatal(err)
	}
	c := ring.Call{Endpoint: 1, Event: &event.Event{ID: "5f4c8c0e-7d1b-4a6e-9a25-2f6f0a6a7c11"}, ACRBody: []byte(strings.Repeat("x", 600)), At: time.Now()}
	b.ReportAllocs()
	for b.Loop() {
		h.request(c)
	}
}
