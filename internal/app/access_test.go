package app_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/oci"
)

// question is one thing that can be asked of a registry's contents. What would
// change or remove something names what is not there: who may is told so.
type question struct {
	method, path string // {repo} is a repository, {none} one beside it that does not exist, {digest} the manifest of {repo}
	needs        string // actions on the repository, divided by commas; | divides those of which one is enough
	answer       string // to who may: status, and code of what is wrong
	body         string
}

// catalog is the action on the list of repositories.
const catalog = "catalog"

// deletedCatalog is that on the list of those that were deleted. Whoever may list
// repositories, and read what was deleted, has it.
const deletedCatalog = "deleted_catalog"

// questions are everything there is below /v2, /acr/v1 and /helm/v1. Charts are in no
// repository of images: what may be done with them is called charts/pull and so on.
var questions = func() (all []question) {
	const (
		noDigest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
		blob     = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" // {}
		locks    = `{"listEnabled":true}`
		reads    = "GET HEAD"
	)
	add := func(methods, path, needs, answer string, body ...string) {
		for method := range strings.FieldsSeq(methods) {
			all = append(all, question{method, path, needs, answer, strings.Join(body, "")})
		}
	}
	add(reads, "/v2/", "", "200")
	add(reads, "/v2/_catalog", catalog, "200")
	add(reads, "/v2/{repo}/tags/list", "pull|metadata_read", "200")
	add(reads, "/v2/{repo}/referrers/{digest}", "pull", "200")
	add(reads, "/v2/{repo}/manifests/v1", "pull", "200")
	add(reads, "/v2/{repo}/manifests/{digest}", "pull", "200")
	add(reads, "/v2/{repo}/manifests/none", "pull", "404 MANIFEST_UNKNOWN")
	add("PUT", "/v2/{repo}/manifests/v9", "pull,push", "400 MANIFEST_INVALID", "no manifest")
	add("PUT", "/v2/{repo}/manifests/"+noDigest, "pull,push", "400 DIGEST_INVALID", "{}")
	add("DELETE", "/v2/{repo}/manifests/none", "delete", "404 MANIFEST_UNKNOWN")
	add("DELETE", "/v2/{repo}/manifests/"+noDigest, "delete", "404 MANIFEST_UNKNOWN")
	add(reads, "/v2/{repo}/blobs/"+blob, "pull", "200")
	add(reads, "/v2/{repo}/blobs/"+noDigest, "pull", "404 BLOB_UNKNOWN")
	add("DELETE", "/v2/{repo}/blobs/"+noDigest, "delete", "404 BLOB_UNKNOWN")
	add("POST", "/v2/{repo}/blobs/uploads/", "pull,push", "202")
	add("POST", "/v2/{repo}/blobs/uploads/?mount="+noDigest+"&from={repo}", "pull,push", "202")
	add("POST", "/v2/{repo}/blobs/uploads/?mount="+noDigest, "pull,push", "202")
	add("POST", "/v2/{repo}/blobs/uploads/?digest="+noDigest, "pull,push", "400 DIGEST_INVALID", "{}")
	add(reads+" PATCH DELETE", "/v2/{repo}/blobs/uploads/none", "pull,push", "404 BLOB_UPLOAD_UNKNOWN")
	add("PUT", "/v2/{repo}/blobs/uploads/none?digest="+blob, "pull,push", "404 BLOB_UPLOAD_UNKNOWN")
	add(reads, "/acr/v1/_catalog", catalog, "200")
	add(reads, "/acr/v1/{repo}", "metadata_read", "200")
	add("PATCH", "/acr/v1/{repo}", "metadata_read,metadata_write", "200", locks)
	add("DELETE", "/acr/v1/{none}", "delete", "404 NAME_UNKNOWN")
	add(reads, "/acr/v1/{repo}/_tags", "metadata_read", "200")
	add(reads, "/acr/v1/{repo}/_tags/v1", "metadata_read", "200")
	add("PATCH", "/acr/v1/{repo}/_tags/v1", "metadata_read,metadata_write", "200", locks)
	add("DELETE", "/acr/v1/{repo}/_tags/none", "delete", "404 TAG_UNKNOWN")
	add(reads, "/acr/v1/{repo}/_manifests", "metadata_read", "200")
	add(reads, "/acr/v1/{repo}/_manifests/{digest}", "metadata_read", "200")
	add("PATCH", "/acr/v1/{repo}/_manifests/{digest}", "metadata_read,metadata_write", "200", locks)
	add(reads, "/acr/v1/_deleted/_catalog", deletedCatalog, "200")
	add(reads, "/acr/v1/_deleted/{repo}/_tags", "deleted_read", "200")
	add(reads, "/acr/v1/_deleted/{repo}/_manifests", "deleted_read", "200")
	add("POST", "/acr/v1/_deleted/{repo}/_manifests/"+noDigest, "deleted_read,deleted_restore", "404 MANIFEST_UNKNOWN", `{"tag":"v1"}`)
	add(reads, "/helm/v1/repo/index.yaml", "charts/pull", "200")
	add(reads, "/helm/v1/repo/_charts", "charts/pull", "200")
	add(reads, "/helm/v1/repo/_charts/none", "charts/pull", "404 CHART_NOT_FOUND")
	add(reads, "/helm/v1/repo/_blobs/none-1.0.0.tgz", "charts/pull", "404 CHART_NOT_FOUND")
	add("PUT", "/helm/v1/repo/_blobs/none-1.0.0.tgz", "charts/pull,charts/push", "400 CHART_INVALID", "no package")
	add("PATCH", "/helm/v1/repo/_blobs/none-1.0.0.tgz", "charts/pull,charts/push", "400 CHART_INVALID", "no package")
	add("DELETE", "/helm/v1/repo/_blobs/none-1.0.0.tgz", "charts/delete", "404 CHART_NOT_FOUND")
	add("DELETE", "/helm/v1/repo/_charts/none", "charts/delete", "404 CHART_NOT_FOUND")
	return all
}()

