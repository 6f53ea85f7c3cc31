// Package arm is the face of the control plane: the operations of Azure's
// resource provider Microsoft.ContainerRegistry, and those of Microsoft.EventGrid
// that are about registries, with their bodies, errors and headers, so that Azure's
// tools work unchanged and people with curl have the same under a short root.
//
// It owns paths, wire models and the table from fault kinds to statuses and
// codes. What a webhook may be is for package webhook, what an event subscription
// may be for package subscription, what was delivered for package delivery, what a registry may be for package tenant, scope maps and
// repository-scoped tokens for package auth, who is asking and what they may do for
// whoever gives Authenticate. Invariants: no answer but getCallbackConfig's holds a
// service URI or a custom header's value, none but getFullUrl's the query of a
// subscription's address, none but getDeliveryAttributes' a secret attribute, none at
// all a broker's credentials, none but listCredentials' and
// regenerateCredential's a password of an admin user, none but
// generateCredentials' one of a token;
// only the Authorization header authenticates, and no answer consents to
// requests from other origins; whatever is no reading is on record in the audit
// log before it is answered.
//
// A path begins with one of two roots, which share everything behind them: ARM's
// own, and a short one for people. parsePath tells where it leads, a table which
// operation is there and which action the caller must be allowed; admit is the
// one place that checks it. Whether something exists is told only to those who
// are allowed that. Paths match in any case and are answered as they are stored.
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

	"github.com/dockbell/dockbell/internal/audit"
	"github.com/dockbell/dockbell/internal/auth"
	"github.com/dockbell/dockbell/internal/collect"
	"github.com/dockbell/dockbell/internal/delivery"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/listen"
	"github.com/dockbell/dockbell/internal/subscription"
	"github.com/dockbell/dockbell/internal/tenant"
	"github.com/dockbell/dockbell/internal/webhook"
)

// Root is the path under which people with curl find the control plane, and
// CollectionsRoot what of it is about no registry: the collections.
const (
	Root            = "/api/v1/registries"
	CollectionsRoot = "/api/v1/garbageCollections"
)

// Deliveries is the engine that delivers, as the control plane needs it. Package
// delivery has all of it, and says what each fails with.
type Deliveries interface {
	Attempts
	Healths
	DeadLetters
	Replays

	// Rings returns what became of the event at a position, by endpoint of its
	// registry.
	Rings(ctx context.Context, registry, pos int64) ([]delivery.Ring, error)
	Statistics
}

// Statistics tells how much is delivered, and how fast.
type Statistics interface {
	// Statistics returns the figures of a registry's endpoints by id, or of one,
	// unless that is 0: those of every step since a moment.
	Statistics(ctx context.Context, registry, endpoint int64, step delivery.Step, since time.Time) (map[int64]delivery.Statistics, error)
}

