// Package app builds the server from its parts, starts them in order and stops
// them in reverse.
//
// It owns the connections between parts that do not know each other: which host
// means which registry, whose request a change is recorded for, who hears of an
// event. And it owns the transport: connections, TLS, what proxies say, how long a
// client may keep a request waiting. What each part does is the part's own affair.
// Invariant: nothing is acknowledged before everything that must remember it runs,
// and nothing that was acknowledged is dropped when the server stops.
package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dockbell/dockbell/internal/audit"
	"github.com/dockbell/dockbell/internal/auth"
	"github.com/dockbell/dockbell/internal/blob/fs"
	"github.com/dockbell/dockbell/internal/chart"
	"github.com/dockbell/dockbell/internal/collect"
	"github.com/dockbell/dockbell/internal/config"
	"github.com/dockbell/dockbell/internal/delivery"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/listen"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/portal"
	"github.com/dockbell/dockbell/internal/registry"
	"github.com/dockbell/dockbell/internal/seal"
	"github.com/dockbell/dockbell/internal/sink"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/subscription"
	"github.com/dockbell/dockbell/internal/tenant"
	"github.com/dockbell/dockbell/internal/webhook"
)

// Server is a running dockbell.
type Server struct {
	cfg *config.Config
	log *slog.Logger

	lock        *os.File
	db          *sqldb.DB
	blobs       *fs.Store
	outbound    *outbound.Client
	fetching    *http.Transport // over which images are imported
	brokers     *sink.Publishers
	importing   chan struct{} // has one of each import at work
	listeners   *listen.Hub
	deliver     *delivery.Engine
	events      *outbox.Outbox
	tenants     *tenant.Store
	hosts       *tenant.Hosts
	authority   *auth.Authority
	audit       *audit.Log
	keeping     func() // ends what keeps the audit log and the signing keys; nil: nothing does
	registry    *registry.Store
	charts      *chart.Store
	owners      // of endpoints
	collections *collect.Store
	telling     func() // ends what writes the events of pulls; nil: nothing does
	retaining   func() // ends what carries out retention policies; nil: nothing does
	asking      func() // ends what asks receivers whether they agree; nil: nothing does

	id        string     // of this server, made at its first start
	node      event.Node // this server as events tell of it
	tls       *tls.Config
	listener  net.Listener
	redirects net.Listener // for plain HTTP that is sent to HTTPS; nil: none
	http      *http.Server // of every face
	limits    limits
	inFlight  inFlight
	stopping  chan struct{} // closed when Serve begins to stop

	doomed      chan struct{} // a registry was deleted
	stopPurging func()        // nil before there is anything to stop

	// Password is the operator's, for those who started the server; FirstStart
	// is set when it was made just now.
	Password   string
	FirstStart bool
}

// Version is the version of this program; the build sets it.
var Version = "dev"

// shutdownBudget is how long requests and attempts in flight may take to end
// when the server stops. It exceeds the time limit of one attempt.
const shutdownBudget = 15 * time.Second