// answered reports whether an answer is the one to who may ask.
func (q question) answered(status int, body []byte) bool {
	want, code, _ := strings.Cut(q.answer, " ")
	if fmt.Sprint(status) != want {
		return false
	}
	return code == "" || q.method == http.MethodHead || bytes.Contains(body, []byte(`"code":"`+code+`"`))
}

// someone is who asks. What it may is written here once more, by hand.
type someone struct {
	name           string
	user, password string
	ours, theirs   string // actions on team/app and on other/app, divided by blanks
	lists          bool   // the catalog
	elsewhere      bool   // may something with another repository
	charts         string // actions on charts
}

const (
	everything = mapped + " deleted_read deleted_restore"
	mapped     = "pull push delete metadata_read metadata_write" // what a scope map can allow
)

// TestAccess has everyone there is ask everything, in each way to say who one
// is, of a repository that some may use and of one that they may not.
func TestAccess(t *testing.T) {
	if raceEnabled {
		t.Skip("thousands of requests, one after the other: the detector learns nothing from them; scripts/test.sh runs them without")
	}
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	digests := map[string]string{"team/app": s.push("team/app", "v1"), "other/app": s.push("other/app", "v1")}
	s.interview(t, digests, append(s.people(t),
		someone{name: "nobody"},
		someone{name: "an anonymous client", user: anonymous},
	))
	// With anonymous pull whoever is nobody may pull, with a token. Those who are
	// somebody may what they could before.
	s.must("PATCH", "/api/v1/registries/dockbell", `{"properties":{"anonymousPullEnabled":true}}`, nil)
	const reads = "pull metadata_read"
	s.interview(t, digests, append(s.scoped(),
		someone{name: "nobody, with anonymous pull"},
		someone{name: "an anonymous client, with anonymous pull", user: anonymous, ours: reads, theirs: reads, lists: true},
	))
}

// interview has people ask everything, and compares who was let through.
func (r *running) interview(t *testing.T, digests map[string]string, people []someone) {
	t.Helper()
	for _, who := range people {
		t.Run(who.name, func(t *testing.T) {
			for way, authorise := range r.ways(t, who) {
				for _, repo := range []string{"team/app", "other/app"} {
					may := strings.Fields(map[string]string{"team/app": who.ours, "other/app": who.theirs}[repo])
					if who.lists {
						may = append(may, catalog)
						if slices.Contains(may, "deleted_read") {
							may = append(may, deletedCatalog)
						}
					}
					for action := range strings.FieldsSeq(who.charts) {
						may = append(may, "charts/"+action)
					}
					for _, q := range questions {
						path := strings.NewReplacer("{repo}", repo, "{none}", strings.Replace(repo, "app", "none", 1), "{digest}", digests[repo]).Replace(q.path)
						status, header, body := r.do(q.method, path, []byte(q.body), authorise(repo))
						allowed := q.answered(status, body)
						want := allows(may, q.needs)
						if q.needs == "" {
							want = who.ours+who.theirs != "" || who.lists || who.elsewhere
						}
						switch {
						case want && !allowed || !want && status != http.StatusUnauthorized:
							t.Errorf("%s with %s: %s %s: %d, allowed should be %t\n%s", who.name, way, q.method, path, status, want, body)
						case !want && !strings.HasPrefix(header.Get("WWW-Authenticate"), `Bearer realm="`):
							t.Errorf("%s with %s: %s %s: %d without a challenge", who.name, way, q.method, path, status)
						}
					}
				}
			}
		})
	}
}

