package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/dockbell/dockbell/internal/fault"
)

// load reads a Config from flags, environment and the text of a file, which is
// named f.yaml in errors; an empty text means no file.
func load(t *testing.T, args, environ []string, file string) (*Config, error) {
	t.Helper()
	if file != "" {
		path := filepath.Join(t.TempDir(), "f.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		environ = append(environ, "DOCKBELL_CONFIG="+path)
	}
	l := NewLoader()
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	l.Flags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return l.Load(environ)
}

func mustLoad(t *testing.T, args, environ []string, file string) *Config {
	t.Helper()
	c, err := load(t, args, environ, file)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	if got := mustLoad(t, nil, []string{"PATH=/bin", "HOME=/"}, ""); !reflect.DeepEqual(got, Default()) {
		t.Errorf("with nothing given: %+v, want %+v", got, Default())
	}
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	const inFile = "listen: 127.0.0.1:1111\nallow-destinations: [10.0.0.0/8]\n"
	env := []string{"DOCKBELL_LISTEN=127.0.0.1:2222", "DOCKBELL_ALLOW_DESTINATIONS=172.16.0.0/12"}
	args := []string{"--listen", "127.0.0.1:3333", "--allow-destinations", "192.168.1.0/24,192.168.2.0/24", "--allow-destinations=fd00::/8"}
	for _, tt := range []struct {
		name         string
		args, env    []string
		file         string
		listen, nets string
	}{
		{"default", nil, nil, "", "127.0.0.1:5000", "[]"},
		{"file", nil, nil, inFile, "127.0.0.1:1111", "[10.0.0.0/8]"},
		{"environment over file", nil, env, inFile, "127.0.0.1:2222", "[172.16.0.0/12]"},
		{"flag over all", args, env, inFile, "127.0.0.1:3333", "[192.168.1.0/24 192.168.2.0/24 fd00::/8]"},
		{"empty variable is none", nil, []string{"DOCKBELL_LISTEN="}, inFile, "127.0.0.1:1111", "[10.0.0.0/8]"},
		{"name without value is none", nil, nil, "listen:\nallow-destinations: ~\n", "127.0.0.1:5000", "[]"},
		{"last of two flags", []string{"--listen=:1", "--listen=:2"}, nil, "", ":2", "[]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := mustLoad(t, tt.args, tt.env, tt.file)
			if c.Listen != tt.listen || fmt.Sprint(c.AllowDestinations) != tt.nets {
				t.Errorf("listen %s, destinations %v; want %s, %s", c.Listen, c.AllowDestinations, tt.listen, tt.nets)
			}
		})
	}
}

