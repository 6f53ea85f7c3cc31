package app_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/app"
	"github.com/dockbell/dockbell/internal/config"
)

// TestHealth asks servers as a container's health check does: by nothing but the
// settings they were started with.
func TestHealth(t *testing.T) {
	t.Parallel()
	plain := start(t, settings(t.TempDir()))
	secure, _ := startSelfSigned(t, t.TempDir())
	_, port, _ := net.SplitHostPort(plain.Addr().String())
	failing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
	}))
	defer failing.Close()
	selfSigned := func(c *config.Config) { c.TLS = config.SelfSigned }
	for _, tt := range []struct {
		name   string
		listen string
		change func(*config.Config)
		want   string // in the error; empty: it is ready
	}{
		{"as it is told to listen", plain.Addr().String(), nil, ""},
		{"on every address", "0.0.0.0:" + port, nil, ""},
		{"on every address, without saying so", ":" + port, nil, ""},
		{"under names that lead elsewhere", plain.Addr().String(), func(c *config.Config) {
			c.Domain, c.ExternalURL = "registry.invalid", mustURL("http://registry.invalid")
		}, ""},
		{"with a certificate of its own", secure.Addr().String(), selfSigned, ""},
		{"HTTPS, not knowing it", secure.Addr().String(), nil, ""}, // it is sent there
		{"HTTP, not knowing it", plain.Addr().String(), selfSigned, "no server is ready on " + plain.Addr().String()},
		{"failing", failing.Listener.Addr().String(), nil, "answers 503 Service Unavailable: the database does not answer"},
		{"nobody", "127.0.0.1:1", nil, "connection refused: if it was started with other settings, give them to this command too"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := config.Default()
			cfg.Listen = tt.listen
			if tt.change != nil {
				tt.change(cfg)
			}
			err := app.Health(t.Context(), cfg)
			if tt.want == "" && err != nil {
				t.Errorf("not healthy: %v", err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}
