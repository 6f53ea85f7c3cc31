package app_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// someone makes a service principal with a role in all of the server, and logs it in.
func (r *running) someone(name, role string) *tab {
	r.t.Helper()
	p := r.servicePrincipal("POST", "", `{"displayName":"`+name+`","roleAssignments":[{"role":"`+role+`"}]}`)
	return r.tab("").login(p.AppID, p.Password)
}

// shown returns what a page has in its boxes that can be copied.
func shown(source string) (all []string) {
	for _, m := range regexp.MustCompile(`<div class="command"><code>([^<]*)</code>`).FindAllStringSubmatch(source, -1) {
		all = append(all, m[1])
	}
	return all
}

// TestPortalTokens makes a scope map and a token by forms, and uses its password.
func TestPortalTokens(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	s.push("team/web", "v1")
	b := s.tab("").operator()
	const at = "/portal/registries/dockbell/access"
	if _, words := b.page(at); !strings.Contains(words, "There is no token yet.") || !strings.Contains(words, "_repositories_admin built in * : pull, push, delete, read metadata, change metadata") {
		t.Errorf("without tokens: %s", words)
	}
	// What the server refuses is said beside the field, and nothing typed is lost.
	for _, tt := range []struct{ path, name, other, value, field, says string }{
		{"/new-scope-map", "x", "actions", "repositories/a/content/read", "name", "Scope map name &#34;x&#34; is not valid"},
		{"/new-scope-map", "../x", "actions", "repositories/a/content/read", "name", "Scope map name &#34;../x&#34; is not valid"},
		{"/new-scope-map", "", "actions", "repositories/a/content/read", "name", "The scope map needs a name"},
		{"/new-scope-map", "_repositories_pull", "actions", "", "name", "_repositories_pull"},
		{"/new-scope-map", "team-pull", "actions", "repositories/a/content/fly", "actions", "Action &#34;repositories/a/content/fly&#34; is not valid"},
		{"/new-scope-map", "team-pull", "description", "tab\there", "description", "The description has a control character"},
		{"/new-token", "x", "scopeMap", "_repositories_pull", "name", "oken name &#34;x&#34; is not valid"},
		{"/new-token", "dockbell", "scopeMap", "_repositories_pull", "name", "is not valid"},
		{"/new-token", "", "scopeMap", "_repositories_pull", "name", "The token needs a name"},
		{"/new-token", "ci-pull", "scopeMap", "nowhere", "scopeMap", "has no scope map"},
	} {
		a := b.post(at+tt.path, "name", tt.name, tt.other, tt.value)
		field := regexp.MustCompile(`<p class="wrong" id="[a-z]*-wrong">([^<]+)`).FindAllStringSubmatch(a.body, -1)
		if a.status/100 != 4 || len(field) != 1 || !strings.Contains(field[0][0], strings.ReplaceAll(tt.field, "scopeMap", "map")+"-wrong") || !strings.Contains(field[0][1], tt.says) {
			t.Errorf("%s with name %q and %s %q: %d, %q", tt.path, tt.name, tt.other, tt.value, a.status, field)
		}
		if !strings.Contains(a.body, `value="`+tt.name+`"`) || tt.other != "scopeMap" && !strings.Contains(a.body, tt.value) {
			t.Errorf("%s forgets what was typed", tt.path)
		}
	}
	if a := b.post(at+"/new-scope-map", "name", "team-pull", "description", "for the team", "actions", "repositories/team/*/content/read\r\n\r\n repositories/base/content/read "); a.status != http.StatusSeeOther {
		t.Fatalf("scope map: %d %s", a.status, text(a.body))
	}
	if a := b.post(at+"/new-scope-map", "name", "TEAM-pull", "actions", ""); a.status != http.StatusConflict || !strings.Contains(a.body, "already") {
		t.Errorf("the same again: %d %s", a.status, text(a.body))
	}
	a := b.post(at+"/new-token", "name", "ci-pull", "scopeMap", "team-pull")
	token := a.header.Get("Location")
	if a.status != http.StatusSeeOther || token != at+"/tokens/ci-pull?done=token-made" {
		t.Fatalf("token: %d %v %s", a.status, token, text(a.body))
	}
	if a := b.post(at+"/new-token", "name", "CI-pull", "scopeMap", "_repositories_admin"); a.status != http.StatusConflict {
		t.Errorf("the same again: %d %s", a.status, text(a.body))
	}
	token, _, _ = strings.Cut(token, "?")
	if _, words := b.page(token + "?done=token-made"); !strings.Contains(words, "The token is made.") || !strings.Contains(words, "no password") || !strings.Contains(words, "team/* : pull base : pull") {
		t.Errorf("the token: %s", words)
	}

	a = b.post(token+"/password", "name", "password1", "days", "30")
	boxes := shown(a.body)
	if a.status != http.StatusOK || len(boxes) != 3 || boxes[0] != "ci-pull" || !strings.HasSuffix(boxes[2], " -u ci-pull") || !strings.HasPrefix(boxes[2], "docker login dockbell.dockbell.localhost") || a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("password: %d %q %s", a.status, boxes, text(a.body))
	}
	password := boxes[1]
	pull := func(want int) {
		t.Helper()
		if status, _, body := s.do("GET", "/v2/team/web/manifests/v1", nil, as("ci-pull", password)); status != want {
			t.Errorf("pull: %d %s, want %d", status, body, want)
		}
	}
	pull(http.StatusOK)
	for _, path := range []string{token, at, at + "/scope-maps/team-pull", "/portal/registries/dockbell/audit"} {
		if source, _ := b.page(path); strings.Contains(source, password) {
			t.Errorf("%s has the password", path)
		}
	}
	for _, bad := range [][]string{{"name", "", "days", "30"}, {"name", "password3", "days", "30"}, {"name", "password2", "days", "-1"}, {"name", "password2", "days", "soon"}} {
		if a := b.post(token+"/password", bad...); a.status != http.StatusBadRequest {
			t.Errorf("password with %q: %d", bad, a.status)
		}
	}
	pull(http.StatusOK) // both would have been made without a name
	for _, step := range []struct {
		path string
		form []string
		want int
		says string
	}{
		{"/status", []string{"status", "disabled"}, http.StatusUnauthorized, "disabled"},
		{"/status", []string{"status", "enabled"}, http.StatusOK, "enabled"},
		{"/scope-map", []string{"scopeMap", "_repositories_push_metadata_write"}, http.StatusOK, "_repositories_push_metadata_write"},
		{"/password", []string{"name", "password2", "days", "0"}, http.StatusOK, "does not expire"},
		{"/forget", []string{"name", "password2"}, http.StatusOK, "password2 not made"},
		{"/forget", []string{"name", "password1"}, http.StatusUnauthorized, "no password"},
	} {
		if a := b.post(token+step.path, step.form...); a.status != http.StatusSeeOther && step.path != "/password" {
			t.Errorf("%s %q: %d %s", step.path, step.form, a.status, text(a.body))
		}
		pull(step.want)
		if _, words := b.page(token); !strings.Contains(words, step.says) {
			t.Errorf("after %s %q: %s", step.path, step.form, words)
		}
	}
	if a := b.post(token+"/status", "status", ""); a.status != http.StatusBadRequest {
		t.Errorf("a status that is none: %d", a.status)
	}
	if a := b.post(at+"/scope-maps/team-pull", "description", "", "actions", "repositories/base/content/read"); a.status != http.StatusSeeOther {
		t.Errorf("changing the scope map: %d %s", a.status, text(a.body))
	}
	if _, words := b.page(at + "/scope-maps/team-pull"); strings.Contains(words, "for the team") || !strings.Contains(words, "base : pull") || !strings.Contains(words, "none has it") {
		t.Errorf("the scope map: %s", words)
	}
	for _, path := range []string{token + "/delete", at + "/scope-maps/team-pull/delete"} {
		if a := b.post(path); a.status != http.StatusSeeOther {
			t.Errorf("%s: %d %s", path, a.status, text(a.body))
		}
	}
	for _, path := range []string{token, at + "/scope-maps/team-pull"} {
		if a := b.get(path); a.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, a.status)
		}
	}
}

