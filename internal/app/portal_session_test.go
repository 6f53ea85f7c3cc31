package app_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/dockbell/dockbell/internal/config"
)

// tab is a browser without script that looks at the portal of a server.
type tab struct {
	*running
	http *http.Client
	base string // scheme and host
}

// tab opens one at a host of the server, with cookies of its own. Every host leads to
// the server; it follows no redirect.
func (r *running) tab(host string) *tab {
	r.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	transport := r.http.Transport.(*http.Transport).Clone()
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, r.Addr().String())
	}
	r.t.Cleanup(transport.CloseIdleConnections)
	scheme, _, _ := strings.Cut(r.URL(), ":")
	if host == "" {
		host = r.Addr().String()
	}
	return &tab{r, &http.Client{Transport: transport, Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, scheme + "://" + host}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// send makes a request as a page of the portal makes it. form is the body of a POST.
func (b *tab) send(method, path string, form url.Values, changes ...func(*http.Request)) answer {
	b.t.Helper()
	req, err := http.NewRequest(method, b.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Sec-Fetch-Site", "same-origin")
		req.Header.Set("Origin", b.base)
	}
	for _, change := range changes {
		change(req)
	}
	res, err := b.http.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(body)}
}

func (b *tab) get(path string, changes ...func(*http.Request)) answer {
	b.t.Helper()
	return b.send(http.MethodGet, path, nil, changes...)
}

// post sends a form of pairs of a name and a value.
func (b *tab) post(path string, pairs ...string) answer {
	b.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return b.send(http.MethodPost, path, form)
}

// login logs somebody in, who must be let in.
func (b *tab) login(user, password string) *tab {
	b.t.Helper()
	if a := b.post("/portal/login", "username", user, "password", password); a.status != http.StatusSeeOther {
		b.t.Fatalf("login of %s: %d %s", user, a.status, text(a.body))
	}
	return b
}

// operator logs the operator in.
func (b *tab) operator() *tab {
	b.t.Helper()
	return b.login(b.Operator(), b.Password)
}

// page returns the answer of a page that must be there, and then as text.
func (b *tab) page(path string) (source, words string) {
	b.t.Helper()
	a := b.get(path)
	if a.status != http.StatusOK {
		b.t.Fatalf("%s: %d %s %s", path, a.status, a.header.Get("Location"), text(a.body))
	}
	return a.body, text(a.body)
}

// cookies are what the browser would send to the portal, as one field.
func (b *tab) cookies() string {
	at, _ := url.Parse(b.base + "/portal/")
	var all []string
	for _, c := range b.http.Jar.Cookies(at) {
		all = append(all, c.Name+"="+c.Value)
	}
	return strings.Join(all, "; ")
}

// text returns what a person reads on a page, on one line.
func text(source string) string {
	var words []string
	z := html.NewTokenizer(strings.NewReader(source))
	for {
		switch z.Next() {
		case html.ErrorToken:
			return strings.Join(words, " ")
		case html.TextToken:
			words = append(words, strings.Fields(html.UnescapeString(string(z.Raw())))...)
		}
	}
}