// Open builds a server and starts what runs in the background: the engine
// recovers what a crash left open before Open returns. The errors are for the
// operator.
func Open(ctx context.Context, cfg *config.Config, log *slog.Logger) (_ *Server, err error) {
	s := &Server{cfg: cfg, log: log, limits: usual, listeners: listen.New(), stopping: make(chan struct{}), doomed: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if err := makeFolder(cfg.Data); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if s.lock, err = lockFolder(cfg.Data); err != nil {
		return nil, err
	}
	if s.tls, err = s.certificates(); err != nil {
		return nil, err
	}
	if s.listener, err = listenOn("--listen", cfg.Listen); err != nil {
		return nil, err
	}
	if cfg.HTTPRedirect != "" {
		if s.redirects, err = listenOn("--http-redirect", cfg.HTTPRedirect); err != nil {
			return nil, err
		}
	}
	key, err := dataKey(cfg)
	if err != nil {
		return nil, err
	}
	s.db, err = sqldb.Open(ctx, sqldb.Config{
		Path: databaseFile(cfg), PostgresURL: cfg.Database.Reveal(), Log: log,
	})
	if err != nil {
		return nil, err
	}
	if s.blobs, err = fs.Open(cfg.Data); err != nil {
		return nil, err
	}
	if err := s.openTenants(ctx, key); err != nil {
		return nil, err
	}
	if err := s.openRinging(ctx, key); err != nil {
		return nil, err
	}
	s.http = s.newHTTP()
	return s, nil
}

// openTenants opens the hosted registries and the door to them.
func (s *Server) openTenants(ctx context.Context, key *seal.Key) (err error) {
	s.audit = audit.New(audit.Options{DB: s.db, Log: s.log, Keep: s.cfg.AuditRetention})
	s.authority, err = auth.Open(ctx, auth.Options{
		DB: s.db, Key: key, Ours: s.answersFor, SigningKeyLife: s.cfg.SigningKeyLife, Failed: s.loginFailed, Log: s.log,
	})
	if err != nil {
		return err
	}
	s.tenants, err = tenant.Open(ctx, s.db, tenant.Options{
		DefaultName: s.cfg.RegistryName, DefaultLocation: s.cfg.Location, OneLocation: s.cfg.Location != "", Admins: s.authority,
		Webhooks: func(tx *sqldb.Tx, registry int64, location string) ([]string, error) {
			return s.webhooks.NamesIn(tx, registry, location)
		},
		Tokens: s.authority.RepositoryTokens().Count,
	})
	if err != nil {
		return err
	}
	names := s.cfg.Aliases
	if s.cfg.ExternalURL != nil {
		names = append([]string{s.cfg.ExternalURL.Host}, names...)
	}
	if s.hosts, err = tenant.NewHosts(s.tenants, s.cfg.Domain, names...); err != nil {
		return err
	}
	name := s.tenants.Default().Name
	s.Password, s.FirstStart, err = s.authority.EnsureOperator(ctx, name, s.cfg.AdminPassword.Reveal())
	if err != nil {
		return err
	}
	return writePrivate(s.credentials(), fmt.Sprintf("username: %s\npassword: %s\n", name, s.Password))
}

// openRinging opens the way of an event: from the registry's transaction through
// the outbox and the webhooks' rules to the engine.
func (s *Server) openRinging(ctx context.Context, key *seal.Key) (err error) {
	err = s.db.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) (err error) {
		s.id, err = ensureServerID(tx)
		return err
	})
	if err != nil {
		return err
	}
	s.node = event.Node{Addr: nodeAddr(s.Addr()), ID: s.id}
	policy := outbound.Policy{
		Loopback: s.cfg.LoopbackDestinations(), Allow: s.cfg.AllowDestinations, NAT64: s.cfg.NAT64Prefixes, Own: s.own(),
	}
	s.outbound = outbound.New(outbound.Options{Policy: policy, Proxy: s.cfg.EgressProxy, ID: s.id})
	s.fetching, s.importing = s.outbound.Transport(), make(chan struct{}, importsAtOnce)
	s.log.Info(s.outbound.Describe())
	s.brokers = sink.New(sink.Options{Dial: s.outbound.DialContext})
	engine := delivery.New(delivery.Options{
		DB: s.db, Poster: poster{s.outbound, s.listeners, s.id}, Log: s.log, Node: nodeName(),
		MaxInFlight: s.cfg.MaxInFlight, MaxPerHost: s.cfg.MaxInFlightPerHost,
		Retention: delivery.Retention{
			Attempts: s.cfg.AttemptRetention, Events: s.cfg.EventRetention, Budget: int64(s.cfg.AttemptBudget),
		},
		DeadLettered: func(endpoint int64) { s.subscriptions.DeadLettered(endpoint) },
		LowDisk:      func() bool { return below(s.cfg.Data, int64(s.cfg.DiskLowWater)) },
	})
	s.events = outbox.New(engine.Committed)
	var alerts string
	if s.cfg.Alerts != nil {
		alerts = s.cfg.Alerts.String()
	}
	loaded := make(chan error, 1) // nobody is served before all have their parts in memory
	go func() { loaded <- engine.Load(ctx) }()
	s.webhooks, err = webhook.Open(ctx, webhook.Options{
		DB: s.db, Key: key, Endpoints: engine, Outbox: s.events, CheckURL: policy.CheckURL, Version: Version,
		Source: s.sourceByID, Alerts: alerts,
		Poster: s.outbound, Log: s.log,
	})
	if err := errors.Join(err, <-loaded); err != nil {
		return err
	}
	s.subscriptions, err = subscription.Open(ctx, subscription.Options{
		DB: s.db, Key: key, Endpoints: engine, Outbox: s.events, CheckURL: policy.CheckURL, CheckBroker: policy.CheckBroker, Version: Version,
		Source: s.sourceByID, URL: s.receiversReach,
		Poster: s.outbound, Brokers: s.brokers, Letters: engine, Folder: filepath.Join(s.cfg.Data, "dead-letters"), Log: s.log,
	})
	if err != nil {
		return err
	}
	if alerts != "" {
		if err := writePrivate(filepath.Join(s.cfg.Data, "alerts-secret"), s.webhooks.AlertsSecret()+"\n"); err != nil {
			return err
		}
	}
	s.registry = registry.New(registry.Options{
		DB: s.db, Blobs: s.blobs, Outbox: s.events, Log: s.log, UploadKey: key.Derive("upload ids"),
		Wanted: s.Wanted, Audit: s.audit,
		Owed: func(e *event.Event) bool { return len(s.InForce()(e)) > 0 },
	})
	s.charts = chart.New(chart.Options{DB: s.db, Blobs: s.blobs, Outbox: s.events, Audit: s.audit, Log: s.log})
	if err := engine.Start(ctx, s.owners); err != nil {
		return err
	}
	s.deliver = engine
	if err := s.startListeners(ctx); err != nil {
		return err
	}
	s.asking = inBackground(s.webhooks.Run, s.subscriptions.Run)
	s.stopPurging = inBackground(s.purgeAlways)
	s.keeping = inBackground(s.audit.Run, s.authority.KeepSigningKeys)
	s.telling = inBackground(s.registry.Run)
	s.retaining = inBackground(s.retainAlways)
	return s.openCollections(ctx)
}

