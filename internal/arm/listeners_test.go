package arm_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/arm"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/listen"
	"github.com/dockbell/dockbell/internal/outbound"
)

// held takes no notice of what it is told.
type held struct{}

func (held) Pause(context.Context, int64) error  { return nil }
func (held) Resume(context.Context, int64) error { return nil }

// TestListenerRightsAreRechecked: checklist point 34. A delivery is not handed to
// a client that lost its rights, or whose listener is gone, since it connected.
func TestListenerRightsAreRechecked(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		cause   func(p *plane, denied *atomic.Bool, listener string)
		code    string
		message string
	}{
		{"rights", func(_ *plane, denied *atomic.Bool, _ string) { denied.Store(true) }, "AuthenticationFailed", "the password has changed"},
		{"listener", func(p *plane, _ *atomic.Bool, listener string) {
			if w := p.do("DELETE", "/api/v1/registries/contoso/webhooks/"+listener, ""); w.Code != http.StatusOK {
				t.Errorf("delete: %d %s", w.Code, w.Body)
			}
		}, "ResourceNotFound", "no listener"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newPlane(t)
			var denied atomic.Bool
			hub := listen.New()
			if err := hub.Start(t.Context(), listen.Options{Endpoints: held{}, Log: slog.New(slog.DiscardHandler)}, nil); err != nil {
				t.Fatal(err)
			}
			defer hub.Stop()
			cfg := p.config
			cfg.Listeners = hub
			cfg.Authenticate = func(*http.Request) (arm.Caller, error) {
				if denied.Load() {
					return nil, fault.New(fault.Unauthenticated, "the password has changed")
				}
				return caller{name: "dockbell"}, nil
			}
			p.Handler = arm.New(cfg)

			var hook struct{ Name string }
			created := p.do("POST", "/api/v1/registries/contoso/listeners", "")
			if err := json.Unmarshal(created.Body.Bytes(), &hook); err != nil || created.Code != http.StatusCreated {
				t.Fatalf("create: %d %s", created.Code, created.Body)
			}
			answer := &recorder{ResponseRecorder: httptest.NewRecorder()}
			begun := make(chan struct{})
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				p.ServeHTTP(&beginning{answer, begun}, httptest.NewRequest("GET", "http://contoso.azurecr.example/api/v1/registries/contoso/listeners/"+hook.Name+"/deliveries", nil))
			}()
			<-begun
			test.cause(p, &denied, hook.Name)
			res := hub.Post(t.Context(), outbound.Request{URL: "listen://" + hook.Name, Body: []byte("the secret event"), Timeout: time.Minute})
			if res.Class != outbound.Connect || !strings.HasPrefix(res.Message, "not handed out") {
				t.Errorf("the delivery came to %+v", res)
			}
			<-ended
			text := answer.Body.String()
			if !strings.Contains(text, "event: error\ndata: {\"error\":{\"code\":\""+test.code+"\"") || !strings.Contains(text, test.message) || strings.Contains(text, "secret event") {
				t.Errorf("the client hears %s", text)
			}
		})
	}
}

// beginning tells when an answer begins.
type beginning struct {
	*recorder
	begun chan struct{}
}

func (b *beginning) Flush() {
	select {
	case <-b.begun:
	default:
		close(b.begun)
	}
}