// allows reports whether actions are enough for what is needed.
func allows(may []string, needs string) bool {
	for choice := range strings.SplitSeq(needs, "|") {
		enough := true
		for action := range strings.SplitSeq(choice, ",") {
			enough = enough && slices.Contains(may, action)
		}
		if enough {
			return true
		}
	}
	return false
}

// anonymous stands for asking the token service without a name.
const anonymous = "\x00"

// people makes one of each kind, in the default registry or beside it.
func (r *running) people(t *testing.T) (all []someone) {
	t.Helper()
	r.must("PUT", "/api/v1/registries/fabrikam", `{"location":"local","sku":{"name":"Premium"},"properties":{"adminUserEnabled":true}}`, nil)
	r.must("PATCH", "/api/v1/registries/dockbell", `{"properties":{"adminUserEnabled":true}}`, nil)
	all = append(all, someone{"the operator", r.Operator(), r.Password, everything, everything, true, false, everything})
	for registry, rights := range map[string]string{"dockbell": everything, "fabrikam": ""} {
		var admin struct {
			Username  string
			Passwords []struct{ Value string }
		}
		r.must("POST", "/api/v1/registries/"+registry+"/listCredentials", "", &admin)
		for n, password := range admin.Passwords {
			all = append(all, someone{fmt.Sprintf("the admin user of %s with password %d", registry, n+1), admin.Username, password.Value, rights, rights, rights != "", false, rights})
		}
	}
	for role, rights := range map[string]string{
		"Owner": everything, "Contributor": everything, "Reader": "pull metadata_read deleted_read",
		"AcrPull": "pull metadata_read", "AcrPush": "pull push metadata_read", "AcrDelete": "delete",
		"AcrQuarantineReader": "pull metadata_read", "AcrQuarantineWriter": "pull metadata_read",
	} {
		lists := strings.Contains(rights, "pull")
		p := r.servicePrincipal("POST", "", fmt.Sprintf(`{"displayName":"all%s","roleAssignments":[{"role":%q}]}`, role, role))
		all = append(all, someone{role, p.AppID, p.Password, rights, rights, lists, false, rights})
		here := r.servicePrincipal("POST", "", fmt.Sprintf(`{"displayName":"here%s","roleAssignments":[{"role":%q,"scope":%q}]}`, role, role, r.registryID("dockbell")))
		all = append(all, someone{role + " of this registry", here.AppID, here.Password, rights, rights, lists, false, rights})
		there := r.servicePrincipal("POST", "", fmt.Sprintf(`{"displayName":"there%s","roleAssignments":[{"role":%q,"scope":%q}]}`, role, role, r.registryID("fabrikam")))
		all = append(all, someone{name: role + " of another registry", user: there.AppID, password: there.Password})
	}
	return append(all, r.scoped()...)
}

// registryID returns the ARM id of a registry.
func (r *running) registryID(name string) string {
	r.t.Helper()
	var registry struct{ ID string }
	r.must("GET", "/api/v1/registries/"+name, "", &registry)
	return registry.ID
}

// must has the operator do something that succeeds, and reads the answer.
func (r *running) must(method, path, body string, answer any) {
	r.t.Helper()
	status, _, text := r.do(method, path, []byte(body), r.asOperator)
	if status/100 != 2 {
		r.t.Fatalf("%s %s: %d %s", method, path, status, text)
	}
	if answer != nil {
		if err := json.Unmarshal(text, answer); err != nil {
			r.t.Fatalf("%s %s: %v in %s", method, path, err, text)
		}
	}
}