// TestPortalAdminUser: passwords of the admin user are in the answers to who asked for
// them, who may.
func TestPortalAdminUser(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	s.must("PUT", "/api/v1/registries/contoso", `{"location":"local","sku":{"name":"Premium"}}`, nil)
	b := s.tab("").operator()
	const at = "/portal/registries/contoso/access"
	if a := b.post(at+"/admin", "on", "true"); a.status != http.StatusSeeOther {
		t.Fatalf("on: %d %s", a.status, text(a.body))
	}
	boxes := shown(b.post(at + "/admin/show").body)
	if len(boxes) != 4 || boxes[0] != "contoso" {
		t.Fatalf("shown: %q", boxes)
	}
	source, words := b.page(at + "?done=admin-on")
	if strings.Contains(source, boxes[1]) || strings.Contains(source, boxes[2]) || !strings.Contains(words, "The admin user can log in.") || !strings.Contains(words, "Disable the admin user") {
		t.Errorf("the page: %s", words)
	}
	if a := b.get(at + "/admin/show"); a.status != http.StatusNotFound {
		t.Errorf("passwords by GET: %d", a.status)
	}
	renewed := shown(b.post(at+"/admin/renew", "name", "password2").body)
	if len(renewed) != 3 || renewed[1] == boxes[2] || renewed[1] == boxes[1] {
		t.Errorf("renewed: %d boxes", len(renewed))
	}
	if a := b.post(at+"/anonymous", "on", "true"); a.status != http.StatusSeeOther {
		t.Errorf("anonymous pull: %d %s", a.status, text(a.body))
	}
	_, port, _ := strings.Cut(s.Addr().String(), ":")
	if status, _, body := s.do("GET", "/v2/_catalog", nil, host("contoso.dockbell.localhost:"+port), as("contoso", renewed[1])); status != http.StatusOK {
		t.Errorf("the new password: %d %s", status, body)
	}

	r := s.someone("auditor", "Reader")
	source, words = r.page(at)
	for _, not := range []string{"Show the passwords", "<form method=\"post\" action=\"" + at, "New token", "Disable", "Turn anonymous", "Roles of service principals"} {
		if strings.Contains(source, not) {
			t.Errorf("a reader sees %q", not)
		}
	}
	if !strings.Contains(words, "_repositories_pull") || strings.Contains(words, "Audit log") || strings.Contains(source, "/portal/server/audit") {
		t.Errorf("a reader sees: %s", words)
	}
	for path, form := range map[string][]string{
		"/admin": {"on", "false"}, "/admin/show": nil, "/admin/renew": {"name", "password"}, "/anonymous": {"on", "false"},
		"/new-token": {"name", "ci-pull", "scopeMap", "_repositories_pull"}, "/new-scope-map": {"name", "team-pull", "actions", ""},
	} {
		if a := r.post(at+path, form...); a.status != http.StatusForbidden || len(shown(a.body)) > 0 {
			t.Errorf("a reader's %s: %d %s", path, a.status, text(a.body))
		}
	}
	if a := r.get("/portal/registries/contoso/audit"); a.status != http.StatusForbidden {
		t.Errorf("a reader at the audit log: %d", a.status)
	}
	if a := b.post(at+"/admin", "on", "false"); a.status != http.StatusSeeOther {
		t.Errorf("off: %d", a.status)
	}
	if a := b.post(at + "/admin/show"); a.status/100 != 4 {
		t.Errorf("passwords of one that is off: %d", a.status)
	}
}

