package config

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/spell"
)

// Loader reads a Config from flags, environment and file. Register its Flags,
// let them be parsed, then Load.
type Loader struct {
	config *Config
	path   string   // of the settings file
	file   *setting // --config, which sets path
	groups []group
}

// NewLoader returns a Loader that knows the defaults.
func NewLoader() *Loader {
	l := &Loader{config: Default()}
	l.file = one(&l.path, parseText, "config", "file", "read settings from this YAML file; its keys are the names of these flags")
	l.groups = l.table()
	return l
}

// setting is one setting on its way into a Config, and its pflag.Value: what a
// flag is given is only kept, so that a wrong value is reported alike wherever
// it comes from.
type setting struct {
	name   string // of the flag
	kind   string // of value, for the help
	usage  string
	list   bool // several values, divided by commas
	noFlag bool // not to be seen in a list of processes

	set         func(text string) error // parse into the Config
	defaultText string
	given       []string // by flag
}

func (s *setting) String() string { return s.defaultText }
func (s *setting) Type() string   { return s.kind }

func (s *setting) Set(text string) error {
	if !s.list {
		s.given = nil
	}
	s.given = append(s.given, text)
	return nil
}

// group is settings that are for one purpose.
type group struct {
	title    string
	settings []*setting
}

// one is a setting with a single value.
func one[T any](dest *T, parse func(string) (T, error), name, kind, usage string) *setting {
	return &setting{name: name, kind: kind, usage: usage, set: func(text string) (err error) {
		*dest, err = parse(text)
		return err
	}}
}

// many is a setting with a list of values.
func many[T any](dest *[]T, parse func(string) (T, error), name, kind, usage string) *setting {
	return &setting{name: name, kind: kind, usage: usage, list: true, set: func(text string) error {
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item == "" {
				continue
			}
			v, err := parse(item)
			if err != nil {
				return err
			}
			*dest = append(*dest, v)
		}
		return nil
	}}
}

func (s *setting) defaultsTo(text string) *setting { s.defaultText = text; return s }
func (s *setting) withoutFlag() *setting           { s.noFlag = true; return s }