// TestEverySetting gives each setting a value by each way, so that none of the
// ways can be forgotten.
func TestEverySetting(t *testing.T) {
	t.Parallel()
	values := map[string]string{
		"listen": ":5001", "domain": "Example.COM", "external-url": "https://Reg.example.com:443/", "alias": "a,b.c",
		"trusted-proxies": "10.1.0.0/16", "tls": "", "tls-cert": "c.pem", "tls-key": "k.pem", "http-redirect": ":80", "max-connections": "100", "max-connections-per-address": "10", "data": "/data",
		"database": "postgres://u:p@h/db", "data-key": "a2V5", "registry-name": "Contoso", "location": "East US",
		"admin-password": "correct horse", "max-manifest-size": "8MiB", "allow-destinations": "10.0.0.0/8, 192.168.7.9",
		"nat64-prefixes": "2001:db8:64::/96,2001:db8:1::/48", "egress-proxy": "http://u:p@proxy:4750", "alerts": "https://h/a?key=x",
		"max-in-flight": "8", "max-in-flight-per-host": "4", "attempt-retention": "36h", "attempt-budget": "1GiB", "event-retention": "90d", "disk-low-water": "0",
		"audit-retention": "30d", "signing-key-life": "1h", "collect-every": "0", "collect-grace": "90m", "log-level": "WARN", "log-format": "json",
	}
	check := func(t *testing.T, c *Config) {
		t.Helper()
		got := []any{c.Listen, c.Domain, c.ExternalURL, c.Aliases, c.TrustedProxies, c.TLSCert, c.TLSKey, c.HTTPRedirect, c.MaxConnections, c.MaxConnectionsPerAddress, c.Data,
			c.Database.Reveal(), c.RegistryName, c.Location, c.AdminPassword.Reveal(),
			c.MaxManifestSize, c.AllowDestinations, c.NAT64Prefixes, c.EgressProxy, c.Alerts, c.MaxInFlight, c.MaxInFlightPerHost,
			c.AttemptRetention, c.AttemptBudget, c.EventRetention, c.DiskLowWater, c.AuditRetention, c.SigningKeyLife, c.CollectEvery, c.CollectGrace, c.LogLevel, c.LogFormat}
		const want = "[:5001 example.com https://reg.example.com [a b.c] [10.1.0.0/16] c.pem k.pem :80 100 10 /data" +
			" postgres://u:p@h/db contoso eastus correct horse 8MiB [10.0.0.0/8 192.168.7.9/32]" +
			" [2001:db8:64::/96 2001:db8:1::/48] http://u:p@proxy:4750 https://h/a?key=x 8 4 36h0m0s 1GiB 2160h0m0s 0 720h0m0s 1h0m0s 0s 1h30m0s WARN json]"
		if fmt.Sprint(got) != want {
			t.Errorf("got  %v\nwant %s", got, want)
		}
	}
	var args, env []string
	var file strings.Builder
	l := NewLoader()
	for s := range l.all() {
		if s == l.file {
			continue
		}
		v, ok := values[s.name]
		if !ok {
			t.Fatalf("no value for --%s in this test", s.name)
		}
		if !s.noFlag {
			args = append(args, "--"+s.name, v)
		}
		env = append(env, variableName(s.name)+"="+v)
		fmt.Fprintf(&file, "%s: %q\n", s.name, v)
	}
	check(t, mustLoad(t, args, nil, ""))
	check(t, mustLoad(t, nil, env, ""))
	check(t, mustLoad(t, nil, nil, file.String()))
	if c := mustLoad(t, nil, env, ""); c.DataKey.Reveal() != "a2V5" {
		t.Errorf("data key %q", c.DataKey.Reveal())
	}
}

// TestSelfSigned has what TestEverySetting cannot: --tls goes with no --tls-cert.
func TestSelfSigned(t *testing.T) {
	t.Parallel()
	for _, c := range []*Config{
		mustLoad(t, []string{"--tls=self-signed"}, nil, ""),
		mustLoad(t, nil, []string{"DOCKBELL_TLS=self-signed"}, ""),
		mustLoad(t, nil, nil, "tls: self-signed"),
	} {
		if c.TLS != SelfSigned || !c.HTTPS() {
			t.Errorf("TLS %q, HTTPS %t", c.TLS, c.HTTPS())
		}
	}
	if c := mustLoad(t, []string{"--tls-cert=c.pem", "--tls-key=k.pem"}, nil, ""); !c.HTTPS() {
		t.Error("no HTTPS with a certificate")
	}
	if Default().HTTPS() {
		t.Error("HTTPS by default")
	}
}

func TestDataKeyHasNoFlag(t *testing.T) {
	t.Parallel()
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	NewLoader().Flags(fs)
	if fs.Lookup("data-key") != nil {
		t.Error("a data key in a flag can be read in the list of processes")
	}
}