func TestPortalReplications(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	s.must("PUT", "/api/v1/registries/contoso", `{"location":"local","sku":{"name":"Premium"}}`, nil)
	s.must("PUT", "/api/v1/registries/basic", `{"location":"local","sku":{"name":"Basic"}}`, nil)
	b := s.tab("").operator()
	const at = "/portal/registries/contoso/replications"
	if _, words := b.page(at); !strings.Contains(words, "It is nowhere else.") || !strings.Contains(words, "local home local ready The replication is ready.") {
		t.Errorf("one location: %s", words)
	}
	if _, words := b.page("/portal/registries/basic/replications"); !strings.Contains(words, "dockbell registry update -n basic --sku Premium") || strings.Contains(words, "New replication") {
		t.Errorf("Basic: %s", words)
	}
	if a := b.post(at, "location", "West Europe"); a.status != http.StatusSeeOther {
		t.Fatalf("create: %d %s", a.status, text(a.body))
	}
	if _, words := b.page(at); !strings.Contains(words, "westeurope westeurope waiting for a node No node of this region has joined yet") {
		t.Errorf("two locations: %s", words)
	}
	for _, tt := range []struct{ location, name, field, says string }{
		{"", "", "location", "The replication has no location"},
		{"no/where", "", "name", "Replication name &#34;no/where&#34; is not valid"},
		{"no/where", "another", "location", "not well-formed"},
		{"local", "another", "location", "is at home in local"},
		{"westeurope", "another", "location", "has replication westeurope in westeurope already"},
		{"eastus", "westeurope", "name", "There is a replication &#34;westeurope&#34; already"},
		{"eastus", "x", "name", "Replication name &#34;x&#34; is not valid"},
	} {
		a := b.post(at, "location", tt.location, "name", tt.name)
		if _, wrong, _ := strings.Cut(a.body, `id="`+tt.field+`-wrong">`); a.status/100 != 4 || !strings.Contains(strings.SplitN(wrong, "<", 2)[0], tt.says) {
			t.Errorf("%+v: %d %s", tt, a.status, text(a.body))
		}
	}
	if source, _ := s.someone("auditor", "Reader").page(at); strings.Contains(source, "<form method=\"post\" action=\""+at) {
		t.Error("a reader sees a form")
	}
	if a := b.post(at + "/local/delete"); a.status != http.StatusConflict || !strings.Contains(a.body, "is the home of registry contoso") {
		t.Errorf("deleting the home: %d", a.status)
	}
	if a := b.post(at + "/westeurope/delete"); a.status != http.StatusSeeOther {
		t.Errorf("delete: %d %s", a.status, text(a.body))
	}
	if _, words := b.page(at); strings.Contains(words, "waiting for a node") {
		t.Errorf("after that: %s", words)
	}
}

