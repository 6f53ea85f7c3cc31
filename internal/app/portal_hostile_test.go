package app_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// scrawl is what strangers write: it ends attributes, elements and scripts, and has
// characters that are none of text.
const scrawl = "\"'`></title></textarea></script><evil evil=1>{{.}}&lt;evil&gt;\x00\x07\x1b[31m\u202e<!--<svg onload=alert(1)>" + `" evil="1`

// tame is scrawl for fields that refuse control characters.
const tame = `"'></title></textarea></script><evil evil=1>&lt;evil&gt;<!--<svg onload=alert(1)>" evil="1`

// checkPage looks for whatever in a page is not the portal's own making.
func checkPage(t *testing.T, name, source string) {
	t.Helper()
	var headings int
	ids, labels, fields := map[string]int{}, map[string]bool{}, map[string]bool{}
	depth := 0 // within labels
	z := html.NewTokenizer(strings.NewReader(source))
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			break
		}
		token := z.Token()
		if kind == html.EndTagToken && token.Data == "label" {
			depth--
		}
		if kind != html.StartTagToken && kind != html.SelfClosingTagToken {
			continue
		}
		at := map[string]string{}
		for _, a := range token.Attr {
			at[a.Key] = a.Val
			if a.Key == "evil" || strings.HasPrefix(a.Key, "on") {
				t.Errorf("%s: an attribute %s of <%s>", name, a.Key, token.Data)
			}
			switch a.Key {
			case "href", "src", "action", "formaction", "data-check", "data-tail":
				if !strings.HasPrefix(a.Val, "/portal/") && !strings.HasPrefix(a.Val, "#") {
					t.Errorf("%s: <%s %s=%q> leads away", name, token.Data, a.Key, a.Val)
				}
			case "id":
				ids[a.Val]++
			}
		}
		switch token.Data {
		case "evil", "iframe", "object", "base", "style":
			t.Errorf("%s: an element <%s>", name, token.Data)
		case "script":
			if at["src"] == "" {
				t.Errorf("%s: a script in the page", name)
			}
		case "h1":
			headings++
		case "label":
			depth++
			labels[at["for"]] = true
		case "input", "select", "textarea":
			if at["type"] != "hidden" && depth == 0 && at["aria-label"] == "" {
				fields[at["id"]] = true
			}
		}
	}
	if headings != 1 {
		t.Errorf("%s: %d headings of the page", name, headings)
	}
	for id, n := range ids {
		if n > 1 {
			t.Errorf("%s: %d elements with the id %s", name, n, id)
		}
	}
	for id := range fields {
		if !labels[id] {
			t.Errorf("%s: field %q has no label", name, id)
		}
	}
	if strings.Contains(source, "<evil") || strings.ContainsRune(source, 0) {
		t.Errorf("%s: what was written is there as it was", name)
	}
}

// links returns the pages that a page leads to.
func links(source string) (all []string) {
	z := html.NewTokenizer(strings.NewReader(source))
	for z.Next() != html.ErrorToken {
		token := z.Token()
		for _, a := range token.Attr {
			if token.Data == "a" && a.Key == "href" && strings.HasPrefix(a.Val, "/portal/") {
				all = append(all, a.Val)
			}
		}
	}
	return all
}