func TestFileTextIsKept(t *testing.T) {
	t.Parallel()
	c := mustLoad(t, nil, nil, "admin-password: 012345678\n")
	if got := c.AdminPassword.Reveal(); got != "012345678" {
		t.Errorf("password %q: YAML made a number of it", got)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		args []string
		env  []string
		file string
		want string
	}{
		{"unknown variable", nil, []string{"DOCKBELL_LISEN=x"}, "", "DOCKBELL_LISEN is no setting: did you mean DOCKBELL_LISTEN?"},
		{"variable like nothing", nil, []string{"DOCKBELL_FROBNICATE=x"}, "", "DOCKBELL_FROBNICATE is no setting: dockbell serve --help lists them"},
		{"a port of one's own", nil, []string{"DOCKBELL_PORT=5001"}, "", "DOCKBELL_PORT is no setting: dockbell serve --help lists them"},
		{"unknown key", nil, nil, "data: x\nallow_destinations: 10.0.0.0/8\n", `f.yaml:2: "allow_destinations" is no setting: did you mean allow-destinations?`},
		{"key like nothing", nil, nil, "frobnicate: 1\n", `f.yaml:1: "frobnicate" is no setting: dockbell serve --help lists them`},
		{"a file in the file", nil, nil, "config: other.yaml\n", `f.yaml:1: "config" is no setting: dockbell serve --help lists them`},
		{"key twice", nil, nil, "data: x\ndata: y\n", "f.yaml:2: data is there twice: leave one"},
		{"list for one", nil, nil, "data: [x, y]\n", "f.yaml:1: data: this takes one value"},
		{"map for list", nil, nil, "alias: {x: y}\n", "f.yaml:1: alias: this takes a value or a list of values"},
		{"map in list", nil, nil, "alias: [{x: y}]\n", "f.yaml:1: alias: this takes one value"},
		{"not a map", nil, nil, "- data\n", "f.yaml:1: settings are written as name: value"},
		{"two documents", nil, nil, "data: x\n---\ndata: y\n", "f.yaml holds more than one document: settings are read from one"},
		{"no YAML", nil, nil, "data: [x\n", "f.yaml is no YAML: yaml: line 1: did not find expected ',' or ']'"},
		{"no file", []string{"--config", "/nonexistent/f.yaml"}, nil, "", "the settings file cannot be read: open /nonexistent/f.yaml: no such file or directory"},

		{"flag", []string{"--log-level", "loud"}, nil, "", `--log-level: "loud" is no level: use debug, info, warn or error`},
		{"variable", nil, []string{"DOCKBELL_LOG_FORMAT=xml"}, "", `DOCKBELL_LOG_FORMAT: "xml" is no format: use text or json`},
		{"file", nil, nil, "\nlisten: 5000\n", `f.yaml:2: listen: "5000" is no address: write host:port, for example 127.0.0.1:5000, or :5000 for every address of this machine`},
		{"second of a list", []string{"--trusted-proxies=10.0.0.0/8,10.0.0.5/8"}, nil, "", `--trusted-proxies: "10.0.0.5/8" has address bits beyond the /8: write 10.0.0.0/8`},
		{"unknown TLS", []string{"--tls=letsencrypt"}, nil, "", `--tls: "letsencrypt" is not offered: use self-signed, or leave it out and give --tls-cert and --tls-key`},
		{"two kinds of TLS", []string{"--tls=self-signed", "--tls-cert=c.pem", "--tls-key=k.pem"}, nil, "", "--tls self-signed makes its own certificate, and --tls-cert c.pem is another: give one of them"},
		{"redirect to nowhere", []string{"--http-redirect=:80"}, nil, "", "--http-redirect :80 sends clients to HTTPS, which this server does not serve: give --tls-cert and --tls-key too, or have the proxy that does send them"},
		{"redirect without a port", []string{"--http-redirect=80"}, nil, "", `--http-redirect: "80" is no address: write host:port, for example 127.0.0.1:5000, or :5000 for every address of this machine`},
		{"no connections", []string{"--max-connections=0"}, nil, "", `--max-connections: "0" is out of range: use 1 to 1048576`},
		{"too many connections", nil, []string{"DOCKBELL_MAX_CONNECTIONS_PER_ADDRESS=1048577"}, "", `DOCKBELL_MAX_CONNECTIONS_PER_ADDRESS: "1048577" is out of range: use 1 to 1048576`},
		{"half of TLS", []string{"--tls-cert=c.pem"}, nil, "", "--tls-cert and --tls-key go together: give both, or neither for plain HTTP"},

		{"password too short", []string{"--admin-password=hunter2"}, nil, "", "--admin-password: the password has fewer than 8 characters: choose a longer one, or leave it out and one is made"},
		{"password with a line break", nil, []string{"DOCKBELL_ADMIN_PASSWORD=hunter22\n"}, "", "DOCKBELL_ADMIN_PASSWORD: the password has a line break or another control character in it: leave it out"},
		{"database", []string{"--database=mysql://root:hunter2@h/db"}, nil, "", "--database: this is no PostgreSQL address: write postgres://user:password@host:5432/name, or leave it out for SQLite in the data folder"},
		{"URL with a password", []string{"--external-url=https://u:hunter2@h"}, nil, "", "--external-url: the URL has a user name in it, and every client would see it: write scheme and host alone, for example https://registry.example.com"},
		{"alerts with a password", []string{"--alerts=ftp://u:hunter2@h/"}, nil, "", "--alerts: this is no http or https URL: write it like https://alerts.example.com/dockbell"},
		{"alerts without a host", []string{"--alerts=https:///hunter2"}, nil, "", "--alerts: the URL names no host and port that can be called: write it like https://alerts.example.com/dockbell"},
		{"alerts too long", []string{"--alerts=https://h/" + strings.Repeat("a", 2048)}, nil, "", "--alerts: the URL has 2058 bytes: it may have 2048"},
		{"proxy with a path", []string{"--egress-proxy=http://u:hunter2@h/p"}, nil, "", "--egress-proxy: the address of a proxy ends with its host and port: write it like http://proxy.example.com:4750"},
		{"proxy without a scheme", []string{"--egress-proxy=proxy:4750"}, nil, "", "--egress-proxy: this is no http or https URL: write it like http://proxy.example.com:4750"},
		{"NAT64 in IPv4", []string{"--nat64-prefixes=10.0.0.0/8"}, nil, "", `--nat64-prefixes: "10.0.0.0/8" is no IPv6 prefix: write it like 2001:db8:64::/96`},
		{"NAT64 of a length of its own", []string{"--nat64-prefixes=2001:db8::/33"}, nil, "", `--nat64-prefixes: "2001:db8::/33" has a length that translators do not have: use /32, /40, /48, /56, /64 or /96`},
		{"NAT64 with a host", []string{"--nat64-prefixes=2001:db8::1/96"}, nil, "", `--nat64-prefixes: "2001:db8::1/96" has address bits beyond the /96: write 2001:db8::/96`},
		{"no attempts at once", []string{"--max-in-flight=0"}, nil, "", `--max-in-flight: "0" is out of range: use 1 to 16384`},
		{"too many to one host", nil, nil, "max-in-flight-per-host: 16385\n", `f.yaml:1: max-in-flight-per-host: "16385" is out of range: use 1 to 16384`},
		{"collected all the time", []string{"--collect-every=59s"}, nil, "", `--collect-every: "59s" is too often: use 1m or more, or 0 for never`},
		{"a grace time before", []string{"--collect-grace=-1h"}, nil, "", `--collect-grace: "-1h" is before the beginning: use 0 or more`},
		{"attempts kept for no time", []string{"--attempt-retention=59m"}, nil, "", `--attempt-retention: "59m" is too short: use 1h or more`},
		{"audit log kept for no time", []string{"--audit-retention=59m"}, nil, "", `--audit-retention: "59m" is too short: use 1h or more`},
		{"keys that hardly sign", []string{"--signing-key-life=59m59s"}, nil, "", `--signing-key-life: "59m59s" is too short: use 1h or more`},
		{"attempts kept in no room", []string{"--attempt-budget=1"}, nil, "", `--attempt-budget: "1" is too little to be of use: use 1MiB or more`},
		{"events kept too long", []string{"--event-retention=91d"}, nil, "", `--event-retention: "91d" is out of range: use 1h to 90d`},
		{"no length of time", []string{"--event-retention=month"}, nil, "", `--event-retention: "month" is no length of time: write 30d or 720h`},
		{"URL that does not parse", []string{"--external-url=https://u:hunter2@h:port"}, nil, "", "--external-url: this is no URL: write scheme and host alone, for example https://registry.example.com"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := load(t, tt.args, tt.env, tt.file)
			if err == nil {
				t.Fatal("no error")
			}
			got := err.Error()
			if f := fault.As(err); f.Kind == fault.Invalid {
				got = f.Message
			} else {
				t.Errorf("kind %v", f.Kind)
			}
			if i := strings.Index(got, "f.yaml"); i > 0 && tt.file != "" {
				got = got[i:] // without the folder of this run
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error tells a secret: %v", err)
			}
		})
	}
}