func TestPortalLogin(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	b := s.tab("")
	if a := b.get("/portal/registries/dockbell/access?x=1"); a.status != http.StatusSeeOther || a.header.Get("Location") != "/portal/login?next=%2Fportal%2Fregistries%2Fdockbell%2Faccess%3Fx%3D1" {
		t.Fatalf("without a session: %d %v", a.status, a.header)
	}
	a := b.post("/portal/login", "username", s.Operator(), "password", "wr<b>ong", "next", "/portal/registries/dockbell")
	if a.status != http.StatusForbidden || !strings.Contains(text(a.body), "The user name or the password is wrong") || strings.Contains(a.body, "wr&lt;") ||
		!strings.Contains(a.body, `name="next" value="/portal/registries/dockbell"`) || !strings.Contains(a.body, `value="dockbell"`) || a.header.Get("Set-Cookie") != "" {
		t.Errorf("a wrong password: %d %v %s", a.status, a.header, a.body)
	}
	a = b.post("/portal/login", "username", " "+s.Operator()+" ", "password", s.Password, "next", "/portal/registries/dockbell/audit?outcome=failed")
	if a.status != http.StatusSeeOther || a.header.Get("Location") != "/portal/registries/dockbell/audit?outcome=failed" {
		t.Fatalf("login: %d %v", a.status, a.header)
	}
	cookie := a.header.Get("Set-Cookie")
	for _, want := range []string{"dockbell=", "; Path=/portal;", "HttpOnly", "SameSite=Strict"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("the cookie %s lacks %s", regexp.MustCompile("=[^;]*").ReplaceAllString(cookie, "=…"), want)
		}
	}
	if strings.Contains(cookie, "Secure") || strings.Contains(cookie, "Domain") || strings.Contains(cookie, "Max-Age") || strings.Contains(cookie, "Expires") {
		t.Error("over plain HTTP the cookie is Secure, of a domain, or outlives the browser")
	}
	if a := b.get("/portal/login?next=/portal/server"); a.status != http.StatusSeeOther || a.header.Get("Location") != "/portal/server" {
		t.Errorf("the page to log in, logged in: %d %v", a.status, a.header)
	}
	b.page("/portal/registries/dockbell")
	if a := b.post("/portal/logout"); a.status != http.StatusSeeOther || a.header.Get("Location") != "/portal/login" || b.cookies() != "" {
		t.Errorf("logout: %d %v, %s", a.status, a.header, b.cookies())
	}
	if a := b.post("/portal/logout"); a.status != http.StatusSeeOther {
		t.Errorf("logout without a session: %d", a.status)
	}
	if a := b.get("/portal/"); a.status != http.StatusSeeOther || !strings.HasPrefix(a.header.Get("Location"), "/portal/login") {
		t.Errorf("after that: %d", a.status)
	}
}

func TestPortalLockOut(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	b := s.tab("")
	var a answer
	for i := 0; i < 50 && a.status != http.StatusTooManyRequests; i++ {
		a = b.post("/portal/login", "username", s.Operator(), "password", fmt.Sprint("guess", i))
	}
	if wait := a.header.Get("Retry-After"); wait == "" || wait == "0" || a.status != http.StatusTooManyRequests || !strings.Contains(text(a.body), "Too many wrong passwords for this user from this address: try again in "+wait+" s") {
		t.Errorf("locked out: %d %v %s", a.status, a.header, text(a.body))
	}
	if a := b.post("/portal/login", "username", s.Operator(), "password", s.Password); a.status != http.StatusTooManyRequests || a.header.Get("Set-Cookie") != "" {
		t.Errorf("the right password while locked out: %d", a.status)
	}
}

