// Package arm is the face of the control plane: the operations of Azure's
// resource provider Microsoft.ContainerRegistry, with its bodies, errors and
// headers, so that Azure's tools work unchanged and people with curl have the
// same under a short root.
//
// It owns paths, wire models and the table from fault kinds to statuses and
// codes. What a webhook may be is for package webhook, what was delivered for
// package delivery, who is asking for whoever gives Authenticate. Invariants: no
// answer but getCallbackConfig's holds a service URI or a custom header's value;
// only the Authorization header authenticates, and no answer consents to
// requests from other origins.
//
// A root resolves a path to a registry and the rest behind it; the operations
// know the registry and not the root. Paths match in any case and are answered
// as they are stored.
package arm

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/dockbell/dockbell/internal/delivery"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/listen"
	"github.com/dockbell/dockbell/internal/tenant"
	"github.com/dockbell/dockbell/internal/webhook"
)

// Root is the path under which people with curl find the control plane.
const Root = "/api/v1/registries"

// Deliveries is the engine that delivers, as the control plane needs it. Package
// delivery has all of it, and says what each fails with.
type Deliveries interface {
	Attempts
	Healths
	DeadLetters
	Replays
}

// Attempts reads the delivery log.
type Attempts interface {
	// Attempts returns at most n attempts of an endpoint, newest first,
	// starting behind after: empty, or what an earlier call returned as next.
	// next is empty when there are no more.
	Attempts(ctx context.Context, endpoint int64, f delivery.Filter, after string, n int) (page []delivery.Attempt, next string, err error)
}

// Healths tells how endpoints fare, and makes what they are owed wait.
type Healths interface {
	// Health leaves out endpoints that do not exist.
	Health(ctx context.Context, endpoints ...int64) (map[int64]delivery.Health, error)
	Pause(ctx context.Context, endpoint int64) error
	Resume(ctx context.Context, endpoint int64) error
}

// DeadLetters are the events that were given up.
type DeadLetters interface {
	// DeadLetters pages like Attempts.
	DeadLetters(ctx context.Context, endpoint int64, after string, n int) (page []delivery.DeadLetter, next string, err error)

	// PurgeDeadLetters forgets those with the ids, or all for nil.
	PurgeDeadLetters(ctx context.Context, endpoint int64, ids []int64) (events int64, err error)
}

// Replays ring events once more.
type Replays interface {
	Replay(ctx context.Context, r delivery.ReplayRequest) (delivery.Replay, error)

	// Replays returns at most n, newest first, with ids below before (0: all).
	Replays(ctx context.Context, endpoint, before int64, n int) ([]delivery.Replay, error)
	ReplayByID(ctx context.Context, endpoint, id int64) (delivery.Replay, error)
	CancelReplay(ctx context.Context, endpoint, id int64) (delivery.Replay, error)
}

// Config is what the control plane stands on. All fields but Log and Stopping are
// required.
type Config struct {
	Tenants    *tenant.Store
	Webhooks   *webhook.Store
	Deliveries Deliveries
	Feed       Feed
	Listeners  *listen.Hub

	// Stopping is closed when the server is about to stop: whoever waits for
	// something to happen is answered then. Nil means that it never stops.
	Stopping <-chan struct{}

	// Authenticate returns the name of the caller who may manage the registry:
	// read and write its webhooks, their log and replays among it. There is no
	// one yet who may only read. An error may have a method Challenge() string,
	// the value of WWW-Authenticate, and a method RetryAfter() time.Duration.
	Authenticate func(*http.Request, tenant.Registry) (user string, err error)

	// Source describes a registry as the place of events: its login server,
	// ARM id and location.
	Source func(tenant.Registry) event.Registry

	// Log receives internal errors, and who did what with secrets, replays and
	// the like; nil means slog.Default().
	Log *slog.Logger
}

// api carries out requests.
type api struct {
	Config
}

// New returns the control plane, to be mounted so that it sees whole paths under
// Root. Scheme and host of a request must be those the client sees.
func New(cfg Config) http.Handler {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &api{cfg}
}

// ServeHTTP answers a request under Root.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setHeaders(w.Header(), r)
	answer, err := a.serveRoot(w, r)
	if err != nil {
		a.writeError(w, r, err)
		return
	}
	write(w, answer)
}

// serveRoot takes Root off the path: what follows is nothing, or a registry's
// name and the path within it.
func (a *api) serveRoot(w http.ResponseWriter, r *http.Request) (answer, error) {
	if err := checkAPIVersion(r); err != nil {
		return answer{}, err
	}
	path, ok := cutRoot(r.URL.Path)
	if !ok {
		return answer{}, fault.New(fault.NotFound, "nothing is at %q: the registries are at %s", clip(r.URL.Path), Root)
	}
	if len(path) == 0 {
		return a.listRegistries(w, r)
	}
	registry, err := a.Tenants.ByName(path[0])
	if err != nil {
		// Whether a registry exists is told only to those who are known here.
		if _, denied := a.Authenticate(r, a.Tenants.Default()); denied != nil {
			return answer{}, denied
		}
		return answer{}, err
	}
	return a.serveRegistry(w, r, registry, path[1:])
}