// scoped makes repository-scoped tokens.
func (r *running) scoped() (all []someone) {
	r.t.Helper()
	const at = "/api/v1/registries/dockbell"
	for name, tt := range map[string]struct {
		maps         string // a built-in scope map, or the actions of one of its own
		ours, theirs string
	}{
		"reads":        {"repositories/team/app/content/read", "pull", ""},
		"readsBelow":   {"repositories/team/*/content/read", "pull", ""},
		"readsAll":     {"repositories/*/content/read", "pull", "pull"},
		"readsNearby":  {"repositories/tea/*/content/read repositories/team/ap/content/read repositories/team/app/*/content/read", "", ""},
		"writes":       {"repositories/team/*/content/write repositories/team/*/content/read", "pull push", ""},
		"deletes":      {"repositories/team/app/content/delete repositories/team/none/content/delete", "delete", ""},
		"seesMetadata": {"repositories/team/app/metadata/read repositories/other/*/metadata/read", "metadata_read", "metadata_read"},
		"locks":        {"repositories/team/app/metadata/read repositories/team/app/metadata/write", "metadata_read metadata_write", ""},
		"builtInAdmin": {"_repositories_admin", mapped, mapped},
		"builtInPull":  {"_repositories_pull", "pull", "pull"},
		"builtInMeta":  {"_repositories_pull_metadata_read", "pull metadata_read", "pull metadata_read"},
		"builtInPush":  {"_repositories_push", "pull push", "pull push"},
	} {
		scopeMap := tt.maps
		if !strings.HasPrefix(scopeMap, "_") {
			scopeMap = name + "Map"
			actions, _ := json.Marshal(strings.Fields(tt.maps))
			r.must("PUT", at+"/scopeMaps/"+scopeMap, fmt.Sprintf(`{"properties":{"actions":%s}}`, actions), nil)
		}
		var token struct{ ID string }
		r.must("PUT", at+"/tokens/"+name, fmt.Sprintf(`{"properties":{"scopeMapId":%q,"status":"enabled"}}`, r.registryID("dockbell")+"/scopeMaps/"+scopeMap), &token)
		var made struct {
			Username  string
			Passwords []struct{ Value string }
		}
		r.must("POST", at+"/generateCredentials", fmt.Sprintf(`{"tokenId":%q}`, token.ID), &made)
		for n, password := range made.Passwords {
			all = append(all, someone{fmt.Sprintf("token %s with password %d", name, n+1), made.Username, password.Value, tt.ours, tt.theirs, false, true, ""})
		}
	}
	return all
}

// ways returns the ways in which someone says who he is, as what to do to a
// request about a repository.
func (r *running) ways(t *testing.T, who someone) map[string]func(repo string) func(*http.Request) {
	t.Helper()
	switch who.user {
	case "":
		return map[string]func(string) func(*http.Request){"nothing": func(string) func(*http.Request) { return func(*http.Request) {} }}
	case anonymous:
		token := r.accessToken(t, func(*http.Request) {})
		return map[string]func(string) func(*http.Request){"an access token": func(string) func(*http.Request) { return bearer(token) }}
	}
	basic := func(req *http.Request) { req.SetBasicAuth(who.user, who.password) }
	ways := map[string]func(string) func(*http.Request){"the password": func(string) func(*http.Request) { return basic }}
	if token := r.accessToken(t, basic); token != "" { // with a wrong password there is none
		ways["an access token"] = func(string) func(*http.Request) { return bearer(token) }
		ways["an access token as a password"] = func(string) func(*http.Request) {
			return func(req *http.Request) { req.SetBasicAuth("00000000-0000-0000-0000-000000000000", token) }
		}
	}
	return ways
}

func bearer(token string) func(*http.Request) { return field("Authorization", "Bearer "+token) }

// accessToken asks for a token for everything, and returns an empty one if that is
// refused.
func (r *running) accessToken(t *testing.T, as func(*http.Request)) string {
	t.Helper()
	scopes := url.Values{"scope": {"registry:catalog:*", "registry:deleted_catalog:*", "artifact-repository:repo:*"}}
	for _, repo := range []string{"team/app", "team/none", "other/app", "other/none"} {
		scopes.Add("scope", "repository:"+repo+":*")
	}
	status, _, body := r.do("GET", "/oauth2/token?"+scopes.Encode(), nil, as)
	if status == http.StatusUnauthorized {
		return ""
	}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.AccessToken == "" {
		t.Fatalf("a token: %d %s", status, body)
	}
	return answer.AccessToken
}