// table is the list of all settings.
func (l *Loader) table() []group {
	c := l.config
	return []group{
		{"Addresses", []*setting{
			one(&c.Listen, parseListen, "listen", "host:port", "address to serve on").defaultsTo(c.Listen),
			one(&c.Domain, parseDomain, "domain", "name", "registries are <name>.<domain>, or <name>.<domain>:port").defaultsTo(c.Domain),
			one(&c.ExternalURL, parseExternalURL, "external-url", "URL", "scheme and host that clients use, where that is not --listen"),
			many(&c.Aliases, parseHostName, "alias", "name,...", "further host names of the default registry, for example a cluster service's"),
			many(&c.TrustedProxies, ParseCIDR, "trusted-proxies", "CIDR,...", "believe X-Forwarded-For, -Host and -Proto of these addresses, which have to set or remove all three"),
			one(&c.TLS, parseTLS, "tls", SelfSigned, "serve HTTPS with a certificate of an authority made for it, which clients have to trust: tls/ca.pem in the data folder"),
			one(&c.TLSCert, parseText, "tls-cert", "file", "serve HTTPS with this certificate and chain (PEM); read again when it changes"),
			one(&c.TLSKey, parseText, "tls-key", "file", "private key of --tls-cert (PEM)"),
			one(&c.HTTPRedirect, parseRedirect, "http-redirect", "host:port", "send plain HTTP that comes to this address to HTTPS, for example :80"),
			one(&c.MaxConnections, parseConnections, "max-connections", "number", "connections of clients at once").defaultsTo(strconv.Itoa(c.MaxConnections)),
			one(&c.MaxConnectionsPerAddress, parseConnections, "max-connections-per-address", "number", "connections at once from one address that is none of --trusted-proxies").defaultsTo(strconv.Itoa(c.MaxConnectionsPerAddress)),
		}},
		{"Storage", []*setting{
			one(&c.Data, parseFolder, "data", "folder", "where everything is kept").defaultsTo(c.Data),
			one(&c.Database, parseDatabase, "database", "URL", "postgres://user:password@host:5432/name instead of SQLite in the data folder"),
			one(&c.CollectEvery, parseCollectEvery, "collect-every", "time", "remove blobs and uploads that nothing needs any more this often; 0 only when asked (dockbell gc run)").defaultsTo(formatDuration(c.CollectEvery)),
			one(&c.CollectGrace, parseCollectGrace, "collect-grace", "time", "keep a blob that no manifest refers to this long, for the push that will; longer than the slowest push takes").defaultsTo(formatDuration(c.CollectGrace)),
			one(&c.DataKey, parseSecret, "data-key", "base64", "32 bytes that seal what is secret in the database, instead of a file in the data folder").withoutFlag(),
		}},
		{"Registry", []*setting{
			one(&c.RegistryName, parseRegistryName, "registry-name", "name", "default registry, and user name of the operator").defaultsTo(c.RegistryName),
			one(&c.Location, parseLocation, "location", "name", "the only location there is, for example eastus; without it any, and the default registry is made in local"),
			one(&c.AdminPassword, parsePassword, "admin-password", "password", "password of the operator; better in DOCKBELL_ADMIN_PASSWORD; made at the first start if there is none"),
			one(&c.MaxManifestSize, parseManifestSize, "max-manifest-size", "size", "largest manifest taken, "+MinManifestSize.String()+" to "+MaxManifestSize.String()).defaultsTo(c.MaxManifestSize.String()),
		}},
		{"Deliveries", []*setting{
			many(&c.AllowDestinations, ParseCIDR, "allow-destinations", "CIDR,...", "private addresses that webhooks may reach beside public ones, for example 10.0.0.0/8"),
			many(&c.NAT64Prefixes, parseNAT64, "nat64-prefixes", "CIDR,...", "prefixes by which this network reaches IPv4 from IPv6, beside 64:ff9b::/96: they are not rung"),
			one(&c.EgressProxy, parseProxy, "egress-proxy", "URL", "ring webhooks through this proxy (CONNECT), for example http://proxy:4750; it then decides which addresses names may resolve to"),
			one(&c.Alerts, parseAlerts, "alerts", "URL", "tell this address when a webhook fails, is disabled or recovers"),
			one(&c.MaxInFlight, parseInFlight, "max-in-flight", "number", "attempts at once, over all webhooks").defaultsTo(strconv.Itoa(c.MaxInFlight)),
			one(&c.MaxInFlightPerHost, parseInFlight, "max-in-flight-per-host", "number", "attempts at once to one host").defaultsTo(strconv.Itoa(c.MaxInFlightPerHost)),
			one(&c.AttemptRetention, parseAttemptRetention, "attempt-retention", "time", "keep the log of attempts this long").defaultsTo(formatDuration(c.AttemptRetention)),
			one(&c.AttemptBudget, parseAttemptBudget, "attempt-budget", "size", "keep no more than this of the log of attempts").defaultsTo(c.AttemptBudget.String()),
			one(&c.EventRetention, parseEventRetention, "event-retention", "time", "keep events this long, and longer while a delivery waits; "+formatDuration(MaxEventRetention)+" at most").defaultsTo(formatDuration(c.EventRetention)),
			one(&c.DiskLowWater, ParseSize, "disk-low-water", "size", "keep less of deliveries while the data folder's disk has less room than this; 0 never").defaultsTo(c.DiskLowWater.String()),
		}},
		{"Operation", []*setting{
			l.file,
			one(&c.AuditRetention, parseAuditRetention, "audit-retention", "time", "keep the audit log this long, and a million entries of it at the most").defaultsTo(formatDuration(c.AuditRetention)),
			one(&c.SigningKeyLife, parseSigningKeyLife, "signing-key-life", "time", "have another key sign tokens this often; "+formatDuration(MinSigningKeyLife)+" at least").defaultsTo(formatDuration(c.SigningKeyLife)),
			one(&c.LogLevel, parseLogLevel, "log-level", "level", "debug, info, warn or error").defaultsTo("info"),
			one(&c.LogFormat, parseLogFormat, "log-format", "format", "text or json").defaultsTo(c.LogFormat),
		}},
	}
}