// TestPortalKeepsForms: a form that comes when the session is over is lost neither by
// that nor by a wrong password, and is carried out when it is sent again.
func TestPortalKeepsForms(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	b := s.tab("")
	const typed = "two <lines>\n& \"quotes\" one=1"
	a := b.send(http.MethodPost, "/portal/registries/dockbell/access/new-scope-map",
		url.Values{"name": {"team-pull"}, "description": {typed}, "actions": {"repositories/a/content/read\nrepositories/b/content/read"}, "password": {"of the form"}},
		field("Referer", b.base+"/portal/registries/dockbell/access/new-scope-map"))
	if a.status != http.StatusForbidden || !strings.Contains(text(a.body), "nothing was changed") {
		t.Fatalf("a form without a session: %d %s", a.status, text(a.body))
	}
	wrong := b.send(http.MethodPost, "/portal/login", withFields(inputs(a.body), "username", s.Operator(), "password", "wrong"))
	if wrong.status != http.StatusForbidden || !strings.Contains(text(wrong.body), "nothing was changed") {
		t.Fatalf("a wrong password: %d %s", wrong.status, text(wrong.body))
	}
	in := b.send(http.MethodPost, "/portal/login", withFields(inputs(wrong.body), "username", s.Operator(), "password", s.Password))
	if in.status != http.StatusOK || !strings.Contains(in.body, `action="/portal/registries/dockbell/access/new-scope-map"`) || !strings.Contains(in.body, `href="/portal/registries/dockbell/access/new-scope-map"`) {
		t.Fatalf("logged in: %d %s", in.status, in.body)
	}
	again := inputs(in.body)
	if again.Get("name") != "team-pull" || again.Get("password") != "of the form" || strings.ReplaceAll(again.Get("description"), "\r", "") != typed {
		t.Errorf("kept: %q", again)
	}
	again.Set("description", "of the team")
	if a := b.send(http.MethodPost, "/portal/registries/dockbell/access/new-scope-map", again); a.status != http.StatusSeeOther {
		t.Errorf("sent again: %d %s", a.status, text(a.body))
	}
	if status, _, body := s.do("GET", "/api/v1/registries/dockbell/scopeMaps/team-pull", nil, s.asOperator); status != http.StatusOK {
		t.Errorf("what the form was for: %d %s", status, body)
	}
	if a := s.tab("").post("/portal/registries/dockbell/access/new-scope-map", "actions", strings.Repeat("repositories/a/content/read\n", 3000)); a.status != http.StatusForbidden || !strings.Contains(text(a.body), "too long to be kept") || strings.Contains(a.body, "kept-form") {
		t.Errorf("a long form: %d %s", a.status, text(a.body))
	}
	// Nothing but a page of the portal is kept.
	for _, to := range []string{"https://evil.example/", "//evil.example/portal/x", "/api/v1/registries/dockbell", "/portal/../api/v1/registries/dockbell"} {
		c := s.tab("")
		if a := c.post("/portal/login", "username", s.Operator(), "password", s.Password, "kept-to", to, "kept-form", "a=b"); a.status != http.StatusSeeOther || a.header.Get("Location") != "/portal/" {
			t.Errorf("a form that goes to %s: %d %v", to, a.status, a.header.Get("Location"))
		}
	}
	// A script is told so, and gets no page.
	if a := s.tab("").send(http.MethodPost, "/portal/registries/dockbell/access/new-scope-map", nil, field("Sec-Fetch-Dest", "empty")); a.status != http.StatusUnauthorized || a.body != "" {
		t.Errorf("a script without a session: %d %s", a.status, a.body)
	}
}

// inputs returns the fields of a page's hidden inputs.
func inputs(source string) url.Values {
	fields := url.Values{}
	z := html.NewTokenizer(strings.NewReader(source))
	for z.Next() != html.ErrorToken {
		token := z.Token()
		at := map[string]string{}
		for _, a := range token.Attr {
			at[a.Key] = a.Val
		}
		if token.Data == "input" && at["type"] == "hidden" {
			fields.Add(at["name"], at["value"])
		}
	}
	return fields
}

func withFields(form url.Values, pairs ...string) url.Values {
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return form
}

