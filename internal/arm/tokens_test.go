package arm_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/arm"
	"github.com/dockbell/dockbell/internal/audit"
	"github.com/dockbell/dockbell/internal/auth"
)

var anyPassword = regexp.MustCompile(`"value":"[a-z2-7]{40}"`)

// TestScopeMapsAndTokens shows what clients see of both.
func TestScopeMapsAndTokens(t *testing.T) {
	t.Parallel()
	tr := &transcript{plane: newPlane(t)}
	const maps, tokens, short = registry + "/scopeMaps", registry + "/tokens", arm.Root + "/contoso"
	for _, x := range []struct{ method, target, body string }{
		{"GET", maps + version, ""},
		{"GET", maps + "/team-pull" + version, ""},
		{"PUT", maps + "/Team-Pull" + version, `{"properties":{"description":"what the team has","actions":["repositories/team/*/content/read","repositories/team/*/metadata/read"]}}`},
		{"PUT", maps + "/team-pull" + version, `{"properties":{"actions":["repositories/team/*/content/read"]}}`},
		{"PATCH", maps + "/team-pull" + version, `{"properties":{"description":"pull"}}`},
		{"PATCH", maps + "/team-pull" + version, `{"properties":{"description":null,"actions":[]}}`},
		{"PATCH", strings.ToUpper(maps) + "/TEAM-PULL" + version, `{"properties":{"actions":["repositories/team/*/content/read"]}}`},
		{"GET", short + "/scopemaps/TEAM-pull", ""},
		{"PUT", maps + "/team-push" + version, `{"properties":{}}`},
		{"PUT", maps + "/team-push" + version, `{"properties":{"actions":["repositories/team*/content/read"]}}`},
		{"PUT", maps + "/team-push" + version, `{"properties":{"actions":["gateway/edge/config/read"]}}`},
		{"PUT", maps + "/team.push" + version, `{"properties":{"actions":[]}}`},
		{"PUT", maps + "/_repositories_own" + version, `{"properties":{"actions":[]}}`},
		{"PUT", maps + "/_repositories_pull" + version, `{"properties":{"actions":[]}}`},
		{"DELETE", maps + "/_repositories_pull" + version, ""},
		{"PATCH", maps + "/nosuch" + version, `{}`},

		{"PUT", tokens + "/CI-pull" + version, `{"properties":{"scopeMapId":"` + maps + `/nosuch"}}`},
		{"PUT", tokens + "/CI-pull" + version, `{"properties":{}}`},
		{"PUT", tokens + "/CI-pull" + version, `{"properties":{"scopeMapId":"team-pull"}}`},
		{"PUT", tokens + "/CI-pull" + version, `{"properties":{"scopeMapId":"` + strings.Replace(maps, "contoso", "fabrikam", 1) + `/team-pull"}}`},
		{"PUT", tokens + "/CI-pull" + version, `{"properties":{"scopeMapId":"` + maps + `/team-pull","credentials":{"certificates":[{"name":"certificate1"}]}}}`},
		{"PUT", tokens + "/CI-pull" + version, `{"properties":{"scopeMapId":"` + maps + `/team-pull","status":"on"}}`},
		{"PUT", tokens + "/CI_pull" + version, `{"properties":{"scopeMapId":"` + maps + `/team-pull"}}`},
		{"PUT", tokens + "/CI-pull" + version, `{"properties":{"scopeMapId":"` + strings.ToLower(maps) + `/TEAM-PULL","status":null,"credentials":null}}`},
		{"GET", tokens + "/ci-pull" + version, ""},
		{"DELETE", maps + "/team-pull" + version, ""},
		{"POST", registry + "/generateCredentials" + version, `{"tokenId":"` + tokens + `/ci-pull"}`},
		{"POST", registry + "/generateCredentials" + version, `{"tokenId":"` + strings.ToUpper(tokens) + `/CI-PULL","name":"Password1","expiry":"2100-01-31T13:00:00.5+01:00"}`},
		{"GET", short + "/tokens/ci-pull", ""},
		{"POST", registry + "/generateCredentials" + version, `{"tokenId":"` + tokens + `/ci-pull","expiry":"2000-01-31T12:00:00Z"}`},
		{"POST", registry + "/generateCredentials" + version, `{"tokenId":"` + tokens + `/ci-pull","expiry":"9999-12-31T23:59:59.999999Z"}`},
		{"POST", registry + "/generateCredentials" + version, `{"tokenId":"` + tokens + `/ci-pull","expiry":"tomorrow"}`},
		{"POST", registry + "/generateCredentials" + version, `{"tokenId":"` + tokens + `/ci-pull","name":"password3"}`},
		{"POST", registry + "/generateCredentials" + version, `{"tokenId":"` + tokens + `/nosuch"}`},
		{"POST", registry + "/generateCredentials" + version, `{"tokenId":"` + strings.Replace(tokens, "contoso", "fabrikam", 1) + `/ci-pull"}`},
		{"POST", registry + "/generateCredentials" + version, `{"tokenId":"` + strings.Replace(tokens, "0001", "0002", 1) + `/ci-pull"}`},
		{"POST", registry + "/generateCredentials" + version, `{}`},
		{"POST", short + "/generateCredentials", `{"tokenId":"` + short + `/tokens/ci-pull","name":"password2"}`},

		{"PATCH", tokens + "/ci-pull" + version, `{"properties":{"credentials":{"passwords":[{"name":"password1","expiry":"2100-01-31T12:00:00.0000000Z"}]}}}`},
		{"PATCH", tokens + "/ci-pull" + version, `{"properties":{"credentials":{"passwords":[{"name":"password1","expiry":"2101-01-31T12:00:00Z"}]}}}`},
		{"PATCH", tokens + "/ci-pull" + version, `{"properties":{"credentials":{"passwords":[{"name":"password2"}]}}}`},
		{"PATCH", tokens + "/ci-pull" + version, `{"properties":{"scopeMapId":null}}`},
		{"PATCH", tokens + "/ci-pull" + version, `{"properties":{"status":"Disabled","scopeMapId":"` + maps + `/_repositories_push"}}`},
		{"PATCH", tokens + "/ci-pull" + version, `{"properties":{"credentials":{"certificates":[],"passwords":[]}}}`},
		{"GET", tokens + version, ""},
		{"GET", maps + version, ""},
		{"GET", tokens + version + "&$skiptoken=CI", ""},
		{"GET", registry + "/listUsages" + version, ""},
		{"DELETE", maps + "/team-pull" + version, ""},
		{"DELETE", maps + "/team-pull" + version, ""},
		{"DELETE", tokens + "/CI-PULL" + version, ""},
		{"DELETE", tokens + "/CI-PULL" + version, ""},
		{"GET", tokens + version, ""},
		{"GET", short + "/tokens/ci-pull", ""},
	} {
		tr.exchange(x.method, x.target, x.body)
	}
	golden(t, "tokens.txt", anyPassword.ReplaceAllString(tr.String(), `"value":"(secret)"`))
	var told []string
	for _, e := range tr.recorded(t) {
		if e.Outcome == audit.Succeeded {
			told = append(told, strings.TrimPrefix(e.Action, "Microsoft.ContainerRegistry/registries/")+" "+path.Base(e.Resource)+" "+e.Detail)
		}
	}
	for _, want := range []string{
		"scopeMaps/write Team-Pull created=true actions=2", "scopeMaps/delete team-pull ", "tokens/write CI-pull created=true scopeMap=Team-Pull status=enabled",
		"generateCredentials/action contoso token=CI-pull passwords=password1,password2 scopeMap=Team-Pull status=enabled",
		"tokens/write ci-pull scopeMap=_repositories_push status=disabled", "tokens/delete CI-PULL ", "tokens/delete CI-PULL there was none",
	} {
		if !slices.Contains(told, want) {
			t.Errorf("%q is not on record:\n%s", want, strings.Join(told, "\n"))
		}
	}
}