// TestPortalHostile walks all pages of a portal over a server in which strangers wrote
// what they could, and asks for pages of names and with queries of theirs.
func TestPortalHostile(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	const registry = "/api/v1/registries/dockbell"
	s.must("PUT", registry+"/scopeMaps/hostile", fmt.Sprintf(`{"properties":{"description":%q,"actions":["repositories/*/content/read"]}}`, tame), nil)
	s.must("PUT", registry+"/tokens/hostile", fmt.Sprintf(`{"properties":{"scopeMapId":%q}}`, s.registryID("dockbell")+"/scopeMaps/hostile"), nil)
	s.must("POST", "/api/v1/garbageCollections", `{"dryRun":true}`, nil)
	s.push("app", "v1", field("User-Agent", tame), field("X-Ms-Correlation-Request-Id", tame))
	// What fails is on record with the path and the ids that the client sends.
	for _, path := range []string{registry + "/webhooks/", registry + "/tokens/", "/api/v1/registries/", "/api/v1/servicePrincipals/"} {
		status, _, _ := s.do("DELETE", path+url.PathEscape(scrawl), nil, s.asOperator, field("X-Ms-Correlation-Request-Id", tame), field("User-Agent", tame))
		if status == http.StatusOK {
			t.Errorf("DELETE %s…: %d", path, status)
		}
	}
	s.do("DELETE", "/v2/app/manifests/v1", nil, s.asOperator, field("X-Ms-Correlation-Request-Id", tame))
	s.do("GET", "/api/v1/registries", nil, as(scrawl, scrawl))

	b := s.tab("").operator()
	seen, told := map[string]bool{}, false
	queue := []string{"/portal/registries/dockbell", "/portal/server"}
	for len(queue) > 0 && len(seen) < 500 {
		path := queue[0]
		queue = queue[1:]
		address, _, _ := strings.Cut(path, "#")
		if seen[address] {
			continue
		}
		seen[address] = true
		a := b.get(address)
		if to := a.header.Get("Location"); a.status/100 == 3 {
			queue = append(queue, to)
			continue
		}
		if a.status != http.StatusOK && a.status != http.StatusNotFound {
			t.Errorf("%s: %d %s", address, a.status, text(a.body))
		}
		if !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") {
			continue
		}
		checkPage(t, address, a.body)
		told = told || strings.Contains(a.body, "&lt;evil evil=1&gt;")
		queue = append(queue, links(a.body)...)
	}
	for _, path := range []string{"access/tokens/hostile", "access/scope-maps/hostile", "access/new-token", "access/new-scope-map", "replications", "audit"} {
		if !seen["/portal/registries/dockbell/"+path] {
			t.Errorf("no link leads to %s", path)
		}
	}
	if !told {
		t.Error("no page has what strangers wrote: the test looks at nothing")
	}
	// Of a page the links of this kind are many; the rest must be few enough for all.
	if len(seen) >= 500 {
		t.Errorf("%d pages and no end", len(seen))
	}

	name, q := url.PathEscape(scrawl), url.QueryEscape(scrawl)
	for _, path := range []string{
		"/portal/" + name, "/portal/registries/" + name, "/portal/registries/" + name + "/access",
		"/portal/registries/dockbell/access/tokens/" + name, "/portal/registries/dockbell/access/scope-maps/" + name, "/portal/registries/dockbell/access?done=" + q,
		"/portal/registries/dockbell/audit?who=" + q + "&action=" + q, "/portal/registries/dockbell/audit?outcome=" + q, "/portal/registries/dockbell/audit?since=" + q + "&until=" + q,
		"/portal/registries/dockbell/audit?after=" + q, "/portal/registries/dockbell/audit/entry?time=" + q, "/portal/server/audit?who=" + q,
		"/portal/server/principals/" + name, "/portal/server/collections/" + name, "/portal/assets/" + name,
	} {
		a := b.get(path, field("Cookie", "dockbell-theme="+url.QueryEscape(tame)))
		if strings.HasPrefix(a.header.Get("Content-Type"), "text/html") {
			checkPage(t, path, a.body)
		}
		if a.status >= 500 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	for path, fields := range map[string][]string{
		"/portal/login": {"username", "password", "next", "kept-form"},
		"/portal/registries/dockbell/access/new-token":               {"name", "scopeMap"},
		"/portal/registries/dockbell/access/new-scope-map":           {"name", "actions", "description"},
		"/portal/registries/dockbell/access/scope-maps/hostile":      {"actions", "description"},
		"/portal/registries/dockbell/access/tokens/hostile/password": {"name", "days"},
		"/portal/registries/dockbell/access/tokens/hostile/forget":   {"name"},
		"/portal/registries/dockbell/access/tokens/hostile/status":   {"status"},
		"/portal/registries/dockbell/access/admin/renew":             {"name"},
		"/portal/registries/dockbell/replications":                   {"location", "name"},
		"/portal/server/principals":                                  {"name", "role", "scope"},
	} {
		form := url.Values{}
		for _, f := range fields {
			form.Set(f, scrawl)
		}
		form.Set("kept-to", "/portal/"+"<evil>")
		a := b.send(http.MethodPost, path, form)
		checkPage(t, "POST "+path, a.body)
		if a.status < 400 || a.status >= 500 {
			t.Errorf("POST %s: %d", path, a.status)
		}
		// And when the session is over, which keeps what was typed.
		over := s.tab("").send(http.MethodPost, path, form)
		checkPage(t, "without a session, POST "+path, over.body)
		if path == "/portal/login" {
			continue
		}
		kept := inputs(over.body)
		in := s.tab("").send(http.MethodPost, "/portal/login", withFields(kept, "username", s.Operator(), "password", s.Password))
		checkPage(t, "kept, POST "+path, in.body)
		if got := inputs(in.body).Get(fields[0]); strings.ReplaceAll(got, "\ufffd", "\x00") != scrawl {
			t.Errorf("POST %s: %q is kept as %q", path, scrawl, got)
		}
	}
}