// TestPortalNext: nobody is sent from the page to log in to anywhere but a page of the
// portal.
func TestPortalNext(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	b := s.tab("").operator()
	for next, want := range map[string]string{
		"/portal/registries/dockbell":                 "",
		"/portal/registries/dockbell/audit?a=b&c=%2F": "",
		"/portal/registries/a%2Fb":                    "",
		"":                                            "/portal/",
		"/portal":                                     "/portal/",
		"/portal/login?next=/portal/login":            "/portal/",
		"/api/v1/registries":                          "/portal/",
		"/portalx/":                                   "/portal/",
		"//evil.example/portal/":                      "/portal/",
		"///evil.example/portal/":                     "/portal/",
		"https://evil.example/portal/":                "/portal/",
		"https:/portal/":                              "/portal/",
		"javascript:alert(1)//portal/":                "/portal/",
		`/\evil.example/portal/`:                      "/portal/",
		`/portal/\..\evil`:                            "/portal/",
		"/portal/../../evil":                          "/portal/",
		"/portal/%2e%2e/api":                          "/portal/",
		"/portal/\r\nSet-Cookie: a=b":                 "/portal/",
		"/portal/%zz":                                 "/portal/",
		" /portal/x":                                  "/portal/",
		"@evil.example/portal/":                       "/portal/",
	} {
		if want == "" {
			want = next
		}
		if a := b.get("/portal/login?next=" + url.QueryEscape(next)); a.status != http.StatusSeeOther || a.header.Get("Location") != want {
			t.Errorf("next %q: %d to %q, want %q", next, a.status, a.header.Get("Location"), want)
		}
	}
}

// TestPortalSessionEnds: a session is over with the password that it began with.
func TestPortalSessionEnds(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	create := func(name string) principal {
		return s.servicePrincipal("POST", "", fmt.Sprintf(`{"displayName":%q,"roleAssignments":[{"role":"Reader"}]}`, name))
	}
	first, second := create("first"), create("second")
	a, b := s.tab("").login(first.AppID, first.Password), s.tab("").login(second.AppID, second.Password)
	a.page("/portal/registries/dockbell")
	s.servicePrincipal("POST", "/first/reset", "")
	if status, _, body := s.do("DELETE", "/api/v1/servicePrincipals/second", nil, s.asOperator); status != http.StatusNoContent {
		t.Fatalf("delete: %d %s", status, body)
	}
	for name, over := range map[string]*tab{"reset": a, "deleted": b} {
		if got := over.get("/portal/registries/dockbell"); got.status != http.StatusSeeOther {
			t.Errorf("%s: %d", name, got.status)
		}
	}
	// What a browser had before is not made good by a login: it gets another session.
	c := s.tab("")
	at, _ := url.Parse(c.base + "/portal/")
	c.http.Jar.SetCookies(at, []*http.Cookie{{Name: "dockbell", Value: "planted", Path: "/portal"}})
	if got := c.get("/portal/"); got.status != http.StatusSeeOther {
		t.Errorf("a planted session: %d", got.status)
	}
	c.operator()
	if strings.Contains(c.cookies(), "planted") {
		t.Error("the planted session is used on")
	}
	before := c.cookies()
	c.operator()
	if c.cookies() == before {
		t.Error("a second login has the session of the first")
	}
}

// TestPortalCookieCountsThereAlone: what a browser keeps for the portal is no
// credential anywhere else, and of one host alone.
func TestPortalCookieCountsThereAlone(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	s.must("PUT", "/api/v1/registries/contoso", `{"location":"local","sku":{"name":"Premium"}}`, nil)
	_, port, _ := net.SplitHostPort(s.Addr().String())
	b := s.tab("dockbell.dockbell.localhost:" + port).operator()
	cookie := b.cookies()
	if cookie == "" {
		t.Fatal("no cookie")
	}
	for _, path := range []string{"/v2/", "/v2/_catalog", "/acr/v1/_catalog", "/api/v1/registries", "/api/v1/servicePrincipals", "/api/v1/auditLog", "/subscriptions?api-version=2023-07-01"} {
		if status, _, body := s.do("GET", path, nil, field("Cookie", cookie)); status != http.StatusUnauthorized {
			t.Errorf("GET %s with the cookie: %d %s", path, status, body)
		}
	}
	if status, _, body := s.do("POST", "/api/v1/registries/dockbell/listCredentials", nil, field("Cookie", cookie)); status != http.StatusUnauthorized {
		t.Errorf("listCredentials with the cookie: %d %s", status, body)
	}
	// And the other way round.
	if status, _, _ := s.do("GET", "/portal/registries/dockbell", nil, s.asOperator); status != http.StatusSeeOther {
		t.Errorf("the portal with a password in the Authorization field: %d", status)
	}
	b.page("/portal/registries/contoso") // the session is of the server, the cookie of the host
	b.base = "http://contoso.dockbell.localhost:" + port
	if b.cookies() != "" {
		t.Error("the cookie goes to another host")
	}
	if a := b.get("/portal/registries/contoso"); a.status != http.StatusSeeOther {
		t.Errorf("at another host: %d", a.status)
	}
}