// Attempts reads the delivery log.
type Attempts interface {
	// Attempts returns at most n attempts of an endpoint, newest first,
	// starting behind after: empty, or what an earlier call returned as next.
	// next is empty when there are no more.
	Attempts(ctx context.Context, endpoint int64, f delivery.Filter, after string, n int) (page []delivery.Attempt, next string, err error)

	// Standing returns how an event stands for an endpoint. A time that is not zero
	// is when that happened.
	Standing(ctx context.Context, endpoint int64, eventID string, at time.Time) (delivery.Standing, error)
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

// Collections remove what nothing needs any more, of all registries.
type Collections interface {
	// Collect starts one, which goes on by itself. It fails with fault.Conflict while
	// another one runs.
	Collect(ctx context.Context, by string, dryRun bool) (collect.Collection, error)

	// Collections returns the newest ones, newest first.
	Collections(ctx context.Context) ([]collect.Collection, error)
	Collection(ctx context.Context, id int64) (collect.Collection, error)

	// Cancel ends one, a moment later. It fails with fault.Conflict for one that is
	// over.
	Cancel(ctx context.Context, id int64) (collect.Collection, error)

	// Next returns when one begins by itself; zero for never.
	Next(ctx context.Context) (time.Time, error)
}

// Admins are the admin users of registries. Each fails with fault.NotFound for
// one that is not enabled.
type Admins interface {
	// AdminPasswords returns both passwords.
	AdminPasswords(ctx context.Context, registry int64) ([2]string, error)

	// RenewAdminPassword makes another password number n, 0 or 1, and returns
	// both.
	RenewAdminPassword(ctx context.Context, registry int64, n int) ([2]string, error)
}

// Caller is who sent a request, and what they may do.
type Caller interface {
	// Name is for createdBy and the audit log.
	Name() string

	// Kind is User or Application, as ARM's systemData has it.
	Kind() string

	// May reports whether they may do action, such as
	// Microsoft.ContainerRegistry/registries/webhooks/read, in scope: the ARM id
	// of a subscription, resource group or registry, or / for the server.
	May(action, scope string) bool
}

// Config is what the control plane stands on. All fields but Log and Stopping are
// required.
type Config struct {
	Tenants    *tenant.Store
	Webhooks   *webhook.Store
	Deliveries Deliveries
	Feed       Feed
	Listeners  *listen.Hub
	Tokens     *auth.RepositoryTokens

	// Subscriptions are the event subscriptions of registries.
	Subscriptions *subscription.Store

	// Collections are for those who may do that in the subscription.
	Collections Collections

	// Stopping is closed when the server is about to stop: whoever waits for
	// something to happen is answered then. Nil means that it never stops.
	Stopping <-chan struct{}

	// Admins are the admin users of registries.
	Admins Admins

	// Size returns how many bytes a registry holds, up to a minute old.
	Size func(ctx context.Context, registry int64) (int64, error)

	// Purge is called when a registry was deleted, and is to see to it that what
	// it held goes. It must not block.
	Purge func()

	// Import copies an image into a registry and returns when it is there. The
	// errors are for people.
	Import func(ctx context.Context, job Import) error

	// Directory is the id, a UUID, of what ARM calls the tenant.
	Directory string

	// Authenticate returns who sent a request. An error may have a method
	// Challenge() string, the value of WWW-Authenticate, and a method
	// RetryAfter() time.Duration.
	Authenticate func(*http.Request) (Caller, error)

	// Source describes a registry as the place of events: its login server,
	// ARM id and location.
	Source func(tenant.Registry) event.Registry

	// Audit is where is put who did or tried what that is no reading.
	Audit *audit.Log

	// SigningKeys are those that sign tokens.
	SigningKeys SigningKeys

	// Log receives internal errors; nil means slog.Default().
	Log *slog.Logger
}

// api carries out requests.
type api struct {
	Config
}

// New returns the control plane, for whole paths that Handles reports true for.
// Scheme and host of a request must be those the client sees.
func New(cfg Config) http.Handler {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &api{cfg}
}

// ServeHTTP answers a request under either root.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setHeaders(w.Header(), r, a.Tenants.Default().Location)
	c := call{Request: r, place: parsePath(r.URL.Path), notes: new([]string)}
	answer, err := a.serve(w, &c)
	a.record(w.Header(), c, answer, err)
	if err != nil {
		a.writeError(w, r, err)
		return
	}
	write(w, answer)
}

// serve finds the operation and carries it out, if the caller may have it.
func (a *api) serve(w http.ResponseWriter, c *call) (answer, error) {
	caller, err := a.Authenticate(c.Request)
	if err != nil {
		return answer{}, err
	}
	c.caller, c.user = caller, caller.Name()
	if err := checkAPIVersion(c.Request, c.place.short); err != nil {
		return answer{}, err
	}
	route, names, err := findRoute(w.Header(), c.Method, c.place)
	if err != nil {
		return answer{}, err
	}
	c.route, c.name, c.inner = route, names[0], names[1]
	if err := a.admit(c); err != nil {
		return answer{}, err
	}
	c.Body = http.MaxBytesReader(w, c.Body, maxBody)
	return route.run(a, *c)
}