func TestVariablesThatAreNoSettings(t *testing.T) {
	t.Parallel()
	mustLoad(t, nil, []string{
		// of the client commands
		"DOCKBELL_SERVER=http://localhost:5000", "DOCKBELL_USERNAME=u", "DOCKBELL_PASSWORD=p",
		// of Kubernetes, for services dockbell and dockbell-headless
		"DOCKBELL_SERVICE_HOST=10.0.0.1", "DOCKBELL_SERVICE_PORT=5000", "DOCKBELL_SERVICE_PORT_HTTP=5000",
		"DOCKBELL_PORT=tcp://10.0.0.1:5000", "DOCKBELL_PORT_5000_TCP=tcp://10.0.0.1:5000", "DOCKBELL_PORT_5000_TCP_PROTO=tcp",
		"DOCKBELL_PORT_5000_TCP_PORT=5000", "DOCKBELL_PORT_5000_TCP_ADDR=10.0.0.1",
		"DOCKBELL_HEADLESS_SERVICE_HOST=10.0.0.1", "DOCKBELL_HEADLESS_PORT_5000_TCP_ADDR=10.0.0.1",
	}, "")
}

func TestUsages(t *testing.T) {
	t.Parallel()
	got := NewLoader().Usages()
	for _, want := range []string{
		"Addresses:\n      --listen host:port",
		"(default 127.0.0.1:5000)\n",
		"\n\nStorage:\n      --data folder          where everything is kept (default ./dockbell-data)\n",
		"      DOCKBELL_DATA_KEY (base64) in the environment: 32 bytes",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestLoopbackDestinations(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args string
		want bool
	}{
		{"", true},
		{"--listen=localhost:5000", true},
		{"--listen=[::1]:0", true},
		{"--listen=127.8.9.10:80", true},
		{"--allow-destinations=10.0.0.0/8", true},
		{"--registry-name=contoso --location=eastus", true},
		{"--listen=:5000", false},
		{"--tls=self-signed --http-redirect=localhost:8080", true},
		{"--tls=self-signed --http-redirect=:80", false},
		{"--listen=0.0.0.0:5000", false},
		{"--listen=[::]:5000", false},
		{"--listen=192.168.1.2:5000", false},
		{"--listen=myhost:5000", false},
		{"--external-url=http://localhost:5000", false},
		{"--alias=registry", false},
		{"--trusted-proxies=127.0.0.1", false},
		{"--domain=example.com", false},
		{"--domain=dockbell.localhost:5000", true},
	} {
		if got := mustLoad(t, strings.Fields(tt.args), nil, "").LoopbackDestinations(); got != tt.want {
			t.Errorf("%q: %t", tt.args, got)
		}
	}
}

func TestSecretIsRedacted(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-hunter2"
	c := Default()
	c.AdminPassword, c.DataKey, c.Database = NewSecret(secret), NewSecret(secret), NewSecret(secret)
	hidden := struct{ s Secret }{NewSecret(secret)}
	var shown []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		for _, v := range []any{c, *c, c.AdminPassword, &c.AdminPassword, []Secret{c.DataKey}, hidden, &hidden} {
			shown = append(shown, fmt.Sprintf(verb, v))
		}
	}
	var logged bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&logged, nil), slog.NewJSONHandler(&logged, nil)} {
		slog.New(h).Info("settings", "config", c, "password", c.AdminPassword, "hidden", hidden)
	}
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	shown = append(shown, logged.String(), string(asJSON), string(asYAML))
	for _, s := range shown {
		for _, telling := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret)} {
			if strings.Contains(s, telling) {
				t.Errorf("the secret shows in %s", s)
			}
		}
	}
	for _, s := range []string{fmt.Sprint(c.AdminPassword), fmt.Sprintf("%+v", c), logged.String(), string(asJSON)} {
		if !strings.Contains(s, Redacted) {
			t.Errorf("no %s in %s", Redacted, s)
		}
	}
	if got := c.AdminPassword.Reveal(); got != secret {
		t.Errorf("Reveal: %q", got)
	}
	if s := (Secret{}); fmt.Sprint(s) != "" || !s.IsZero() || s.Reveal() != "" {
		t.Errorf("an empty secret shows as %q", s)
	}
}

func TestParseSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Size{
		"0": 0, "4194304": 4 << 20, "4MiB": 4 << 20, "4 mib": 4 << 20, "1KiB": 1024, "2GiB": 2 << 30, "3TiB": 3 << 40,
		"4MB": 4e6, "5kb": 5000, "7B": 7, " 8 ": 8, "8388607TiB": 8388607 << 40,
	} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "+1", "4M", "4.5MiB", "1e6", "0x10", "8388608TiB", "9223372036854775808", "4MiBMiB", "1_000"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %d", text, got)
		}
	}
	for size, want := range map[Size]string{0: "0", 1: "1", 1024: "1KiB", 4 << 20: "4MiB", 1<<20 + 1: "1048577", 1 << 40: "1TiB", 1000: "1000"} {
		if got := size.String(); got != want {
			t.Errorf("Size(%d).String() = %s, want %s", int64(size), got, want)
		}
	}
}

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"0": 0, "30d": 30 * day, "720h": 30 * day, "0d": 0, "1h30m": 90 * time.Minute, "65535d": 65535 * day,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("parseDuration(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "30", "-1d", "+1d", "1.5d", "65536d", "1d12h", "2w", "9999999h"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("parseDuration(%q) = %v", text, got)
		}
	}
	for d, want := range map[time.Duration]string{30 * day: "30d", time.Hour: "1h", 36 * time.Hour: "36h", 90 * time.Minute: "1h30m", 10 * time.Second: "10s", 0: "0s"} {
		if got := formatDuration(d); got != want {
			t.Errorf("formatDuration(%v) = %s, want %s", d, got, want)
		}
	}
}

