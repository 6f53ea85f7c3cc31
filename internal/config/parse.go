package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// The parsers read one setting each. Their errors are half a sentence, which
// goes on after the name of the setting, and never repeat a secret.

// Size is a number of bytes.
type Size int64

// sizeUnits is in falling order of what a Size is written in.
var sizeUnits = []struct {
	name string
	n    Size
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1},
}

// ParseSize reads a number of bytes, with or without a unit: 4194304, 4MiB,
// 4 MB.
func ParseSize(text string) (Size, error) {
	digits := strings.TrimSpace(text)
	unit := Size(1)
	for _, u := range sizeUnits {
		if i := len(digits) - len(u.name); i >= 0 && strings.EqualFold(digits[i:], u.name) {
			digits, unit = strings.TrimSpace(digits[:i]), u.n
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%.80q is no size: write 4MiB or 4194304", text)
	}
	if n > uint64(math.MaxInt64/unit) {
		return 0, fmt.Errorf("%.80q is more bytes than can be counted", text)
	}
	return Size(n) * unit, nil
}

// String returns the size in the largest unit that needs no fraction, for
// example 4MiB.
func (s Size) String() string {
	for _, u := range sizeUnits[:4] {
		if s >= u.n && s%u.n == 0 {
			return strconv.FormatInt(int64(s/u.n), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

func parseManifestSize(text string) (Size, error) {
	n, err := ParseSize(text)
	if err == nil && (n < MinManifestSize || n > MaxManifestSize) {
		err = fmt.Errorf("%.80q is out of range: use %v to %v", text, MinManifestSize, MaxManifestSize)
	}
	return n, err
}

func parseAttemptBudget(text string) (Size, error) {
	n, err := ParseSize(text)
	if err == nil && n < MinAttemptBudget {
		err = fmt.Errorf("%.80q is too little to be of use: use %v or more", text, MinAttemptBudget)
	}
	return n, err
}

const day = 24 * time.Hour

// parseDuration reads what time.ParseDuration does, and whole days: 720h, 30d.
func parseDuration(text string) (time.Duration, error) {
	var d time.Duration
	var err error
	if digits, ok := strings.CutSuffix(text, "d"); ok {
		var days uint64
		days, err = strconv.ParseUint(digits, 10, 16) // 2^16 days are 179 years
		d = time.Duration(days) * day
	} else {
		d, err = time.ParseDuration(text)
	}
	if err != nil {
		return 0, fmt.Errorf("%.80q is no length of time: write 30d or 720h", text)
	}
	return d, nil
}

// formatDuration writes d in days if it is whole days, else as Go does, without
// the units that are zero at the end.
func formatDuration(d time.Duration) string {
	if d >= day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func parseAttemptRetention(text string) (time.Duration, error) {
	return parseAtLeast(text, MinRetention)
}

func parseAuditRetention(text string) (time.Duration, error) { return parseAtLeast(text, MinRetention) }

func parseSigningKeyLife(text string) (time.Duration, error) {
	return parseAtLeast(text, MinSigningKeyLife)
}

func parseAtLeast(text string, least time.Duration) (time.Duration, error) {
	d, err := parseDuration(text)
	if err == nil && d < least {
		err = fmt.Errorf("%.80q is too short: use %s or more", text, formatDuration(least))
	}
	return d, err
}

func parseEventRetention(text string) (time.Duration, error) {
	d, err := parseDuration(text)
	if err == nil && (d < MinRetention || d > MaxEventRetention) {
		err = fmt.Errorf("%.80q is out of range: use %s to %s", text, formatDuration(MinRetention), formatDuration(MaxEventRetention))
	}
	return d, err
}

func parseCollectEvery(text string) (time.Duration, error) {
	d, err := parseDuration(text)
	if err == nil && d != 0 && d < MinCollectEvery {
		err = fmt.Errorf("%.80q is too often: use %s or more, or 0 for never", text, formatDuration(MinCollectEvery))
	}
	return d, err
}

func parseCollectGrace(text string) (time.Duration, error) {
	d, err := parseDuration(text)
	if err == nil && d < 0 {
		err = fmt.Errorf("%.80q is before the beginning: use 0 or more", text)
	}
	return d, err
}

func parseInFlight(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || n < 1 || n > MaxMaxInFlight {
		return 0, fmt.Errorf("%.80q is out of range: use 1 to %d", text, MaxMaxInFlight)
	}
	return int(n), nil
}

func parseConnections(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || n < 1 || n > MaxMaxConnections {
		return 0, fmt.Errorf("%.80q is out of range: use 1 to %d", text, MaxMaxConnections)
	}
	return int(n), nil
}

// parseNAT64 reads the prefix of a translator (RFC 6052, section 2.2).
func parseNAT64(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil || !p.Addr().Is6() || p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%.80q is no IPv6 prefix: write it like 2001:db8:64::/96", text)
	}
	switch p.Bits() {
	case 32, 40, 48, 56, 64, 96:
	default:
		return netip.Prefix{}, fmt.Errorf("%.80q has a length that translators do not have: use /32, /40, /48, /56, /64 or /96", text)
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%.80q has address bits beyond the /%d: write %v", text, p.Bits(), p.Masked())
	}
	return p, nil
}

// ParseCIDR reads an address range such as 10.0.0.0/8 or fd00::/8; a single
// address stands for itself.
func ParseCIDR(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("%.80q is no address range: write 10.0.0.0/8, fd00::/8 or a single address", text)
	case p.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%.80q is IPv4 written as IPv6: write it as IPv4", text)
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("%.80q has address bits beyond the /%d: write %v", text, p.Bits(), p.Masked())
	}
	return p, nil
}

func parseListen(text string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", fmt.Errorf("%.80q is no address: write host:port, for example 127.0.0.1:5000, or :5000 for every address of this machine", text)
	}
	if !isPort(port) {
		return "", fmt.Errorf("%.80q does not end in a port: use a number up to 65535; 0 takes any free one", text)
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && !isHostName(host) {
		return "", fmt.Errorf("%.80q does not begin with a host: use an IP address of this machine, localhost, or nothing for every address", text)
	}
	return text, nil
}

func parseRedirect(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	return parseListen(text)
}

func parseTLS(text string) (string, error) {
	if text != "" && text != SelfSigned {
		return "", fmt.Errorf("%.80q is not offered: use %s, or leave it out and give --tls-cert and --tls-key", text, SelfSigned)
	}
	return text, nil
}

func parseFolder(text string) (string, error) {
	if text == "" {
		return "", errors.New("the name is empty: name a folder, for example ./dockbell-data")
	}
	return text, nil
}

// parseHostName reads a host name, without a port, and returns it in lower case.
func parseHostName(text string) (string, error) {
	name := strings.ToLower(text)
	if !isHostName(name) {
		return "", fmt.Errorf("%.80q is no host name: write it without scheme and port, for example registry.example.com", text)
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return "", fmt.Errorf("%.80q is an address: write a host name, for example registry.example.com", text)
	}
	return name, nil
}

// parseDomain reads a host name that may have a port, and returns it in lower
// case.
func parseDomain(text string) (string, error) {
	host, port, ok := strings.Cut(text, ":")
	name, err := parseHostName(host)
	if err != nil || !ok {
		return name, err
	}
	if !isPort(port) || port == "0" {
		return "", fmt.Errorf("%.80q does not end in a port: write it like registry.example.com:5000", text)
	}
	return name + ":" + port, nil
}

// isPort takes a number as it is usually written.
func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && strconv.FormatUint(n, 10) == text
}

// isHostName takes underscores too: names in compose files have them.
func isHostName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range label {
			if !isASCIIAlnum(c) && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

func isASCIIAlnum(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// parseExternalURL returns scheme and host in lower case, without a port that
// the scheme implies.
func parseExternalURL(text string) (*url.URL, error) {
	if text == "" {
		return nil, nil
	}
	const example = "write scheme and host alone, for example https://registry.example.com"
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("this is no URL: " + example) // it may hold a password
	}
	if u.User != nil {
		return nil, errors.New("the URL has a user name in it, and every client would see it: " + example)
	}
	u.Host = strings.ToLower(u.Host)
	_, notIP := netip.ParseAddr(u.Hostname())
	ok := (u.Scheme == "http" || u.Scheme == "https") &&
		(notIP == nil || isHostName(u.Hostname())) &&
		(u.Path == "" || u.Path == "/") && u.RawQuery == "" && u.Fragment == ""
	if !ok {
		return nil, fmt.Errorf("%.200q is no address of a server: %s", text, example)
	}
	host := u.Host
	if port := u.Port(); port == "" || port == map[string]string{"http": "80", "https": "443"}[u.Scheme] {
		host = strings.TrimSuffix(strings.TrimSuffix(host, port), ":")
	}
	return &url.URL{Scheme: u.Scheme, Host: host}, nil
}

// parseProxy reads the address of a proxy, perhaps with user name and password.
func parseProxy(text string) (*url.URL, error) {
	const example = "write it like http://proxy.example.com:4750"
	u, err := parseWebURL(text, example)
	if err == nil && u != nil && (u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "") {
		return nil, errors.New("the address of a proxy ends with its host and port: " + example)
	}
	return u, err
}

func parseAlerts(text string) (*url.URL, error) {
	return parseWebURL(text, "write it like https://alerts.example.com/dockbell")
}

// maxURL is the longest URL taken, in bytes.
const maxURL = 2048

// parseWebURL reads a URL that may hold a secret, so that no error repeats it;
// nil for an empty text.
func parseWebURL(text, example string) (*url.URL, error) {
	if text == "" {
		return nil, nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return nil, errors.New("this is no http or https URL: " + example)
	case len(text) > maxURL:
		return nil, fmt.Errorf("the URL has %d bytes: it may have %d", len(text), maxURL)
	case u.Hostname() == "" || u.Port() != "" && (!isPort(u.Port()) || u.Port() == "0"):
		return nil, errors.New("the URL names no host and port that can be called: " + example)
	}
	return u, nil
}

func parseRegistryName(text string) (string, error) {
	name := strings.ToLower(text)
	if len(name) < 5 || len(name) > 50 || strings.ContainsFunc(name, func(c rune) bool { return !isASCIIAlnum(c) }) {
		return "", fmt.Errorf("%.80q is no registry name: use 5 to 50 letters and digits, for example contoso", text)
	}
	return name, nil
}

// parseLocation returns the short form of a location's name: East US is eastus.
func parseLocation(text string) (string, error) {
	name := strings.ToLower(strings.ReplaceAll(text, " ", ""))
	if len(name) > 64 || strings.ContainsFunc(name, func(c rune) bool { return !isASCIIAlnum(c) }) {
		return "", fmt.Errorf("%.80q is no location: use letters and digits, for example eastus", text)
	}
	return name, nil
}

// minPassword is the fewest characters of a password that someone thought of.
const minPassword = 8

func parsePassword(text string) (Secret, error) {
	switch {
	case len(text) < minPassword:
		return Secret{}, fmt.Errorf("the password has fewer than %d characters: choose a longer one, or leave it out and one is made", minPassword)
	case strings.ContainsFunc(text, unicode.IsControl):
		return Secret{}, errors.New("the password has a line break or another control character in it: leave it out")
	}
	return NewSecret(text), nil
}

func parseDatabase(text string) (Secret, error) {
	if text == "" {
		return Secret{}, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return Secret{}, errors.New("this is no PostgreSQL address: write postgres://user:password@host:5432/name, or leave it out for SQLite in the data folder")
	}
	return NewSecret(text), nil
}

func parseSecret(text string) (Secret, error) { return NewSecret(text), nil }

func parseText(text string) (string, error) { return text, nil }

func parseLogLevel(text string) (slog.Level, error) {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if strings.EqualFold(text, level.String()) {
			return level, nil
		}
	}
	return 0, fmt.Errorf("%.80q is no level: use debug, info, warn or error", text)
}

func parseLogFormat(text string) (string, error) {
	if text != "text" && text != "json" {
		return "", fmt.Errorf("%.80q is no format: use text or json", text)
	}
	return text, nil
}