// TestNarrowTokens proves that a token allows what it was asked for, of what its
// account may, and nothing more.
func TestNarrowTokens(t *testing.T) {
	if raceEnabled {
		t.Skip("thousands of requests, one after the other: the detector learns nothing from them; scripts/test.sh runs them without")
	}
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	digest := s.push("team/app", "v1")
	s.push("other/app", "v1")
	for _, actions := range []string{"pull", "push", "pull,push", "delete", "metadata_read", "metadata_read,metadata_write", "pull,delete", "deleted_read", "deleted_read,deleted_restore", "*", "admin"} {
		status, _, body := s.do("GET", "/oauth2/token?scope=repository:team/app:"+actions, nil, s.asOperator)
		var answer struct {
			AccessToken string `json:"access_token"`
		}
		if err := json.Unmarshal(body, &answer); err != nil || status != http.StatusOK {
			t.Fatalf("%s: %d %s", actions, status, body)
		}
		may := strings.Split(actions, ",")
		if actions == "*" {
			may = strings.Fields(everything)
		}
		for _, q := range questions {
			if strings.Contains(q.path, "{none}") {
				continue // of another name
			}
			for _, repo := range []string{"team/app", "other/app"} {
				path := strings.NewReplacer("{repo}", repo, "{digest}", digest).Replace(q.path)
				status, header, body := s.do(q.method, path, []byte(q.body), bearer(answer.AccessToken))
				want := q.needs == "" || repo == "team/app" && allows(may, q.needs)
				if want && !q.answered(status, body) || !want && status != http.StatusUnauthorized {
					t.Errorf("a token for %s: %s %s: %d, allowed should be %t\n%s", actions, q.method, path, status, want, body)
				}
				if !want && !strings.HasSuffix(header.Get("WWW-Authenticate"), `,error="insufficient_scope"`) {
					t.Errorf("a token for %s: %s %s: challenge %s", actions, q.method, path, header.Get("WWW-Authenticate"))
				}
			}
		}
	}
}