func TestParseCIDR(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/8", "10.1.2.3": "10.1.2.3/32", "fd00::/8": "fd00::/8", "::1": "::1/128",
		"::ffff:10.0.0.1": "10.0.0.1/32", "0.0.0.0/0": "0.0.0.0/0",
	} {
		if got, err := ParseCIDR(text); err != nil || got.String() != want {
			t.Errorf("ParseCIDR(%q) = %v, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "10", "10.0.0.0/33", "10.0.0.1/8", "fe80::1%eth0", "::ffff:10.0.0.0/104", "example.com", "10.0.0.0/8/8", "010.0.0.1"} {
		if got, err := ParseCIDR(text); err == nil {
			t.Errorf("ParseCIDR(%q) = %v", text, got)
		}
	}
}

func TestParsers(t *testing.T) {
	t.Parallel()
	table := func(name string, parse func(string) (string, error), cases map[string]string) {
		for text, want := range cases {
			got, err := parse(text)
			if err != nil {
				got = "refused"
			}
			if got != want {
				t.Errorf("%s %q: %s (%v), want %s", name, text, got, err, want)
			}
		}
	}
	const no = "refused"
	table("host name", parseHostName, map[string]string{
		"example.com": "example.com", "Registry": "registry", "my_registry.default.svc": "my_registry.default.svc",
		"": no, "a..b": no, ".a": no, "a.": no, "-a": no, "a-": no, "a:5000": no, "http://a": no, "10.0.0.1": no, "é": no,
		strings.Repeat("a", 64): no, strings.Repeat("a.", 127) + "a": no,
	})
	table("domain", parseDomain, map[string]string{
		"Example.com": "example.com", "example.com:5000": "example.com:5000",
		"": no, ":5000": no, "example.com:": no, "example.com:0": no, "example.com:http": no, "10.0.0.1:5000": no, "a:1:2": no,
	})
	table("listen", parseListen, map[string]string{
		"127.0.0.1:5000": "127.0.0.1:5000", ":0": ":0", "[::1]:80": "[::1]:80", "localhost:65535": "localhost:65535",
		"localhost": no, "localhost:": no, ":65536": no, ":-1": no, ":+1": no, ":http": no, ":080": no, "a b:1": no, "::1:80": no,
	})
	table("external URL", func(s string) (string, error) {
		u, err := parseExternalURL(s)
		if u == nil {
			return "none", err
		}
		return u.String(), err
	}, map[string]string{
		"": "none", "https://a.example": "https://a.example", "HTTP://A.example/": "http://a.example", "http://10.0.0.1:5000": "http://10.0.0.1:5000",
		"https://a:443": "https://a", "http://a:80/": "http://a", "http://a:443": "http://a:443", "https://[::1]:443": "https://[::1]", "http://a:": "http://a",
		"a.example": no, "ftp://a": no, "https://": no, "https://a/b": no, "https://a?b": no, "https://a#b": no, "https://u@a": no, "https://a b": no, "//a": no, `https://a"b`: no,
	})
	table("registry name", parseRegistryName, map[string]string{
		"dockbell": "dockbell", "Contoso01": "contoso01", "abcd": no, "": no, "with-dash": no, strings.Repeat("a", 51): no, "ünïcode": no,
	})
	table("location", parseLocation, map[string]string{"": "", "eastus": "eastus", "East US 2": "eastus2", "east-us": no})
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"4MiB", "4194304", "1 KB", "", "9223372036854775807", "8388608TiB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := ParseSize(text)
		if err != nil {
			return
		}
		if n < 0 {
			t.Fatalf("%q is %d bytes", text, n)
		}
		if again, err := ParseSize(n.String()); err != nil || again != n {
			t.Fatalf("%q is %v, which is %v, %v", text, n, again, err)
		}
	})
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"30d", "720h", "1h30m", "", "99999d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDuration(text)
		if err != nil {
			return
		}
		if again, err := parseDuration(formatDuration(d)); err != nil || again != d {
			t.Fatalf("%q is %v, which is %v, %v", text, d, again, err)
		}
	})
}