// all iterates over the settings.
func (l *Loader) all() iter.Seq[*setting] {
	return func(yield func(*setting) bool) {
		for _, g := range l.groups {
			for _, s := range g.settings {
				if !yield(s) {
					return
				}
			}
		}
	}
}

// known returns the settings by name.
func (l *Loader) known() map[string]*setting {
	known := map[string]*setting{}
	for s := range l.all() {
		known[s.name] = s
	}
	return known
}

// Flags registers a flag for each setting that may be seen by whoever lists the
// processes.
func (l *Loader) Flags(fs *pflag.FlagSet) {
	for _, g := range l.groups {
		g.flags(fs)
	}
}

func (g group) flags(fs *pflag.FlagSet) {
	for _, s := range g.settings {
		if !s.noFlag {
			fs.Var(s, s.name, s.usage)
		}
	}
}

// Usages returns the help of the settings, grouped by use.
func (l *Loader) Usages() string {
	var b strings.Builder
	for i, g := range l.groups {
		if i > 0 {
			b.WriteByte('\n')
		}
		fs := pflag.NewFlagSet(g.title, pflag.ContinueOnError)
		fs.SortFlags = false
		g.flags(fs)
		fmt.Fprintf(&b, "%s:\n%s", g.title, fs.FlagUsages())
		for _, s := range g.settings {
			if s.noFlag {
				fmt.Fprintf(&b, "      %s (%s) in the environment: %s\n", variableName(s.name), s.kind, s.usage)
			}
		}
	}
	return b.String()
}

// Load returns the settings, read from the flags, from environ (as os.Environ
// returns it) and from the file that --config or DOCKBELL_CONFIG names. It fails
// with fault.Invalid, and a sentence that names the setting as it was given.
func (l *Loader) Load(environ []string) (*Config, error) {
	env, err := l.readEnv(environ)
	if err != nil {
		return nil, err
	}
	if err := l.file.apply(env); err != nil {
		return nil, err
	}
	file, err := l.readFile()
	if err != nil {
		return nil, err
	}
	for s := range l.all() {
		if err := s.apply(env, file); err != nil {
			return nil, err
		}
	}
	if err := l.config.validate(); err != nil {
		return nil, err
	}
	return l.config, nil
}

// layer is what one source says, by name of setting.
type layer map[string]given

// given is the text of a setting, and what a person calls the place it is from.
type given struct {
	text   string
	source string
}

// apply sets the setting to what its flag says, or else the first layer that
// knows it.
func (s *setting) apply(layers ...layer) error {
	g, ok := given{strings.Join(s.given, ","), "--" + s.name}, s.given != nil
	for i := 0; !ok && i < len(layers); i++ {
		g, ok = layers[i][s.name]
	}
	if !ok {
		return nil
	}
	if err := s.set(g.text); err != nil {
		return fault.New(fault.Invalid, "%s: %v", g.source, err)
	}
	return nil
}

const envPrefix = "DOCKBELL_"

// clientVariables are for the client commands.
var clientVariables = []string{"DOCKBELL_SERVER", "DOCKBELL_USERNAME", "DOCKBELL_PASSWORD", "DOCKBELL_REGISTRY", "DOCKBELL_CA"}