func TestPortalServer(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	b := s.tab("").operator()
	if source, _ := b.page("/portal/registries/dockbell"); !strings.Contains(source, `href="/portal/server/principals"`) {
		t.Error("the operator has no entry for the server")
	}
	const at = "/portal/server/principals"
	for _, tt := range []struct{ name, role, scope, field, says string }{
		{"no blanks", "AcrPull", "", "name", "service principal name &#34;no blanks&#34; is not valid"},
		{"ci", "AcrFly", "", "role", "there is no role"},
		{"ci", "AcrPull", "/subscriptions/x", "scope", "there is no scope"},
	} {
		a := b.post(at, "name", tt.name, "role", tt.role, "scope", tt.scope)
		_, wrong, _ := strings.Cut(a.body, `id="`+tt.field+`-wrong">`)
		if wrong = strings.SplitN(wrong, "<", 2)[0]; a.status != http.StatusBadRequest || !strings.Contains(strings.ToLower(wrong), tt.says) || !strings.Contains(a.body, `value="`+tt.name+`"`) {
			t.Errorf("%+v: %d %s", tt, a.status, wrong)
		}
	}
	made := shown(b.post(at, "name", "ci", "role", "AcrPush", "scope", s.registryID("dockbell")).body)
	if len(made) != 3 {
		t.Fatalf("made: %q", made)
	}
	id, password := made[0], made[1]
	if source, words := b.page(at); strings.Contains(source, password) || !strings.Contains(words, "AcrPush in registry dockbell") {
		t.Errorf("the list: %s", words)
	}
	s.push("app", "v1", as(id, password))
	reset := shown(b.post(at + "/" + id + "/reset").body)
	if len(reset) != 3 || reset[0] != id || reset[1] == password {
		t.Fatalf("reset: %d boxes", len(reset))
	}
	s.push("app", "v2", as(id, reset[1]))
	if _, words := b.page(at + "/" + id); !strings.Contains(words, "Make another password") {
		t.Errorf("its page: %s", words)
	}
	if a := b.post(at + "/" + id + "/delete"); a.status != http.StatusSeeOther {
		t.Errorf("delete: %d %s", a.status, text(a.body))
	}
	if a := b.get(at + "/" + id); a.status != http.StatusNotFound {
		t.Errorf("after that: %d", a.status)
	}

	a := b.post("/portal/server/collections", "dryRun", "true")
	if a.status != http.StatusSeeOther {
		t.Fatalf("collection: %d %s", a.status, text(a.body))
	}
	if _, words := b.page(a.header.Get("Location")); !strings.Contains(words, "dry run: nothing goes") {
		t.Errorf("its page: %s", words)
	}
	b.page("/portal/server/collections")
	for path, want := range map[string]int{"/portal/server/collections/999": http.StatusNotFound, "/portal/server/collections/x": http.StatusNotFound} {
		if a := b.get(path); a.status != want {
			t.Errorf("%s: %d", path, a.status)
		}
	}

	// Who may what.
	for name, who := range map[string]struct {
		role    string
		entries string // of the menu, in order
		refused []string
	}{
		"owner":       {"Owner", "Service principals, Garbage collections, Signing keys, Audit log", nil},
		"contributor": {"Contributor", "Garbage collections, Signing keys, Audit log", []string{"/principals"}},
		"reader":      {"Reader", "Garbage collections, Signing keys", []string{"/principals", "/audit"}},
		"puller":      {"AcrPull", "", []string{"", "/principals", "/collections", "/keys", "/audit"}},
	} {
		p := s.someone(name, who.role)
		for _, path := range who.refused {
			if a := p.get("/portal/server" + path); a.status != http.StatusForbidden {
				t.Errorf("%s at %s: %d", name, path, a.status)
			}
		}
		var entries []string
		if a := p.get("/portal/server"); a.status == http.StatusSeeOther {
			source, _ := p.page(a.header.Get("Location"))
			_, tabs, _ := strings.Cut(source, `aria-label="Pages about the server">`)
			tabs, _, _ = strings.Cut(tabs, "</nav>")
			for _, m := range regexp.MustCompile(`<a[^>]*>([^<]*)</a>`).FindAllStringSubmatch(tabs, -1) {
				entries = append(entries, m[1])
			}
		}
		if got := strings.Join(entries, ", "); got != who.entries {
			t.Errorf("%s sees %s, want %s", name, got, who.entries)
		}
	}
	r := s.someone("reader2", "Reader")
	for path, not := range map[string]string{"/collections": "Collect garbage", "/keys": "Revoke"} {
		if source, _ := r.page("/portal/server" + path); strings.Contains(source, not) {
			t.Errorf("a reader sees %s", not)
		}
	}
	for path, form := range map[string]string{"/collections": "", "/collections/1/cancel": "", "/keys/rotate": "revoke", "/principals": "name"} {
		if a := r.post("/portal/server"+path, form, "true"); a.status != http.StatusForbidden {
			t.Errorf("a reader's POST %s: %d", path, a.status)
		}
	}

	// Keys: a rotation ends nobody's session, a revocation everybody's.
	if a := b.post("/portal/server/keys/rotate"); a.status != http.StatusSeeOther || !strings.Contains(a.header.Get("Location"), "key-made") {
		t.Errorf("rotate: %d %v", a.status, a.header.Get("Location"))
	}
	if _, words := b.page("/portal/server/keys"); !strings.Contains(words, "next to sign") {
		t.Errorf("keys: %s", words)
	}
	if a := b.post("/portal/server/keys/rotate", "revoke", "true"); a.status != http.StatusSeeOther {
		t.Errorf("revoke: %d", a.status)
	}
	for name, p := range map[string]*tab{"operator": b, "reader": r} {
		if a := p.get("/portal/server/keys"); a.status != http.StatusSeeOther {
			t.Errorf("the %s's session after that: %d", name, a.status)
		}
	}
}

