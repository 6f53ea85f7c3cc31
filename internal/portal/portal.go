// Package portal is the face for people with a browser: pages that show what a
// registry holds, what rang, and ring it again.
//
// It owns the pages, the session of a browser and what is sent to it. What a page
// shows of the control plane, and every change that is made by one, is asked of the
// control plane's own API with the token of the session: its rules, roles and audit
// log hold here because they hold there. What a registry holds comes as an
// oci.Contents, which the server gives out for the same token. Charts, words and
// numbers are drawn here.
//
// Invariants: nothing but what is embedded is loaded, and no script runs that is not
// a file of ours; whatever strangers wrote is text; no button is shown that would be
// refused; the main paths work without script; and no page has a secret, but the
// answer to a person who just made or asked for one.
package portal

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

// Root is the path below which the portal is.
const Root = "/portal"

// Visitor is who a session is of.
type Visitor interface {
	Name() string

	// Kind is User or Application, as ARM's systemData has it.
	Kind() string

	// May reports whether they may do an action of the control plane in a scope, an
	// ARM id.
	May(action, scope string) bool
}

// Config is what the portal stands on. All fields but Log and Stopping are required.
type Config struct {
	// API is the control plane, as it is served under /api/v1, the service principals
	// included.
	API http.Handler

	// Login returns a token for who has that user name and password, which is good
	// for some time. client is the address of the browser. It fails with
	// fault.Unauthenticated, or with a method RetryAfter() time.Duration.
	Login func(ctx context.Context, client, user, password string) (token string, err error)

	// Visitor returns whose token it is, and another one in its place if it is time
	// for that, else an empty text. It fails with fault.Unauthenticated for one that is
	// none, or not any more.
	Visitor func(ctx context.Context, token string) (v Visitor, renewed string, err error)

	// Contents returns a registry as a visitor has it. It fails with fault.NotFound for
	// one that they may not see.
	Contents func(r *http.Request, v Visitor, registry string) (oci.Contents, error)

	// Stopping is closed when the server is about to stop; nil means never.
	Stopping <-chan struct{}

	Version string
	Log     *slog.Logger // nil means slog.Default()
}

// portal serves the pages.
type portal struct {
	Config
	mux  *http.ServeMux
	same *http.CrossOriginProtection

	tails atomic.Int64 // that run
}

// New returns the portal, for paths below Root.
func New(cfg Config) http.Handler {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	p := &portal{Config: cfg, mux: http.NewServeMux(), same: http.NewCrossOriginProtection()}
	p.same.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.fail(w, r, nil, fault.New(fault.Denied, "the form was sent from a page of another address: open the portal and send it from there"))
	}))
	p.mux.Handle("GET "+Root+"/assets/", assets())
	p.open("GET "+Root+"/login", (*portal).showLogin)
	p.open("POST "+Root+"/login", (*portal).login)
	p.open("POST "+Root+"/theme", setTheme)
	p.open("POST "+Root+"/logout", (*portal).logout)
	for _, rt := range pages {
		p.page(rt.pattern, rt.serve)
	}
	p.open(Root+"/", func(p *portal, w http.ResponseWriter, r *http.Request) error {
		return fault.New(fault.NotFound, "there is no page at this address")
	})
	return p
}

// route is a page, or what a form of one does.
type route struct {
	pattern string // of http.ServeMux
	serve   func(*portal, http.ResponseWriter, *visit) error
}

// pages are all that are for somebody who is logged in. Each file of pages adds its
// own.
var pages []route

func addPages(routes ...route) { pages = append(pages, routes...) }

// visit is a request of somebody who is logged in.
type visit struct {
	*http.Request
	visitor  Visitor
	api      *controlclient.Client
	registry string // of the path; empty if that has none
}

// ServeHTTP answers a request below Root.
func (p *portal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store") // pages are of the moment, and of one person
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	p.same.Handler(p.mux).ServeHTTP(w, r)
}

// maxForm is how large a form may be, in bytes.
const maxForm = 256 << 10

// open has a pattern served to everyone.
func (p *portal) open(pattern string, serve func(*portal, http.ResponseWriter, *http.Request) error) {
	p.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := serve(p, w, r); err != nil {
			p.fail(w, r, nil, err)
		}
	})
}