// TestNothingLeaksBetweenRepositories proves that who may use one repository
// learns nothing of another, nor one registry's user of another registry:
// what exists is answered like what does not.
func TestNothingLeaksBetweenRepositories(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	s.must("PUT", "/api/v1/registries/fabrikam", `{"location":"local","sku":{"name":"Premium"}}`, nil)
	fabrikam := host("fabrikam.dockbell.localhost")
	s.push("team/app", "v1")
	digest := s.push("other/app", "secret")
	secret := []byte("a layer that only other/app has")
	layer := string(oci.FromBytes(oci.SHA256, secret))
	if status, _, body := s.do("POST", "/v2/other/app/blobs/uploads/?digest="+layer, secret, s.asOperator); status != http.StatusCreated {
		t.Fatalf("%d %s", status, body)
	}
	const at = "/api/v1/registries/dockbell"
	s.must("PUT", at+"/scopeMaps/teamMap", `{"properties":{"actions":["repositories/team/*/content/read","repositories/team/*/content/write","repositories/team/*/content/delete","repositories/team/*/metadata/read"]}}`, nil)
	var token struct{ ID string }
	s.must("PUT", at+"/tokens/teamToken", fmt.Sprintf(`{"properties":{"scopeMapId":%q}}`, s.registryID("dockbell")+"/scopeMaps/teamMap"), &token)
	var made struct{ Passwords []struct{ Value string } }
	s.must("POST", at+"/generateCredentials", fmt.Sprintf(`{"tokenId":%q,"name":"password1"}`, token.ID), &made)
	member := func(r *http.Request) { r.SetBasicAuth("teamToken", made.Passwords[0].Value) }

	const nothing = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	pairs := [][2]string{ // what exists, what does not
		{"GET /v2/other/app/manifests/secret", "GET /v2/other/abc/manifests/secret"},
		{"HEAD /v2/other/app/manifests/" + digest, "HEAD /v2/other/app/manifests/" + nothing},
		{"HEAD /v2/other/app/blobs/" + layer, "HEAD /v2/other/app/blobs/" + nothing},
		{"GET /v2/other/app/referrers/" + digest, "GET /v2/other/abc/referrers/" + nothing},
		{"GET /v2/other/app/tags/list", "GET /v2/other/abc/tags/list"},
		{"GET /acr/v1/other/app", "GET /acr/v1/other/abc"},
		{"GET /acr/v1/other/app/_tags/secret", "GET /acr/v1/other/abc/_tags/secret"},
		{"GET /acr/v1/other/app/_manifests/" + digest, "GET /acr/v1/other/abc/_manifests/" + nothing},
		{"DELETE /acr/v1/other/app", "DELETE /acr/v1/other/abc"},
		{"DELETE /v2/other/app/manifests/secret", "DELETE /v2/other/abc/manifests/secret"},
		{"HEAD /v2/team/app/blobs/" + layer, "HEAD /v2/team/app/blobs/" + nothing},
		{"GET /v2/team/app/manifests/" + digest, "GET /v2/team/app/manifests/" + nothing},
		{"GET /v2/team/app/referrers/" + digest, "GET /v2/team/app/referrers/" + nothing},
		{"POST /v2/team/app/blobs/uploads/?mount=" + layer + "&from=other/app", "POST /v2/team/app/blobs/uploads/?mount=" + nothing + "&from=other/app"},
		{"POST /v2/team/app/blobs/uploads/?mount=" + layer + "&from=other/app", "POST /v2/team/app/blobs/uploads/?mount=" + layer + "&from=other/abc"},
		{"POST /v2/team/app/blobs/uploads/?mount=" + layer, "POST /v2/team/app/blobs/uploads/?mount=" + nothing},
	}
	compare := func(who string, pair [2]string, changes ...func(*http.Request)) {
		t.Helper()
		var answers [2]string
		for i, text := range pair {
			method, path, _ := strings.Cut(text, " ")
			status, header, body := s.do(method, path, nil, changes...)
			if status/100 == 2 && status != http.StatusAccepted {
				// Of referrers alone nobody can tell whether the subject exists.
				if !strings.Contains(path, "/referrers/") {
					t.Errorf("%s: %s: %d", who, text, status)
				}
			}
			answers[i] = fmt.Sprintf("%d %s %s", status, header.Get("WWW-Authenticate"), body)
			answers[i] = strings.NewReplacer("other/abc", "other/app", nothing, "DIGEST", digest, "DIGEST", layer, "DIGEST").Replace(answers[i])
		}
		if answers[0] != answers[1] {
			t.Errorf("%s: that tells which exists:\n%s\n  %s\n%s\n  %s", who, pair[0], answers[0], pair[1], answers[1])
		}
	}
	for _, pair := range pairs {
		compare("a token for team/*", pair, member)
	}
	// Who owns another registry entirely finds in it nothing of this one.
	for _, pair := range [][2]string{
		{"GET /v2/other/app/manifests/" + digest, "GET /v2/other/app/manifests/" + nothing},
		{"HEAD /v2/other/app/blobs/" + layer, "HEAD /v2/other/app/blobs/" + nothing},
		{"POST /v2/new/app/blobs/uploads/?mount=" + layer + "&from=other/app", "POST /v2/new/app/blobs/uploads/?mount=" + nothing + "&from=other/app"},
		{"POST /v2/new/app/blobs/uploads/?mount=" + layer, "POST /v2/new/app/blobs/uploads/?mount=" + nothing},
		{"GET /acr/v1/other/app", "GET /acr/v1/other/abc"},
	} {
		compare("the operator in another registry", pair, s.asOperator, fabrikam)
	}
	// Neither token nor password of one registry is anything in another.
	access := s.accessToken(t, member)
	for _, as := range []func(*http.Request){member, bearer(access), bearer(s.accessToken(t, s.asOperator))} {
		for _, path := range []string{"/v2/", "/v2/team/app/manifests/v1", "/v2/_catalog", "/acr/v1/team/app"} {
			if status, _, body := s.do("GET", path, nil, as, fabrikam); status != http.StatusUnauthorized {
				t.Errorf("GET %s in another registry: %d %s", path, status, body)
			}
		}
	}
	if status, _, _ := s.do("GET", "/oauth2/token?service="+url.QueryEscape("fabrikam.dockbell.localhost")+"&scope=repository:team/app:pull", nil, member, fabrikam); status != http.StatusUnauthorized {
		t.Errorf("another registry gives a token for this one's password: %d", status)
	}
}