// call is a request to one operation.
type call struct {
	*http.Request
	place    place
	route    route
	caller   Caller
	user     string          // the caller's name
	registry tenant.Registry // the zero one if the path is in none, or in one that is not there
	group    tenant.Group    // likewise
	topic    systemTopic     // likewise
	name     string          // of the child resource, as the path has it
	inner    string          // of what lies within that, such as a replay's id
	notes    *[]string       // for the audit log
}

// by returns the caller as those who write down who did something want it.
func (c call) by() tenant.Actor { return tenant.Actor{Name: c.user, Kind: c.caller.Kind()} }

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

// What is said to be left of Azure's limits on requests to a subscription. There
// are none here: clients that slow down when it is little are told that it is
// much.
const (
	readsLeft   = "11999"
	writesLeft  = "1199"
	deletesLeft = "14999"
)

// setHeaders sets what every answer has. Ids that are set already stay. location
// is where the server is.
func setHeaders(h http.Header, r *http.Request, location string) {
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
	h.Set("Api-Supported-Versions", strings.Join(knownVersions, ", "))
	h.Set("X-Ms-Routing-Request-Id", strings.ToUpper(location)+":"+time.Now().UTC().Format("20060102T150405Z")+":"+h.Get(headerRequestID))
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		h.Set("X-Ms-Ratelimit-Remaining-Subscription-Reads", readsLeft)
	case http.MethodDelete:
		h.Set("X-Ms-Ratelimit-Remaining-Subscription-Deletes", deletesLeft)
	default:
		h.Set("X-Ms-Ratelimit-Remaining-Subscription-Writes", writesLeft)
	}
}

// knownVersions are the api-versions that Azure's service says it has. The
// bodies are the same in all of them, so that any other is taken too.
var knownVersions = []string{
	"2017-10-01", "2019-05-01", "2019-12-01-preview", "2020-11-01-preview", "2021-06-01-preview", "2021-08-01-preview", "2021-09-01",
	"2021-12-01-preview", "2022-02-01-preview", "2022-12-01", "2023-01-01-preview", "2023-06-01-preview", "2023-07-01", "2023-08-01-preview",
	"2023-11-01-preview", "2024-01-01-preview", "2024-11-01-preview", "2025-03-01-preview", "2025-04-01", "2025-05-01-preview",
	"2025-09-01-preview", "2025-11-01",
}

// checkAPIVersion accepts any version that is well-formed. Under the short root
// there may be none.
func checkAPIVersion(r *http.Request, short bool) error {
	query := r.URL.Query()
	version := query.Get("api-version")
	if version == "" {
		if short && !query.Has("api-version") {
			return nil
		}
		return fault.New(fault.Invalid, "the api-version query parameter (?api-version=) is required for all requests: add one, for example ?api-version=2023-07-01").
			WithCode("MissingApiVersionParameter")
	}
	if _, err := time.Parse(time.DateOnly, strings.TrimSuffix(version, "-preview")); err != nil {
		return fault.New(fault.Invalid, "api-version %q is not valid: give a date like 2023-07-01 or 2023-01-01-preview; the supported api-versions are %s",
			clip(version), strings.Join(knownVersions, ", ")).WithCode("NoRegisteredProviderFound")
	}
	return nil
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
	if wait, later := retryAfter(err); later {
		status, code = http.StatusTooManyRequests, "TooManyRequests"
		w.Header().Set("Retry-After", seconds(wait))
	}
	write(w, answer{status, errorBody{errorDetail{Code: code, Message: f.Message}}})
}

// retryAfter returns how long an error asks the client to wait, if it does.
func retryAfter(err error) (time.Duration, bool) {
	var later interface{ RetryAfter() time.Duration }
	if !errors.As(err, &later) {
		return 0, false
	}
	return later.RetryAfter(), true
}
