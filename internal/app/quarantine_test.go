package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/oci"
)

// quarantine switches the policy of the default registry.
func (r *running) quarantine(status string) {
	r.t.Helper()
	var answer struct {
		Properties struct {
			Policies struct {
				QuarantinePolicy struct{ Status string }
			}
		}
	}
	r.must("PATCH", "/api/v1/registries/dockbell", fmt.Sprintf(`{"properties":{"policies":{"quarantinePolicy":{"status":%q}}}}`, status), &answer)
	if is := answer.Properties.Policies.QuarantinePolicy.Status; is != strings.ToLower(status) {
		r.t.Errorf("the policy is %s", is)
	}
}

// mark says what was found of a manifest.
func (r *running) mark(repo, digest, state string) {
	r.t.Helper()
	var answer struct {
		Manifest struct {
			ChangeableAttributes struct{ QuarantineState string }
		}
	}
	r.must("PATCH", "/acr/v1/"+repo+"/_manifests/"+digest, fmt.Sprintf(`{"quarantineState":%q}`, state), &answer)
	if is := answer.Manifest.ChangeableAttributes.QuarantineState; is != state {
		r.t.Errorf("%s@%s is %s", repo, digest, is)
	}
}

// sight is one way to look at an image, and what it shows: of one that is not held
// back, to who does not see one that is, and to who does. Each is a status, what the
// answer has, and behind a minus what it has not.
type sight struct{ path, visible, hidden, seen string }

// sights are all there are. {repo} has one image, {digest}, which refers to {subject}
// and has the tag v1.
var sights = []sight{
	{"/v2/{repo}/manifests/v1", "200 {subject}", "404 MANIFEST_UNKNOWN -{digest}", "404 MANIFEST_UNKNOWN"},
	{"/v2/{repo}/manifests/{digest}", "200 {subject}", `404 "REGISTRY_DISALLOWED_OPERATION","message":"the_operation_is_disallowed -{subject}`, "200 {subject}"},
	{"/v2/{repo}/tags/list", "200 v1", "200 -v1", "200 -v1"},
	{"/v2/{repo}/referrers/{subject}", "200 {digest}", "200 -{digest}", "200 {digest}"},
	{"/v2/_catalog", `200 "{repo}"`, `200 -"{repo}"`, `200 "{repo}"`},
	{"/acr/v1/_catalog", `200 "{repo}"`, `200 -"{repo}"`, `200 "{repo}"`},
	{"/acr/v1/{repo}", `200 "manifestCount":1,"tagCount":1,`, `200 "manifestCount":1,"tagCount":0,`, `200 "manifestCount":1,"tagCount":0,`},
	{"/acr/v1/{repo}/_tags", "200 {digest}", "200 -v1 -{digest}", "200 -v1"},
	{"/acr/v1/{repo}/_tags?digest={digest}", "200 v1", "200 -v1", "200 -v1"},
	{"/acr/v1/{repo}/_tags/v1", "200 {digest}", "404 TAG_UNKNOWN -{digest}", "404 TAG_UNKNOWN"},
	{"/acr/v1/{repo}/_manifests", `200 {digest} "tags":["v1"]`, "200 -{digest} -v1", `200 {digest} "tags":["v1"]`},
	{"/acr/v1/{repo}/_manifests/{digest}", `200 "imageSize":2`, "404 REGISTRY_DISALLOWED_OPERATION -imageSize", `200 "imageSize":2`},
	{"/v2/{repo}/blobs/{config}", "200 {}", "200 {}", "200 {}"}, // a blob is no image: see docs/quarantine.md
}

// shows says what is wrong with an answer.
func shows(want string, head bool, status int, body []byte) string {
	for i, word := range strings.Fields(want) {
		word = strings.ReplaceAll(word, "_is_", " is ")
		word = strings.ReplaceAll(word, "the_operation", "the operation")
		not, absent := strings.CutPrefix(word, "-")
		switch {
		case i == 0 && fmt.Sprint(status) != word:
			return "the status is not " + word
		case i == 0 || head:
		case absent && strings.Contains(string(body), not):
			return "it has " + not
		case !absent && !strings.Contains(string(body), word):
			return "it does not have " + word
		}
	}
	return ""
}