// TestForgedTokens tries what is tried with tokens.
func TestForgedTokens(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	s.push("team/app", "v1")
	good := s.accessToken(t, s.asOperator)
	head, payload, signature := parts(t, good)
	encode := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	with := func(of map[string]any, name string, value any) string {
		changed := map[string]any{}
		for k, v := range of {
			changed[k] = v
		}
		changed[name] = value
		return encode(changed)
	}
	ask := func(token string) int {
		status, _, _ := s.do("GET", "/v2/team/app/manifests/v1", nil, bearer(token))
		return status
	}
	if status := ask(good); status != http.StatusOK {
		t.Fatalf("the token itself: %d", status)
	}
	flipped := bytes.Clone(signature)
	flipped[0] ^= 1
	b64 := base64.RawURLEncoding.EncodeToString
	for what, token := range map[string]string{
		"no algorithm":              with(head, "alg", "none") + "." + encode(payload) + ".",
		"no algorithm, signed":      with(head, "alg", "none") + "." + encode(payload) + "." + b64(signature),
		"an algorithm of secrets":   with(head, "alg", "HS256") + "." + encode(payload) + "." + b64(signature),
		"another key":               with(head, "kid", "another") + "." + encode(payload) + "." + b64(signature),
		"a key of its own":          with(head, "jwk", map[string]string{"kty": "EC"}) + "." + encode(payload) + "." + b64(signature),
		"another signature":         encode(head) + "." + encode(payload) + "." + b64(flipped),
		"no signature":              encode(head) + "." + encode(payload) + ".",
		"two parts":                 encode(head) + "." + encode(payload),
		"another subject":           encode(head) + "." + with(payload, "sub", "someone") + "." + b64(signature),
		"a later end":               encode(head) + "." + with(payload, "exp", 9999999999) + "." + b64(signature),
		"another audience":          encode(head) + "." + with(payload, "aud", "fabrikam.dockbell.localhost") + "." + b64(signature),
		"more access":               encode(head) + "." + with(payload, "access", []any{}) + "." + b64(signature),
		"a refresh token's type":    encode(head) + "." + with(payload, "grant_type", "refresh_token") + "." + b64(signature),
		"the same token, spaced":    good + " ",
		"the same token, doubled":   good + "." + good,
		"a very long one":           good + strings.Repeat("A", 100_000),
		"nothing but dots":          "..",
		"the password in its place": s.Password,
	} {
		status := ask(token)
		if what == "the same token, spaced" {
			continue // the field's own blanks, RFC 9110
		}
		if status != http.StatusUnauthorized && status != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("%s: %d", what, status)
		}
	}
	// A refresh token opens no door but the token service's.
	p := s.servicePrincipal("POST", "", `{"displayName":"ci","roleAssignments":[{"role":"AcrPull"}]}`)
	_, armToken := s.form("/adfs/oauth2/token", "access_token", "grant_type", "client_credentials", "client_id", p.AppID, "client_secret", p.Password, "scope", s.URL()+"/.default")
	if armToken == "" {
		t.Fatal("no token of the identity authority")
	}
	_, refresh := s.form("/oauth2/exchange", "refresh_token", "grant_type", "access_token", "access_token", armToken)
	if refresh == "" {
		t.Fatal("no refresh token")
	}
	for what, token := range map[string]string{"a refresh token": refresh, "a token for the control plane": armToken} {
		if status := ask(token); status != http.StatusUnauthorized {
			t.Errorf("%s pulls: %d", what, status)
		}
	}
	if status, _, _ := s.do("GET", "/api/v1/registries/dockbell", nil, bearer(good)); status != http.StatusUnauthorized {
		t.Errorf("a registry's token in the control plane: %d", status)
	}
	if status, _ := s.form("/oauth2/token", "access_token", "grant_type", "refresh_token", "refresh_token", good); status != http.StatusUnauthorized {
		t.Errorf("an access token is renewed: %d", status)
	}
}

// parts takes a token apart.
func parts(t *testing.T, token string) (head, payload map[string]any, signature []byte) {
	t.Helper()
	texts := strings.Split(token, ".")
	if len(texts) != 3 {
		t.Fatalf("%q", token)
	}
	for i, into := range []*map[string]any{&head, &payload} {
		b, err := base64.RawURLEncoding.DecodeString(texts[i])
		if err == nil {
			err = json.Unmarshal(b, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	signature, err := base64.RawURLEncoding.DecodeString(texts[2])
	if err != nil {
		t.Fatal(err)
	}
	return head, payload, signature
}