// serviceVariables matches what Kubernetes sets for services whose names begin
// with dockbell (documentation, "Discovering services").
var serviceVariables = regexp.MustCompile(`^DOCKBELL_(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// aboutService reports whether Kubernetes made the variable. DOCKBELL_PORT alone
// could be someone's wish, if it is not tcp://….
func aboutService(variable, text string) bool {
	return serviceVariables.MatchString(variable) && (variable != "DOCKBELL_PORT" || strings.Contains(text, "://"))
}

// variableName is a setting's name in the environment.
func variableName(name string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// settingName is the reverse of variableName.
func settingName(variable string) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(variable, envPrefix), "_", "-"))
}

// readEnv returns what the environment says, and refuses variables that look
// like settings and are none.
func (l *Loader) readEnv(environ []string) (layer, error) {
	known := l.known()
	env := layer{}
	for _, entry := range environ {
		variable, text, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(variable, envPrefix) || slices.Contains(clientVariables, variable) || aboutService(variable, text) {
			continue
		}
		name := settingName(variable)
		if known[name] == nil {
			if near := nearest(name, known); near != "" {
				return nil, fault.New(fault.Invalid, "%s is no setting: did you mean %s?", variable, variableName(near))
			}
			return nil, fault.New(fault.Invalid, "%s is no setting: dockbell serve --help lists them", variable)
		}
		if text != "" {
			env[name] = given{text, variable}
		}
	}
	return env, nil
}

// readFile returns what the file says, if there is one. Its keys are names of
// settings, its values single ones or lists.
func (l *Loader) readFile() (layer, error) {
	if l.path == "" {
		return nil, nil
	}
	f, err := os.Open(l.path)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the settings file cannot be read: %v", err)
	}
	defer f.Close()
	known := l.known()
	delete(known, l.file.name)
	return parseFile(f, l.path, known)
}

// parseFile reads a settings file; path is for messages.
func parseFile(r io.Reader, path string, known map[string]*setting) (layer, error) {
	var doc yaml.Node
	in := yaml.NewDecoder(r)
	err := in.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, nil // empty, or comments
	}
	if err == nil {
		if err = in.Decode(&yaml.Node{}); err == nil {
			return nil, fault.New(fault.Invalid, "%s holds more than one document: settings are read from one", path)
		}
	}
	if !errors.Is(err, io.EOF) {
		return nil, fault.Wrap(err, fault.Invalid, "%s is no YAML: %v", path, err)
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, fault.New(fault.Invalid, "%s:%d: settings are written as name: value", path, root.Line)
	}
	file := layer{}
	for i := 0; i < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		place := fmt.Sprintf("%s:%d", path, key.Line)
		s := known[key.Value]
		if s == nil {
			if near := nearest(key.Value, known); near != "" {
				return nil, fault.New(fault.Invalid, "%s: %.80q is no setting: did you mean %s?", place, key.Value, near)
			}
			return nil, fault.New(fault.Invalid, "%s: %.80q is no setting: dockbell serve --help lists them", place, key.Value)
		}
		source := place + ": " + s.name
		if _, ok := file[s.name]; ok {
			return nil, fault.New(fault.Invalid, "%s is there twice: leave one", source)
		}
		if value.Tag == "!!null" {
			continue // a name with nothing after it
		}
		text, err := valueText(value, s.list)
		if err != nil {
			return nil, fault.New(fault.Invalid, "%s: %v", source, err)
		}
		file[s.name] = given{text, source}
	}
	return file, nil
}

// valueText returns a value as it was written, a list divided by commas.
func valueText(n *yaml.Node, list bool) (string, error) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch {
	case n.Kind == yaml.ScalarNode:
		return n.Value, nil
	case n.Kind == yaml.SequenceNode && list:
		var texts []string
		for _, item := range n.Content {
			text, err := valueText(item, false)
			if err != nil {
				return "", err
			}
			texts = append(texts, text)
		}
		return strings.Join(texts, ","), nil
	case list:
		return "", errors.New("this takes a value or a list of values")
	}
	return "", errors.New("this takes one value")
}

// nearest returns the known name that was probably meant, or nothing.
func nearest(name string, known map[string]*setting) string {
	names := slices.Sorted(maps.Keys(known))
	near := slices.MinFunc(names, func(a, b string) int { return spell.Distance(name, a) - spell.Distance(name, b) })
	if 2*spell.Distance(name, near) > len(near) {
		return ""
	}
	return near
}