// TestValuesOfTokensAreShownOnce looks for the passwords of a token in whatever
// is answered and logged after they were made.
func TestValuesOfTokensAreShownOnce(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	if w := p.do("PUT", arm.Root+"/contoso/tokens/ci-push", bodies["PUT /tokens/{}"]); w.Code != http.StatusCreated {
		t.Fatal(w.Body)
	}
	var made struct{ Passwords []struct{ Value string } }
	if err := json.Unmarshal(p.do("POST", arm.Root+"/contoso/generateCredentials", bodies["POST /generateCredentials"]).Body.Bytes(), &made); err != nil || len(made.Passwords) != 2 {
		t.Fatal(made, err)
	}
	for _, x := range []struct{ method, target, body string }{
		{"GET", "/tokens", ""}, {"GET", "/tokens/ci-push", ""}, {"PATCH", "/tokens/ci-push", `{}`}, {"PUT", "/tokens/ci-push", bodies["PUT /tokens/{}"]},
		{"POST", "/listCredentials", ""}, {"DELETE", "/tokens/ci-push", ""},
	} {
		body := p.do(x.method, arm.Root+"/contoso"+x.target, x.body).Body.String()
		for _, password := range made.Passwords {
			if strings.Contains(body, password.Value) || strings.Contains(p.logged.String(), password.Value) {
				t.Errorf("%s %s shows it: %s", x.method, x.target, body)
			}
		}
	}
}

// TestManyTokensComeInPages follows the list of 230 under both roots.
func TestManyTokensComeInPages(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	contoso, err := p.tenants.ByName("contoso")
	if err != nil {
		t.Fatal(err)
	}
	reg := auth.TokenRegistry{ID: contoso.ID, Name: contoso.Name, Limit: 1000}
	const all = 230
	for i := range all {
		name := fmt.Sprintf("token-%d", i)
		if _, _, err := p.config.Tokens.PutToken(t.Context(), reg, name, auth.TokenChange{ScopeMap: new("_repositories_pull")}, auth.Actor{}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.config.Tokens.PutScopeMap(t.Context(), reg, name, "", nil, auth.Actor{}); err != nil {
			t.Fatal(err)
		}
	}
	const host = "https://contoso.azurecr.example"
	for target, want := range map[string]int{registry + "/tokens" + version: all, arm.Root + "/contoso/tokens": all, registry + "/scopeMaps" + version: all + 5} {
		seen := map[string]bool{}
		pages := 0
		for next := host + target; next != ""; pages++ {
			w := httptest.NewRecorder()
			p.ServeHTTP(w, httptest.NewRequest("GET", next, nil))
			var page struct {
				Value    []struct{ Name string }
				NextLink string
			}
			if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != http.StatusOK {
				t.Fatalf("%s: %d %s", next, w.Code, w.Body)
			}
			for _, x := range page.Value {
				seen[x.Name] = true
			}
			if next = page.NextLink; next != "" && !strings.HasPrefix(next, host+strings.Split(target, "?")[0]+"?") {
				t.Fatalf("next is %s", next)
			}
		}
		if len(seen) != want || pages != 3 {
			t.Errorf("%s: %d in %d pages", target, len(seen), pages)
		}
	}
}