func TestPortalAudit(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	b := s.tab("").operator()
	const at = "/portal/registries/dockbell/audit"
	if _, words := b.page(at); !strings.Contains(words, "Nothing is on record yet.") {
		t.Errorf("empty: %s", words)
	}
	a := b.post("/portal/registries/dockbell/access/new-scope-map", "name", "team-pull", "actions", "")
	id := a.header.Get("X-Ms-Request-Id")
	if a.status != http.StatusSeeOther || id == "" {
		t.Fatalf("scope map: %d", a.status)
	}
	s.someone("auditor", "Reader").post("/portal/registries/dockbell/access/scope-maps/team-pull/delete")
	source, words := b.page(at)
	if !strings.Contains(words, "dockbell user created a scope map dockbell: scopeMaps/team-pull succeeded 127.0.0.1") || !strings.Contains(words, "service principal deleted a scope map dockbell: scopeMaps/team-pull refused") {
		t.Errorf("the log: %s", words)
	}
	// The entry has the id of the browser's request.
	m := regexp.MustCompile(`href="([^"]*/audit/entry\?request=` + id + `[^"]*)"`).FindStringSubmatch(source)
	if m == nil {
		t.Fatalf("no entry of request %s in %s", id, source)
	}
	_, words = b.page(strings.ReplaceAll(m[1], "&amp;", "&"))
	for _, want := range []string{"Microsoft.ContainerRegistry/registries/scopeMaps/write", id, "/scopeMaps/team-pull", "created=true", "UTC"} {
		if !strings.Contains(words, want) {
			t.Errorf("the entry lacks %s: %s", want, words)
		}
	}
	for query, want := range map[string]string{
		"outcome=refused": "deleted", "outcome=succeeded": "created", "who=dockbell": "created", "action=registries/scopeMaps/delete": "deleted",
		"since=2020-01-01T00:00": "both", "until=2020-01-01T00:00": "none", "since=2199-01-01T00:00&outcome=refused": "none", "who=nobody": "none",
	} {
		_, words := b.page(at + "?" + query)
		created, deleted := strings.Contains(words, "created a scope map"), strings.Contains(words, "deleted a scope map")
		if created != (want == "created" || want == "both") || deleted != (want == "deleted" || want == "both") || (want == "none") != strings.Contains(words, "Nothing on record is like that.") {
			t.Errorf("%s: %s", query, words)
		}
	}
	for _, query := range []string{"since=yesterday", "until=1", "outcome=fine", "after=nonsense"} {
		if a := b.get(at + "?" + query); a.status != http.StatusBadRequest || !strings.Contains(a.body, `role="alert"`) || strings.Contains(a.body, "Nothing on record") {
			t.Errorf("%s: %d %s", query, a.status, text(a.body))
		}
	}
	for _, path := range []string{"/entry", "/entry?time=2020-01-01T00:00:00Z"} {
		if a := b.get(at + path); a.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	// More than a page of them, by cursor and with the filter kept.
	for range 101 {
		s.do("DELETE", "/api/v1/registries/dockbell/scopeMaps/other", nil, s.asOperator)
	}
	seen := 0
	next := at + "?action=" + url.QueryEscape("registries/scopeMaps/delete") + "&outcome=succeeded"
	for pages := 0; next != ""; pages++ {
		if pages > 2 {
			t.Fatal("pages without an end")
		}
		source, words := b.page(next)
		seen += strings.Count(words, "deleted a scope map")
		next = ""
		if m := regexp.MustCompile(`href="([^"]*)" rel="next"`).FindStringSubmatch(source); m != nil {
			next = strings.ReplaceAll(m[1], "&amp;", "&")
		}
	}
	if seen != 101 {
		t.Errorf("%d of 101 entries", seen)
	}
	if _, words := b.page("/portal/server/audit?action=servicePrincipals"); !strings.Contains(words, "created or changed a service principal") {
		t.Errorf("of the server: %s", words)
	}
}