// answersFor reports whether a host, perhaps with a port, means one of the hosted
// registries.
func (s *Server) answersFor(host string) bool {
	_, err := s.hosts.Resolve(host)
	return err == nil
}

// own returns where this server itself is reached.
func (s *Server) own() outbound.Own {
	own := outbound.Own{Names: s.answersFor}
	if addr, ok := s.Addr().(*net.TCPAddr); ok {
		own.Listen = []netip.AddrPort{addr.AddrPort()}
	}
	if s.redirects != nil {
		if addr, ok := s.redirects.Addr().(*net.TCPAddr); ok {
			own.Listen = append(own.Listen, addr.AddrPort())
		}
	}
	hosts := append([]string{s.cfg.Domain}, s.cfg.Aliases...)
	if s.cfg.ExternalURL != nil {
		hosts = append(hosts, s.cfg.ExternalURL.Host)
	}
	for _, host := range hosts {
		_, port, _ := net.SplitHostPort(host)
		if n, err := strconv.ParseUint(port, 10, 16); err == nil {
			own.Ports = append(own.Ports, uint16(n))
		}
	}
	return own
}

// Addr returns the address the server listens on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// URL returns where clients on this machine reach the server.
func (s *Server) URL() string {
	return scheme(s.cfg) + "://" + s.listener.Addr().String()
}

func scheme(cfg *config.Config) string {
	if cfg.HTTPS() {
		return "https"
	}
	return "http"
}

// receiversReach returns where those who are rung reach a registry: the default one
// by the address that the server listens on, if that is one.
func (s *Server) receiversReach(registry int64) string {
	if addr, ok := s.Addr().(*net.TCPAddr); ok && registry == s.tenants.Default().ID && s.cfg.ExternalURL == nil && !addr.IP.IsUnspecified() {
		return s.URL()
	}
	r := s.sourceByID(registry)
	return r.Scheme + "://" + r.LoginServer
}

// Operator returns the operator's user name.
func (s *Server) Operator() string { return s.tenants.Default().Name }

func (s *Server) credentials() string { return filepath.Join(s.cfg.Data, "admin-credentials") }

// Serve answers requests until ctx ends, and then stops everything in order.
func (s *Server) Serve(ctx context.Context) error {
	return errors.Join(s.serveAll(ctx), s.close())
}