// TestPortalSecureCookie: over HTTPS the cookie goes over HTTPS alone, also where a
// trusted proxy ends it.
func TestPortalSecureCookie(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	direct, _ := startSelfSigned(t, data)
	pem, err := os.ReadFile(filepath.Join(data, "tls", "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	proxied := start(t, settings(t.TempDir(), func(c *config.Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }))
	stranger := start(t, settings(t.TempDir()))
	https := field("X-Forwarded-Proto", "https")
	for _, tt := range []struct {
		name    string
		s       *running
		secure  bool
		changes []func(*http.Request)
	}{
		{"TLS", direct, true, nil},
		{"a trusted proxy", proxied, true, []func(*http.Request){https, field("X-Forwarded-For", "203.0.113.9"), field("Origin", "https://"+proxied.Addr().String())}},
		{"a trusted proxy in the clear", proxied, false, nil},
		{"a proxy that is not trusted", stranger, false, []func(*http.Request){https}},
	} {
		b := tt.s.tab("")
		a := b.send(http.MethodPost, "/portal/login", url.Values{"username": {tt.s.Operator()}, "password": {tt.s.Password}}, tt.changes...)
		cookie := a.header.Get("Set-Cookie")
		if a.status != http.StatusSeeOther || strings.Contains(cookie, "; Secure") != tt.secure || strings.HasPrefix(cookie, "__Secure-dockbell=") != tt.secure {
			t.Errorf("%s: %d, secure %t", tt.name, a.status, strings.Contains(cookie, "; Secure"))
			continue
		}
		value, _, _ := strings.Cut(cookie, ";")
		if a := tt.s.tab("").get("/portal/registries/dockbell", append(tt.changes, field("Cookie", value))...); a.status != http.StatusOK {
			t.Errorf("%s: the session does not hold: %d", tt.name, a.status)
		}
		// What a cookie of plain HTTP says does not count over HTTPS: whoever is in the
		// way of plain HTTP can plant those.
		if plain := strings.TrimPrefix(value, "__Secure-"); tt.secure {
			if a := tt.s.tab("").get("/portal/registries/dockbell", append(tt.changes, field("Cookie", plain))...); a.status != http.StatusSeeOther {
				t.Errorf("%s: a cookie of plain HTTP: %d", tt.name, a.status)
			}
		}
		theme := b.send(http.MethodPost, "/portal/theme", url.Values{"theme": {"dark"}}, tt.changes...).header.Get("Set-Cookie")
		if strings.Contains(theme, "; Secure") != tt.secure || !strings.Contains(theme, "HttpOnly") || !strings.Contains(theme, "SameSite") {
			t.Errorf("%s: theme %s", tt.name, theme)
		}
	}
}

// TestPortalCrossSite: no page of another site makes the portal do anything.
func TestPortalCrossSite(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	b := s.tab("").operator()
	none := func(r *http.Request) { r.Header.Del("Origin"); r.Header.Del("Sec-Fetch-Site") }
	for i, tt := range []struct {
		name    string
		changes []func(*http.Request)
		want    int
	}{
		{"our own page", nil, http.StatusSeeOther},
		{"another site", []func(*http.Request){field("Sec-Fetch-Site", "cross-site"), field("Origin", "https://evil.example")}, http.StatusForbidden},
		{"another host of the same site", []func(*http.Request){field("Sec-Fetch-Site", "same-site"), field("Origin", "http://contoso.dockbell.localhost")}, http.StatusForbidden},
		{"another origin, of an old browser", []func(*http.Request){none, field("Origin", "https://evil.example")}, http.StatusForbidden},
		{"an opaque origin", []func(*http.Request){none, field("Origin", "null")}, http.StatusForbidden},
		{"another port", []func(*http.Request){none, field("Origin", "http://127.0.0.1:1")}, http.StatusForbidden},
		{"our own, of an old browser", []func(*http.Request){none, field("Origin", b.base)}, http.StatusSeeOther},
		{"no browser", []func(*http.Request){none}, http.StatusSeeOther},
		{"typed by the person", []func(*http.Request){none, field("Sec-Fetch-Site", "none")}, http.StatusSeeOther},
	} {
		name := fmt.Sprintf("made-by-%d", i)
		a := b.send(http.MethodPost, "/portal/registries/dockbell/access/new-scope-map", url.Values{"name": {name}, "actions": {"repositories/a/content/read"}}, tt.changes...)
		status, _, _ := s.do("GET", "/api/v1/registries/dockbell/scopeMaps/"+name, nil, s.asOperator)
		if a.status != tt.want || (status == http.StatusOK) != (tt.want == http.StatusSeeOther) {
			t.Errorf("%s: %d, want %d; the scope map: %d", tt.name, a.status, tt.want, status)
		}
		if tt.want == http.StatusForbidden && !strings.Contains(text(a.body), "The form was sent from a page of another address") {
			t.Errorf("%s: %s", tt.name, text(a.body))
		}
	}
	for _, path := range []string{"/portal/login", "/portal/logout", "/portal/theme"} {
		if a := b.send(http.MethodPost, path, url.Values{"username": {s.Operator()}, "password": {s.Password}}, field("Sec-Fetch-Site", "cross-site")); a.status != http.StatusForbidden || a.header.Get("Set-Cookie") != "" {
			t.Errorf("POST %s from another site: %d %v", path, a.status, a.header)
		}
	}
}

// TestPortalHeaders: every answer has what keeps a browser to the portal's own.
func TestPortalHeaders(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	in, out := s.tab("").operator(), s.tab("")
	_, asset, _ := strings.Cut(out.get("/portal/login").body, `href="/portal/assets/style.css?`)
	asset, _, _ = strings.Cut(asset, `"`)
	for _, tt := range []struct {
		b      *tab
		path   string
		status int
		cache  string
	}{
		{out, "/portal/login", http.StatusOK, "no-store"},
		{out, "/portal/", http.StatusSeeOther, "no-store"},
		{in, "/portal/registries/dockbell", http.StatusOK, "no-store"},
		{in, "/portal/registries/nowhere", http.StatusNotFound, "no-store"},
		{in, "/portal/nothing", http.StatusNotFound, "no-store"},
		{in, "/portal//registries/", http.StatusTemporaryRedirect, "no-store"},
		{out, "/portal/assets/style.css?" + asset, http.StatusOK, "public, max-age=31536000, immutable"},
		{out, "/portal/assets/style.css", http.StatusOK, "no-cache"},
		{out, "/portal/assets/", http.StatusNotFound, "no-store"},
	} {
		a := tt.b.get(tt.path)
		if a.status != tt.status || a.header.Get("Cache-Control") != tt.cache {
			t.Errorf("%s: %d, cache %s", tt.path, a.status, a.header.Get("Cache-Control"))
		}
		csp := a.header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: the policy %q lacks %s", tt.path, csp, want)
			}
		}
		if strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") {
			t.Errorf("%s: %s", tt.path, csp)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin"} {
			if a.header.Get(name) != want {
				t.Errorf("%s: %s is %q", tt.path, name, a.header.Get(name))
			}
		}
		if strings.Contains(a.body, "<style") || regexp.MustCompile(`<script>|\son[a-z]+=|\sstyle=`).MatchString(a.body) {
			t.Errorf("%s has script or style that the policy forbids", tt.path)
		}
	}
}
