// Package config holds the settings of dockbell serve: their names, defaults,
// rules and help texts, and how they are read.
//
// It owns the Config struct and its loading from flags, environment and file;
// what a setting does is for the package that uses it. Invariants: each setting
// has one name and one parser, whichever way it comes, and a Config that Load
// returned without error keeps every rule written at its fields.
//
// The name of a setting is that of its flag. In the environment it is
// DOCKBELL_ALLOW_DESTINATIONS for --allow-destinations, in the file (YAML)
//
//	allow-destinations: [10.0.0.0/8, 192.168.7.9]
//
// A flag counts before the environment, that before the file, that before the
// default. A variable that is set but empty counts as not set.
//
// The file is decoded into YAML nodes, and their text given to the parser of the
// flag: so a password 0123 stays what was written, an error can name the line,
// and no second description of the settings has to agree with the first, as it
// would for a library that merges layers.
package config

import (
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
)

// Config is the settings of dockbell serve.
type Config struct {
	Listen string // host:port; an empty host means every address of the machine
	Data   string // the folder that holds everything which is not elsewhere

	Domain       string   // registries are <name>.<domain>; a host name in lower case, perhaps with :port
	ExternalURL  *url.URL // scheme and host that clients use; nil: Listen's
	Aliases      []string // further host names of the default registry, in lower case
	RegistryName string   // the default registry, and the operator's user name; 5 to 50 lower-case letters and digits
	Location     string   // the only location there is, as eastus; empty: whatever is asked for

	AdminPassword Secret // empty: made at the first start
	DataKey       Secret // base64 of 32 bytes; empty: a file in Data
	Database      Secret // postgres:// address; empty: SQLite in Data

	TrustedProxies []netip.Prefix // whose X-Forwarded fields are believed

	AllowDestinations  []netip.Prefix // that webhooks may reach beside public addresses
	NAT64Prefixes      []netip.Prefix // of the network's translators to IPv4, of a length in RFC 6052
	EgressProxy        *url.URL       // http or https; may hold a password; nil: webhooks are rung directly
	Alerts             *url.URL       // http or https, where failing webhooks are told of; may hold a secret; nil: nowhere
	MaxInFlight        int            // attempts at once, 1 to MaxMaxInFlight
	MaxInFlightPerHost int            // of those, to one host; 1 to MaxMaxInFlight

	AttemptRetention time.Duration // how long attempts are kept, at least MinRetention
	AttemptBudget    Size          // how many bytes of attempts are kept, at least MinAttemptBudget
	EventRetention   time.Duration // how long events are kept that nothing waits for, MinRetention to MaxEventRetention
	DiskLowWater     Size          // free bytes below which less is kept; 0: not looked at

	MaxManifestSize Size // MinManifestSize to MaxManifestSize

	CollectEvery time.Duration // from one collection's start to the next one's; 0: none by itself, else MinCollectEvery or more
	CollectGrace time.Duration // how long a blob stays that no manifest refers to

	TLS     string // SelfSigned, or empty: TLSCert, or no TLS
	TLSCert string // PEM file with certificate and chain; empty: TLS alone decides
	TLSKey  string // PEM file with its private key

	HTTPRedirect             string // host:port where plain HTTP is sent to HTTPS; empty: nowhere
	MaxConnections           int    // of clients at once, 1 to MaxMaxConnections
	MaxConnectionsPerAddress int    // of those, from one IPv4 address or IPv6 network of 64 bits; 1 to MaxMaxConnections

	AuditRetention time.Duration // how long the audit log is kept, at least MinRetention
	SigningKeyLife time.Duration // how often another key signs tokens, at least MinSigningKeyLife

	LogLevel  slog.Level
	LogFormat string // text or json
}

// SelfSigned is the value of Config.TLS for certificates of an authority that the
// server makes itself.
const SelfSigned = "self-signed"

// DefaultDomain is the domain that resolves to the reader's own machine.
const DefaultDomain = "dockbell.localhost"

// The range of Config.MaxManifestSize. Registries should take manifests of
// 4 MiB (Distribution 1.1, "Pushing manifests"); each is held in memory.
const (
	MinManifestSize Size = 64 << 10
	MaxManifestSize Size = 64 << 20
)

// The limits of what is kept of deliveries, and of how many run at once: each
// takes a file descriptor.
const (
	MinRetention           = time.Hour
	MaxEventRetention      = 90 * day
	MinAttemptBudget  Size = 1 << 20
	MaxMaxInFlight         = 16384
)

// MinSigningKeyLife is the shortest time between two keys that sign tokens: each
// stays for hours until what it signed has expired.
const MinSigningKeyLife = time.Hour

// MaxMaxConnections is the largest Config.MaxConnections: each connection takes a
// file descriptor and some 40 KiB.
const MaxMaxConnections = 1 << 20

// MinCollectEvery is the least that is not 0 of Config.CollectEvery.
const MinCollectEvery = time.Minute

// Default returns the settings that hold unless others are given.
func Default() *Config {
	return &Config{
		Listen:          "127.0.0.1:5000",
		Data:            "./dockbell-data",
		Domain:          DefaultDomain,
		RegistryName:    "dockbell",
		MaxManifestSize: 4 << 20,
		CollectEvery:    day,
		CollectGrace:    time.Hour,
		LogFormat:       "text",

		MaxConnections:           8192,
		MaxConnectionsPerAddress: 1024,

		MaxInFlight:        256,
		MaxInFlightPerHost: 64,
		AttemptRetention:   30 * day,
		AttemptBudget:      2 << 30,
		EventRetention:     30 * day,
		DiskLowWater:       1 << 30,

		AuditRetention: 90 * day,
		SigningKeyLife: 90 * day,
	}
}

// LoopbackDestinations reports whether webhooks may reach this machine's own
// loopback addresses: only while the server is a private thing of its user,
// listening on loopback alone and known by no other name.
func (c *Config) LoopbackDestinations() bool {
	domain, _, _ := strings.Cut(c.Domain, ":")
	return onLoopback(c.Listen) && (c.HTTPRedirect == "" || onLoopback(c.HTTPRedirect)) &&
		c.ExternalURL == nil && len(c.Aliases) == 0 && len(c.TrustedProxies) == 0 && domain == DefaultDomain
}

// HTTPS reports whether the server speaks HTTPS.
func (c *Config) HTTPS() bool { return c.TLS != "" || c.TLSCert != "" }

// onLoopback reports whether an address to listen on is this machine's alone.
func onLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// validate checks the rules that concern several settings.
func (c *Config) validate() error {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return fault.New(fault.Invalid, "--tls-cert and --tls-key go together: give both, or neither for plain HTTP")
	}
	if c.TLS != "" && c.TLSCert != "" {
		return fault.New(fault.Invalid, "--tls %s makes its own certificate, and --tls-cert %s is another: give one of them", c.TLS, c.TLSCert)
	}
	if c.HTTPRedirect != "" && !c.HTTPS() {
		return fault.New(fault.Invalid, "--http-redirect %s sends clients to HTTPS, which this server does not serve: give --tls-cert and --tls-key too, or have the proxy that does send them", c.HTTPRedirect)
	}
	return nil
}