// close stops the parts in the reverse of the order in which they started. It
// works on a server that was only half opened.
func (s *Server) close() error {
	var errs []error
	if s.listener != nil {
		s.listener.Close() // a second time after Serve
	}
	if s.redirects != nil {
		s.redirects.Close() // likewise
	}
	s.listeners.Stop() // likewise
	if s.collections != nil {
		s.collections.Stop()
	}
	if s.stopPurging != nil {
		s.stopPurging()
	}
	if s.asking != nil {
		s.asking()
	}
	if s.keeping != nil {
		s.keeping()
	}
	if s.retaining != nil {
		s.retaining()
	}
	if s.telling != nil {
		s.telling()
	}
	if s.deliver != nil {
		budget, cancel := context.WithTimeout(context.Background(), shutdownBudget)
		s.deliver.Stop(budget)
		cancel()
	}
	if s.outbound != nil {
		s.outbound.Close()
		s.fetching.CloseIdleConnections()
		s.brokers.Close()
	}
	if s.blobs != nil {
		errs = append(errs, s.blobs.Close())
	}
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

// source returns a registry as events tell of it.
func (s *Server) source(r tenant.Registry) event.Registry {
	return event.Registry{
		ID: r.ID, Name: r.Name, LoginServer: s.loginServer(r), ResourceID: r.ResourceID(), Location: r.Location,
		Scheme: s.scheme(), Node: s.node,
	}
}

// sourceByID is source by the registry's row id.
func (s *Server) sourceByID(id int64) event.Registry { return s.source(s.tenants.ByID(id)) }

// scheme returns that of the addresses that clients use.
func (s *Server) scheme() string {
	if external := s.cfg.ExternalURL; external != nil {
		return external.Scheme
	}
	return scheme(s.cfg)
}

// loginServer returns the name that clients log in to: <registry>.<domain>, with
// the port they need, or for the default registry the external URL's.
func (s *Server) loginServer(r tenant.Registry) string {
	if external := s.cfg.ExternalURL; external != nil && r.ID == s.tenants.Default().ID {
		return external.Host
	}
	return r.LoginServer(s.domain())
}

// domain returns what follows a registry's name and a dot in its login server:
// --domain, with the port that clients need.
func (s *Server) domain() string {
	domain := s.cfg.Domain
	_, port, err := net.SplitHostPort(s.Addr().String())
	if err != nil || s.cfg.ExternalURL != nil || port == "443" || port == "80" || strings.Contains(domain, ":") {
		return domain
	}
	return net.JoinHostPort(domain, port)
}

// lockFolder keeps two servers from using one data folder. The lock goes with
// the process, however that ends.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w: the server needs to write there, or choose another with --data", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another dockbell uses the data folder %s: stop it, or choose another folder with --data", dir)
	}
	return f, nil
}

// listenOn opens the address that a flag names, with a proposal if it is taken.
func listenOn(flag, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err == nil {
		return l, nil
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s %s: %w", flag, address, err)
	}
	host, port, _ := net.SplitHostPort(address)
	free, ferr := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if ferr != nil {
		return nil, fmt.Errorf("port %s is taken", port)
	}
	defer free.Close()
	return nil, fmt.Errorf("port %s is taken: try %s %s", port, flag, free.Addr())
}

// dataKey returns the key that secrets in the database are sealed with.
func dataKey(cfg *config.Config) (*seal.Key, error) {
	if text := cfg.DataKey.Reveal(); text != "" {
		return seal.Parse(text)
	}
	path := filepath.Join(cfg.Data, "data-key")
	if !exists(path) && exists(databaseFile(cfg)) {
		return nil, fmt.Errorf("the data folder %s has a database but no data-key, without which its secrets cannot be read: put the file back, or set DOCKBELL_DATA_KEY", cfg.Data)
	}
	return seal.LoadFile(path)
}

func databaseFile(cfg *config.Config) string { return filepath.Join(cfg.Data, "dockbell.db") }

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// nodeName names this process in the log of attempts.
func nodeName() string {
	name, err := os.Hostname()
	if err != nil {
		name = "unknown"
	}
	name, _, _ = strings.Cut(name, ".")
	return name
}

// nodeAddr returns the address that the server listens on as others may know it:
// that of all interfaces says nothing, so the machine's name stands for it.
func nodeAddr(listen net.Addr) string {
	host, port, err := net.SplitHostPort(listen.String())
	if err != nil {
		return listen.String()
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		host = nodeName()
	}
	return net.JoinHostPort(host, port)
}

// Announce tells the person who started the server where it is and what to type
// next. The password is printed once, at the first start.
func (s *Server) Announce(out io.Writer) {
	fmt.Fprintf(out, "dockbell %s serves registry %s on %s, data in %s\n", Version, s.Operator(), s.URL(), s.cfg.Data)
	if s.FirstStart && s.cfg.AdminPassword.Reveal() == "" {
		fmt.Fprintf(out, "operator %s, password %s (printed this once; kept in %s)\n", s.Operator(), s.Password, s.credentials())
	}
	host := s.reachable()
	fmt.Fprintf(out, "\n  docker login %s -u %s\n  dockbell login %s://%s -u %s%s\n  %s://%s%s in a browser\n\n",
		host, s.Operator(), scheme(s.cfg), host, s.Operator(), s.trustFlag(), scheme(s.cfg), host, portal.Root)
}

// reachable returns a host and port that a client can use: the external URL's,
// the address that is listened on, or localhost if that is all addresses.
func (s *Server) reachable() string {
	if s.cfg.ExternalURL != nil {
		return s.cfg.ExternalURL.Host
	}
	host, port, err := net.SplitHostPort(s.Addr().String())
	if ip, perr := netip.ParseAddr(host); err == nil && perr == nil && ip.IsUnspecified() {
		return net.JoinHostPort("localhost", port)
	}
	return s.Addr().String()
}