// TestWhoSeesWhatIsInQuarantine has everyone look in each way at images in each state.
func TestWhoSeesWhatIsInQuarantine(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	s.must("PATCH", "/api/v1/registries/dockbell", `{"properties":{"adminUserEnabled":true,"anonymousPullEnabled":true}}`, nil)
	subject := oci.FromBytes(oci.SHA256, []byte("what the images are about"))
	config := oci.FromBytes(oci.SHA256, []byte("{}"))
	push := func(repo string) (digest string) {
		t.Helper()
		if status, _, body := s.do("POST", fmt.Sprintf("/v2/%s/blobs/uploads/?digest=%s", repo, config), []byte("{}"), s.asOperator); status != http.StatusCreated {
			t.Fatalf("%d %s", status, body)
		}
		manifest := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[],"subject":{"mediaType":%[1]q,"digest":%[4]q,"size":2},"annotations":{"repo":%[5]q}}`,
			oci.MediaTypeImageManifest, oci.MediaTypeImageConfig, config, subject, repo)
		if status, _, body := s.do("PUT", "/v2/"+repo+"/manifests/v1", manifest, s.asOperator); status != http.StatusCreated {
			t.Fatalf("%d %s", status, body)
		}
		return string(oci.FromBytes(oci.SHA256, manifest))
	}
	// How images came to be what they are, and whether they are held back while the
	// policy is on.
	images := map[string]struct {
		digest string
		held   bool
	}{}
	for _, repo := range []string{"before/unjudged", "before/failed", "before/passed"} {
		images[repo] = struct {
			digest string
			held   bool
		}{push(repo), repo != "before/passed"}
	}
	s.mark("before/failed", images["before/failed"].digest, "Failed")
	s.mark("before/passed", images["before/passed"].digest, "Passed")
	s.quarantine("enabled")
	for _, repo := range []string{"after/unjudged", "after/failed", "after/passed", "after/recalled"} {
		images[repo] = struct {
			digest string
			held   bool
		}{push(repo), repo != "after/passed"}
	}
	s.mark("after/failed", images["after/failed"].digest, "Failed")
	s.mark("after/passed", images["after/passed"].digest, "Passed")
	s.mark("after/recalled", images["after/recalled"].digest, "Passed")
	s.mark("after/recalled", images["after/recalled"].digest, "Quarantined")

	type viewer struct {
		as   func(*http.Request)
		sees bool
		may  bool // pull and read metadata
	}
	viewers := map[string]viewer{"the operator": {s.asOperator, true, true}}
	var admin struct {
		Username  string
		Passwords []struct{ Value string }
	}
	s.must("POST", "/api/v1/registries/dockbell/listCredentials", "", &admin)
	viewers["the admin user"] = viewer{func(r *http.Request) { r.SetBasicAuth(admin.Username, admin.Passwords[0].Value) }, true, true}
	tokenFor := func(as func(*http.Request), actions string) func(*http.Request) {
		scopes := url.Values{"scope": {"registry:catalog:*"}}
		for repo := range images {
			scopes.Add("scope", "repository:"+repo+":"+actions)
		}
		var answer struct {
			AccessToken string `json:"access_token"`
		}
		status, _, body := s.do("GET", "/oauth2/token?"+scopes.Encode(), nil, as)
		if err := json.Unmarshal(body, &answer); err != nil || answer.AccessToken == "" {
			t.Fatalf("a token: %d %s", status, body)
		}
		return bearer(answer.AccessToken)
	}
	for role, v := range map[string]viewer{
		"Owner": {nil, true, true}, "Contributor": {nil, true, true}, "Reader": {nil, false, true}, "AcrPull": {nil, false, true}, "AcrPush": {nil, false, true},
		"AcrDelete": {nil, false, false}, "AcrQuarantineReader": {nil, true, true}, "AcrQuarantineWriter": {nil, true, true},
	} {
		p := s.servicePrincipal("POST", "", fmt.Sprintf(`{"displayName":"p%s","roleAssignments":[{"role":%q,"scope":%q}]}`, role, role, s.registryID("dockbell")))
		v.as = func(r *http.Request) { r.SetBasicAuth(p.AppID, p.Password) }
		viewers[role] = v
		v.as = tokenFor(v.as, "*")
		viewers[role+" with a token"] = v
	}
	both := s.servicePrincipal("POST", "", `{"displayName":"both","roleAssignments":[{"role":"AcrPush"},{"role":"AcrQuarantineReader"}]}`)
	viewers["AcrPush and AcrQuarantineReader"] = viewer{func(r *http.Request) { r.SetBasicAuth(both.AppID, both.Password) }, true, true}
	viewers["anyone"] = viewer{tokenFor(func(*http.Request) {}, "*"), false, true}
	var token struct{ ID string }
	s.must("PUT", "/api/v1/registries/dockbell/tokens/everything", fmt.Sprintf(`{"properties":{"scopeMapId":%q}}`, s.registryID("dockbell")+"/scopeMaps/_repositories_admin"), &token)
	var made struct{ Passwords []struct{ Value string } }
	s.must("POST", "/api/v1/registries/dockbell/generateCredentials", fmt.Sprintf(`{"tokenId":%q,"name":"password1"}`, token.ID), &made)
	ofMap := viewer{func(r *http.Request) { r.SetBasicAuth("everything", made.Passwords[0].Value) }, false, true}
	viewers["a token with a scope map"] = ofMap

	look := func(policy bool) {
		t.Helper()
		for who, v := range viewers {
			for repo, image := range images {
				for _, at := range sights {
					if who == "a token with a scope map" && strings.Contains(at.path, "_catalog") {
						continue // for which none is given
					}
					fill := strings.NewReplacer("{repo}", repo, "{digest}", image.digest, "{subject}", string(subject), "{config}", string(config)).Replace
					want := at.visible
					switch {
					case !v.may:
						want = "401"
					case policy && image.held && v.sees:
						want = at.seen
					case policy && image.held:
						want = at.hidden
					}
					for _, method := range []string{http.MethodGet, http.MethodHead} {
						status, _, body := s.do(method, fill(at.path), nil, v.as)
						if wrong := shows(fill(want), method == http.MethodHead, status, body); wrong != "" {
							t.Errorf("%s, policy on %t: %s %s: %d: %s in %s", who, policy, method, fill(at.path), status, wrong, body)
						}
					}
				}
			}
		}
	}
	look(true)
	// A mount shows no more than a blob does.
	if status, _, body := s.do("POST", fmt.Sprintf("/v2/elsewhere/blobs/uploads/?mount=%s&from=after/failed", config), nil, ofMap.as); status != http.StatusCreated {
		t.Errorf("a mount: %d %s", status, body)
	}
	s.quarantine("Disabled")
	look(false)
}

// TestWhoMarks has everyone say what is good.
func TestWhoMarks(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	s.quarantine("Enabled")
	digest := s.push("team/app", "v1")
	at := "/acr/v1/team/app/_manifests/" + digest
	type marker struct {
		as  func(*http.Request)
		may bool
	}
	markers := map[string]marker{"the operator": {s.asOperator, true}, "nobody": {func(*http.Request) {}, false}}
	token := func(as func(*http.Request), scope string) func(*http.Request) {
		var answer struct {
			AccessToken string `json:"access_token"`
		}
		_, _, body := s.do("GET", "/oauth2/token?"+url.Values{"scope": {scope}}.Encode(), nil, as)
		if err := json.Unmarshal(body, &answer); err != nil || answer.AccessToken == "" {
			t.Fatalf("a token: %s", body)
		}
		return bearer(answer.AccessToken)
	}
	var writer func(*http.Request)
	for role, may := range map[string]bool{
		"Owner": true, "Contributor": true, "Reader": false, "AcrPull": false, "AcrPush": false, "AcrDelete": false,
		"AcrQuarantineReader": false, "AcrQuarantineWriter": true,
	} {
		p := s.servicePrincipal("POST", "", fmt.Sprintf(`{"displayName":"p%s","roleAssignments":[{"role":%q}]}`, role, role))
		as := func(r *http.Request) { r.SetBasicAuth(p.AppID, p.Password) }
		if role == "AcrQuarantineWriter" {
			writer = as
		}
		markers[role] = marker{as, may}
		for scope, enough := range map[string]bool{
			"repository:team/app:pull,push":                    true, // as ACR's documents have it
			"repository:team/app:metadata_write,metadata_read": true, // as az and the SDKs have it
			"repository:team/app:*":                            true,
			"repository:team/app:pull":                         false,
			"repository:team/app:metadata_read":                false,
			"repository:team/app:push":                         false,
			"repository:team/other:pull,push":                  false,
		} {
			markers[role+" with a token for "+scope] = marker{token(as, scope), may && enough}
		}
	}
	states := []string{"Passed", "Failed", "Quarantined"}
	n := 0
	for who, m := range markers {
		state := states[n%len(states)]
		if m.may {
			n++
		}
		status, header, body := s.do("PATCH", at, fmt.Appendf(nil, `{"quarantineState":%q,"quarantineDetails":"{\"state\":\"scanned\"}"}`, state), m.as)
		if m.may && (status != http.StatusOK || !strings.Contains(string(body), fmt.Sprintf(`"quarantineState":%q,"quarantineDetails":"{\"state\":\"scanned\"}"`, state))) {
			t.Errorf("%s: %d %s", who, status, body)
		}
		if !m.may && (status != http.StatusUnauthorized || !strings.Contains(header.Get("WWW-Authenticate"), `scope="repository:team/app:metadata_write,metadata_read"`)) {
			t.Errorf("%s: %d %s %s", who, status, header.Get("WWW-Authenticate"), body)
		}
	}
	// Who marks can do nothing else, and is told what is wrong with a mark.
	for _, as := range []func(*http.Request){writer, token(writer, "repository:team/app:*")} {
		for _, tt := range []struct {
			method, path, body string
			status             int
		}{
			{"PUT", "/v2/team/app/manifests/v1", "{}", 401},
			{"POST", "/v2/team/app/blobs/uploads/", "", 401},
			{"DELETE", "/v2/team/app/manifests/" + digest, "", 401},
			{"PATCH", at, `{"writeEnabled":false}`, 401},
			{"PATCH", at, `{"quarantineState":"Passed","writeEnabled":false}`, 401},
			{"PATCH", at, `{"quarantineState":"Good"}`, 400},
			{"PATCH", at, `{"quarantineState":"Passed","quarantineDetails":"good"}`, 400},
			{"PATCH", "/acr/v1/team/app/_manifests/" + strings.Replace(digest, digest[7:11], "0000", 1), `{"quarantineState":"Passed"}`, 404},
		} {
			if status, _, body := s.do(tt.method, tt.path, []byte(tt.body), as); status != tt.status {
				t.Errorf("%s %s %s: %d %s", tt.method, tt.path, tt.body, status, body)
			}
		}
	}
	if log := strings.Join(s.auditLog("?action=registries/quarantine/write&resource=team/app@"+digest), "\n"); !strings.Contains(log, `"quarantineState=Passed"`) {
		t.Errorf("the audit log:\n%s", log)
	}
}

// TestScanner has a scanner rung, as the documents have it: it pulls what is in
// quarantine with the reader's role, marks it with the writer's, and then those who
// wait for pushes are rung, and find what they are told of.
func TestScanner(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	s.quarantine("enabled")
	reader := s.servicePrincipal("POST", "", `{"displayName":"reader","roleAssignments":[{"role":"AcrQuarantineReader"}]}`)
	writer := s.servicePrincipal("POST", "", `{"displayName":"writer","roleAssignments":[{"role":"AcrQuarantineWriter"}]}`)
	puller := s.servicePrincipal("POST", "", `{"displayName":"puller","roleAssignments":[{"role":"AcrPull"}]}`)
	basic := func(p principal) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(p.AppID, p.Password) }
	}
	type ring struct {
		Action string
		Target struct{ Repository, Digest, Tag string }
	}
	rung := make(chan string, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var e ring
		if err := json.Unmarshal(body, &e); err != nil {
			t.Errorf("%v in %s", err, body)
			return
		}
		path := "/v2/" + e.Target.Repository + "/manifests/"
		if e.Action == "quarantine" {
			status, _, manifest := s.do("GET", path+e.Target.Digest, nil, basic(reader))
			if status != http.StatusOK {
				t.Errorf("the scanner: %d %s", status, manifest)
			}
			state := "Passed"
			if strings.Contains(string(manifest), "virus") {
				state = "Failed"
			}
			if status, _, body := s.do("PATCH", "/acr/v1/"+e.Target.Repository+"/_manifests/"+e.Target.Digest, fmt.Appendf(nil, `{"quarantineState":%q}`, state), basic(writer)); status != http.StatusOK {
				t.Errorf("the scanner: %d %s", status, body)
			}
		}
		status, _, _ := s.do("HEAD", path+e.Target.Tag, nil, basic(puller))
		rung <- fmt.Sprintf("%s %s: pull %d", e.Action, e.Target.Tag, status)
	}))
	t.Cleanup(receiver.Close)
	for _, action := range []string{"quarantine", "push"} {
		s.must("PUT", "/api/v1/registries/dockbell/webhooks/on"+action, fmt.Sprintf(`{"location":"local","properties":{"serviceUri":%q,"actions":[%q]}}`, receiver.URL, action), nil)
	}
	s.push("team/app", "v1")
	got := []string{<-rung, <-rung}
	if want := "quarantine v1: pull 200,push v1: pull 200"; strings.Join(got, ",") != want && strings.Join([]string{got[1], got[0]}, ",") != want {
		t.Errorf("%v", got)
	}
	s.push("team/app", "virus")
	if got := <-rung; got != "quarantine virus: pull 404" {
		t.Error(got)
	}
	s.push("team/app", "v2")
	for range 2 { // and nothing of what failed
		if got := <-rung; !strings.HasSuffix(got, " v2: pull 200") {
			t.Error(got)
		}
	}
}