// page has a pattern served to who is logged in; others are sent to log in, and
// back.
func (p *portal) page(pattern string, serve func(*portal, http.ResponseWriter, *visit) error) {
	p.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		v, err := p.visit(w, r)
		if fault.Is(err, fault.Unauthenticated) {
			p.sendToLogin(w, r)
			return
		}
		if err == nil {
			err = serve(p, w, v)
		}
		if err != nil {
			p.fail(w, r, v, err)
		}
	})
}

// visit returns whose request it is.
func (p *portal) visit(w http.ResponseWriter, r *http.Request) (*visit, error) {
	token := sessionOf(r)
	if token == "" {
		return nil, fault.New(fault.Unauthenticated, "nobody is logged in")
	}
	visitor, renewed, err := p.Visitor(r.Context(), token)
	if err != nil {
		return nil, err
	}
	if renewed != "" {
		token = renewed
		setSession(w, r, token)
	}
	return &visit{Request: r, visitor: visitor, api: p.client(r, token), registry: r.PathValue("registry")}, nil
}

// may reports whether the visitor may do an action of a registry, whose id is scope.
func (v *visit) may(action, scope string) bool {
	return v.visitor.May("Microsoft.ContainerRegistry/registries/"+action, scope)
}

// client returns the API as the token's owner has it. Its requests do not leave the
// process.
func (p *portal) client(r *http.Request, token string) *controlclient.Client {
	server := &url.URL{Scheme: "http", Host: r.Host}
	return controlclient.New(server, "", "", &http.Client{Transport: inProcess{p.API, r, token}})
}

// inProcess carries a request to a handler.
type inProcess struct {
	api   http.Handler
	from  *http.Request // of the browser
	token string
}

// RoundTrip implements http.RoundTripper.
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+t.token)
	r.Host, r.RemoteAddr, r.RequestURI, r.TLS = t.from.Host, t.from.RemoteAddr, r.URL.RequestURI(), t.from.TLS
	answer := &recorder{header: http.Header{}}
	for _, name := range []string{"X-Ms-Request-Id", "X-Ms-Correlation-Request-Id", "User-Agent"} { // for the audit log
		r.Header[name] = t.from.Header.Values(name)
		answer.header[name] = t.from.Header.Values(name)
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	t.api.ServeHTTP(answer, r)
	return answer.response(r), nil
}

// recorder keeps an answer of the API. What streams is not asked for here.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *recorder) Header() http.Header { return a.header }

func (a *recorder) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *recorder) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

func (a *recorder) response(r *http.Request) *http.Response {
	a.WriteHeader(http.StatusOK)
	return &http.Response{
		Status: http.StatusText(a.status), StatusCode: a.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.header, Body: readCloser{bytes.NewReader(a.body.Bytes())}, ContentLength: int64(a.body.Len()), Request: r,
	}
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

// fail shows an error: what was wrong, and where to go on.
func (p *portal) fail(w http.ResponseWriter, r *http.Request, v *visit, err error) {
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		return // nobody is there to see it
	}
	f := fault.As(err)
	status := statusOf(f.Kind)
	if f.Kind == fault.Internal {
		p.Log.Error("a page failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	if comeLater(w, err) {
		status = http.StatusTooManyRequests
	}
	if err := p.render(w, r, v, status, "error", page{Title: titles[status], Body: sentence(f)}); err != nil {
		p.Log.Error("the page of an error failed", "error", err)
	}
}

// comeLater reports whether an error asks to come back later, and says so in the answer.
func comeLater(w http.ResponseWriter, err error) bool {
	var wait interface{ RetryAfter() time.Duration }
	if !errors.As(err, &wait) {
		return false
	}
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.RetryAfter().Seconds()))))
	return true
}

// titles are what pages of errors are called.
var titles = map[int]string{
	http.StatusBadRequest: "That cannot be done", http.StatusForbidden: "Not allowed", http.StatusNotFound: "Nothing here", http.StatusConflict: "Not now",
	http.StatusTooManyRequests: "Too many attempts", http.StatusInternalServerError: "Something broke", http.StatusServiceUnavailable: "Not now",
}

// statusOf returns the status of an answer that tells of a fault.
func statusOf(k fault.Kind) int {
	switch k {
	case fault.Invalid, fault.OutOfRange, fault.TooLarge, fault.Unsupported:
		return http.StatusBadRequest
	case fault.Unauthenticated, fault.Denied:
		return http.StatusForbidden
	case fault.NotFound:
		return http.StatusNotFound
	case fault.Conflict, fault.Quota:
		return http.StatusConflict
	case fault.Unavailable, fault.NoSpace:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
