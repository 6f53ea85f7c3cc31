package app_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/app"
	"github.com/dockbell/dockbell/internal/config"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/signature"
)

// TestAlerts: someone is told that a webhook fails, by a request that is signed
// with the secret in the data folder.
func TestAlerts(t *testing.T) {
	t.Parallel()
	type alert struct {
		header http.Header
		body   []byte
	}
	rang := make(chan alert, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		rang <- alert{r.Header, body}
	}))
	defer receiver.Close()
	data := t.TempDir()
	s := start(t, settings(data, func(c *config.Config) { c.Alerts = mustURL(receiver.URL) }))
	s.webhook("deadhook", "http://127.0.0.1:1/")
	for i := range 6 {
		s.push("app", "v"+strconv.Itoa(i))
	}
	s.log(t, "deadhook", 5)
	var got alert
	for deadline := time.Now().Add(patience); got.body == nil; {
		// People are told after some probes, and resuming makes one at once.
		for _, turn := range []string{"pause", "resume"} {
			if status, _, body := s.do("POST", plane+"webhooks/deadhook/"+turn, nil, s.asOperator); status != http.StatusOK {
				t.Fatalf("%s: %d %s", turn, status, body)
			}
		}
		select {
		case got = <-rang:
		case <-time.After(50 * time.Millisecond):
			if time.Now().After(deadline) {
				t.Fatal("nobody was told")
			}
		}
	}
	var told struct {
		Action string
		Target struct{ Name string }
	}
	if err := json.Unmarshal(got.body, &told); err != nil || told.Action != string(event.WebhookFailing) || !strings.Contains(string(got.body), "deadhook") {
		t.Errorf("%v in %s", err, got.body)
	}
	file := filepath.Join(data, "alerts-secret")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s: %v, %v", file, info.Mode(), err)
	}
	secret, err := signature.Parse(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	want := signature.Sign(got.header.Get("Webhook-Id"), got.header.Get("Webhook-Timestamp"), got.body, secret)
	if got.header.Get("Webhook-Signature") != want {
		t.Errorf("signature %s, want %s", got.header.Get("Webhook-Signature"), want)
	}

	// The secret stays; without alerts there is none.
	s.stop()
	start(t, settings(data, func(c *config.Config) { c.Alerts = mustURL(receiver.URL) })).stop()
	if again, err := os.ReadFile(file); err != nil || string(again) != string(text) {
		t.Errorf("after a restart the secret is %q, %v; it was %q", again, err, text)
	}
	quietData := t.TempDir()
	start(t, settings(quietData)).stop()
	if _, err := os.Stat(filepath.Join(quietData, "alerts-secret")); err == nil {
		t.Error("a server without alerts has a secret for them")
	}
	_, err = app.Open(t.Context(), settings(t.TempDir(), func(c *config.Config) { c.Alerts = mustURL("http://10.1.2.3/") }), quiet)
	if err == nil || !strings.Contains(err.Error(), "--allow-destinations 10.0.0.0/8") {
		t.Errorf("alerts to where nothing may be rung: %v", err)
	}
}