func FuzzParseNAT64(f *testing.F) {
	for _, s := range []string{"64:ff9b::/96", "2001:db8::/32", "::ffff:0:0/96", "10.0.0.0/32", "fe80::%1/64"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseNAT64(text)
		if err == nil && (!p.Addr().Is6() || p.Addr().Is4In6() || p.Addr().Zone() != "" || p != p.Masked() || p.Bits()%8 != 0 || p.Bits() < 32) {
			t.Fatalf("%q became %v", text, p)
		}
	})
}

func FuzzWebURL(f *testing.F) {
	for _, s := range []string{"https://a:443/", "http://[::1]:80", "https://u:p@h?x#y", "http://a b/", "http://h:0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := parseWebURL(text, "")
		if err != nil || u == nil {
			return
		}
		if again, err := parseWebURL(u.String(), ""); err != nil || again.String() != u.String() {
			t.Fatalf("%q is %v, which is %v, %v", text, u, again, err)
		}
	})
}

func FuzzParseCIDR(f *testing.F) {
	for _, s := range []string{"10.0.0.0/8", "::1", "fe80::1%eth0", "::ffff:1.2.3.4", "1.2.3.4/0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseCIDR(text)
		if err != nil {
			return
		}
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() || !p.Contains(p.Addr()) {
			t.Fatalf("%q became %v", text, p)
		}
		if again, err := ParseCIDR(p.String()); err != nil || again != p {
			t.Fatalf("%q is %v, which is %v, %v", text, p, again, err)
		}
	})
}

func FuzzCIDRList(f *testing.F) {
	f.Add("10.0.0.0/8, 192.168.7.9,")
	f.Fuzz(func(t *testing.T, text string) {
		var list []netip.Prefix
		if err := many(&list, ParseCIDR, "", "", "").set(text); err != nil {
			return
		}
		if len(list) > strings.Count(text, ",")+1 {
			t.Fatalf("%q became %v", text, list)
		}
	})
}

func FuzzExternalURL(f *testing.F) {
	for _, s := range []string{"https://a:443/", "http://[::1]:80", "https://u:p@h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := parseExternalURL(text)
		if err != nil || u == nil {
			return
		}
		if again, err := parseExternalURL(u.String()); err != nil || again.String() != u.String() {
			t.Fatalf("%q is %v, which is %v, %v", text, u, again, err)
		}
	})
}

func FuzzFile(f *testing.F) {
	for _, s := range []string{"data: x\n", "alias: [a, b]\n", "a: &x [1]\nalias: *x\n", "? [a]\n: b\n", "<<: {data: x}\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		known := NewLoader().known()
		file, err := parseFile(strings.NewReader(text), "f.yaml", known)
		for name := range file {
			if known[name] == nil || err != nil {
				t.Fatalf("%q: %v, %v", text, file, err)
			}
		}
	})
}
