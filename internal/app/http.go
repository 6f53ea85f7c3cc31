package app

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/dockbell/dockbell/internal/acrserver"
	"github.com/dockbell/dockbell/internal/arm"
	"github.com/dockbell/dockbell/internal/audit"
	"github.com/dockbell/dockbell/internal/auth"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/identityserver"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/ociserver"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/portal"
	"github.com/dockbell/dockbell/internal/registry"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/tenant"
)

// handler is the site map: every face on its path.
func (s *Server) handler() http.Handler {
	images := ociserver.New(ociserver.Config{
		Open:            func(r *http.Request) (oci.Registry, error) { return s.openRegistry(r) },
		MaxManifestSize: int64(s.cfg.MaxManifestSize), Log: s.log,
	})
	acr := acrserver.New(acrserver.Config{Resolve: s.authRegistry, Authority: s.authority, Open: s.openRegistry, Charts: s.openCharts, Log: s.log})
	plane := arm.Config{
		Tenants: s.tenants, Webhooks: s.webhooks, Log: s.log, Deliveries: s.deliver,
		Listeners: s.listeners, Feed: feed{s.db, s.events}, Stopping: s.stopping,
		Authenticate: s.authenticateControl, Source: s.source,
		Admins: s.authority, Tokens: s.authority.RepositoryTokens(), Size: s.size, Purge: s.purge, Collections: s.collections, Directory: s.authority.Tenant(),
		Audit: s.audit, SigningKeys: s.authority, Import: s.importImage,
		Subscriptions: s.subscriptions,
	}
	resources := arm.New(plane)
	identity := identityserver.New(identityserver.Config{
		Authority: s.authority, Resolve: s.authRegistry, Scopes: s.scopes, Log: s.log, Audit: s.audit,
		Suffix: func() string { return "." + s.domain() },
	})
	// No pattern tells a tenant's path from another face's.
	control := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if identityserver.Serves(r.URL.Path) {
			identity.ServeHTTP(w, r)
			return
		}
		resources.ServeHTTP(w, r)
	})
	pages := s.portal(control)
	mux := http.NewServeMux()
	mux.Handle("/oauth2/", acr)
	mux.Handle("/helm/", acr)
	mux.Handle(arm.ConfirmationsRoot, arm.Confirmations(plane))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { ok(w) })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.HandleFunc("GET "+portal.Root, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, portal.Root+"/", http.StatusSeeOther)
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Accept"), "text/html") {
			http.Redirect(w, r, portal.Root+"/", http.StatusSeeOther)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Write([]byte("dockbell " + Version + ": images at /v2/, webhooks at /api/v1/registries\n"))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.believeProxies(r)
		h := w.Header()
		id := uuid.NewString()
		h.Set(requestID, id)
		h.Set(correlationID, correlation(r, id))
		r.Header.Set(requestID, id) // events and the audit log have it too
		r.Header.Set(correlationID, h.Get(correlationID))
		if c := r.Header.Get("X-Ms-Client-Request-Id"); c != "" && len(c) <= maxRequestID {
			h.Set("X-Ms-Client-Request-Id", c)
		}
		h.Set("X-Content-Type-Options", "nosniff")
		if s.cfg.TLSCert != "" {
			// RFC 6797; this host alone, but on all of its ports. With a certificate that
			// is the server's own making it would lock a browser out of whatever else
			// the machine serves.
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		if err := s.looping(r); err != nil {
			refuse(w, http.StatusLoopDetected, err)
			return
		}
		if !probe(r) {
			if _, err := s.hosts.Resolve(r.Host); err != nil {
				refuse(w, http.StatusMisdirectedRequest, err) // RFC 9110, section 15.5.20
				return
			}
		}
		// Not through the mux, which would redirect uploads to cleaned paths.
		if r.URL.Path == "/v2" || strings.HasPrefix(r.URL.Path, "/v2/") {
			images.ServeHTTP(w, r)
			return
		}
		// Nor these, for their names have escaped slashes.
		if strings.HasPrefix(r.URL.Path, "/acr/") {
			acr.ServeHTTP(w, r)
			return
		}
		if identityserver.Serves(r.URL.Path) || arm.Handles(r.URL.Path) { // in any case of letters, as ARM has it
			control.ServeHTTP(w, r)
			return
		}
		// Nor these: whatever is answered there has the portal's header fields.
		if strings.HasPrefix(r.URL.Path, portal.Root+"/") {
			pages.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// probe reports whether r is a health check, which whatever runs the process
// makes to an address, under whatever name.
func probe(r *http.Request) bool { return r.URL.Path == "/healthz" || r.URL.Path == "/readyz" }

// looping fails for a request that must not go on: what it leads to would ring
// again, and lead here again.
func (s *Server) looping(r *http.Request) error {
	hops := hopsOf(r)
	switch {
	case outbound.Loop(hops, s.id):
		return fault.New(fault.Conflict, "a webhook of this server led to this request, or it came through more than %d servers (%s): it is refused, because it could go round for ever; ring another address",
			outbound.MaxHops, outbound.HopsHeader).WithCode("LoopDetected")
	case hops != "" && r.Method == http.MethodPost && arm.Handles(r.URL.Path):
		// A ping has no room for the hops that led to it.
		return fault.New(fault.Conflict, "a webhook of another server led to this request (%s): the control plane takes no rings; ring a program that calls it",
			outbound.HopsHeader).WithCode("LoopDetected")
	}
	return nil
}

// hopsOf returns the servers whose rings led to a request.
func hopsOf(r *http.Request) string {
	return strings.Join(r.Header.Values(outbound.HopsHeader), ", ")
}

// refuse answers a request that gets to no face, in a body that clients of every
// face can read.
func refuse(w http.ResponseWriter, status int, err error) {
	f := fault.As(err)
	entry := map[string]string{"code": f.Code, "message": f.Message}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	body := json.NewEncoder(w)
	body.SetEscapeHTML(false)
	body.Encode(map[string]any{"errors": []any{entry}, "error": entry})
}

// The fields by which people find a request again in what is on record of it: its
// own id, and that of the call it belongs to.
const (
	requestID     = "X-Ms-Request-Id"
	correlationID = "X-Ms-Correlation-Request-Id"
)

// maxRequestID bounds what is echoed of a client's own ids, in bytes.
const maxRequestID = 128

// correlation returns the id that ties the requests of one client's call
// together: its own, if it has one.
func correlation(r *http.Request, id string) string {
	if c := r.Header.Get(correlationID); c != "" && len(c) <= maxRequestID {
		return c
	}
	return id
}

// openRegistry is whose request it is and which registry it means, as packages
// ociserver and acrserver ask.
func (s *Server) openRegistry(r *http.Request) (oci.Contents, error) {
	reg, door, who, err := s.admit(r)
	if err != nil {
		return nil, err
	}
	contents := s.contents(reg, registry.Caller{
		Request: eventRequest(r), Actor: who.Name, Kind: audit.ActorKind(who.Kind()), Correlation: r.Header.Get(correlationID),
	}, who.SeesQuarantine(door))
	return auth.Guard(contents, who, door), nil
}

// admit is which registry a request means, and who makes it.
func (s *Server) admit(r *http.Request) (tenant.Registry, auth.Registry, auth.Identity, error) {
	reg, err := s.hosts.Resolve(r.Host)
	if err != nil {
		return reg, auth.Registry{}, auth.Anonymous, err
	}
	door := s.door(r, reg)
	who, err := s.authority.Authenticate(r, door)
	return reg, door, who, err
}

// contents is a registry as a caller has it. Whoever gets at contents gets them from
// here, so that its policies hold for all.
func (s *Server) contents(reg tenant.Registry, caller registry.Caller, seesQuarantine bool) oci.Contents {
	switch {
	case reg.Quarantine() && seesQuarantine:
		caller.Quarantine = registry.Seen
	case reg.Quarantine():
		caller.Quarantine = registry.Hidden
	}
	kept := reg.SoftDeletePolicy()
	caller.SoftDelete, caller.DeletedFor = kept.Enabled, kept.Lifetime()
	return s.registry.For(s.source(reg), caller)
}

// door is the registry as package auth sees it: whose tokens it takes, and where
// they are had.
func (s *Server) door(r *http.Request, reg tenant.Registry) auth.Registry {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return auth.Registry{
		ID: reg.ID, Name: reg.Name, ResourceID: reg.ResourceID(), Service: s.loginServer(reg), Realm: scheme + "://" + r.Host,
		RegistryTokensOnly: reg.Settings.Get("policies.azureADAuthenticationAsArmPolicy.status") == "disabled",
		AnonymousPull:      reg.AnonymousPull(),
	}
}

// authRegistry is the registry that a request to the token service means.
func (s *Server) authRegistry(r *http.Request) (auth.Registry, error) {
	reg, err := s.hosts.Resolve(r.Host)
	if err != nil {
		return auth.Registry{}, err
	}
	return s.door(r, reg), nil
}

// ready says whether the server can do its work.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	if err := s.db.Read(r.Context(), func(*sqldb.Tx) error { return nil }); err != nil {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(http.StatusServiceUnavailable)
		json.NewEncoder(w).Encode(map[string]string{"status": "the database does not answer"})
		return
	}
	ok(w)
}

func ok(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Write([]byte("{\"status\":\"ok\"}\n"))
}