// serveRegistry carries out the operation at path within a registry.
func (a *api) serveRegistry(w http.ResponseWriter, r *http.Request, registry tenant.Registry, path []string) (answer, error) {
	user, err := a.Authenticate(r, registry)
	if err != nil {
		return answer{}, err
	}
	route, names, err := findRoute(w.Header(), r.Method, path)
	if err != nil {
		return answer{}, err
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	return route.run(a, call{r, registry, user, names[0], names[1]})
}

// call is a request to one operation.
type call struct {
	*http.Request
	registry tenant.Registry
	user     string
	name     string // of the child resource, as the path has it
	inner    string // of what lies within that, such as a replay's id
}

// answer is what an operation came to, when it is no error.
type answer struct {
	status int
	body   any // nil: none
}

func write(w http.ResponseWriter, a answer) {
	if a.body == nil {
		w.WriteHeader(a.status)
		return
	}
	if run, ok := a.body.(stream); ok {
		writeStream(w, a.status, run)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(a.status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false) // a scope or a header with & reads as it was sent
	enc.Encode(a.body)       // fails only if the client is gone
}

const (
	headerRequestID     = "X-Ms-Request-Id"
	headerCorrelationID = "X-Ms-Correlation-Request-Id"
)

// setHeaders sets what every answer has. Ids that are set already stay.
func setHeaders(h http.Header, r *http.Request) {
	h.Set("Cache-Control", "no-cache")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "-1")
	h.Set("X-Content-Type-Options", "nosniff")
	if h.Get(headerRequestID) == "" {
		h.Set(headerRequestID, uuid.NewString())
	}
	if h.Get(headerCorrelationID) == "" {
		correlation := r.Header.Get(headerCorrelationID)
		if _, err := uuid.Parse(correlation); err != nil {
			correlation = h.Get(headerRequestID)
		}
		h.Set(headerCorrelationID, correlation)
	}
}

// checkAPIVersion accepts any version, or none: the bodies are the same in all.
func checkAPIVersion(r *http.Request) error {
	query := r.URL.Query()
	if !query.Has("api-version") {
		return nil
	}
	version := query.Get("api-version")
	if _, err := time.Parse(time.DateOnly, strings.TrimSuffix(version, "-preview")); err != nil {
		return fault.New(fault.Invalid, "api-version %q is not valid: give a date like 2023-07-01 or 2023-01-01-preview, or leave it out", clip(version)).
			WithCode("InvalidApiVersionParameter")
	}
	return nil
}

// listRegistries answers with the registries the caller may manage.
func (a *api) listRegistries(w http.ResponseWriter, r *http.Request) (answer, error) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", http.MethodGet)
		return answer{}, fault.New(fault.Unsupported, "registries cannot be changed here: the list of them takes GET")
	}
	list := listBody[registryBody]{Value: []registryBody{}}
	var refused error
	for _, registry := range a.Tenants.List() {
		_, err := a.Authenticate(r, registry)
		if err == nil {
			list.Value = append(list.Value, registryToWire(registry, a.Source(registry)))
		} else if refused == nil || registry.ID == a.Tenants.Default().ID {
			refused = err
		}
	}
	if len(list.Value) == 0 {
		return answer{}, refused
	}
	return answer{http.StatusOK, list}, nil
}

func getRegistry(a *api, c call) (answer, error) {
	return answer{http.StatusOK, registryToWire(c.registry, a.Source(c.registry))}, nil
}

// writeError turns err into ARM's error body.
func (a *api) writeError(w http.ResponseWriter, r *http.Request, err error) {
	f := fault.As(err)
	if f.Kind == fault.Internal && !errors.Is(err, context.Canceled) {
		a.Log.Error("a control-plane request failed", "method", r.Method, "path", r.URL.Path, "request", w.Header().Get(headerRequestID), "error", err)
	}
	status, code := statusAndCode(f)
	var challenger interface{ Challenge() string }
	if errors.As(err, &challenger) {
		w.Header().Set("WWW-Authenticate", challenger.Challenge())
	}
	var later interface{ RetryAfter() time.Duration }
	if errors.As(err, &later) {
		status, code = http.StatusTooManyRequests, "TooManyRequests"
		w.Header().Set("Retry-After", seconds(later.RetryAfter()))
	}
	write(w, answer{status, errorBody{errorDetail{Code: code, Message: f.Message}}})
}
